//! A session: one run at work, from a first or a last checkpoint.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tallow_core::{Progress, StopFlag, StopSignal};
use tallow_dataset::n_batches;
use tallow_metrics::{PretrainedWeights, Summary};
use tallow_nn::{CrossEntropy, Model, Optimizer, Tensors};

use crate::averaging::Average;
use crate::beginning::{begin_with, completed, recorded_model};
use crate::checkpoint::{Checkpoint, digest};
use crate::checks::{check_batches, check_folds, check_same_data, check_sizes, check_trunk, check_unchanged};
use crate::cross_validation::Folded;
use crate::data::TrainData;
use crate::error::{Result, TrainingError};
use crate::event::Event;
use crate::feed::{Feeds, Input};
use crate::recipe::{LossConfig, Recipe};
use crate::recorder::Recorder;
use crate::run_folder::{RunFolder, RunPlace};
use crate::state::State;
use crate::step::Learner;

/// Who watches a run, and who may stop it.
pub struct Watch<'a> {
    /// Told of everything that happens.
    pub on_event: &'a mut dyn FnMut(&Event),
    /// Shows long work.
    pub progress: &'a dyn Progress,
    /// Asks to stop after the current step.
    pub stop: &'a StopFlag,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is over: trained, evaluated, written down.
    Finished(Box<Summary>),
    /// It was asked to stop; it can be resumed from where it is.
    Interrupted(StopSignal),
}

/// One run at work.
pub struct Session {
    pub(crate) recipe: Recipe,
    pub(crate) learner: Learner,
    pub(crate) data: TrainData,
    /// What batches are made of; known as soon as the run is at work.
    pub(crate) feeds: Option<Feeds>,
    /// What the folds of a run that is tested by them came to, as soon as they are over.
    pub(crate) folded: Option<Folded>,
    pub(crate) state: State,
    pub(crate) recorder: Recorder,
    /// The average of the weights so far, where the recipe asks for one and it has begun.
    pub(crate) average: Option<Average>,
    /// The best epoch's weights, where they are to be restored.
    pub(crate) best: Option<Tensors>,
    /// The last word of a run that was over before it was taken up again.
    finished: Option<Summary>,
    /// What the user should know before training begins.
    pub(crate) notices: Vec<String>,
    /// Since when time is not yet counted in the state.
    pub(crate) clock: Instant,
    pub(crate) last_saved: Instant,
}

impl Session {
    /// Starts a run: takes the weights that `recipe.init_from` names, if it names any, or whitens the first convolution where the
    /// recipe says so, and creates the run folder.
    ///
    /// # Errors
    /// If the recipe does not fit the model or the data, or the run folder cannot be created.
    pub fn start(recipe: Recipe, model: Model, data: TrainData, place: &RunPlace) -> Result<Self> {
        Self::start_with(recipe, Arc::new(model), data, place)
    }

    /// As [`start`](Self::start), with a network that others may have as well, though not at the same time.
    pub(crate) fn start_with(
        recipe: Recipe,
        model: Arc<Model>,
        data: TrainData,
        place: &RunPlace,
    ) -> Result<Self> {
        recipe.validate()?;
        let mut recipe = recipe;
        // what a later version might decide otherwise is written down
        recipe.data.fit.get_or_insert_default();
        recipe.data.interpolation.get_or_insert_default();
        recipe.model = recorded_model(&recipe.model, &model);
        let caveats = begin_with(&recipe, &model, &data)?;
        let precision = recipe.precision.resolve(model.params.device()).into();
        let recipe = Recipe { schedule: recipe.schedule.clone().resolve(recipe.epochs), precision, ..recipe };
        recipe.schedule.validate()?;
        check_sizes(&recipe, &model)?;
        check_folds(&data)?;
        check_trunk(&recipe, &model)?;
        let criterion = criterion(&recipe, &data)?;
        let dataset = &data.dataset;
        let class_names = dataset.train.class_names();
        let whitened = recipe
            .whitening
            .filter(|_| recipe.init_from.is_none())
            .map(|whitening| whitening.apply(&model, &data.train, input(&recipe, &model, &data)))
            .transpose()?;
        let state =
            State { caveats, ..State::new(&recipe, &dataset.digest, class_names, frozen_digest(&model)?) };
        let optimizer = Optimizer::new(&recipe.optimizer, &recipe.param_groups, &model.params)?;
        let weights = || model.params.learned_tensors();
        let average = recipe.averaging.map_or(Ok(None), |averaging| averaging.start(weights))?;
        let checkpoint = Checkpoint {
            state: state.clone(),
            model: weights()?,
            optimizer: optimizer.state(&model.params)?,
            average: average.as_ref().map(|average| average.tensors.clone()),
        };
        // the loader checks what only it knows, before anything is written
        check_batches(&recipe, &data, model.input_px)?;
        for fold in 0..data.n_folds() {
            check_batches(&recipe, &data.of_fold(fold), model.input_px)?;
        }
        let run = RunFolder::create(place, &recipe, &checkpoint)?;
        let notices = whitened.into_iter().collect();
        Ok(Self { average, notices, ..Self::new(recipe, model, data, criterion, optimizer, state, run) })
    }

