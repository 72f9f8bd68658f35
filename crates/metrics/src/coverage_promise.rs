//! Chooses a confidence threshold for which a wanted accuracy of the answers can be promised.
//!
//! The threshold that looks best on the validation images looks better on them than on new ones, because it was chosen
//! among many by the very images it is judged on. The threshold chosen here holds for new images, with a stated
//! confidence.

use crate::coverage::surest_first;
use crate::{CoveragePoint, MetricsError, Predictions, clopper_pearson_lower};

/// Number of shares of the validation images that are tried, evenly spaced up to all of them.
const N_LEVELS: usize = 20;

/// A threshold, and the accuracy that is promised for answers at or above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// The result of the threshold on the images that it was chosen on.
    pub point: CoveragePoint,
    /// Lower bound of the accuracy of the answers on images of the same kind, with the requested confidence.
    pub accuracy_at_least: f64,
}

/// Returns the threshold with the most answers whose accuracy is at least `accuracy` with `confidence`, or `None` if
/// these predictions cannot promise it.
///
/// The images are sorted, the surest first, and 20 shares of them are tried. Each share gives a threshold: the confidence
/// of its least sure image. Given that image, the images above the threshold are independent draws of the images that the
/// threshold lets through. Their errors are therefore binomial, and Clopper and Pearson's bound at `1 - (1 - confidence)
/// / 20` holds for their accuracy. All 20 bounds hold together with `confidence` (Bonferroni), so choosing among them
/// does not weaken the promise. The image at the threshold itself is counted only if it is wrong. For the share of all
/// images the threshold is 0: all images are answered.
///
/// The promise holds for images of the same kind as those of `predictions`. The model must have been neither trained nor
/// chosen on the images of `predictions`.
///
/// # Errors
/// If `confidence` or `accuracy` is not above 0 and below 1.
///
/// # Source
/// A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei, "Learn then Test: Calibrating Predictive Algorithms to
/// Achieve Risk Control", <https://arxiv.org/abs/2110.01052>, with Bonferroni's correction; for answers that are withheld, cf.
/// Y. Geifman, R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.
pub fn promised_threshold(
    predictions: &Predictions,
    accuracy: f64,
    confidence: f64,
) -> Result<Option<Promise>, MetricsError> {
    if !(accuracy > 0.0 && accuracy < 1.0) {
        return Err(MetricsError::WantedAccuracy(accuracy));
    }
    let of_one = corrected(confidence)?;
    let surest_first = surest_first(predictions);
    let n = surest_first.len();
    let mut n_correct = vec![0];
    n_correct.extend(surest_first.iter().scan(0, |sum, (_, right)| {
        *sum += u64::from(*right);
        Some(*sum)
    }));
    for level in (1..=N_LEVELS).rev() {
        let rank = (n * level).div_ceil(N_LEVELS);
        let Some(&(last, _)) = rank.checked_sub(1).and_then(|i| surest_first.get(i)) else { return Ok(None) };
        let is_all = level == N_LEVELS;
        let threshold = if is_all { 0.0 } else { last };
        let n_answered = surest_first.partition_point(|(confidence, _)| *confidence >= threshold);
        let point = CoveragePoint {
            threshold,
            n: n as u64,
            n_answered: n_answered as u64,
            n_correct: n_correct[n_answered],
        };
        let n_wrong = point.n_answered - point.n_correct;
        let n_counted = if is_all { point.n_answered } else { point.n_answered - 1 };
        let accuracy_at_least = clopper_pearson_lower(n_counted.saturating_sub(n_wrong), n_counted, of_one)?;
        if accuracy_at_least >= accuracy {
            return Ok(Some(Promise { point, accuracy_at_least }));
        }
    }
    Ok(None)
}

impl Promise {
    /// Returns the least number of images with which `accuracy` can be promised with `confidence`: that many images if
    /// the model answers all of them correctly. With fewer images, nothing can be promised.
    ///
    /// # Errors
    /// If `confidence` is not above 0 and below 1.
    pub fn least_images(accuracy: f64, confidence: f64) -> Result<u64, MetricsError> {
        // n correct answers out of n bound the accuracy from below by alpha^(1 / n)
        let alpha = 1.0 - corrected(confidence)?;
        Ok((libm::log(alpha) / libm::log(accuracy)).ceil() as u64)
    }
}

