//! Tests whether one model is better than another, from their answers to the same images.
//!
//! Two accuracies with their intervals say little about that: most images are easy, or hard, for both models. The images
//! that decide are those that only one of the models got right.

use tallow_core::{Purpose, Stream};

use crate::{MetricsError, Predictions};

/// Number of bootstrap resamples for the interval.
const N_RESAMPLES: usize = 4000;

/// The second model compared with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More accurate.
    Better,
    /// Less accurate.
    Worse,
    /// The difference may be chance.
    NotToldApart,
}

/// The comparison of two models on the same images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairedComparison {
    /// Number of images.
    pub n: u64,
    /// Number of images that only the first model got right.
    pub n_only_first: u64,
    /// Number of images that only the second model got right.
    pub n_only_second: u64,
    /// Accuracy of the second model minus accuracy of the first.
    pub difference: f64,
    /// The interval of the difference: low, high.
    pub difference_interval: [f64; 2],
    /// Probability of a split between `n_only_first` and `n_only_second` at least as uneven as this one, if both models
    /// were equally good.
    pub p_value: f64,
    /// The confidence of the interval and the verdict.
    pub confidence: f64,
}

impl PairedComparison {
    /// Returns the verdict by the p-value: the difference is real if the p-value is at most `1 - confidence`.
    pub fn verdict(&self) -> Verdict {
        if self.p_value > 1.0 - self.confidence {
            Verdict::NotToldApart
        } else if self.n_only_second > self.n_only_first {
            Verdict::Better
        } else {
            Verdict::Worse
        }
    }
}

/// Compares `second` with `first`: McNemar's exact test, and a bootstrap interval of the difference in accuracy.
///
/// The interval is the middle `confidence` of the differences in 4,000 bootstrap resamples of `n` images, drawn with
/// replacement; `seed` determines the draws.
///
/// # Errors
/// If the two are not about the same images in the same order, there are no images, or `confidence` is not above 0 and
/// below 1.
///
/// # Source
/// Q. McNemar, Psychometrika 12 (1947), 153-157; the exact form, the same as SciPy's `binomtest(b, b + c)`. B. Efron,
/// Annals of Statistics 7 (1979), 1-26: percentile interval.
pub fn compare_paired(
    first: &Predictions,
    second: &Predictions,
    confidence: f64,
    seed: u64,
) -> Result<PairedComparison, MetricsError> {
    check_paired(first, second)?;
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(MetricsError::Confidence(confidence));
    }
    let (mut n_only_first, mut n_only_second) = (0u32, 0u32);
    for (i, &target) in first.targets().iter().enumerate() {
        match (first.predicted(i) == target, second.predicted(i) == target) {
            (true, false) => n_only_first += 1,
            (false, true) => n_only_second += 1,
            _ => {}
        }
    }
    let n = u32::try_from(first.len())
        .map_err(|_| MetricsError::NotPaired("there are too many images".into()))?;
    Ok(PairedComparison {
        n: u64::from(n),
        n_only_first: u64::from(n_only_first),
        n_only_second: u64::from(n_only_second),
        difference: (f64::from(n_only_second) - f64::from(n_only_first)) / f64::from(n),
        difference_interval: bootstrap(n, n_only_first, n_only_second, confidence, seed),
        p_value: mcnemar_exact(u64::from(n_only_first), u64::from(n_only_second)),
        confidence,
    })
}

fn check_paired(first: &Predictions, second: &Predictions) -> Result<(), MetricsError> {
    let not_paired = |problem: String| Err(MetricsError::NotPaired(problem));
    if first.is_empty() {
        return not_paired("there are no images".into());
    }
    if first.len() != second.len() {
        return not_paired(format!("one has {} images, the other {}", first.len(), second.len()));
    }
    if first.n_classes() != second.n_classes() {
        return not_paired(format!(
            "one has {} classes, the other {}",
            first.n_classes(),
            second.n_classes()
        ));
    }
    let differs = |i: &usize| {
        (first.indices()[*i], first.targets()[*i]) != (second.indices()[*i], second.targets()[*i])
    };
    match (0..first.len()).find(differs) {
        None => Ok(()),
        Some(i) => not_paired(format!(
            "row {} is image {} of class {} in one, and image {} of class {} in the other",
            i + 1,
            first.indices()[i],
            first.targets()[i],
            second.indices()[i],
            second.targets()[i]
        )),
    }
}

