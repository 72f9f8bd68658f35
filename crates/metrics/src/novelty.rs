//! Whether a picture is like what a model was trained on, by scores of how unlike it each picture is: what a score is worth, and
//! how well scores tell what is new from what is known. How a score comes about is another matter.

use serde::{Deserialize, Serialize};

/// The share of pictures like the training pictures that may be called none of the classes.
pub const FALSE_ALARM_RATE: f64 = 0.05;

/// Scores that the least share of false alarms can be told by.
pub const MIN_KNOWN: usize = 19;

/// The version of [`NoveltyRecord`].
pub const NOVELTY_VERSION: u32 = 1;

/// How usual a picture with this score is: the share of the `known` pictures whose score is at least as high, itself counted in,
///
/// ```text
/// (1 + #{known >= score}) / (1 + n)
/// ```
///
/// Of pictures that are drawn as the `known` ones were, a share of at most `a` has a typicality of at most `a`, for every `a`: it is
/// a conformal p-value.
///
/// # Arguments
/// `known`: scores of pictures that the model was not trained on, though they are of its classes; ascending.
///
/// # Source
/// S. Bates, E. Candès, L. Lei, Y. Romano, M. Sesia, "Testing for Outliers with Conformal p-values", Annals of Statistics 51 (2023),
/// <https://arxiv.org/abs/2104.08279>.
pub fn typicality(known: &[f32], score: f32) -> f64 {
    let n_below = known.partition_point(|&other| other < score);
    (1 + known.len() - n_below) as f64 / (1 + known.len()) as f64
}

/// The area under the curve of hits by false alarms: the probability that a `novel` picture's score is higher than that of a
/// `known` one, ties counting half. None where there is none of either.
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

/// The share of the `novel` pictures that are noticed by each rate of false alarms: of those in `rates`, ascending.
pub fn noticed(known: &[f32], novel: &[f32], rates: &[f64]) -> Vec<f64> {
    let known = sorted(known);
    let of_novel: Vec<f64> = novel.iter().map(|&score| typicality(&known, score)).collect();
    let share = |&rate: &f64| {
        of_novel.iter().filter(|&&typicality| typicality <= rate).count() as f64 / novel.len().max(1) as f64
    };
    rates.iter().map(share).collect()
}

/// In ascending order.
fn sorted(scores: &[f32]) -> Vec<f32> {
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    sorted
}

/// `evaluation/novelty.json`: how well a model tells pictures that are like none of its classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoveltyRecord {
    /// [`NOVELTY_VERSION`].
    pub version: u32,
    /// The share of pictures like the training pictures that may be called none of the classes.
    pub false_alarm_rate: f64,
    /// How many pictures of the model's classes, which were not learnt from, say what is usual.
    pub n_known: u64,
    /// What happened on the test images; none where they are the ones that say what is usual.
    pub test: Option<NoveltyTest>,
    /// Each class that was left out in turn: whether its pictures were noticed then. Empty where there are too few classes.
    pub left_out: Vec<LeftOut>,
    /// Rates of false alarms, and the share of the pictures of left-out classes that was noticed at each, all classes counting the same.
    pub curve: Vec<[f64; 2]>,
    /// The test images that are most unlike the training images, the most unlike first: their places in the data set,
    /// and their typicalities.
    pub most_unlike: Vec<(u32, f64)>,
}

/// What the test images were taken for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoveltyTest {
    /// Test images.
    pub n: u64,
    /// Of them, those that were called none of the classes: all of them false alarms, if every test image is of one.
    pub n_alarms: u64,
    /// Right answers among those.
    pub n_right_of_alarms: u64,
    /// Right answers among all.
    pub n_right: u64,
}

/// A class that was left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The class.
    pub class: String,
    /// How many pictures of it were looked at.
    pub n: u64,
    /// The share of them that was noticed at [`FALSE_ALARM_RATE`].
    pub noticed: f64,
    /// [`auroc`] against pictures of the other classes.
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
        /// Each of n + 1 pictures in turn is the new one: at most a share `rate` of them may be called so.
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
