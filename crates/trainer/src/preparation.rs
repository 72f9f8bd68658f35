//! Prepares a run: turns the command line into a recipe, and the recipe, with weights, data and network, into a session.
//! Every command that trains begins here.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tallow_core::{StopSignal, path_text};
use tallow_models::InputSizes;
use tallow_training::{Override, Recipe, RunPlace, Session, TrainData, device, device_name};

use crate::App;
use crate::args::{self, SettingsArgs};
use crate::pretrained::Pretrained;
use crate::recipe_input::{self, load_recipe};
use crate::source::{self, Loaded, Request, Spec};
use crate::{auto, duplicates, inputs, places};

/// The default recipe, unless the data set is the user's own.
const DEFAULT_RECIPE: &str = "cnn";

/// The default folder of run folders.
pub(crate) const RUNS: &str = "runs";

/// The place of a session.
pub(crate) enum Place {
    /// A new run folder.
    New(RunPlace),
    /// The run folder `run`, resumed from its last checkpoint; `lr` is the learning rate of an extension.
    Resumed { run: PathBuf, lr: Option<f64> },
    /// A new folder that will be removed; test images are not searched for near-duplicates of training images.
    Trial(PathBuf),
}

/// Returns the overrides that `settings` and `seed` give, each key with its flag.
pub(crate) fn overrides(settings: &SettingsArgs, seed: Option<u64>) -> Result<Vec<Override>> {
    let mut overrides = Vec::new();
    let mut set = |key: &str, value: Option<toml::Value>| {
        overrides.extend(value.map(|value| recipe_input::flag(key, value)));
    };
    let path = |path: &Path| toml::Value::from(path_text(path));
    let integer = |key: &str, n: Option<u64>| -> Result<Option<toml::Value>> {
        n.map(|n| i64::try_from(n).map(Into::into).with_context(|| format!("--{key} {n} is too large")))
            .transpose()
    };
    set("data.dataset", settings.dataset.clone().map(Into::into));
    set("data.data_dir", settings.data_dir.as_deref().map(path));
    set("data.val_fraction", settings.val_fraction.map(Into::into));
    set("data.validate_on", settings.validate_on.map(|args::ValidateOn::Test| "test".into()));
    set("data.test_fraction", settings.test_fraction.map(Into::into));
    set("data.skip_bad", settings.labels.skip_bad.then(|| true.into()));
    set("data.file_column", settings.labels.file_column.clone().map(Into::into));
    set("data.label_column", settings.labels.label_column.clone().map(Into::into));
    set("data.split_column", settings.labels.split_column.clone().map(Into::into));
    set("data.train_subset", integer("train-subset", settings.train_subset.map(|n| n as u64))?);
    set("data.folds", integer("folds", settings.folds.map(|n| n as u64))?);
    set("epochs", integer("epochs", settings.epochs)?);
    set("batch_size", integer("batch-size", settings.batch_size.map(|n| n as u64))?);
    set("optimizer.lr", settings.lr.map(Into::into));
    set("init_from", settings.init_from.as_deref().map(path));
    set("device", settings.device.clone().map(Into::into));
    set("model.weights", settings.weights.clone().map(Into::into));
    set("precision", settings.precision.map(|p| p.in_recipe().as_str().into()));
    set("seed", integer("seed", seed)?);
    for text in &settings.set {
        overrides.push(Override::parse(text)?);
    }
    recipe_input::refuse_conflicts(&overrides)?;
    Ok(overrides)
}

/// Returns the recipe of a new run with `overrides`: the named one, or a suitable one for the data.
pub(crate) fn recipe(settings: &SettingsArgs, overrides: &[Override], app: &App) -> Result<Recipe> {
    Ok(match (&settings.recipe, settings.dataset.as_deref().map(Spec::parse).transpose()?) {
        (Some(name), _) => load_recipe(name, overrides)?,
        (None, Some(spec)) if spec.is_of_files() => auto::recipe(settings, &spec, overrides, app)?,
        (None, _) => load_recipe(DEFAULT_RECIPE, overrides)?,
    })
}

