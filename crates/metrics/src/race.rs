//! A race of backbones: each was tried on some of the images, and one was chosen.

use serde::{Deserialize, Serialize};

/// The version of [`RaceRecord`].
pub const RACE_VERSION: u32 = 1;

/// `race.json`: which backbones were tried before a run began, and what was planned by that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaceRecord {
    /// [`RACE_VERSION`].
    pub version: u32,
    /// How many of the training images each was tried on.
    pub n_images: u64,
    /// By how many folds.
    pub n_folds: u64,
    /// What was tried, in that order.
    pub tried: Vec<Tried>,
    /// Which of them was chosen, from 0.
    pub chosen: usize,
    /// What was not tried or could not be taken, with the reason.
    pub left_out: Vec<(String, String)>,
    /// The seconds that the user gave.
    pub time_secs: Option<f64>,
    /// The seconds that everything was to take, the race itself included.
    pub planned_secs: f64,
    /// What it took; none for a run that was interrupted.
    pub took_secs: Option<f64>,
}

/// A backbone that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// The architecture.
    pub model: String,
    /// Where its weights came from.
    pub weights: String,
    /// Rows and columns of the images.
    pub input_px: usize,
    /// The share of the images that models which had not seen them classified rightly.
    pub accuracy: f64,
    /// Its Wilson interval, at 95 %.
    pub accuracy_interval: [f64; 2],
    /// What the features of an image take.
    pub ms_per_image: f64,
    /// What a run with it takes by that, in seconds.
    pub run_secs: f64,
}

/// The quickest of those that are as good as the best: its answers about the same images are right less often by no more than the
/// standard error of the difference, or one image.
///
/// # Arguments
/// `right`: for each that was tried, whether it was right about each image. `secs`: what each takes.
///
/// # Panics
/// If there is none, or the lengths differ.
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

    /// Right about all of 100 images but those from `from` to `to`.
    fn wrong(from: usize, to: usize) -> Vec<bool> {
        (0..100).map(|i| !(from..to).contains(&i)).collect()
    }

    #[test]
    fn what_is_as_good_and_quicker_wins() {
        // one error more, of another image each: within the standard error
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(20, 31)], &[100.0, 1.0]), 1);
        // ten errors more, of the same images: not within it
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 20)], &[100.0, 1.0]), 0);
        // the same answers
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 10), wrong(0, 10)], &[3.0, 2.0, 4.0]), 1);
        // the best is the quickest
        assert_eq!(quickest_of_the_best(&[wrong(0, 50), wrong(0, 10)], &[3.0, 2.0]), 1);
        // one image decides nothing, two of the same kind do
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 11)], &[3.0, 2.0]), 1);
        assert_eq!(quickest_of_the_best(&[wrong(0, 10), wrong(0, 12)], &[3.0, 2.0]), 0);
    }
}
