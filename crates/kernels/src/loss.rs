//! Softmax cross-entropy, its gradient, and the logarithm of the softmax.
//!
//! Exponentials are f32 and of differences from the largest logit, so that none overflows; sums over classes and
//! samples are f64.

use rayon::prelude::*;

use crate::chunks::{check_len, for_each_chunk, rows_per_chunk};
use crate::math::exp_f32;
use crate::profile;

/// Overwrites `out` with the logarithm of the softmax of each row of logits.
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

/// Returns the mean loss; overwrites `losses` with each sample's own and `dlogits` with the gradient of the mean.
///
/// As `torch.nn.functional.cross_entropy` with `weight`, `label_smoothing` and probabilities p:
///
/// ```text
/// loss  = -(1 - smoothing) * weight[target] * ln p[target]  -  smoothing / c * sum over classes of weight * ln p
/// mean  = sum of the losses / sum of weight[target]          (reduction='mean'; losses: reduction='none')
/// ```
///
/// Without `class_weights` all are 1. `label_smoothing` is in `[0, 1]`. Of no samples, and of weights that sum to 0,
/// the mean is NaN.
///
/// # Shapes
/// `logits` and `dlogits` (n, c), `targets` and `losses` (n), `class_weights` (c).
///
/// # Panics
/// If a length does not fit, there are no classes, or a target is none of them.
#[expect(clippy::too_many_arguments, reason = "a loss has its choices, and three results")]
pub fn softmax_cross_entropy(
    n: usize,
    c: usize,
    logits: &[f32],
    targets: &[u32],
    class_weights: Option<&[f32]>,
    label_smoothing: f32,
    losses: &mut [f32],
    dlogits: Option<&mut [f32]>,
) -> f32 {
    let _span = profile::channels("softmax_cross_entropy", logits.len(), c);
    check(n, c, logits, targets, class_weights);
    check_len("softmax_cross_entropy", "losses", losses.len(), n);
    let ones = vec![1.0; c];
    let criterion = Criterion::new(class_weights.unwrap_or(&ones), targets, label_smoothing);
    let samples =
        losses.par_iter_mut().zip(logits.par_chunks(c)).zip(targets).with_min_len(rows_per_chunk(c));
    match dlogits {
        Some(dlogits) => {
            check_len("softmax_cross_entropy", "dlogits", dlogits.len(), n * c);
            samples.zip(dlogits.par_chunks_mut(c)).for_each(|(((loss, logits), &target), dlogits)| {
                *loss = criterion.loss(logits, target as usize) as f32;
                criterion.gradient(logits, target as usize, dlogits);
            });
        }
        None => samples.for_each(|((loss, logits), &target)| {
            *loss = criterion.loss(logits, target as usize) as f32;
        }),
    }
    let total: f64 = losses.iter().map(|&loss| f64::from(loss)).sum();
    (total / criterion.sum_of_targets) as f32
}

fn check(n: usize, c: usize, logits: &[f32], targets: &[u32], class_weights: Option<&[f32]>) {
    assert!(c > 0, "softmax_cross_entropy: 0 classes, expected at least 1");
    check_len("softmax_cross_entropy", "logits", logits.len(), n * c);
    check_len("softmax_cross_entropy", "targets", targets.len(), n);
    if let Some(weights) = class_weights {
        check_len("softmax_cross_entropy", "class_weights", weights.len(), c);
    }
    if let Some((sample, target)) = targets.iter().enumerate().find(|&(_, &target)| target as usize >= c) {
        panic!("softmax_cross_entropy: the target of sample {sample} is {target}, expected less than {c}");
    }
}

/// The logarithm of the sum of e^logit over a row, as the largest logit and what is added to it.
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

    /// `-ln p` of the class with this logit.
    fn minus(&self, logit: f32) -> f64 {
        f64::from(self.max) - f64::from(logit) + self.rest
    }
}

/// What is the same for all samples.
struct Criterion<'a> {
    weights: &'a [f32],
    /// The share of the target, and of each class, in the smoothed label.
    hard: f64,
    soft: f64,
    sum_of_weights: f64,
    sum_of_targets: f64,
}

impl<'a> Criterion<'a> {
    fn new(weights: &'a [f32], targets: &[u32], label_smoothing: f32) -> Self {
        let smoothing = f64::from(label_smoothing);
        Self {
            weights,
            hard: 1.0 - smoothing,
            soft: smoothing / weights.len() as f64,
            sum_of_weights: weights.iter().map(|&weight| f64::from(weight)).sum(),
            sum_of_targets: targets.iter().map(|&target| f64::from(weights[target as usize])).sum(),
        }
    }

    fn loss(&self, logits: &[f32], target: usize) -> f64 {
        let log_total = LogTotal::of(logits);
        let mut loss = self.hard * f64::from(self.weights[target]) * log_total.minus(logits[target]);
        if self.soft > 0.0 {
            let classes = self.weights.iter().zip(logits);
            let sum: f64 = classes.map(|(&weight, &logit)| f64::from(weight) * log_total.minus(logit)).sum();
            loss += self.soft * sum;
        }
        loss
    }

    /// The derivative of `-weight[k] * ln p[k]` by logit `i` is `weight[k] * (p[i] - (i == k))`; the sum of these over
    /// the smoothed label, divided as the mean is.
    fn gradient(&self, logits: &[f32], target: usize, dlogits: &mut [f32]) {
        let target_weight = self.hard * f64::from(self.weights[target]);
        let of_p = (target_weight + self.soft * self.sum_of_weights) / self.sum_of_targets;
        let of_weight = self.soft / self.sum_of_targets;
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (dlogit, &logit) in dlogits.iter_mut().zip(logits) {
            *dlogit = exp_f32(logit - max);
        }
        let of_exp = of_p / dlogits.iter().map(|&exp| f64::from(exp)).sum::<f64>();
        for (dlogit, &weight) in dlogits.iter_mut().zip(self.weights) {
            *dlogit = (of_exp * f64::from(*dlogit) - of_weight * f64::from(weight)) as f32;
        }
        dlogits[target] -= (target_weight / self.sum_of_targets) as f32;
    }
}
