//! A session: one run at work, started anew or from its last checkpoint.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tallow_comm::Comm;
use tallow_core::{Progress, StopFlag, StopSignal};
use tallow_dataset::n_batches;
use tallow_metrics::{PretrainedWeights, Summary, history_to_csv};
use tallow_nn::{CrossEntropy, Model, Optimizer, Tensors};
use tallow_run_files::{BEST_CHECKPOINT, ENDING, SUMMARY};

use crate::averaging::Average;
use crate::beginning::{begin_with, completed, recorded_model};
use crate::checkpoint::{Checkpoint, digest};
use crate::checks::{
    check_batches, check_folds, check_same_data, check_sizes, check_trunk, check_unchanged, check_validation,
};
use crate::cross_validation::{Folded, lacks_a_fold};
use crate::data::TrainData;
use crate::ending::EndStep;
use crate::error::{Result, TrainingError};
use crate::event::Event;
use crate::feed::{Feeds, Input};
use crate::recipe::{LossConfig, Recipe};
use crate::recorder::Recorder;
use crate::run_folder::{RunFolder, RunPlace};
use crate::shards::own_shards;
use crate::state::State;
use crate::step::Learner;

/// The observers of a run, and the flag that stops it.
pub struct Watch<'a> {
    /// Called with every event.
    pub on_event: &'a mut dyn FnMut(&Event),
    /// Shows the progress of long work.
    pub progress: &'a dyn Progress,
    /// Requests a stop after the current step.
    pub stop: &'a StopFlag,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The run is complete: trained, evaluated, and its results written.
    Finished(Box<Summary>),
    /// The run was asked to stop; it can be resumed.
    Interrupted(StopSignal),
}

/// One run at work.
pub struct Session {
    pub(crate) recipe: Recipe,
    pub(crate) learner: Learner,
    pub(crate) data: TrainData,
    /// The sources of batches; set once the run is at work.
    pub(crate) feeds: Option<Feeds>,
    /// The results of the folds; set once all folds are over.
    pub(crate) folded: Option<Folded>,
    /// What the network had learnt before the run began, if a fold must be trained again.
    pub(crate) initial: Option<Tensors>,
    pub(crate) state: State,
    pub(crate) recorder: Recorder,
    /// The average of the weights so far, if the recipe asks for one and it has begun.
    pub(crate) average: Option<Average>,
    /// The best epoch's weights, if the run restores them at its end.
    pub(crate) best: Option<Tensors>,
    /// The summary of a run that had its results before it was resumed.
    pub(crate) finished: Option<Summary>,
    /// The steps of the end of such a run that were taken, if not all were.
    pub(crate) taken: Option<Vec<String>>,
    /// The processes that share the work.
    pub(crate) comm: Arc<Comm>,
    /// Notices for the user before training begins.
    pub(crate) notices: Vec<String>,
    /// Start of the time that is not yet counted in the state.
    pub(crate) clock: Instant,
    pub(crate) last_saved: Instant,
}

impl Session {
    /// Starts a run: loads the weights that `recipe.init_from` names, if any, or whitens the first convolution if the recipe
    /// says so, and creates the run folder.
    ///
    /// # Errors
    /// If the recipe does not fit the model or the data, or the run folder cannot be created.
    pub fn start(recipe: Recipe, model: Model, data: TrainData, place: &RunPlace) -> Result<Self> {
        Self::start_with(recipe, Arc::new(model), data, place)
    }

    /// Does the same as [`start`](Self::start), with a network that other sessions share, though not at the same time.
    pub(crate) fn start_with(
        recipe: Recipe,
        model: Arc<Model>,
        data: TrainData,
        place: &RunPlace,
    ) -> Result<Self> {
        recipe.validate()?;
        let mut recipe = recipe;
        // the recipe records these defaults, because a later version might choose others
        recipe.data.fit.get_or_insert_default();
        recipe.data.interpolation.get_or_insert_default();
        recipe.model = recorded_model(&recipe.model, &model);
        let caveats = begin_with(&recipe, &model, &data)?;
        let precision = recipe.precision.resolve(model.params.device()).into();
        let recipe = Recipe { schedule: recipe.schedule.clone().resolve(recipe.epochs), precision, ..recipe };
        recipe.schedule.validate()?;
        check_sizes(&recipe, &model)?;
        check_validation(&recipe, &data)?;
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
        // the loader does its own checks before anything is written
        check_batches(&recipe, &data, model.input_px)?;
        for fold in 0..data.n_folds() {
            check_batches(&recipe, &data.of_fold(fold), model.input_px)?;
        }
        let run = RunFolder::create(place, &recipe, &history_to_csv(&[], data.val.is_some()), &checkpoint)?;
        let notices = whitened.into_iter().collect();
        Ok(Self { average, notices, ..Self::new(recipe, model, data, criterion, optimizer, state, run) })
    }

