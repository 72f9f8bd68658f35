//! The training loop: epochs, callbacks, checkpoints. `step.rs` takes the single step. The session's state holds everything
//! that must survive an interruption.

use std::time::{Duration, Instant};

use tallow_core::{Bar, StopSignal, Unit, duration};
use tallow_dataset::{Batch, TrainLoader, n_batches};
use tallow_metrics::{EpochRecord, Predictions};
use tallow_nn::{Rate, TrainKey, first_non_finite};
use tracing::debug;

use crate::averaging::Average;
use crate::checkpoint::Checkpoint;
use crate::company::Company;
use crate::data::Part;
use crate::error::{Result, TrainingError};
use crate::evaluate::evaluate;
use crate::event::Event;
use crate::feed::{Content, Feed, Feeds, train_loader};
use crate::pace::Pace;
use crate::program::Program;
use crate::session::{Session, Watch};
use crate::state::{Best, State};
use crate::step::{Learner, StepFigures};
use crate::views::Views;

/// How often a checkpoint is written within a long epoch.
const SAVE_EVERY: Duration = Duration::from_secs(60);

impl Session {
    /// Trains until the recipe's epochs are over, early stopping ends them, or a stop is requested.
    pub(crate) fn fit(&mut self, feeds: &Feeds, watch: &mut Watch<'_>) -> Result<Option<StopSignal>> {
        self.clock = Instant::now();
        if self.state.is_trained(&self.recipe) {
            return Ok(None);
        }
        self.emit(watch, self.started())?;
        let mut pace = Pace::default();
        while !self.state.is_trained(&self.recipe) {
            let stopped = match self.epoch(feeds, watch, &mut pace) {
                Err(lost @ TrainingError::Comm(_)) => {
                    // the step was not taken: what all processes had until then is kept
                    self.save()?;
                    return Err(lost);
                }
                other => other?,
            };
            if let Some(signal) = stopped {
                self.save()?;
                let (epoch, batch) = (self.state.epoch + 1, self.state.batch);
                self.emit(watch, Event::Interrupted { epoch, batch })?;
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    /// Trains the rest of the current epoch, validates and ends it.
    fn epoch(&mut self, feeds: &Feeds, watch: &mut Watch<'_>, pace: &mut Pace) -> Result<Option<StopSignal>> {
        let started = Instant::now();
        pace.begin_epoch();
        if let Some(signal) = self.steps(feeds, watch, pace)? {
            return Ok(Some(signal));
        }
        let average = self.average_at_end_of_epoch()?;
        let mut val = None;
        if let Some(feed) = &feeds.val {
            let validation_started = Instant::now();
            val = self.validate(feed, average.as_ref(), watch)?;
            pace.val_secs = Some(validation_started.elapsed().as_secs_f64());
            if val.is_none() {
                return Ok(watch.stop.raised());
            }
        }
        self.average = average;
        self.end_epoch(val.as_ref(), started, pace, watch)?;
        Ok(None)
    }

    /// Takes the remaining steps of the current epoch.
    fn steps(&mut self, feeds: &Feeds, watch: &mut Watch<'_>, pace: &mut Pace) -> Result<Option<StopSignal>> {
        let (epoch, n_steps) = (self.state.epoch, self.steps_per_epoch());
        let share = self.share()?;
        let loader = TrainLoader { share, ..train_loader(&self.recipe, &self.data, self.train_px(epoch)) };
        let mut batches = feeds.train.train_batches(&loader, epoch, self.state.batch)?;
        let label = format!("epoch {}/{}", epoch + 1, self.recipe.epochs);
        let n_done = self.state.batch as u64;
        let _bar = Bar::go_on(watch.progress, &label, Some(n_steps as u64), Unit::Items("steps"), n_done);
        let (started, mut waited_secs, before) = (Instant::now(), 0.0, self.comm.traffic());
        loop {
            let step_started = Instant::now();
            let Some(batch) = batches.next() else {
                let secs = started.elapsed().as_secs_f64();
                debug!(epoch = epoch + 1, steps = n_steps, secs, waited_secs, "steps taken");
                self.tell_traffic(before, n_steps - n_done as usize);
                return Ok(None);
            };
            waited_secs += step_started.elapsed().as_secs_f64();
            let figures = self.step(batch?, feeds.train.content())?;
            self.tell_step(&figures, step_started.elapsed().as_secs_f64(), pace, watch)?;
            if let Some(signal) = Company::new(&self.comm, watch).stopped()? {
                return Ok(Some(signal));
            }
            if self.last_saved.elapsed() >= SAVE_EVERY {
                self.save()?;
            }
        }
    }

    /// Returns the predictions for the validation images, from one view of each, by the averaged weights if there are any,
    /// else by the raw ones. Returns `None` if a stop was requested.
    fn validate(
        &self,
        feed: &Feed,
        average: Option<&Average>,
        watch: &Watch<'_>,
    ) -> Result<Option<Predictions>> {
        let raw = self.swap_weights(average)?;
        let (Learner { model, precision, .. }, plain) = (&self.learner, Views::default());
        let company = Company::new(&self.comm, watch);
        let predictions = evaluate(model, feed, *precision, plain, "validation", company);
        self.put_back(raw)?;
        predictions
    }

    /// Takes one training step at the scheduled rate and adds its figures to those of the epoch.
    fn step(&mut self, batch: Batch, content: Content) -> Result<StepFigures> {
        let steps_per_epoch = self.steps_per_epoch();
        let state = &mut self.state;
        let n_steps = state.n_steps(steps_per_epoch);
        let lr = state.base_lr * self.recipe.lr_factor(n_steps, steps_per_epoch as u64);
        let rate = Rate { lr, base_lr: state.base_lr, epochs: n_steps as f64 / steps_per_epoch as f64 };
        let key = TrainKey {
            seed: self.recipe.seed,
            epoch: state.epoch,
            first_position: batch.first_position as u64,
        };
        let figures = self.learner.step(batch, content, key, rate, &self.comm)?;
        if !figures.loss.is_finite() {
            let (loss, epoch, step) = (figures.loss as f32, state.epoch + 1, state.batch + 1);
            return Err(TrainingError::NonFinite { loss, epoch, step, lr });
        }
        if let Some(averaging) = self.recipe.averaging {
            averaging.after_step(&mut self.average, || self.learner.model.params.learned_tensors())?;
        }
        state.n_correct += figures.n_correct;
        state.loss.add(figures.loss, figures.n_images);
        state.cross_entropy.add(figures.cross_entropy, figures.n_images);
        state.points.add(state.batch, steps_per_epoch, figures.cross_entropy, lr);
        state.last_lr = lr;
        state.batch += 1;
        state.n_images += figures.n_images;
        Ok(figures)
    }

    /// Reports a step that took `secs`, and, once, an estimate for the run as soon as there is one.
    fn tell_step(
        &mut self,
        figures: &StepFigures,
        secs: f64,
        pace: &mut Pace,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        self.state.step_secs += secs;
        pace.count(secs, figures.n_images);
        watch.progress.advance(self.state.batch as u64);
        let loss = self.state.cross_entropy.mean().unwrap_or_default();
        let left =
            pace.step_secs().map(|secs| format!("  run {} left", duration(self.left_secs(secs, pace))));
        let left = left.unwrap_or_default();
        watch.progress.note(&format!("accuracy {:.4}  loss {loss:.4}{left}", self.accuracy()));
        if let Some(step_secs) = pace.first_estimate_due() {
            self.tell_estimate(step_secs, pace, watch)?;
        }
        let step = Event::Step {
            step: self.state.n_steps(self.steps_per_epoch()),
            accuracy: figures.n_correct / figures.n_images as f64,
            loss: figures.cross_entropy,
            optimized_loss: figures.loss,
            learning_rate: self.state.last_lr,
        };
        self.emit(watch, step)
    }

    /// Ends the epoch: writes its record, runs the callbacks, keeps the best weights and saves a checkpoint.
    fn end_epoch(
        &mut self,
        val: Option<&Predictions>,
        started: Instant,
        pace: &mut Pace,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let (entropy, loss) = (self.state.cross_entropy, self.state.loss);
        let optimized = loss.mean().unwrap_or_default();
        // if an older program began the epoch, the cross-entropy covers only some of its steps
        let entropy = entropy.mean().filter(|_| entropy.weight() == loss.weight());
        let record = EpochRecord {
            epoch: self.state.epoch + 1,
            accuracy: self.accuracy(),
            loss: entropy.unwrap_or(optimized),
            optimized_loss: entropy.map(|_| optimized),
            val_accuracy: val.and_then(Predictions::accuracy),
            val_loss: val.and_then(Predictions::mean_nll),
            learning_rate: self.state.last_lr,
        };
        self.state.history.push(record);
        self.state.epoch += 1;
        self.state.batch = 0;
        self.state.loss = Default::default();
        self.state.cross_entropy = Default::default();
        let points = std::mem::take(&mut self.state.points).into_points(self.steps_per_epoch());
        self.state.n_correct = 0.0;
        let event = Event::Epoch {
            record,
            n_epochs: self.recipe.epochs,
            n_steps: self.steps_per_epoch(),
            secs: started.elapsed().as_secs_f64(),
            step_ms: 1e3 * pace.secs / pace.n_steps.max(1) as f64,
            // a head on cached features does not process images
            images_per_second: pace.images_per_second().filter(|_| !self.has_features()),
            points,
        };
        self.emit(watch, event)?;
        if let Some(step_secs) = pace.step_secs().filter(|_| self.state.epoch < self.recipe.epochs)
            && pace.is_off(self.left_secs(step_secs, pace))
        {
            self.tell_estimate(step_secs, pace, watch)?;
        }
        self.callbacks(&record, watch)?;
        self.save()
    }

    /// Runs the callbacks (early stopping, learning rate on plateaus) and keeps the epoch if it is the best.
    fn callbacks(&mut self, record: &EpochRecord, watch: &mut Watch<'_>) -> Result<()> {
        let epoch = record.epoch;
        let improved = match &self.recipe.callbacks.early_stopping {
            Some(callback) => {
                let value = callback.monitor.read(record);
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
            callback.on_epoch_end(state, callback.monitor.read(record), self.state.base_lr)
        });
        if let Some(to) = lowered {
            let from = std::mem::replace(&mut self.state.base_lr, to);
            self.emit(watch, Event::RateLowered { epoch, from, to })?;
        }
        if let Some(value) = improved {
            self.state.best = Some(Best { epoch, value });
            let checkpoint = self.checkpoint()?;
            self.check_finite(&checkpoint)?;
            self.recorder.run.write_best(&checkpoint)?;
            self.best = self.restores_best().then(|| checkpoint.into_weights());
        }
        if self.state.stopped_early.is_some() {
            self.emit(watch, Event::StoppedEarly { epoch })?;
        }
        Ok(())
    }

    pub(crate) fn checkpoint(&self) -> Result<Checkpoint> {
        let params = &self.learner.model.params;
        let n_averaged = self.average.as_ref().map_or(0, |average| average.n);
        Ok(Checkpoint {
            state: State { n_averaged, ..self.state.clone() },
            average: self.average.as_ref().map(|average| average.tensors.clone()),
            model: params.learned_tensors()?,
            optimizer: self.learner.optimizer.state(params)?,
        })
    }

    /// Writes the checkpoint `last`.
    pub(crate) fn save(&mut self) -> Result<()> {
        self.state.train_secs += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
        self.recorder.note_lengths(&mut self.state)?;
        let checkpoint = self.checkpoint()?;
        self.check_finite(&checkpoint)?;
        self.recorder.run.write_last(&checkpoint)?;
        self.last_saved = Instant::now();
        Ok(())
    }

    /// Refuses to save weights that are NaN or infinite: the existing checkpoint is better.
    fn check_finite(&self, checkpoint: &Checkpoint) -> Result<()> {
        let Some(broken) = first_non_finite(&checkpoint.model) else { return Ok(()) };
        let (epoch, step) = match self.state.batch {
            0 => (self.state.epoch, self.steps_per_epoch()), // an epoch has just ended
            step => (self.state.epoch + 1, step),
        };
        Err(TrainingError::NonFiniteWeights { broken, epoch, step })
    }

    /// Records `event` and reports it to the caller.
    pub(crate) fn emit(&mut self, watch: &mut Watch<'_>, event: Event) -> Result<()> {
        self.recorder.record(&event)?;
        (watch.on_event)(&event);
        Ok(())
    }

    fn started(&self) -> Event {
        Event::Started {
            n_train: self.data.train.len(),
            n_val: self.data.val.as_ref().map_or(0, Part::len),
            n_test: self.data.test.len(),
            n_parameters: self.learner.model.params.n_parameters(),
            n_trained: self.learner.model.params.n_trained(),
            epoch: self.state.epoch + 1,
            batch: self.state.batch,
            program: Program::here(),
        }
    }

    /// Returns rows and columns of the training images in `epoch`, counted from 0; `None` if images keep their own size.
    pub(crate) fn train_px(&self, epoch: u64) -> Option<[usize; 2]> {
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
