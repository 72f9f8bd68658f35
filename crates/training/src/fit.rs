//! The training loop: epochs, callbacks, checkpoints. The step is `step.rs`'s; everything that survives an interruption
//! is in the session's state.

use std::time::{Duration, Instant};

use tallow_core::{StopSignal, Unit};
use tallow_dataset::{Batch, n_batches};
use tallow_metrics::EpochRecord;
use tallow_nn::TrainKey;

use crate::callbacks::Monitor;
use crate::checkpoint::Checkpoint;
use crate::error::{Result, TrainingError};
use crate::evaluate::evaluate;
use crate::event::Event;
use crate::feed::{Content, Feeds, train_loader};
use crate::memory::peak_rss_bytes;
use crate::program::Program;
use crate::session::{Session, Watch};
use crate::state::{Best, State};
use crate::step::{Learner, StepFigures};
use crate::tensorboard::EventFile;

/// In a long epoch a checkpoint is written this often.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// What a run will take is told after so many steps and so much time.
const ESTIMATE_AFTER: (usize, Duration) = (4, Duration::from_secs(1));

/// A forward pass alone takes about this share of a training step.
const FORWARD_SHARE: f64 = 1.0 / 3.0;

/// The steps of one epoch in this process.
#[derive(Default)]
struct Pace {
    n_steps: usize,
    n_images: u64,
    secs: f64,
    /// The first step also warms up: it is left out of the estimate.
    first_secs: f64,
    estimated: bool,
}