    /// Resumes the run in the folder `path` from its last checkpoint. `recipe` is the run's own recipe, except for more
    /// epochs or another data folder. A complete run stays as it is.
    ///
    /// `model` has the weights that the run began with. Those that learn come from the checkpoint, but a fold whose folder was
    /// removed is trained again from them.
    ///
    /// Epochs after the end of the run's schedule are an [`Extension`](crate::Extension), which begins with the learning rate
    /// `extension_lr`; without it, with a fifth of the recipe's.
    ///
    /// # Errors
    /// If it is not a run folder, another setting or the data have changed, or no checkpoint can be read.
    pub fn resume(
        recipe: Recipe,
        model: Model,
        data: TrainData,
        path: &Path,
        extension_lr: Option<f64>,
    ) -> Result<Self> {
        Self::resume_with(recipe, Arc::new(model), data, path, extension_lr)
    }

    /// Does the same as [`resume`](Self::resume), with a network that other sessions share, though not at the same time.
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
        let mut frozen = frozen_digest(&model)?;
        check_unchanged(&then, &recipe, frozen.is_some())?;
        // the run keeps the horizon that it was started with
        let recipe = Recipe { schedule: then.schedule.clone(), ..recipe }.extended(&then, extension_lr)?;
        let mut run = RunFolder::open(path)?;
        let (checkpoint, notice) = run.read_last()?;
        let mut state = checkpoint.state;
        state.caveats = completed(state.caveats, &recipe);
        check_same_data(&state, &data.dataset)?;
        if state.frozen_digest != frozen && then.init_from.is_some() {
            begin_with(&then, &model, &data)?; // frozen weights came from there, too
            frozen = frozen_digest(&model)?;
        }
        if state.frozen_digest != frozen {
            return Err(TrainingError::OtherWeights);
        }
        // a summary of fewer epochs is older than an extension that was killed
        let finished =
            run.read_summary()?.filter(|s| state.is_trained(&recipe) && s.epochs_run == state.epoch);
        let trains_a_fold_again = finished.is_none() && lacks_a_fold(path, &state, &data)?;
        let initial = trains_a_fold_again.then(|| model.params.learned_tensors()).transpose()?;
        model.params.load_learned(&checkpoint.model)?;
        let mut optimizer = Optimizer::new(&recipe.optimizer, &recipe.param_groups, &model.params)?;
        let steps_per_epoch = n_batches(data.train.len(), recipe.batch_size, recipe.data.drop_last);
        optimizer.load_state(&model.params, state.n_steps(steps_per_epoch), &checkpoint.optimizer)?;
        let criterion = criterion(&recipe, &data)?;
        let average = checkpoint.average.map(|tensors| Average { tensors, n: state.n_averaged });
        let new = Self::new(recipe, model, data, criterion, optimizer, state, run);
        let mut session = Self { finished, initial, average, ..new };
        session.recorder.run.remove_leftovers();
        if session.finished.is_some() {
            session.taken = RunFolder::steps_taken(path)?;
            return Ok(session);
        }
        session.recorder.run.forget_own_files()?;
        session.recorder.cut_back(&session.state)?;
        session.notices.extend(notice);
        session.best = session.read_best()?;
        session.extend(&then)?;
        session.recorder.run.remove(SUMMARY)?;
        session.recorder.run.remove(ENDING)?;
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
        let (max_grad_norm, n_shards) = (recipe.max_grad_norm, recipe.shards.unwrap_or(1));
        let learner =
            Learner { model, criterion, optimizer, precision, max_grad_norm, n_shards, order: None };
        let (clock, last_saved) = (Instant::now(), Instant::now());
        let recorder = Recorder::new(run, data.val.is_some());
        Self {
            recipe,
            learner,
            data,
            feeds: None,
            folded: None,
            initial: None,
            state,
            recorder,
            average: None,
            best: None,
            finished: None,
            taken: None,
            comm: Arc::default(),
            notices: Vec::new(),
            clock,
            last_saved,
        }
    }

    /// Returns the path of the run folder.
    pub fn run_dir(&self) -> &Path {
        self.recorder.run.path()
    }

    /// Adds notices for the user. They are reported and recorded once the run is at work.
    pub fn note(&mut self, notices: impl IntoIterator<Item = String>) {
        self.notices.extend(notices);
    }

    /// Shares the work with the other processes of `comm`. Each of them has a session of the same run, with a run folder of its
    /// own; all call the same methods in the same order. Their results have the same bits.
    ///
    /// # Errors
    /// If the recipe has fewer shards than there are processes.
    pub fn share_work(&mut self, comm: &Arc<Comm>) -> Result<()> {
        own_shards(self.learner.n_shards, comm)?;
        self.comm = Arc::clone(comm);
        Ok(())
    }

    /// Records the pretrained weights that the network began with, for the run's summary.
    pub fn set_pretrained(&mut self, weights: PretrainedWeights) {
        self.state.pretrained = Some(weights);
    }

    /// Writes `pictures`, PNGs under tags, to the TensorBoard file of a run that has its results. Replaces those of an earlier
    /// call.
    ///
    /// # Errors
    /// If a picture is not a PNG, or the file cannot be written.
    pub fn log_pictures(&self, pictures: &[(String, Vec<u8>)]) -> Result<()> {
        let score = self.recorder.run.read_summary()?.and_then(|summary| summary.test);
        self.recorder.record_end(&self.state, &self.recipe, score, pictures)
    }

    /// Returns the recipe with all defaults resolved.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Returns the data that the run trains, validates and tests on.
    pub fn data(&self) -> &TrainData {
        &self.data
    }

    /// Returns the network that is trained.
    pub fn model(&self) -> &Model {
        &self.learner.model
    }

    /// Trains the rest of the run, evaluates, and writes all results; or stops on request with a checkpoint. If the run was
    /// complete already, returns its summary.
    ///
    /// # Errors
    /// If the loss or weights become NaN or infinite, or a file cannot be read or written.
    pub fn run(&mut self, watch: &mut Watch<'_>) -> Result<Outcome> {
        self.run_with(watch, &[])
    }

    /// Does the same as [`run`](Self::run), and then takes `steps` in order. A run that was killed in these steps, or in which
    /// one of them failed, takes the rest of them when it is resumed.
    ///
    /// # Errors
    /// The same as [`run`](Self::run).
    pub fn run_with(&mut self, watch: &mut Watch<'_>, steps: &[EndStep<'_>]) -> Result<Outcome> {
        if let Some(summary) = self.finished.take() {
            return self.end_again(summary, watch, steps);
        }
        self.check_in_step()?;
        self.recorder.open_event_file(&self.state, &self.recipe)?;
        for text in std::mem::take(&mut self.notices) {
            self.emit(watch, Event::Notice { text })?;
        }
        // the run of a fold has its feeds from the main run
        if self.feeds.is_none() {
            self.feeds = self.feeds(watch)?;
            self.state.features_secs += self.own_features_secs();
        }
        let Some(feeds) = self.feeds.clone() else {
            return Ok(Outcome::Interrupted(watch.stop.raised().unwrap_or(StopSignal::Interrupt)));
        };
        if self.data.folds.is_some() {
            // saved so that notices and computed features are not lost if a fold is interrupted
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
        self.finish(&feeds, watch, steps)
    }

    /// Returns how images become the network's input.
    pub(crate) fn input(&self) -> Input {
        input(&self.recipe, &self.learner.model, &self.data)
    }

    /// Whether the run ends with its best epoch's weights.
    pub(crate) fn restores_best(&self) -> bool {
        self.recipe.callbacks.early_stopping.as_ref().is_some_and(|callback| callback.restore_best_weights)
    }

    /// Reads the best epoch's weights, if there are any and the run restores them. The file may be of a later epoch than the
    /// state. Then that epoch was over when the run was killed, and it will be run and written again.
    pub(crate) fn read_best(&self) -> Result<Option<Tensors>> {
        let Some(best) = self.state.best.filter(|_| self.restores_best()) else { return Ok(None) };
        let checkpoint = self.recorder.run.read_best()?;
        match checkpoint.state.best.filter(|b| b.epoch >= best.epoch) {
            Some(_) => Ok(Some(checkpoint.into_weights())),
            None => Err(TrainingError::Damaged {
                path: self.recorder.run.path().join(BEST_CHECKPOINT),
                problem: format!("it is not from epoch {}: start a new run", best.epoch),
            }),
        }
    }
}

/// Returns how images of `data` become the input of `model`.
fn input(recipe: &Recipe, model: &Model, data: &TrainData) -> Input {
    Input {
        preprocess: model.input_px.map(|px| recipe.data.preprocess(px)),
        normalization: data.dataset.normalization,
    }
}

/// Returns the loss of `recipe` on `data`.
fn criterion(recipe: &Recipe, data: &TrainData) -> Result<CrossEntropy> {
    let class_weights = data.class_weights(recipe)?;
    let LossConfig { label_smoothing, reduction, .. } = recipe.loss;
    Ok(CrossEntropy { label_smoothing: label_smoothing as f32, class_weights, reduction })
}

/// Returns the digest of the frozen weights, if there are any; checkpoints do not contain them.
pub(crate) fn frozen_digest(model: &Model) -> Result<Option<String>> {
    let frozen = model.params.frozen_tensors()?;
    Ok((!frozen.is_empty()).then(|| digest("", &frozen)))
}
