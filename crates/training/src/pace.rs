//! Measures the speed of steps and estimates the duration of a run from it.

use std::time::{Duration, Instant};

use crate::data::Part;
use crate::error::Result;
use crate::event::Event;
use crate::memory::peak_rss_bytes;
use crate::session::{Session, Watch};

/// Number of steps and time after which the first estimate is reported.
const ESTIMATE_AFTER: (usize, Duration) = (4, Duration::from_secs(1));

/// Approximate share of a forward pass in the time of a training step.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// Relative and absolute error, in seconds, beyond which an estimate is reported again.
const IS_OFF: (f64, f64) = (0.2, 5.0);

/// The steps of one epoch in this process, and the last reported estimate.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) n_steps: usize,
    n_images: u64,
    pub(crate) secs: f64,
    /// Duration of the first step, in seconds. It includes the warm-up, so the estimate leaves it out.
    first_secs: f64,
    /// Duration of the last validation, in seconds.
    pub(crate) val_secs: Option<f64>,
    /// Time of the last reported estimate and the remaining seconds it gave.
    told: Option<(Instant, f64)>,
}

impl Pace {
    /// Forgets the steps of the previous epoch.
    pub(crate) fn begin_epoch(&mut self) {
        *self = Self { told: self.told, val_secs: self.val_secs, ..Self::default() };
    }

    /// Counts a step.
    pub(crate) fn count(&mut self, secs: f64, n_images: u64) {
        self.n_steps += 1;
        self.n_images += n_images;
        self.secs += secs;
        if self.n_steps == 1 {
            self.first_secs = secs;
        }
    }

    /// Returns the mean duration of a step in seconds, once enough steps were taken.
    pub(crate) fn step_secs(&self) -> Option<f64> {
        let (steps, time) = ESTIMATE_AFTER;
        let is_known = self.n_steps >= steps && self.secs >= time.as_secs_f64();
        is_known.then(|| (self.secs - self.first_secs) / (self.n_steps - 1) as f64)
    }

    /// Returns the duration of a step if it is known and no estimate has been reported yet.
    pub(crate) fn first_estimate_due(&self) -> Option<f64> {
        if self.told.is_some() { None } else { self.step_secs() }
    }

    /// Whether `left_secs` differs much from the last reported estimate, or none was reported.
    pub(crate) fn is_off(&self, left_secs: f64) -> bool {
        let (share, secs) = IS_OFF;
        self.told.is_none_or(|(when, told)| {
            let expected = told - when.elapsed().as_secs_f64();
            (left_secs - expected).abs() > secs.max(share * expected)
        })
    }

    /// Returns the number of images per second during the steps; `None` if there were no steps.
    pub(crate) fn images_per_second(&self) -> Option<f64> {
        (self.n_steps > 0).then(|| self.n_images as f64 / self.secs.max(f64::MIN_POSITIVE))
    }
}

impl Session {
    /// Reports an estimate for the run, given that a step takes `step_secs`.
    pub(crate) fn tell_estimate(
        &mut self,
        step_secs: f64,
        pace: &mut Pace,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let left_secs = self.left_secs(step_secs, pace);
        pace.told = Some((Instant::now(), left_secs));
        let epoch_secs = self.epoch_secs(step_secs, pace);
        self.emit(watch, Event::Estimate { epoch_secs, left_secs, peak_rss_bytes: peak_rss_bytes() })
    }

    /// Returns the duration of an epoch with validation, in seconds, given that a step takes `step_secs`.
    fn epoch_secs(&self, step_secs: f64, pace: &Pace) -> f64 {
        let n_val = self.data.val.as_ref().map_or(0, Part::len);
        let guess = n_val as f64 * FORWARD_SHARE * step_secs / self.recipe.batch_size as f64;
        self.steps_per_epoch() as f64 * step_secs + pace.val_secs.unwrap_or(guess)
    }

    /// Returns the remaining seconds of the run, in the current epoch and those after it, given that a step takes
    /// `step_secs`.
    pub(crate) fn left_secs(&self, step_secs: f64, pace: &Pace) -> f64 {
        // epochs of larger images take longer; after the last size factor, all epochs take equally long
        let pixels = |epoch| self.train_px(epoch).map_or(1.0, |[h, w]| (h * w) as f64);
        let (now, n_epochs) = (self.state.epoch, self.recipe.epochs);
        let n_sized = (self.recipe.data.size_factors.len() as u64).clamp(now, n_epochs.max(now));
        let alike = (n_epochs.max(now) - n_sized) as f64 * pixels(n_sized);
        let epochs_left = ((now..n_sized).map(pixels).sum::<f64>() + alike) / pixels(now);
        epochs_left * self.epoch_secs(step_secs, pace) - self.state.batch as f64 * step_secs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps before a resume say nothing about the rate: only steps of this process count.
    #[test]
    fn an_estimate_is_of_steps_that_were_seen_and_revised_where_it_is_off() {
        let mut pace = Pace::default();
        pace.count(9.0, 10); // warms up
        for _ in 0..3 {
            assert_eq!(pace.step_secs(), None);
            pace.count(0.5, 10);
        }
        assert_eq!(pace.first_estimate_due(), Some(0.5));
        pace.told = Some((Instant::now() - Duration::from_secs(10), 110.0));
        assert_eq!(pace.first_estimate_due(), None);
        assert!(!pace.is_off(100.0) && !pace.is_off(115.0));
        assert!(pace.is_off(125.0) && pace.is_off(70.0));
        pace.begin_epoch();
        assert!(pace.step_secs().is_none() && pace.told.is_some(), "what was told is not forgotten");
    }
}