impl Session {
    /// Trains until the recipe's epochs are over or early stopping ends them; or until asked to stop.
    pub(crate) fn fit(&mut self, feeds: &Feeds, watch: &mut Watch<'_>) -> Result<Option<StopSignal>> {
        self.clock = Instant::now();
        for text in std::mem::take(&mut self.notices) {
            self.emit(watch, Event::Notice { text })?;
        }
        if self.state.is_trained(&self.recipe) {
            return Ok(None);
        }
        self.emit(watch, self.started())?;
        let mut estimated = false;
        while !self.state.is_trained(&self.recipe) {
            if let Some(signal) = self.epoch(feeds, watch, &mut estimated)? {
                self.save()?;
                let (epoch, batch) = (self.state.epoch + 1, self.state.batch);
                self.emit(watch, Event::Interrupted { epoch, batch })?;
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    /// What is left of the current epoch.
    fn epoch(
        &mut self,
        feeds: &Feeds,
        watch: &mut Watch<'_>,
        estimated: &mut bool,
    ) -> Result<Option<StopSignal>> {
        let started = Instant::now();
        let (epoch, n_steps) = (self.state.epoch, self.steps_per_epoch());
        let loader = train_loader(&self.recipe, &self.data, self.train_px(epoch));
        let mut batches = feeds.train.train_batches(&loader, epoch, self.state.batch)?;
        let mut pace = Pace { estimated: *estimated, ..Pace::default() };
        let label = format!("epoch {}/{}", epoch + 1, self.recipe.epochs);
        watch.progress.begin(&label, Some(n_steps as u64), Unit::Items("steps"));
        loop {
            let step_started = Instant::now();
            let Some(batch) = batches.next() else { break };
            let figures = batch.and_then(|batch| self.step(batch, feeds.train.content()));
            let figures = figures.inspect_err(|_| watch.progress.end())?;
            pace.n_images += figures.n_images;
            self.count_step(step_started.elapsed().as_secs_f64(), &mut pace, watch)?;
            self.log_step(&figures)?;
            if let Some(signal) = watch.stop.raised() {
                watch.progress.end();
                return Ok(Some(signal));
            }
            if self.last_saved.elapsed() >= SAVE_EVERY {
                self.save()?;
            }
        }
        watch.progress.end();
        *estimated = pace.estimated;
        let (mut val_accuracy, mut val_loss) = (None, None);
        let average = self.average_at_end_of_epoch()?;
        let raw = self.swap_weights(average.as_ref())?;
        if let Some(feed) = &feeds.val {
            let Learner { model, precision, .. } = &self.learner;
            let predictions =
                evaluate(model, feed, *precision, false, "validation", watch.progress, watch.stop);
            match predictions? {
                Some(predictions) => {
                    (val_accuracy, val_loss) = (predictions.accuracy(), predictions.mean_nll())
                }
                None => {
                    self.put_back(raw)?;
                    return Ok(watch.stop.raised());
                }
            }
        }
        self.put_back(raw)?;
        self.average = average;
        self.end_epoch(watch, val_accuracy, val_loss, started, &pace)?;
        Ok(None)
    }

    /// One training step at the schedule's rate, and its place in the epoch's figures.
    fn step(&mut self, batch: Batch, content: Content) -> Result<StepFigures> {
        let steps_per_epoch = self.steps_per_epoch();
        let state = &mut self.state;
        let lr = state.base_lr
            * self.recipe.schedule.factor(state.n_steps(steps_per_epoch), steps_per_epoch as u64);
        let key = TrainKey {
            seed: self.recipe.seed,
            epoch: state.epoch,
            first_position: batch.first_position as u64,
        };
        let figures = self.learner.step(batch, content, key, lr)?;
        if !figures.loss.is_finite() {
            let (loss, epoch, step) = (figures.loss as f32, state.epoch + 1, state.batch + 1);
            return Err(TrainingError::NonFinite { loss, epoch, step, lr });
        }
        if let Some(averaging) = self.recipe.averaging {
            averaging.after_step(&mut self.average, || self.learner.model.params.learned_tensors())?;
        }
        state.n_correct += figures.n_correct;
        state.loss.add(figures.loss, figures.n_images);
        state.last_lr = lr;
        state.batch += 1;
        state.n_images += figures.n_images;
        Ok(figures)
    }

    fn count_step(&mut self, secs: f64, pace: &mut Pace, watch: &mut Watch<'_>) -> Result<()> {
        self.state.step_secs += secs;
        pace.n_steps += 1;
        pace.secs += secs;
        if pace.n_steps == 1 {
            pace.first_secs = secs;
        }
        watch.progress.advance(self.state.batch as u64);
        let loss = self.state.loss.mean().unwrap_or_default();
        watch.progress.note(&format!("accuracy {:.4}  loss {loss:.4}", self.accuracy()));
        let (steps, time) = ESTIMATE_AFTER;
        if !pace.estimated && pace.n_steps >= steps && pace.secs >= time.as_secs_f64() {
            pace.estimated = true;
            let event = self.estimate((pace.secs - pace.first_secs) / (pace.n_steps - 1) as f64);
            self.emit(watch, event)?;
        }
        Ok(())
    }

    fn estimate(&self, step_secs: f64) -> Event {
        let n_val = self.data.val.as_ref().map_or(0, crate::data::Part::len);
        let val_secs = n_val as f64 * FORWARD_SHARE * step_secs / self.recipe.batch_size as f64;
        let epoch_secs = self.steps_per_epoch() as f64 * step_secs + val_secs;
        // epochs of larger images take longer
        let pixels = |epoch| self.train_px(epoch).map_or(1.0, |[h, w]| (h * w) as f64);
        let epochs_left = (self.state.epoch..self.recipe.epochs).map(pixels).sum::<f64>();
        let epochs_left = epochs_left / pixels(self.state.epoch);
        let left_secs = epochs_left * epoch_secs - self.state.batch as f64 * step_secs;
        Event::Estimate { epoch_secs, left_secs, peak_rss_bytes: peak_rss_bytes() }
    }

    /// The epoch's record, callbacks, the best weights, a checkpoint.
    fn end_epoch(
        &mut self,
        watch: &mut Watch<'_>,
        val_accuracy: Option<f64>,
        val_loss: Option<f64>,
        started: Instant,
        pace: &Pace,
    ) -> Result<()> {
        let record = EpochRecord {
            epoch: self.state.epoch + 1,
            accuracy: self.accuracy(),
            loss: self.state.loss.mean().unwrap_or_default(),
            val_accuracy,
            val_loss,
            learning_rate: self.state.last_lr,
        };
        self.state.history.push(record);
        self.state.epoch += 1;
        self.state.batch = 0;
        self.state.loss = Default::default();
        self.state.n_correct = 0.0;
        self.run.append_history(&record)?;
        let images_per_second =
            (pace.n_steps > 0).then(|| pace.n_images as f64 / pace.secs.max(f64::MIN_POSITIVE));
        self.log_epoch(&record, images_per_second)?;
        self.emit(
            watch,
            Event::Epoch {
                record,
                n_epochs: self.recipe.epochs,
                n_steps: self.steps_per_epoch(),
                secs: started.elapsed().as_secs_f64(),
                step_ms: 1e3 * pace.secs / pace.n_steps.max(1) as f64,
            },
        )?;
        self.callbacks(&record, watch)?;
        self.save()
    }

    /// Early stopping, the learning rate on plateaus, and which epoch is the best.
    fn callbacks(&mut self, record: &EpochRecord, watch: &mut Watch<'_>) -> Result<()> {
        let read = |monitor: Monitor| match monitor {
            Monitor::Loss => record.loss,
            Monitor::Accuracy => record.accuracy,
            Monitor::ValLoss => record.val_loss.unwrap_or(f64::NAN),
            Monitor::ValAccuracy => record.val_accuracy.unwrap_or(f64::NAN),
        };
        let epoch = record.epoch;
        let improved = match &self.recipe.callbacks.early_stopping {
            Some(callback) => {
                let value = read(callback.monitor);
                let verdict = callback.on_epoch_end(&mut self.state.early_stopping, epoch - 1, value);
                self.state.stopped_early = verdict.stop.then_some(self.recipe.epochs);
                verdict.improved.then_some(value)
            }
            None => {
                record.val_accuracy.filter(|value| self.state.best.is_none_or(|best| *value > best.value))
            }
        };
        let lowered = self.recipe.callbacks.reduce_lr_on_plateau.as_ref().and_then(|callback| {
            let state = &mut self.state.reduce_lr_on_plateau;
            callback.on_epoch_end(state, read(callback.monitor), self.state.base_lr)
        });
        if let Some(to) = lowered {
            let from = std::mem::replace(&mut self.state.base_lr, to);
            self.emit(watch, Event::RateLowered { epoch, from, to })?;
        }
        if let Some(value) = improved {
            self.state.best = Some(Best { epoch, value });
            let checkpoint = self.checkpoint()?;
            self.run.write_best(&checkpoint)?;
            self.best = self.restores_best().then(|| checkpoint.into_weights());
        }
        if self.state.stopped_early.is_some() {
            self.emit(watch, Event::StoppedEarly { epoch })?;
        }
        Ok(())
    }

    fn checkpoint(&self) -> Result<Checkpoint> {
        let params = &self.learner.model.params;
        let n_averaged = self.average.as_ref().map_or(0, |average| average.n);
        Ok(Checkpoint {
            state: State { n_averaged, ..self.state.clone() },
            average: self.average.as_ref().map(|average| average.tensors.clone()),
            model: params.learned_tensors()?,
            optimizer: self.learner.optimizer.state(params)?,
        })
    }

    /// Writes the last checkpoint.
    fn save(&mut self) -> Result<()> {
        self.state.train_secs += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.state.events_bytes = self.run.events_bytes();
        self.state.tfevents_bytes = self.event_file.as_ref().map_or(Ok(0), EventFile::sync)?;
        self.run.write_last(&self.checkpoint()?)?;
        self.last_saved = Instant::now();
        Ok(())
    }

    pub(crate) fn emit(&mut self, watch: &mut Watch<'_>, event: Event) -> Result<()> {
        self.run.append_event(&event)?;
        (watch.on_event)(&event);
        Ok(())
    }

    fn started(&self) -> Event {
        Event::Started {
            n_train: self.data.train.len(),
            n_val: self.data.val.as_ref().map_or(0, crate::data::Part::len),
            n_test: self.data.test.len(),
            n_parameters: self.learner.model.params.n_parameters(),
            epoch: self.state.epoch + 1,
            batch: self.state.batch,
            program: Program::here(),
        }
    }

    /// Rows and columns of the training images in the epoch `epoch`, counted from 0; none where they stay as they are.
    fn train_px(&self, epoch: u64) -> Option<[usize; 2]> {
        let factor = self.recipe.data.size_factors.get(epoch as usize).copied().unwrap_or(1.0);
        self.learner.model.input_px.map(|size| size.map(|px| (px as f64 * factor).round().max(1.0) as usize))
    }

    pub(crate) fn steps_per_epoch(&self) -> usize {
        n_batches(self.data.train.len(), self.recipe.batch_size, self.recipe.data.drop_last)
    }

    fn accuracy(&self) -> f64 {
        self.state.n_correct / self.state.loss.weight().max(1) as f64
    }
}
