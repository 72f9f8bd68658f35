//! A learning-rate finder: takes training steps at a growing rate until the loss diverges. `tallow-metrics` has the
//! arithmetic.

use tallow_core::{Bar, StopSignal, Unit};
use tallow_metrics::LrSweep;
use tallow_nn::TrainKey;

use crate::error::Result;
use crate::feed::train_loader;
use crate::session::{Session, Watch};

impl Session {
    /// Takes the training steps of `sweep`, each at the sweep's rate instead of the schedule's. Returns the signal if a stop
    /// was requested on the way. Everything else is as in training: the optimiser, augmentation, the optimised loss. The
    /// resulting weights are useless.
    ///
    /// Only training images are used. Missing features of a frozen trunk are computed and cached.
    ///
    /// # Errors
    /// If an image cannot be read, or the device fails. A NaN or infinite loss is not an error: it ends the sweep.
    ///
    /// # Source
    /// L. N. Smith, "Cyclical Learning Rates for Training Neural Networks", <https://arxiv.org/abs/1506.01186> (2015).
    pub fn find_lr(
        mut self,
        mut sweep: LrSweep,
        watch: &mut Watch<'_>,
    ) -> Result<std::result::Result<LrSweep, StopSignal>> {
        let Some(feed) = self.train_feed(watch)? else {
            return Ok(Err(watch.stop.raised().unwrap_or(StopSignal::Interrupt)));
        };
        let bar = Bar::begin(watch.progress, "rates", Some(sweep.n_steps() as u64), Unit::Items("steps"));
        for epoch in 0.. {
            let loader = train_loader(&self.recipe, &self.data, self.train_px(epoch));
            for batch in feed.train_batches(&loader, epoch, 0)? {
                let Some(rate) = sweep.next_rate() else { return Ok(Ok(sweep)) };
                let batch = batch?;
                let first_position = batch.first_position as u64;
                let key = TrainKey { seed: self.recipe.seed, epoch, first_position };
                let figures = self.learner.step(batch, feed.content(), key, rate, &self.comm)?;
                sweep.add(rate, figures.loss);
                bar.advance(sweep.points().len() as u64);
                watch.progress.note(&format!("rate {rate:.1e}  loss {:.4}", figures.loss));
                if let Some(signal) = watch.stop.raised() {
                    return Ok(Err(signal));
                }
            }
        }
        Ok(Ok(sweep)) // unreachable in practice: the epoch counter would have to run out
    }
}
