//! How fast steps go, and what a run will take by that.

use std::time::Duration;

use crate::data::Part;
use crate::event::Event;
use crate::memory::peak_rss_bytes;
use crate::session::Session;

/// What a run will take is told after so many steps and so much time.
const ESTIMATE_AFTER: (usize, Duration) = (4, Duration::from_secs(1));

/// A forward pass alone takes about this share of a training step.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// The steps of one epoch in this process.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) n_steps: usize,
    n_images: u64,
    pub(crate) secs: f64,
    /// The first step also warms up: it is left out of the estimate.
    first_secs: f64,
    /// Whether an estimate was told, in this epoch or before.
    estimated: bool,
}

impl Pace {
    /// Forgets the steps of the epoch before.
    pub(crate) fn begin_epoch(&mut self) {
        *self = Self { estimated: self.estimated, ..Self::default() };
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

    /// How long a step takes, once, as soon as enough were taken.
    pub(crate) fn estimate_due(&mut self) -> Option<f64> {
        let (steps, time) = ESTIMATE_AFTER;
        if self.estimated || self.n_steps < steps || self.secs < time.as_secs_f64() {
            return None;
        }
        self.estimated = true;
        Some((self.secs - self.first_secs) / (self.n_steps - 1) as f64)
    }

    /// How many images the steps took per second; none where there were none.
    pub(crate) fn images_per_second(&self) -> Option<f64> {
        (self.n_steps > 0).then(|| self.n_images as f64 / self.secs.max(f64::MIN_POSITIVE))
    }
}

impl Session {
    /// The event that says what the run will take, if a step takes `step_secs`.
    pub(crate) fn estimate(&self, step_secs: f64) -> Event {
        let n_val = self.data.val.as_ref().map_or(0, Part::len);
        let val_secs = n_val as f64 * FORWARD_SHARE * step_secs / self.recipe.batch_size as f64;
        let epoch_secs = self.steps_per_epoch() as f64 * step_secs + val_secs;
        // epochs of larger images take longer
        let pixels = |epoch| self.train_px(epoch).map_or(1.0, |[h, w]| (h * w) as f64);
        let epochs_left = (self.state.epoch..self.recipe.epochs).map(pixels).sum::<f64>();
        let epochs_left = epochs_left / pixels(self.state.epoch);
        let left_secs = epochs_left * epoch_secs - self.state.batch as f64 * step_secs;
        Event::Estimate { epoch_secs, left_secs, peak_rss_bytes: peak_rss_bytes() }
    }
}
