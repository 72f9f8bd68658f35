//! Softmax cross-entropy, its gradient, and the logarithm of the softmax.
//!
//! Exponentials are f32, of the differences from the largest logit, so none overflows. Sums over classes and samples
//! are f64.

use rayon::prelude::*;

use crate::chunks::{check_len, for_each_chunk, rows_per_chunk};
use crate::math::exp_f32;
use crate::profile;

/// Overwrites `out` with the log-softmax of each row of logits.
///
/// # Shapes
/// `logits` and `out` (n, c).
///
/// # Panics
/// If a length does not fit, or there are no classes.
pub fn log_softmax(n: usize, c: usize, logits: &[f32], out: &mut [f32]) {
    let _span = profile::channels("log_softmax", logits.len(), c);
    assert!(c > 0, "log_softmax: 0 classes, expected at least 1");
    check_len("log_softmax", "logits", logits.len(), n * c);
    check_len("log_softmax", "out", out.len(), n * c);
    for_each_chunk(out, rows_per_chunk(c) * c, |start, out| {
        for (out, logits) in out.chunks_exact_mut(c).zip(logits[start..].chunks_exact(c)) {
            let log_total = LogTotal::of(logits);
            for (out, &logit) in out.iter_mut().zip(logits) {
                *out = -log_total.minus(logit) as f32;
            }
        }
    });
}

/// The target classes of samples: one class per sample, or two classes with shares, as in Mixup and CutMix.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The first class of each sample.
    pub first: &'a [u32],
    /// The second class of each sample.
    pub second: &'a [u32],
    /// The share of the first class in `[0, 1]`, the same for all samples. The rest is the share of the second class.
    pub share: f32,
}

impl<'a> From<&'a [u32]> for Targets<'a> {
    /// One class per sample.
    fn from(targets: &'a [u32]) -> Self {
        Self { first: targets, second: targets, share: 1.0 }
    }
}

/// The reduction of a batch's losses that the gradient is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// The mean of the losses.
    #[default]
    Mean,
    /// The sum of the losses.
    Sum,
}

/// Means over the samples of a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyMeans {
    /// Mean of the loss that is minimised.
    pub mean: f32,
    /// Mean of the cross-entropy without label smoothing and class weights. Mixed targets count by their shares.
    pub plain_mean: f32,
}

/// Returns the mean loss, overwrites `losses` with the loss of each sample, and overwrites `dlogits` with the
/// gradient of the mean or of the sum of `losses`, depending on `reduction`.
///
/// The loss is `torch.nn.functional.cross_entropy` with `weight`, `label_smoothing` and the probabilities p:
///
/// ```text
/// loss(target) = -(1 - smoothing) * weight[target] * ln p[target]  -  smoothing / c * sum over classes of weight * ln p
/// loss  = share * loss(first) + (1 - share) * loss(second)
/// mean  = sum of the losses / sum of (share * weight[first] + (1 - share) * weight[second])
/// ```
///
/// `losses` is PyTorch's reduction='none'. With one class per sample, `mean` is PyTorch's reduction='mean'. For mixed
/// targets, PyTorch takes probabilities and divides by the number of samples instead. Here a class weight means the
/// same in mixed batches and in plain ones. Without class weights the two agree.
///
/// Without `class_weights` all weights are 1. `label_smoothing` is in `[0, 1]`. The mean is 0 / 0 = NaN if there are
/// no samples, or if all losses and all weights of targets are 0.
///
/// # Shapes
/// `logits` and `dlogits` (n, c), targets and `losses` (n), `class_weights` (c).
///
/// # Panics
/// If a length does not fit, if there are no classes, or if a target is not below the number of classes.
#[expect(clippy::too_many_arguments, reason = "a loss has its choices, and three results")]
pub fn softmax_cross_entropy(
    n: usize,
    c: usize,
    logits: &[f32],
    targets: Targets<'_>,
    class_weights: Option<&[f32]>,
    label_smoothing: f32,
    reduction: Reduction,
    losses: &mut [f32],
    dlogits: Option<&mut [f32]>,
) -> CrossEntropyMeans {
    let _span = profile::channels("softmax_cross_entropy", logits.len(), c);
    check(n, c, logits, targets, class_weights);
    check_len("softmax_cross_entropy", "losses", losses.len(), n);
    let ones = vec![1.0; c];
    let criterion = Criterion::new(class_weights.unwrap_or(&ones), targets, label_smoothing, reduction);
    let mut plain = vec![0.0; n];
    let results = losses.par_iter_mut().zip(&mut plain);
    let samples = results
        .zip(logits.par_chunks(c))
        .zip(targets.first.par_iter().zip(targets.second))
        .with_min_len(rows_per_chunk(c));
    match dlogits {
        Some(dlogits) => {
            check_len("softmax_cross_entropy", "dlogits", dlogits.len(), n * c);
            samples.zip(dlogits.par_chunks_mut(c)).for_each(|((((loss, plain), logits), pair), dlogits)| {
                (*loss, *plain) = criterion.loss(logits, pair);
                criterion.gradient(logits, pair, dlogits);
            });
        }
        None => samples.for_each(|(((loss, plain), logits), pair)| {
            (*loss, *plain) = criterion.loss(logits, pair);
        }),
    }
    let total = |losses: &[f32]| losses.iter().map(|&loss| f64::from(loss)).sum::<f64>();
    CrossEntropyMeans {
        mean: (total(losses) / criterion.sum_of_targets) as f32,
        plain_mean: (total(&plain) / n as f64) as f32,
    }
}

