//! Wanted accuracies: the confidence from which answers can be promised to reach them, and how the test images judge the
//! promise.

use tallow_metrics::{CoveragePoint, Promise, coverage_at, promised_threshold, wilson_interval};

use crate::analysis::{CONFIDENCE, Trust};
use crate::error::Result;

/// Wanted accuracies to try, if they are above the model's own accuracy.
const LADDER: [f64; 8] = [0.80, 0.90, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999];

/// A wanted accuracy and its result.
pub(crate) struct Target {
    pub(crate) wanted: f64,
    /// The threshold that promises the accuracy, chosen on validation; `None` if the validation images cannot promise it.
    pub(crate) chosen: Option<Chosen>,
}

/// A threshold and its result on the test images.
pub(crate) struct Chosen {
    pub(crate) promise: Promise,
    pub(crate) seen: CoveragePoint,
    pub(crate) interval: [f64; 2],
    pub(crate) outcome: Outcome,
}

/// The judgement of the test images on a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The interval of the accuracy on the test images lies at or above the wanted accuracy.
    Confirmed,
    /// The accuracy on the test images reaches the wanted accuracy, but its interval includes lower values.
    Kept,
    /// The accuracy on the test images is below the wanted accuracy.
    Missed,
    /// No test image is answered.
    Unanswered,
    /// Validation or test was not independent of the model: no judgement is made.
    NotTested,
    /// Validation and test are the same answers, those of the folds.
    NoTest,
}

impl Outcome {
    /// Returns a word or two for a table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Kept => "reached, not confirmed",
            Self::Missed => "missed",
            Self::Unanswered => "none answered",
            Self::NotTested => "cannot be tested",
            Self::NoTest => "no other test",
        }
    }

    /// Returns the end of a sentence about the answers on the test.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Confirmed => "the test confirms the wanted accuracy.",
            Self::Kept => {
                "the test reaches the wanted accuracy, but has too few images to confirm it: the interval includes lower values."
            }
            Self::Missed => "the test misses the wanted accuracy: do not rely on it.",
            Self::Unanswered => "no test image is answered.",
            Self::NotTested => {
                "validation or test was not independent of the model (see the warnings), so nothing confirms it."
            }
            Self::NoTest => "no other images were kept to confirm it.",
        }
    }
}

impl Target {
    /// Returns the result for `wanted` on the images of `trust`; `None` for a run without validation predictions.
    ///
    /// # Errors
    /// If `wanted` is not above 0 and below 1.
    pub(crate) fn of(trust: &Trust, wanted: f64) -> Result<Option<Self>> {
        let Some(val) = &trust.val else { return Ok(None) };
        let chosen = match promised_threshold(val, wanted, CONFIDENCE)? {
            Some(promise) => {
                let seen = coverage_at(&trust.test, promise.point.threshold);
                let interval = wilson_interval(seen.n_correct, seen.n_answered, CONFIDENCE)?;
                let outcome = match seen.accuracy() {
                    _ if !trust.is_independent => Outcome::NotTested,
                    _ if trust.is_by_folds => Outcome::NoTest,
                    None => Outcome::Unanswered,
                    Some(_) if interval[0] >= wanted => Outcome::Confirmed,
                    Some(accuracy) if accuracy >= wanted => Outcome::Kept,
                    Some(_) => Outcome::Missed,
                };
                Some(Chosen { promise, seen, interval, outcome })
            }
            None => None,
        };
        Ok(Some(Self { wanted, chosen }))
    }

    /// Returns a target for each accuracy of [`LADDER`] that is above the model's own accuracy on validation.
    pub(crate) fn ladder(trust: &Trust) -> Result<Vec<Self>> {
        let own = trust.val.as_ref().and_then(tallow_metrics::Predictions::accuracy).unwrap_or(1.0);
        let wanted = LADDER.into_iter().filter(|&wanted| wanted > own);
        let targets = wanted.map(|wanted| Self::of(trust, wanted)).collect::<Result<Vec<_>>>()?;
        Ok(targets.into_iter().flatten().collect())
    }

    /// Returns the reason why nothing is promised: too few images, or too many errors among the surest answers.
    pub(crate) fn why_not(&self, n_val: usize) -> String {
        match Promise::least_images(self.wanted, CONFIDENCE) {
            Ok(needed) if needed > n_val as u64 => format!(
                "{n_val} validation images are too few to promise it: at least {needed} are needed, even if all answers \
                 are right"
            ),
            _ => "no threshold promises it: even the surest answers have too many errors on the validation images"
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallow_metrics::Predictions;

    /// `n` images, of which the surest `n_right` are answered correctly.
    fn predictions(n: usize, n_right: usize) -> Predictions {
        let log_probs = (0..n).flat_map(|i| [-0.0005 * (i + 1) as f32, -3.0]).collect();
        let targets = (0..n).map(|i| u32::from(i >= n_right)).collect();
        Predictions::new(2, targets, log_probs, (0..n as u32).collect()).unwrap()
    }

    fn trust(val: Predictions, test: Predictions, is_independent: bool) -> Trust {
        Trust {
            temperature: None,
            test,
            val: Some(val),
            states: vec![],
            losses: vec![],
            is_independent,
            val_chose: false,
            is_by_folds: false,
        }
    }

    fn outcome(
        val: (usize, usize),
        test: (usize, usize),
        wanted: f64,
        is_independent: bool,
    ) -> Option<Outcome> {
        let trust = trust(predictions(val.0, val.1), predictions(test.0, test.1), is_independent);
        Target::of(&trust, wanted).unwrap().unwrap().chosen.map(|chosen| chosen.outcome)
    }

    #[test]
    fn only_an_interval_confirms() {
        let good = (1000, 1000);
        assert_eq!(outcome(good, (1000, 1000), 0.95, true), Some(Outcome::Confirmed));
        assert_eq!(outcome(good, (20, 20), 0.95, true), Some(Outcome::Kept)); // 20 of 20: at least 84 %
        assert_eq!(outcome(good, (1000, 900), 0.95, true), Some(Outcome::Missed));
        assert_eq!(outcome(good, (1000, 1000), 0.95, false), Some(Outcome::NotTested));
        assert_eq!(outcome((50, 50), good, 0.95, true), None);
    }

    #[test]
    fn what_cannot_be_promised_says_why() {
        let target = Target { wanted: 0.95, chosen: None };
        assert!(target.why_not(50).contains("at least 117 are needed"), "{}", target.why_not(50));
        assert!(target.why_not(5000).contains("too many errors"));
    }
}