/// Returns the confidence that each level needs so that all levels together have `confidence`.
fn corrected(confidence: f64) -> Result<f64, MetricsError> {
    match confidence > 0.0 && confidence < 1.0 {
        true => Ok(1.0 - (1.0 - confidence) / N_LEVELS as f64),
        false => Err(MetricsError::Confidence(confidence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallow_core::{Purpose, Stream};

    /// Images whose answers are correct as often as the model says, with confidences drawn evenly from 0.5 to 1.
    fn draw(seed: u64, n: usize) -> Predictions {
        let mut random = Stream::new(seed, Purpose::Test, 0, 0);
        let (mut log_probs, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let sure = random.uniform_f32(0.5, 1.0);
            log_probs.extend([sure.ln(), (1.0 - sure).ln()]);
            targets.push(u32::from(random.unit_f32() >= sure));
        }
        Predictions::new(2, targets, log_probs, (0..n as u32).collect()).unwrap()
    }

    /// Accuracy of the answers from `threshold` on, over infinitely many such images.
    fn truth(threshold: f64) -> f64 {
        (1.0 + threshold.max(0.5)) / 2.0
    }

    #[test]
    fn a_promise_is_broken_no_more_often_than_it_says() {
        let (mut n_promised, mut n_broken, mut n_naive_broken) = (0, 0, 0);
        for seed in 0..400 {
            let p = draw(seed, 600);
            for wanted in [0.8, 0.85, 0.9] {
                if let Some(promise) = promised_threshold(&p, wanted, 0.9).unwrap() {
                    n_promised += 1;
                    n_broken += u32::from(truth(promise.point.threshold) < wanted);
                }
                let best = crate::coverage_curve(&p).into_iter().rev().find(|x| x.accuracy() >= Some(wanted));
                n_naive_broken += u32::from(best.is_some_and(|best| truth(best.threshold) < wanted));
            }
        }
        assert!(n_promised > 800, "{n_promised}");
        assert!(f64::from(n_broken) <= 0.1 * f64::from(n_promised), "{n_broken} of {n_promised}");
        assert!(n_naive_broken > 500, "what the correction is for: {n_naive_broken}");
    }

    #[test]
    fn few_images_promise_nothing() {
        let right = |n: usize| {
            let log_probs = (0..n).flat_map(|i| [-0.001 * (i + 1) as f32, -5.0]).collect();
            Predictions::new(2, vec![0; n], log_probs, (0..n as u32).collect()).unwrap()
        };
        let needed = Promise::least_images(0.95, 0.95).unwrap();
        assert_eq!(needed, 117); // log(0.0025) / log(0.95) = 116.8
        let found = |n| promised_threshold(&right(n), 0.95, 0.95).unwrap();
        assert_eq!(found(needed as usize - 1), None);
        let all = found(needed as usize).unwrap();
        assert_eq!((all.point.threshold, all.point.n_answered), (0.0, 117));
        assert!((0.95..0.951).contains(&all.accuracy_at_least));
        assert_eq!(found(0), None);
    }

    #[test]
    fn the_image_at_the_threshold_counts_only_against_it() {
        // of 200 images, the 100 surest are right and the others wrong
        let log_probs: Vec<f32> = (0..200).flat_map(|i| [-0.001 * (i + 1) as f32, -5.0]).collect();
        let targets = (0..200).map(|i| u32::from(i >= 100)).collect();
        let p = Predictions::new(2, targets, log_probs, (0..200).collect()).unwrap();
        let half = promised_threshold(&p, 0.9, 0.95).unwrap().unwrap();
        assert_eq!((half.point.n_answered, half.point.n_correct), (100, 100));
        let expected = clopper_pearson_lower(99, 99, 1.0 - 0.05 / 20.0).unwrap();
        assert_eq!(half.accuracy_at_least, expected);
        assert!(promised_threshold(&p, 0.0, 0.95).is_err() && promised_threshold(&p, 0.9, 1.0).is_err());
    }
}