fn check(n: usize, c: usize, logits: &[f32], targets: Targets<'_>, class_weights: Option<&[f32]>) {
    assert!(c > 0, "softmax_cross_entropy: 0 classes, expected at least 1");
    check_len("softmax_cross_entropy", "logits", logits.len(), n * c);
    if let Some(weights) = class_weights {
        check_len("softmax_cross_entropy", "class_weights", weights.len(), c);
    }
    for targets in [targets.first, targets.second] {
        check_len("softmax_cross_entropy", "targets", targets.len(), n);
        if let Some((sample, target)) = targets.iter().enumerate().find(|&(_, &target)| target as usize >= c)
        {
            panic!(
                "softmax_cross_entropy: the target of sample {sample} is {target}, expected less than {c}"
            );
        }
    }
}

/// The logarithm of the sum of e^logit over a row, as the sum of the largest logit and a rest.
struct LogTotal {
    max: f32,
    rest: f64,
}

impl LogTotal {
    fn of(logits: &[f32]) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&logit| f64::from(exp_f32(logit - max))).sum();
        Self { max, rest: libm::log(sum) }
    }

    /// Returns `-ln p` of the class with this logit.
    fn minus(&self, logit: f32) -> f64 {
        f64::from(self.max) - f64::from(logit) + self.rest
    }
}

/// The values that are the same for all samples.
struct Criterion<'a> {
    weights: &'a [f32],
    /// Shares in the smoothed label: `hard` of the targets, `soft` of each class.
    hard: f64,
    soft: f64,
    /// The shares of the first and the second target.
    shares: [f64; 2],
    sum_of_weights: f64,
    sum_of_targets: f64,
    /// Divisor of the sum of the losses in the function that the gradient is of.
    divisor: f64,
}

impl<'a> Criterion<'a> {
    fn new(weights: &'a [f32], targets: Targets<'_>, label_smoothing: f32, reduction: Reduction) -> Self {
        let (smoothing, share) = (f64::from(label_smoothing), f64::from(targets.share));
        let shares = [share, 1.0 - share];
        let mut criterion = Self {
            weights,
            hard: 1.0 - smoothing,
            soft: smoothing / weights.len() as f64,
            shares,
            sum_of_weights: weights.iter().map(|&weight| f64::from(weight)).sum(),
            sum_of_targets: 0.0,
            divisor: 1.0,
        };
        let pairs = targets.first.iter().zip(targets.second);
        criterion.sum_of_targets = pairs.map(|pair| criterion.of_targets(pair, |_| 1.0)).sum();
        if reduction == Reduction::Mean {
            criterion.divisor = criterion.sum_of_targets;
        }
        criterion
    }

    /// Returns a sample's loss, and its loss without smoothing and weights.
    fn loss(&self, logits: &[f32], pair: (&u32, &u32)) -> (f32, f32) {
        let log_total = LogTotal::of(logits);
        let minus_ln_p = |target: usize| log_total.minus(logits[target]);
        let mut loss = self.hard * self.of_targets(pair, minus_ln_p);
        if self.soft > 0.0 {
            let classes = self.weights.iter().zip(logits);
            let sum: f64 = classes.map(|(&weight, &logit)| f64::from(weight) * log_total.minus(logit)).sum();
            loss += self.soft * sum;
        }
        (loss as f32, self.by_share(pair, minus_ln_p) as f32)
    }

    /// Returns the sum of `value` over a sample's targets, times weights and shares.
    fn of_targets(&self, pair: (&u32, &u32), value: impl Fn(usize) -> f64) -> f64 {
        self.by_share(pair, |target| f64::from(self.weights[target]) * value(target))
    }

    /// Returns the sum of `value` over a sample's targets, times shares. A target with share 0 is skipped, because
    /// its value may be infinite.
    fn by_share(&self, (&first, &second): (&u32, &u32), value: impl Fn(usize) -> f64) -> f64 {
        let of = |share: f64, target: u32| if share > 0.0 { share * value(target as usize) } else { 0.0 };
        of(self.shares[0], first) + of(self.shares[1], second)
    }

    /// Overwrites `dlogits` with a sample's gradient. The derivative of `-weight[k] * ln p[k]` by logit `i` is
    /// `weight[k] * (p[i] - (i == k))`. The gradient is the sum of these over the smoothed label, divided as the
    /// reduction demands.
    fn gradient(&self, logits: &[f32], pair: (&u32, &u32), dlogits: &mut [f32]) {
        let target_weight = self.hard * self.of_targets(pair, |_| 1.0);
        let of_p = (target_weight + self.soft * self.sum_of_weights) / self.divisor;
        let of_weight = self.soft / self.divisor;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (dlogit, &logit) in dlogits.iter_mut().zip(logits) {
            *dlogit = exp_f32(logit - max);
        }
        let of_exp = of_p / dlogits.iter().map(|&exp| f64::from(exp)).sum::<f64>();
        for (dlogit, &weight) in dlogits.iter_mut().zip(self.weights) {
            *dlogit = (of_exp * f64::from(*dlogit) - of_weight * f64::from(weight)) as f32;
        }
        for (share, &target) in self.shares.into_iter().zip([pair.0, pair.1]) {
            let weight = self.hard * share * f64::from(self.weights[target as usize]);
            dlogits[target as usize] -= (weight / self.divisor) as f32;
        }
    }
}
