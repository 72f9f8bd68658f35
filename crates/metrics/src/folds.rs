//! Scores of cross-validation: the accuracy over the folds, and its interval.

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;

use crate::student_t::student_t;
use crate::{MetricsError, wilson_interval};

/// The scores of a run that was tested by folds. Each image was classified by the model of the fold that held it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoldScores {
    /// Number of images that each fold held out.
    pub n_images: Vec<u64>,
    /// Accuracy of each fold's model on the images that the fold held out.
    pub accuracies: Vec<f64>,
    /// Accuracy over all images.
    pub accuracy: f64,
    /// Mean cross-entropy over all images.
    pub loss: f64,
    /// [`folds_interval`]: low, high.
    pub accuracy_interval: [f64; 2],
    /// The file in the run folder that holds the predictions.
    pub predictions: Foreign,
}

/// Returns the interval `[low, high]` of the accuracy over folds, two-sided, at `confidence`. Each fold is given as
/// `(correct answers, images)`.
///
/// Let p be the accuracy of all images, a_i the accuracies of the k folds, and s^2 the variance of the a_i. The interval
/// is
///
/// ```text
/// p -+ t(k - 1) sqrt((1 / k + 1 / (k - 1)) s^2)
/// ```
///
/// The term 1 / (k - 1) is Nadeau and Bengio's correction: the folds share most of their training images, so that their
/// accuracies vary too little. The result is then widened to the Wilson interval of all answers: each end is the outer
/// one of the two intervals. Without this, folds that agree by chance would make a few images look like many.
///
/// # Errors
/// If there are fewer than two folds, a fold has more correct answers than images or no image, or `confidence` is not
/// above 0 and below 1.
///
/// # Source
/// C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003), 239-281.
pub fn folds_interval(folds: &[(u64, u64)], confidence: f64) -> Result<[f64; 2], MetricsError> {
    let (n_right, n) = folds.iter().fold((0, 0), |(right, n), fold| (right + fold.0, n + fold.1));
    if folds.len() < 2 || folds.iter().any(|fold| fold.1 == 0) {
        return Err(MetricsError::Folds { n_images: folds.iter().map(|fold| fold.1).collect() });
    }
    for &(right, n) in folds {
        wilson_interval(right, n, confidence)?; // refuses a fold with more correct answers than images
    }
    let wilson = wilson_interval(n_right, n, confidence)?;
    let k = folds.len() as f64;
    let accuracies = folds.iter().map(|&(right, n)| right as f64 / n as f64);
    let mean = accuracies.clone().sum::<f64>() / k;
    let variance = accuracies.map(|a| (a - mean) * (a - mean)).sum::<f64>() / (k - 1.0);
    let half_width = student_t(confidence, k - 1.0) * ((1.0 / k + 1.0 / (k - 1.0)) * variance).sqrt();
    let p = n_right as f64 / n as f64;
    Ok([(p - half_width).max(0.0).min(wilson[0]), (p + half_width).min(1.0).max(wilson[1])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_that_differ_widen_the_interval_and_folds_that_agree_do_not_narrow_it() {
        let even = folds_interval(&[(80, 100); 5], 0.95).unwrap();
        assert_eq!(even, wilson_interval(400, 500, 0.95).unwrap());
        let uneven = folds_interval(&[(60, 100), (100, 100), (80, 100), (70, 100), (90, 100)], 0.95).unwrap();
        // s = 0.158..., t(4) = 2.776..., sqrt(0.45) = 0.670...: 0.8 -+ 0.294...
        assert!((uneven[0] - 0.505_513_3).abs() < 1e-6, "{uneven:?}");
        assert_eq!(uneven[1], 1.0);
        assert_eq!(folds_interval(&[(3, 3); 2], 0.95).unwrap()[1], 1.0);
        assert!(folds_interval(&[(3, 3); 2], 0.95).unwrap()[0] < 0.7);
    }

    #[test]
    fn what_are_no_folds_is_refused() {
        for wrong in [&[][..], &[(1, 2)], &[(1, 2), (0, 0)], &[(1, 2), (3, 2)]] {
            assert!(folds_interval(wrong, 0.95).is_err(), "{wrong:?}");
        }
        let message = folds_interval(&[(1, 2), (0, 0)], 0.95).unwrap_err().to_string();
        assert_eq!(
            message,
            "folds of [2, 0] images: expected at least two folds, each with at least one image"
        );
        assert!(folds_interval(&[(1, 2), (1, 2)], 1.0).is_err());
    }
}
