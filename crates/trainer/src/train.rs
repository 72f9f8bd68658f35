//! `trainer train`: flags and a recipe become a run.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use tallow_core::shown::shell_word;
use tallow_core::{Progress as _, StopSignal};
use tallow_dataset::Dataset;
use tallow_models::InputSizes;
use tallow_training::{
    Outcome, Override, Recipe, RunFolder, RunPlace, Session, TrainData, TrainingError, Watch, device,
    device_name,
};

use crate::App;
use crate::args::{self, TrainArgs};
use crate::pretrained::Pretrained;
use crate::race::{self, Chosen};
use crate::recipe_input::{self, load_recipe};
use crate::source::{self, Loaded, Request, Spec};
use crate::{auto, duplicates, event_pictures, inputs, places, report, telling};

/// The recipe where nobody names one, and the data set is not the user's own.
const DEFAULT_RECIPE: &str = "cnn";

/// Where run folders go.
const RUNS: &str = "runs";

/// More threads than any machine has cores: a mistake, which would only show as a machine that hangs.
const MAX_THREADS: usize = 1024;

pub(crate) fn run(args: &TrainArgs, app: &App) -> Result<ExitCode> {
    set_threads(args.threads)?;
    let (recipe, race) = match recipe(args, app)? {
        Ok(Chosen { recipe, race }) => (recipe, race),
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let mut session = match session(args, recipe, app)? {
        Ok(session) => session,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let run_dir = session.run_dir().to_owned();
    if let Some(race) = &race {
        race::write(race, &run_dir)?;
    }
    let was_over = run_dir.join("summary.json").is_file();
    telling::begin(&session, app);
    let outcome = session.run(&mut Watch {
        on_event: &mut |event| telling::event(event, app),
        progress: &app.progress,
        stop: &app.stop,
    });
    let go_on = format!("trainer --resume {}", shell_word(&run_dir));
    if let Err(TrainingError::File(_)) = outcome {
        app.progress.say(&format!("To go on from the last checkpoint, once this is put right: {go_on}"));
    }
    match outcome? {
        Outcome::Finished(summary) => {
            let page = run_dir.join("report.html");
            let page = match was_over && page.is_file() {
                true => Some(page),
                false => report::after_training(&session, app),
            };
            event_pictures::log(&session, app);
            telling::conclude(&summary, &run_dir, page.as_deref(), app)?;
            if let Some(race) = race {
                race::conclude(race, &run_dir, app)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted(signal) => {
            app.progress.say(&format!("Stopped. To go on: {go_on}"));
            Ok(ExitCode::from(signal.exit_status()))
        }
    }
}

/// Gives every computation `n` threads.
pub(crate) fn set_threads(n: Option<usize>) -> Result<()> {
    if let Some(n) = n {
        ensure!((1..=MAX_THREADS).contains(&n), "--threads must be 1 to {MAX_THREADS}, it is {n}");
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(n.unwrap_or(0));
    builder.build_global().context("cannot start the threads")
}

/// The recipe, or that of the run to resume, with what the flags say; or the wish to stop that came while backbones were tried.
fn recipe(args: &TrainArgs, app: &App) -> Result<std::result::Result<Chosen, StopSignal>> {
    let mut overrides = Vec::new();
    let mut set = |key: &str, value: Option<toml::Value>| {
        overrides.extend(value.map(|value| recipe_input::flag(key, value)));
    };
    let path = |path: &Path| toml::Value::from(path.to_string_lossy().into_owned());
    let integer = |key: &str, n: Option<u64>| -> Result<Option<toml::Value>> {
        n.map(|n| i64::try_from(n).map(Into::into).with_context(|| format!("--{key} {n} is too large")))
            .transpose()
    };
    set("data.dataset", args.dataset.clone().map(Into::into));
    set("data.data_dir", args.data_dir.as_deref().map(path));
    set("data.val_fraction", args.val_fraction.map(Into::into));
    set("data.validate_on", args.validate_on.map(|args::ValidateOn::Test| "test".into()));
    set("data.test_fraction", args.test_fraction.map(Into::into));
    set("data.skip_bad", args.labels.skip_bad.then(|| true.into()));
    set("data.file_column", args.labels.file_column.clone().map(Into::into));
    set("data.label_column", args.labels.label_column.clone().map(Into::into));
    set("data.split_column", args.labels.split_column.clone().map(Into::into));
    set("data.train_subset", integer("train-subset", args.train_subset.map(|n| n as u64))?);
    set("data.folds", integer("folds", args.folds.map(|n| n as u64))?);
    set("epochs", integer("epochs", args.epochs)?);
    set("batch_size", integer("batch-size", args.batch_size.map(|n| n as u64))?);
    // of a run that goes on, it is the rate of an extension
    set("optimizer.lr", args.lr.filter(|_| args.resume.is_none()).map(Into::into));
    set("seed", integer("seed", args.seed)?);
    set("init_from", args.init_from.as_deref().map(path));
    set("device", args.device.clone().map(Into::into));
    set("model.weights", args.weights.clone().map(Into::into));
    set("precision", args.precision.map(|p| p.in_recipe().as_str().into()));
    for text in &args.set {
        overrides.push(Override::parse(text)?);
    }
    recipe_input::refuse_conflicts(&overrides)?;
    if race::is_wanted(args) {
        return race::recipe(args, &overrides, app);
    }
    let recipe = match &args.resume {
        Some(run) => {
            RunFolder::recipe_of(run)?; // says what is wrong with the folder, where it is no run folder
            RunFolder::load(run, &overrides)?
        }
        None => match (&args.recipe, args.dataset.as_deref().map(Spec::parse).transpose()?) {
            (Some(name), _) => load_recipe(name, &overrides)?,
            (None, Some(spec)) if spec.is_of_files() => auto::recipe(args, &spec, &overrides, app)?,
            (None, _) => load_recipe(DEFAULT_RECIPE, &overrides)?,
        },
    };
    Ok(Ok(Chosen { recipe, race: None }))
}

/// Refuses batches that cannot be in memory: each image takes its pixels in f32, and first maps at least as large.
fn ensure_batch_fits(recipe: &Recipe, dataset: &Dataset, input_px: [usize; 2]) -> Result<()> {
    let n = recipe.batch_size.min(dataset.train.len());
    let n_bytes = (n as u128) * (input_px[0] * input_px[1] * 3 * 4 * 4) as u128;
    let free = source::free_memory_bytes().unwrap_or(usize::MAX) as u128;
    ensure!(
        n_bytes <= free,
        "recipe: batch_size: {n} images of {} x {} pixels take more than {} GB of memory, {} GB are free: choose a \
         smaller batch_size or model.input_px",
        input_px[0],
        input_px[1],
        n_bytes / 1_000_000_000,
        free / 1_000_000_000
    );
    Ok(())
}

/// Loads weights, data and network, decides what the recipe leaves open, and starts or resumes the run; or the wish to stop
/// that came on the way. A run that goes on decides nothing anew.
fn session(
    args: &TrainArgs,
    mut recipe: Recipe,
    app: &App,
) -> Result<std::result::Result<Session, StopSignal>> {
    let is_new = args.resume.is_none();
    let device = device(&recipe.device)?;
    recipe.device = device_name(&device);
    let spec = Spec::parse(&recipe.data.dataset)?;
    if args.weights.is_some() {
        places::settle_weights(&mut recipe);
    }
    let (pretrained, no_weights) = match is_new {
        true => (Pretrained::find(&recipe.model, args.offline, app)?, None),
        false => Pretrained::find_again(&recipe, args.offline, app)?,
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
    let fetches = if args.offline { Err(Some("--offline was given")) } else { Ok(()) };
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
        if spec.is_of_files() {
            match duplicates::between_parts(&dataset, app)? {
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
    ensure_batch_fits(&recipe, &dataset, input_px)?;
    let n_classes = dataset.train.class_names().len();
    let model = architecture.build(&recipe.model, n_classes, recipe.seed, &device)?;
    if let Some(pretrained) = &pretrained {
        pretrained.load_into(&model, &app.progress)?;
    }
    Pretrained::still_needed(no_weights, &model)?;
    match is_new {
        true => places::settle(&mut recipe, model.trunk.is_some()),
        false if args.data_dir.is_some() => recipe.data.data_dir = places::whole(&recipe.data.data_dir),
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
    let mut session = match (&args.resume, &args.run_dir) {
        (Some(run), _) => Session::resume(recipe, model, data, run, args.lr)?,
        (None, Some(path)) => Session::start(recipe, model, data, &RunPlace::At(path.clone()))?,
        (None, None) => Session::start(recipe, model, data, &RunPlace::Under(RUNS.into()))?,
    };
    if let Some(pretrained) = &pretrained {
        session.set_pretrained(pretrained.told());
    }
    session.note(notices);
    Ok(Ok(session))
}