/// Returns the two-sided p-value of `b` against `c` for a fair coin: twice the smaller tail of Binomial(b + c, 1/2), at
/// most 1.
fn mcnemar_exact(b: u64, c: u64) -> f64 {
    let (n, k) = ((b + c) as f64, b.min(c));
    if b == c {
        return 1.0;
    }
    let log_choose = libm::lgamma(n + 1.0) - libm::lgamma(k as f64 + 1.0) - libm::lgamma(n - k as f64 + 1.0);
    let mut term = libm::exp(log_choose - n * std::f64::consts::LN_2);
    let mut tail = term;
    for i in (1..=k).rev() {
        term *= i as f64 / (n - i as f64 + 1.0); // C(n, i - 1) from C(n, i)
        tail += term;
        if term < tail * 1e-18 {
            break;
        }
    }
    (2.0 * tail).min(1.0)
}

/// Returns the percentile interval of the difference. Only the two counts matter, so drawing an image means drawing -1,
/// +1 or 0.
fn bootstrap(n: u32, n_only_first: u32, n_only_second: u32, confidence: f64, seed: u64) -> [f64; 2] {
    let one = |resample: usize| -> i64 {
        let mut stream = Stream::new(seed, Purpose::Bootstrap, 0, resample as u64);
        let value = |drawn: u32| match drawn {
            d if d < n_only_first => -1,
            d if d - n_only_first < n_only_second => 1,
            _ => 0,
        };
        (0..n).map(|_| value(stream.below(n))).sum()
    };
    let mut differences: Vec<i64> = (0..N_RESAMPLES).map(one).collect();
    differences.sort_unstable();
    let outside = ((1.0 - confidence) / 2.0 * N_RESAMPLES as f64).floor() as usize; // less than half of the resamples
    [differences[outside], differences[N_RESAMPLES - 1 - outside]].map(|d| d as f64 / f64::from(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Predictions for two classes, correct where `right` is true; the true class is 0.
    fn model(right: &[bool]) -> Predictions {
        let log_probs = right.iter().flat_map(|&r| if r { [-0.1, -2.4] } else { [-2.4, -0.1] }).collect();
        let n = right.len();
        Predictions::new(2, vec![0; n], log_probs, (0..n as u32).collect()).unwrap()
    }

    /// Compares two models on 1,000 images: only the first gets `b` of them right, only the second gets `c` of them
    /// right.
    fn compared(b: usize, c: usize) -> PairedComparison {
        let first: Vec<bool> = (0..1000).map(|i| !(b..b + c).contains(&i)).collect();
        let second: Vec<bool> = (0..1000).map(|i| i >= b).collect();
        compare_paired(&model(&first), &model(&second), 0.95, 0).unwrap()
    }

    #[test]
    fn verdicts() {
        assert_eq!(compared(10, 30).verdict(), Verdict::Better);
        assert_eq!(compared(30, 10).verdict(), Verdict::Worse);
        assert_eq!(compared(10, 12).verdict(), Verdict::NotToldApart);
        assert_eq!(compared(0, 0).verdict(), Verdict::NotToldApart);
        let c = compared(10, 30);
        assert_eq!((c.n, c.n_only_first, c.n_only_second, c.difference), (1000, 10, 30, 0.02));
    }

    /// The variance of a difference is (b + c - (b - c)^2 / n) / n^2.
    #[test]
    fn the_interval_is_as_wide_as_it_should_be() {
        let [low, high] = compared(60, 140).difference_interval;
        let deviation = (200.0f64 - 80.0 * 80.0 / 1000.0).sqrt() / 1000.0;
        assert!((low - (0.08 - 1.96 * deviation)).abs() < 0.0015, "{low}");
        assert!((high - (0.08 + 1.96 * deviation)).abs() < 0.0015, "{high}");
        assert_eq!(compared(0, 0).difference_interval, [0.0, 0.0]);
    }

    #[test]
    fn swapping_the_models_mirrors_all_but_the_draws() {
        let (a, b) = (compared(20, 50), compared(50, 20));
        assert_eq!((a.p_value, a.difference), (b.p_value, -b.difference));
        assert!((a.difference_interval[0] + b.difference_interval[1]).abs() < 0.003);
    }

    #[test]
    fn what_is_not_about_the_same_images_is_refused() {
        let error = |a: &Predictions, b: &Predictions| compare_paired(a, b, 0.95, 0).unwrap_err().to_string();
        let two = model(&[true, false]);
        assert!(error(&two, &model(&[true])).contains("has 2 images, the other 1"));
        let other = Predictions::new(2, vec![0, 1], two.log_probs().to_vec(), vec![0, 1]).unwrap();
        assert!(error(&two, &other).contains("row 2 is image 1 of class 0 in one"));
        assert!(error(&model(&[]), &model(&[])).contains("no images"));
        assert!(compare_paired(&two, &two, 1.0, 0).is_err());
    }
}
