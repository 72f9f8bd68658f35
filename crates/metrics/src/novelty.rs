//! Decides from scores whether a picture is like the pictures that a model was trained on. A score says how unlike them a
//! picture is. This module says how unusual a score is, and how well scores separate new pictures from known ones. It
//! leaves the computation of the scores to others.

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;

/// Share of pictures like the training pictures that may be reported as "none of the classes".
pub const FALSE_ALARM_RATE: f64 = 0.05;

/// Least number of known scores for which [`FALSE_ALARM_RATE`] can be reached.
pub const MIN_KNOWN: usize = 19;

/// The version of [`NoveltyRecord`].
pub const NOVELTY_VERSION: u32 = 1;

/// Returns how typical a picture with this score is: the share of pictures whose score is at least as high, among the
/// `known` pictures and the picture itself,
///
/// ```text
/// (1 + #{known >= score}) / (1 + n)
/// ```
///
/// This is a conformal p-value: of pictures drawn from the same distribution as the `known` ones, at most a share `a` has
/// a typicality of at most `a`, for every `a`.
///
/// # Arguments
/// `known`: scores of pictures of the model's classes that the model was not trained on, ascending.
///
/// # Source
/// S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia, "Testing for Outliers with Conformal p-values", Annals of Statistics 51 (2023),
/// <https://arxiv.org/abs/2104.08279>.
pub fn typicality(known: &[f32], score: f32) -> f64 {
    let n_below = known.partition_point(|&other| other < score);
    (1 + known.len() - n_below) as f64 / (1 + known.len()) as f64
}

/// Returns the area under the ROC curve: the probability that a `novel` picture has a higher score than a `known` one,
/// where ties count half. Returns `None` if either list is empty.
pub fn auroc(known: &[f32], novel: &[f32]) -> Option<f64> {
    if known.is_empty() || novel.is_empty() {
        return None;
    }
    let known = sorted(known);
    let wins = |&score: &f32| {
        let (below, up_to) =
            (known.partition_point(|&other| other < score), known.partition_point(|&other| other <= score));
        (below + up_to) as f64 / 2.0
    };
    Some(novel.iter().map(wins).sum::<f64>() / (known.len() as f64 * novel.len() as f64))
}

/// Returns the share of the `novel` pictures that are noticed at each of the false alarm rates `rates`, in the order of
/// `rates`.
pub fn noticed(known: &[f32], novel: &[f32], rates: &[f64]) -> Vec<f64> {
    let known = sorted(known);
    let of_novel: Vec<f64> = novel.iter().map(|&score| typicality(&known, score)).collect();
    let share = |&rate: &f64| {
        of_novel.iter().filter(|&&typicality| typicality <= rate).count() as f64 / novel.len().max(1) as f64
    };
    rates.iter().map(share).collect()
}

/// Returns the scores in ascending order.
fn sorted(scores: &[f32]) -> Vec<f32> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    sorted
}

/// The content of `evaluation/novelty.json`: how well a model notices pictures that belong to none of its classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoveltyRecord {
    /// [`NOVELTY_VERSION`].
    pub version: u32,
    /// Share of pictures like the training pictures that may be reported as "none of the classes".
    pub false_alarm_rate: f64,
    /// Number of pictures of the model's classes that define what is usual. Each one's distance is from distributions that were
    /// fitted without it.
    pub n_known: u64,
    /// Results on the test images; `None` if the test images themselves define what is usual.
    pub test: Option<NoveltyTest>,
    /// One entry per class that was left out in turn: the share of its pictures that was noticed. Empty if there are too
    /// few classes.
    pub left_out: Vec<LeftOut>,
    /// Pairs of a false alarm rate and the share of pictures of left-out classes that was noticed at that rate. All
    /// classes have the same weight.
    pub curve: Vec<[f64; 2]>,
    /// The test images that are most unlike the training images, the most unlike first: their indices in the data set and
    /// their typicalities.
    pub most_unlike: Vec<(u32, f64)>,
}

/// Results of the novelty check on the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoveltyTest {
    /// Number of test images.
    pub n: u64,
    /// Number of test images that were reported as "none of the classes". If every test image belongs to one of the
    /// classes, all of these are false alarms.
    pub n_alarms: u64,
    /// Number of correct answers among those.
    pub n_right_of_alarms: u64,
    /// Number of correct answers among all test images.
    pub n_right: u64,
}

/// A class that was left out of the known classes, to measure how well its pictures are noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The name of the class.
    pub class: Foreign,
    /// Number of its pictures that were scored.
    pub n: u64,
    /// Share of those pictures that was noticed at [`FALSE_ALARM_RATE`].
    pub noticed: f64,
    /// [`auroc`] of its pictures against pictures of the other classes.
    pub auroc: f64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn typicality_counts_itself() {
        let known = [1.0, 2.0, 2.0, 3.0];
        for (score, expected) in [(0.0, 1.0), (1.0, 1.0), (1.5, 0.8), (2.0, 0.8), (3.0, 0.4), (3.5, 0.2)] {
            assert_eq!(typicality(&known, score), expected, "{score}");
        }
        assert_eq!(typicality(&[], 1.0), 1.0, "nothing is known: nothing is unusual");
        let known: Vec<f32> = (0..MIN_KNOWN).map(|i| i as f32).collect();
        assert!(
            typicality(&known, 100.0) <= FALSE_ALARM_RATE
                && typicality(&known[1..], 100.0) > FALSE_ALARM_RATE
        );
    }

    #[test]
    fn the_area_is_scikit_learns() {
        // roc_auc_score([0, 0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.35, 0.8, 0.4, 0.9, 0.2])
        let (known, novel) = ([0.1, 0.4, 0.35, 0.8], [0.4, 0.9, 0.2]);
        assert!((auroc(&known, &novel).unwrap() - 7.5 / 12.0).abs() < 1e-12);
        assert_eq!(auroc(&known, &[]), None);
        assert_eq!(auroc(&[], &novel), None);
    }

    #[test]
    fn what_is_noticed_grows_with_the_rate() {
        let known: Vec<f32> = (0..99).map(|i| i as f32).collect();
        let shares = noticed(&known, &[98.5, 94.5, 50.5, -1.0], &[0.0, 0.01, 0.05, 0.5, 1.0]);
        assert_eq!(shares, [0.0, 0.25, 0.5, 0.75, 1.0]);
    }

    proptest! {
        /// Each of n + 1 pictures in turn is the new one: at most a share `rate` of them may cause a false alarm.
        #[test]
        fn false_alarms_stay_below_the_rate(scores in prop::collection::vec(0..50u8, 2..60), rate in 0.0..1.0) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let alarms = (0..scores.len()).filter(|&i| {
                let others: Vec<f32> = scores.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, s)| *s).collect();
                typicality(&sorted(&others), scores[i]) <= rate
            });
            prop_assert!(alarms.count() as f64 <= rate * scores.len() as f64 + 1e-9);
        }
    }
}
