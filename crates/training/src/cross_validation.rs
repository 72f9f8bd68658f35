//! Cross-validation: before a run trains its model on all images, it trains one model for each fold and tests it on the
//! images that the fold holds out. Each fold has a run of its own, in a folder below the run's. `data.rs` decides which
//! images a fold holds out.
//!
//! A fold's run can be stopped and resumed like any other. It trains the same network as the main run, reset to its initial
//! weights each time, and uses the main run's features.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tallow_core::shown::shown_path;
use tallow_core::{FileError, StopSignal, files};
use tallow_metrics::{FoldScores, Predictions, Summary, folds_interval, parse_predictions_csv};
use tallow_run_files::{CHECKPOINTS, FOLDS, Manifest, SUMMARY, TEST_PREDICTIONS, VAL_PREDICTIONS};

use crate::checkpoint::MAX_FILE_BYTES;
use crate::data::TrainData;
use crate::error::{Result, TrainingError};
use crate::event::Event;
use crate::feed::{Feed, Feeds};
use crate::finish::CONFIDENCE;
use crate::recipe::{DataConfig, Recipe};
use crate::run_folder::{RunFolder, RunPlace};
use crate::session::{Outcome, Session, Watch};
use crate::state::State;

/// The results of all folds.
#[derive(Clone, Debug)]
pub(crate) struct Folded {
    /// Predictions for every image by the model of its fold, in the order of the training set.
    pub(crate) predictions: Predictions,
    /// The score of each fold and of all folds together.
    pub(crate) scores: FoldScores,
    /// How long the folds' models were trained, in seconds.
    pub(crate) train_secs: f64,
}

impl Session {
    /// Whether the images held out by the folds serve as the run's test, because the data set has no test images of its own.
    pub(crate) fn is_tested_by_folds(&self) -> bool {
        self.data.folds.is_some() && self.data.dataset.test.is_empty()
    }

    /// Whether a fold must be trained again, though the run's own model is in training or trained already: its folder was
    /// removed. Then the fold begins with the weights that the network had when it was given to
    /// [`resume`](Self::resume); they must be those that the run began with.
    pub fn trains_a_fold_again(&self) -> bool {
        self.initial.is_some()
    }

    /// Trains and tests the folds that are left. Returns the stop signal if a stop was requested on the way. `feeds` are
    /// those of the main run.
    pub(crate) fn cross_validate(
        &mut self,
        feeds: &Feeds,
        watch: &mut Watch<'_>,
    ) -> Result<std::result::Result<Folded, StopSignal>> {
        let own = self.learner.model.params.learned_tensors()?;
        let initial = self.initial.take();
        let n_folds = self.recipe.data.folds;
        // the checkpoints of the run's own training come after the record of the folds
        let is_recorded = self.state.epoch > 0 || self.state.batch > 0;
        let mut ended = Vec::with_capacity(n_folds);
        for fold in 0..n_folds {
            let data = self.data.of_fold(fold);
            let folder = self.run_dir().join(FOLDS).join((fold + 1).to_string());
            if !RunFolder::has_ended(&folder)? {
                match &initial {
                    Some(initial) => self.learner.model.params.load_learned(initial)?,
                    None if is_recorded => {
                        let problem = "it was removed while the run was at work: continue with --resume";
                        return Err(TrainingError::Damaged { path: folder, problem: problem.into() });
                    }
                    None => {}
                }
                let outcome = self.run_fold(fold, data.clone(), &folder, feeds, watch);
                self.learner.model.params.load_learned(&own)?;
                if let Outcome::Interrupted(signal) = outcome? {
                    return Ok(Err(signal));
                }
            }
            let (summary, predictions) = read_fold(&folder, &data)?;
            remove_checkpoints(&folder)?;
            let event = tested(fold, n_folds, &predictions, summary.train_seconds);
            match is_recorded {
                true => (watch.on_event)(&event),
                false => self.emit(watch, event)?,
            }
            ended.push((predictions, summary.train_seconds));
        }
        folded(&ended, self.is_tested_by_folds()).map(Ok)
    }

    /// Starts the run of a fold, or resumes it.
    fn run_fold(
        &self,
        fold: usize,
        data: TrainData,
        folder: &Path,
        feeds: &Feeds,
        watch: &mut Watch<'_>,
    ) -> Result<Outcome> {
        let data_config = DataConfig { fold: Some(fold + 1), ..self.recipe.data.clone() };
        let recipe = Recipe { data: data_config, ..self.recipe.clone() };
        let model = Arc::clone(&self.learner.model);
        let feeds = feeds.of_parts(&data);
        let is_begun = files::exists(folder)?;
        if is_begun && !files::exists(&folder.join(CHECKPOINTS))? {
            return Err(damaged(folder, folder, "it has neither all results nor checkpoints"));
        }
        let mut session = match is_begun {
            true => Self::resume_with(recipe, model, data, folder, None)?,
            false => Self::start_with(recipe, model, data, &RunPlace::At(folder.to_owned()))?,
        };
        session.feeds = Some(feeds);
        session.comm = Arc::clone(&self.comm);
        // the events of a fold's run are in that run's own record
        session.run(&mut Watch { on_event: &mut |_| (), progress: watch.progress, stop: watch.stop })
    }
}