    /// Takes up the run in the folder `path` where its last checkpoint left it. `recipe` is the run's own, but for
    /// more epochs or another data folder. A run that is over stays as it is.
    ///
    /// Epochs after the end of the run's schedule are an [`Extension`](crate::Extension), which begins with the learning rate
    /// `extension_lr`, or else with a fifth of the recipe's.
    ///
    /// # Errors
    /// If it is no run folder, another setting or the data have changed, or no checkpoint can be read.
    pub fn resume(
        recipe: Recipe,
        model: Model,
        data: TrainData,
        path: &Path,
        extension_lr: Option<f64>,
    ) -> Result<Self> {
        Self::resume_with(recipe, Arc::new(model), data, path, extension_lr)
    }

    /// As [`resume`](Self::resume), with a network that others may have as well, though not at the same time.
    pub(crate) fn resume_with(
        recipe: Recipe,
        model: Arc<Model>,
        data: TrainData,
        path: &Path,
        extension_lr: Option<f64>,
    ) -> Result<Self> {
        let then = RunFolder::recipe_of(path)?;
        let precision = recipe.precision.resolve(model.params.device()).into();
        let mut recipe = Recipe { precision, ..recipe };
        recipe.model = recorded_model(&recipe.model, &model);
        recipe.data.fit = recipe.data.fit.or(then.data.fit);
        recipe.data.interpolation = recipe.data.interpolation.or(then.data.interpolation);
        let frozen = frozen_digest(&model)?;
        check_unchanged(&then, &recipe, frozen.is_some())?;
        // the horizon is the one that the run was started with
        let recipe = Recipe { schedule: then.schedule.clone(), ..recipe }.extended(&then, extension_lr)?;
        let run = RunFolder::open(path)?;
        let (checkpoint, notice) = run.read_last()?;
        let mut state = checkpoint.state;
        state.caveats = completed(state.caveats, &recipe);
        check_same_data(&state, &data.dataset)?;
        if state.frozen_digest != frozen {
            return Err(TrainingError::OtherWeights);
        }
        model.params.load_learned(&checkpoint.model)?;
        let mut optimizer = Optimizer::new(&recipe.optimizer, &recipe.param_groups, &model.params)?;
        let steps_per_epoch = n_batches(data.train.len(), recipe.batch_size, recipe.data.drop_last);
        optimizer.load_state(&model.params, state.n_steps(steps_per_epoch), &checkpoint.optimizer)?;
        let criterion = criterion(&recipe, &data)?;
        let average = checkpoint.average.map(|tensors| Average { tensors, n: state.n_averaged });
        // a summary of fewer epochs is from before an extension that was killed
        let finished =
            run.read_summary().filter(|s| state.is_trained(&recipe) && s.epochs_run == state.epoch);
        let mut session =
            Self { finished, average, ..Self::new(recipe, model, data, criterion, optimizer, state, run) };
        if session.finished.is_some() {
            return Ok(session);
        }
        session.recorder.cut_back(&session.state, &session.recipe)?;
        session.notices.extend(notice);
        session.best = session.read_best()?;
        session.extend(&then)?;
        session.recorder.run.remove("summary.json")?;
        Ok(session)
    }

    fn new(
        recipe: Recipe,
        model: Arc<Model>,
        data: TrainData,
        criterion: CrossEntropy,
        optimizer: Optimizer,
        state: State,
        run: RunFolder,
    ) -> Self {
        let precision = recipe.precision.resolve(model.params.device());
        let learner = Learner { model, criterion, optimizer, precision, max_grad_norm: recipe.max_grad_norm };
        let (clock, last_saved) = (Instant::now(), Instant::now());
        Self {
            recipe,
            learner,
            data,
            feeds: None,
            folded: None,
            state,
            recorder: Recorder::new(run),
            average: None,
            best: None,
            finished: None,
            notices: Vec::new(),
            clock,
            last_saved,
        }
    }

    /// Where the run folder lies.
    pub fn run_dir(&self) -> &Path {
        self.recorder.run.path()
    }

