//! Tries one candidate by a run with folds on some of the pictures, in a temporary folder.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use tallow_core::{Silent, StopSignal, files};
use tallow_dataset::{Dataset, Flip};
use tallow_metrics::parse_predictions_csv;
use tallow_run_files::TEST_PREDICTIONS;
use tallow_training::{Outcome, Recipe, RunPlace, Session, TrainData, Watch, device, device_name};

use crate::pretrained::Pretrained;
use crate::suspects::MAX_TABLE_BYTES;
use crate::{App, inputs};

/// The result of a trial.
pub(super) struct Trial {
    /// For each image, whether a model that had not seen it was right.
    pub(super) right: Vec<bool>,
    /// Seconds for the features of one image, mirrored or not.
    pub(super) secs_per_image: f64,
    /// Number of images of the whole data set without cached features; mirror images count as well.
    pub(super) n_missing: usize,
    /// Seconds of a head for one image in an epoch, and further seconds per epoch.
    pub(super) head_secs: [f64; 2],
    /// Other seconds: weights, files, metrics.
    pub(super) other_secs: f64,
}

/// Tries the backbone that `recipe` names on the images `some` of `whole`. Returns the stop signal if a stop was requested on
/// the way.
pub(super) fn run(
    mut recipe: Recipe,
    some: &Dataset,
    whole: &Dataset,
    folder: &Path,
    offline: bool,
    app: &App,
) -> Result<std::result::Result<Trial, StopSignal>> {
    let began = Instant::now();
    let device = device(&recipe.device)?;
    recipe.device = device_name(&device);
    let pretrained = Pretrained::find(&recipe.model, offline, app)?.context("no weights are named")?;
    pretrained.describe(&mut recipe.model)?;
    recipe.model.insert("weights".into(), pretrained.origin().into());
    let architecture = tallow_models::architecture_of(&recipe.model)?;
    let input_px = architecture.input_px(&recipe.model)?;
    match some.train.block_shape() {
        Some(shape) => inputs::decide_for_block(&mut recipe.data, shape, input_px),
        None => inputs::decide_for_files(&mut recipe.data, Some(&pretrained)),
    }
    let mut dataset = some.clone();
    dataset.normalization = inputs::normalization(&recipe, Some(&pretrained), &dataset);
    recipe.data.normalization = Some(dataset.normalization);
    let n_classes = dataset.train.class_names().len();
    let size = architecture.size(&recipe.model, n_classes)?;
    recipe.check_memory(&size, input_px, dataset.train.len(), &device)?;
    let model = architecture.build(&recipe.model, n_classes, recipe.seed, &device)?;
    ensure!(model.trunk.is_some(), "only frozen backbones can be tried: model.unfreeze must be \"none\"");
    pretrained.load_into(&model, &Silent)?;

    let (n, n_folds, epochs) = (dataset.train.len() as f64, recipe.data.folds as f64, recipe.epochs as f64);
    let n_passes = if recipe.augment.flip == Flip::None { 1 } else { 2 };
    let data = TrainData::new(dataset, &recipe)?;
    let mut session = Session::start(recipe, model, data, &RunPlace::At(folder.to_owned()))?;
    let watch = &mut Watch { on_event: &mut |_| (), progress: &app.progress, stop: &app.stop };
    let summary = match session.run(watch)? {
        Outcome::Finished(summary) => summary,
        Outcome::Interrupted(signal) => return Ok(Err(signal)),
    };
    let path = folder.join(TEST_PREDICTIONS);
    let table = files::read_text(&path, MAX_TABLE_BYTES)?;
    let answers = parse_predictions_csv(&table)?.predictions;
    let features_secs = summary.features_seconds.unwrap_or_default();
    let own_secs = summary.features_own_seconds.unwrap_or_default() + summary.train_seconds;
    // each fold's model was trained on all folds except its own, the last model on all
    let of_image = 1.0 / summary.images_per_second.max(1.0);
    Ok(Ok(Trial {
        right: (0..answers.len()).map(|i| answers.predicted(i) == answers.targets()[i]).collect(),
        secs_per_image: features_secs / (n * f64::from(n_passes)),
        n_missing: n_passes as usize * session.n_missing_features(&whole.train)?
            + session.n_missing_features(&whole.test)?,
        head_secs: [
            of_image,
            (summary.train_seconds - epochs * n * n_folds * of_image).max(0.0) / (epochs * (n_folds + 1.0)),
        ],
        other_secs: (began.elapsed().as_secs_f64() - own_secs).max(0.0),
    }))
}