/// Whether the run in `run`, which continues from `state`, trains its own model, and one of its folds is not finished.
pub(crate) fn lacks_a_fold(run: &Path, state: &State, data: &TrainData) -> Result<bool> {
    if state.epoch == 0 && state.batch == 0 {
        return Ok(false); // the folds come first
    }
    for fold in 1..=data.n_folds() {
        if !RunFolder::has_ended(&run.join(FOLDS).join(fold.to_string()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the error that the file at `path`, of the fold in `folder`, cannot be used.
fn damaged(path: &Path, folder: &Path, problem: &str) -> TrainingError {
    let problem = format!(
        "{problem}: remove the folder {} and continue with --resume, which trains this fold again",
        shown_path(folder)
    );
    TrainingError::Damaged { path: path.to_owned(), problem }
}

/// Removes the checkpoints of a finished fold, which only a resume would need.
fn remove_checkpoints(folder: &Path) -> Result<()> {
    let checkpoints = folder.join(CHECKPOINTS);
    match fs::remove_dir_all(&checkpoints) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new("remove the folder", &checkpoints)(e).into())
        }
        // after a power loss they must not be there again: a run that is over does not look at its folds
        _ => Ok(files::sync_folder(folder)?),
    }
}

impl Feeds {
    /// Returns the feeds for other parts of the same sets.
    fn of_parts(&self, data: &TrainData) -> Self {
        let feed = |part: &crate::data::Part| match &self.train {
            Feed::Images { input, .. } => Feed::Images { part: part.clone(), input: input.clone() },
            Feed::Features { features, .. } => {
                Feed::Features { part: part.clone(), features: Arc::clone(features) }
            }
        };
        Self { train: feed(&data.train), val: data.val.as_ref().map(feed), test: feed(&data.test) }
    }
}

fn tested(fold: usize, n_folds: usize, predictions: &Predictions, train_secs: f64) -> Event {
    Event::FoldTested {
        fold: fold + 1,
        n_folds,
        n_images: predictions.len(),
        accuracy: predictions.accuracy().unwrap_or_default(),
        loss: predictions.mean_nll().unwrap_or_default(),
        train_secs,
    }
}

/// Reads the summary of a fold's run and its predictions for the held-out images.
fn read_fold(folder: &Path, data: &TrainData) -> Result<(Summary, Predictions)> {
    let damaged = |path: &Path, problem: &str| damaged(path, folder, problem);
    let manifest = Manifest::read(folder)?;
    let text = |name: &str| -> Result<(PathBuf, String)> {
        let path = folder.join(name);
        if !files::exists(&path)? {
            return Err(damaged(&path, "it is missing"));
        }
        let bytes = files::read_at_most(&path, MAX_FILE_BYTES)?;
        if let Some(difference) = manifest.as_ref().and_then(|manifest| manifest.difference(name, &bytes)) {
            return Err(damaged(&path, &format!("it {difference}")));
        }
        let text = String::from_utf8(bytes).map_err(|_| damaged(&path, "it is not text"))?;
        Ok((path, text))
    };
    let (path, summary) = text(SUMMARY)?;
    let summary = serde_json::from_str(&summary).map_err(|e| damaged(&path, &e.to_string()))?;
    let (path, table) = text(TEST_PREDICTIONS)?;
    let table = parse_predictions_csv(&table).map_err(|e| damaged(&path, &e.to_string()))?;
    let (predictions, held_out) = (table.predictions, &data.test);
    let targets = held_out.indices.iter().map(|&i| held_out.set.label(i as usize));
    let is_of_fold = *table.class_names == **held_out.set.class_names()
        && predictions.indices() == &*held_out.indices
        && targets.eq(predictions.targets().iter().copied());
    match is_of_fold {
        true => Ok((summary, predictions)),
        false => Err(damaged(&path, "its images are not those that the fold holds out")),
    }
}

/// Merges the predictions of all folds in the order of the images, and computes the scores.
fn folded(folds: &[(Predictions, f64)], is_test: bool) -> Result<Folded> {
    let counts: Vec<(u64, u64)> = folds.iter().map(|(p, _)| (p.n_correct(), p.len() as u64)).collect();
    let n_classes = folds.first().map_or(1, |(p, _)| p.n_classes());
    let mut places: Vec<(u32, &Predictions, usize)> = folds
        .iter()
        .flat_map(|(p, _)| p.indices().iter().enumerate().map(move |(i, &index)| (index, p, i)))
        .collect();
    places.sort_unstable_by_key(|place| place.0);
    let targets = places.iter().map(|(_, p, i)| p.targets()[*i]).collect();
    let log_probs = places.iter().flat_map(|(_, p, i)| p.row(*i).iter().copied()).collect();
    let indices = places.iter().map(|place| place.0).collect();
    let predictions = Predictions::new(n_classes, targets, log_probs, indices)?;
    let scores = FoldScores {
        n_images: counts.iter().map(|count| count.1).collect(),
        accuracies: folds.iter().map(|(p, _)| p.accuracy().unwrap_or_default()).collect(),
        accuracy: predictions.accuracy().unwrap_or_default(),
        loss: predictions.mean_nll().unwrap_or_default(),
        accuracy_interval: folds_interval(&counts, CONFIDENCE)?,
        predictions: if is_test { TEST_PREDICTIONS } else { VAL_PREDICTIONS }.into(),
    };
    Ok(Folded { predictions, scores, train_secs: folds.iter().map(|fold| fold.1).sum() })
}