    /// Adds what the user should know of the run, and its record say, to what is told when it is at work.
    pub fn note(&mut self, notices: impl IntoIterator<Item = String>) {
        self.notices.extend(notices);
    }

    /// Says which weights of others the network began with, for the run's last word.
    pub fn set_pretrained(&mut self, weights: PretrainedWeights) {
        self.state.pretrained = Some(weights);
    }

    /// Adds a picture to the event file of a run that has just ended, under `tag`. A run that was over before stays as
    /// it is.
    ///
    /// # Errors
    /// If `png` is no PNG, or the file cannot be written.
    pub fn log_image(&self, tag: &str, png: &[u8]) -> Result<()> {
        self.recorder.record_picture(self.state.epoch, tag, png)
    }

    /// The recipe, with all that it left open decided.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What is trained, validated and tested on.
    pub fn data(&self) -> &TrainData {
        &self.data
    }

    /// The network that is trained.
    pub fn model(&self) -> &Model {
        &self.learner.model
    }

    /// Trains what is left, evaluates, and writes everything down; or stops on request with a checkpoint. Where the
    /// run was over already, its last word is repeated.
    ///
    /// # Errors
    /// If the loss is no number any more, or a file cannot be written.
    pub fn run(&mut self, watch: &mut Watch<'_>) -> Result<Outcome> {
        if let Some(summary) = self.finished.take() {
            let text =
                "the run is over, nothing is left to train; a larger --epochs would extend it".to_owned();
            (watch.on_event)(&Event::Notice { text });
            return Ok(Outcome::Finished(Box::new(summary)));
        }
        self.recorder.open_event_file(&self.state, &self.recipe)?;
        for text in std::mem::take(&mut self.notices) {
            self.emit(watch, Event::Notice { text })?;
        }
        // the run of a fold has them from the run that it belongs to
        if self.feeds.is_none() {
            self.feeds = self.feeds(watch)?;
            self.state.features_secs += self.own_features_secs();
        }
        let Some(feeds) = self.feeds.clone() else {
            return Ok(Outcome::Interrupted(watch.stop.raised().unwrap_or(StopSignal::Interrupt)));
        };
        if self.data.folds.is_some() {
            // what was said and computed so far is not lost where a fold is interrupted
            self.clock = Instant::now();
            self.save()?;
            match self.cross_validate(&feeds, watch)? {
                Ok(folded) => self.folded = Some(folded),
                Err(signal) => return Ok(Outcome::Interrupted(signal)),
            }
        }
        if let Some(signal) = self.fit(&feeds, watch)? {
            return Ok(Outcome::Interrupted(signal));
        }
        self.finish(&feeds, watch)
    }

    /// How images come to what the network sees.
    pub(crate) fn input(&self) -> Input {
        input(&self.recipe, &self.learner.model, &self.data)
    }

    /// Whether the run ends with its best epoch's weights.
    pub(crate) fn restores_best(&self) -> bool {
        self.recipe.callbacks.early_stopping.as_ref().is_some_and(|callback| callback.restore_best_weights)
    }

    /// The best epoch's weights, where the run has one and wants it back. The file may be of a later epoch than the
    /// state: then that epoch was over when the run was killed, and will be run, and written, again.
    fn read_best(&self) -> Result<Option<Tensors>> {
        let Some(best) = self.state.best.filter(|_| self.restores_best()) else { return Ok(None) };
        let checkpoint = self.recorder.run.read_best()?;
        match checkpoint.state.best.filter(|b| b.epoch >= best.epoch) {
            Some(_) => Ok(Some(checkpoint.into_weights())),
            None => Err(TrainingError::Damaged {
                path: self.recorder.run.path().join("checkpoints/best"),
                problem: format!("it is not of epoch {}: start the run anew", best.epoch),
            }),
        }
    }
}

/// How images of `data` come to what `model` sees.
fn input(recipe: &Recipe, model: &Model, data: &TrainData) -> Input {
    Input {
        preprocess: model.input_px.map(|px| recipe.data.preprocess(px)),
        normalization: data.dataset.normalization,
    }
}

/// The loss of `recipe` on `data`.
fn criterion(recipe: &Recipe, data: &TrainData) -> Result<CrossEntropy> {
    let class_weights = data.class_weights(recipe)?;
    let LossConfig { label_smoothing, reduction, .. } = recipe.loss;
    Ok(CrossEntropy { label_smoothing: label_smoothing as f32, class_weights, reduction })
}

/// Of the weights that stay as they are, where there are any: they are not in checkpoints.
pub(crate) fn frozen_digest(model: &Model) -> Result<Option<String>> {
    let frozen = model.params.frozen_tensors()?;
    Ok((!frozen.is_empty()).then(|| digest("", &frozen)))
}
