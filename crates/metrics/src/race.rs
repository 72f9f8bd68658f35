//! The record of a race of backbones, and the rule that picks one. A race tries each backbone on some of the training
//! images and chooses one. This module leaves the trials themselves to the caller.

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;

/// The version of [`RaceRecord`].
pub const RACE_VERSION: u32 = 1;

/// The content of `race.json`: the backbones that were tried before a run began, the one that was chosen, and the time
/// that was planned with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaceRecord {
    /// [`RACE_VERSION`].
    pub version: u32,
    /// Number of training images that each backbone was tried on.
    pub n_images: u64,
    /// Number of folds of each trial.
    pub n_folds: u64,
    /// The backbones that were tried, in the order of the trials.
    pub tried: Vec<Tried>,
    /// Index in `tried` of the chosen backbone.
    pub chosen: usize,
    /// The backbones that were not tried or could not be chosen, each with the reason.
    pub left_out: Vec<(Foreign, Foreign)>,
    /// The time that the user allowed, in seconds.
    pub time_secs: Option<f64>,
    /// The planned time of the whole run, the race included, in seconds.
    pub planned_secs: f64,
    /// The time that the whole run took, in seconds; `None` for a run that was interrupted.
    pub took_secs: Option<f64>,
}

/// A backbone that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// The architecture.
    pub model: Foreign,
    /// Where its weights came from.
    pub weights: Foreign,
    /// Rows and columns of the images.
    pub input_px: usize,
    /// Accuracy on the images, each classified by a model that was not trained on it.
    pub accuracy: f64,
    /// Wilson interval of the accuracy, at 95 %: low, high.
    pub accuracy_interval: [f64; 2],
    /// Time to compute the features of one image, in ms.
    pub ms_per_image: f64,
    /// Estimated time of a run with this backbone, in seconds.
    pub run_secs: f64,
}

/// Returns the index of the fastest backbone that is as good as the most accurate one. A backbone is as good if it has at
/// most e correct answers less about the same images, where e is the standard error of this difference, and at least one
/// image.
///
/// # Arguments
/// `right`: for each backbone, whether its answer about each image is correct. `secs`: the time that each backbone takes.
///
/// # Panics
/// If there is no backbone, or the lengths differ.
pub fn quickest_of_the_best(right: &[Vec<bool>], secs: &[f64]) -> usize {
    assert!(
        !right.is_empty() && right.len() == secs.len(),
        "quickest_of_the_best: {} of {}",
        secs.len(),
        right.len()
    );
    let n_right = |i: usize| right[i].iter().filter(|right| **right).count();
    let by_secs = |a: &usize, b: &usize| secs[*a].total_cmp(&secs[*b]);
    let best = (0..right.len()).max_by(|a, b| n_right(*a).cmp(&n_right(*b)).then(by_secs(b, a))).unwrap_or(0);
    let is_as_good = |i: &usize| {
        assert_eq!(right[*i].len(), right[best].len(), "quickest_of_the_best: images");
        let count = |one: &[bool], other: &[bool]| {
            one.iter().zip(other).filter(|(one, other)| **one && !**other).count() as f64
        };
        let (lost, won) = (count(&right[best], &right[*i]), count(&right[*i], &right[best]));
        let n = right[best].len().max(1) as f64;
        let error = (lost + won - (lost - won) * (lost - won) / n).max(1.0).sqrt();
        lost - won <= error
    };
    (0..right.len()).filter(is_as_good).min_by(by_secs).unwrap_or(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Correct about all of 100 images except those from `from` to `to`.
    fn wrong(from: usize, to: usize) -> Vec<bool> {
        (0..100).map(|i| !(from..to).contains(&i)).collect()
    }

    #[test]
    fn what_is_as_good_and_quicker_wins() {
        // one error more, each on different images: within the standard error
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(20, 31)], &[100.0, 1.0]), 1);
        // ten errors more, on top of the same errors: outside it
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 20)], &[100.0, 1.0]), 0);
        // the same answers: the fastest wins
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 10), wrong(0, 10)], &[3.0, 2.0, 4.0]), 1);
        // the most accurate is also the fastest
        assert_eq!(quickest_of_the_best(&[wrong(0, 50), wrong(0, 10)], &[3.0, 2.0]), 1);
        // one more error on otherwise equal images decides nothing, two do
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 11)], &[3.0, 2.0]), 1);
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 12)], &[3.0, 2.0]), 0);
    }
}