/// Loads weights, data and network, decides what the recipe leaves open, and starts or resumes the run. Returns the stop
/// signal if a stop was requested on the way. A resumed run keeps its earlier decisions.
pub(crate) fn session(
    settings: &SettingsArgs,
    place: &Place,
    mut recipe: Recipe,
    app: &App,
) -> Result<std::result::Result<Session, StopSignal>> {
    let is_new = !matches!(place, Place::Resumed { .. });
    let device = device(&recipe.device)?;
    recipe.device = device_name(&device);
    let spec = Spec::parse(&recipe.data.dataset)?;
    if settings.weights.is_some() {
        places::settle_weights(&mut recipe);
    }
    let (pretrained, mut no_weights) = match is_new {
        true => (Pretrained::find(&recipe.model, settings.offline, app)?, None),
        false => Pretrained::find_again(&recipe, settings.offline, app)?,
    };
    if let Some(pretrained) = &pretrained {
        pretrained.describe(&mut recipe.model)?;
        if is_new {
            recipe.model.insert("weights".into(), pretrained.origin().into());
        }
    }
    let architecture = tallow_models::architecture_of(&recipe.model)?;
    let input_px = architecture.input_px(&recipe.model)?;
    if spec.is_of_files() {
        inputs::decide_for_files(&mut recipe.data, pretrained.as_ref());
    }
    let fetches = if settings.offline { Err(Some("--offline was given")) } else { Ok(()) };
    let preprocess = Some(recipe.data.preprocess(input_px));
    let is_read_once = recipe.model.get("unfreeze").and_then(toml::Value::as_str) == Some("none");
    let request =
        Request { spec: &spec, config: &recipe.data, fetches, preprocess, is_all_test: false, is_read_once };
    let (mut dataset, mut notices) = match source::load(&request, app)? {
        Loaded::Dataset(dataset, notices) => (*dataset, notices),
        Loaded::Stopped(signal) => return Ok(Err(signal)),
    };
    recipe.data.dataset = spec.resolved(&dataset);
    if let Some(shape) = dataset.train.block_shape() {
        inputs::decide_for_block(&mut recipe.data, shape, input_px);
    }
    dataset.normalization = inputs::normalization(&recipe, pretrained.as_ref(), &dataset);
    if is_new {
        recipe.data.normalization = Some(dataset.normalization);
        inputs::validate_by_folds(&mut recipe);
        notices.extend(inputs::give_up_validation(&mut recipe, &dataset));
        if spec.is_of_files() && !matches!(place, Place::Trial(_)) {
            match duplicates::between_parts(&dataset, &recipe.data, app)? {
                Some(found) => notices.extend(found),
                None => return Ok(Err(app.stop.raised().unwrap_or(StopSignal::Interrupt))),
            }
        }
    }
    ensure!(
        recipe.data.size_factors.is_empty()
            || matches!(architecture.sizes, InputSizes::Any | InputSizes::OwnOrSmaller),
        "recipe: data.size_factors: a {} takes images of one size only: leave it out",
        architecture.name
    );
    let n_classes = dataset.train.class_names().len();
    let size = architecture.size(&recipe.model, n_classes)?;
    recipe.check_memory(&size, input_px, dataset.train.len(), &device)?;
    let model = architecture.build(&recipe.model, n_classes, recipe.seed, &device)?;
    if let Some(pretrained) = &pretrained {
        pretrained.load_into(&model, &app.progress)?;
    }
    if model.params.params().any(|param| param.is_frozen()) {
        let remedy = "they are frozen: give their new place with --weights";
        Pretrained::still_needed(no_weights.take(), remedy)?;
    }
    match is_new {
        true => places::settle(&mut recipe, model.trunk.is_some()),
        false if settings.data_dir.is_some() => recipe.data.data_dir = places::whole(&recipe.data.data_dir),
        false => {}
    }
    if recipe.data.folds > 0 {
        match duplicates::groups(&dataset.train, &app.progress, &app.stop)? {
            Some(found) => {
                notices.extend(found.notice().filter(|_| is_new));
                dataset.groups = Some(found.groups.into());
            }
            None => return Ok(Err(app.stop.raised().unwrap_or(StopSignal::Interrupt))),
        }
    }
    let data = TrainData::new(dataset, &recipe)?;
    let mut session = match place {
        Place::Resumed { run, lr } => Session::resume(recipe, model, data, run, *lr)?,
        Place::Trial(path) => Session::start(recipe, model, data, &RunPlace::At(path.clone()))?,
        Place::New(place) => Session::start(recipe, model, data, place)?,
    };
    if session.trains_a_fold_again() {
        Pretrained::still_needed(no_weights, "a fold is trained again from them: put them back there")?;
    }
    if let Some(pretrained) = &pretrained {
        session.set_pretrained(pretrained.told());
    }
    session.note(notices);
    Ok(Ok(session))
}
