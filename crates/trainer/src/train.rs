//! `trainer train`: flags and a recipe become a run.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use tallow_core::{Progress as _, StopSignal};
use tallow_metrics::Summary;
use tallow_models::InputSizes;
use tallow_training::{
    Event, Outcome, Override, Recipe, RunFolder, RunPlace, Session, TrainData, TrainingError, ValidateOn,
    Watch, device, device_name, load_recipe,
};

use crate::App;
use crate::args::{self, TrainArgs};
use crate::pretrained::Pretrained;
use crate::source::{self, Request, Spec};
use crate::{auto, duplicates, event_pictures, inputs, output, report};

/// The recipe where nobody names one, and the data set is not the user's own.
const DEFAULT_RECIPE: &str = "cnn";

/// Where run folders go.
const RUNS: &str = "runs";

/// More threads than any machine has cores: a mistake, which would only show as a machine that hangs.
const MAX_THREADS: usize = 1024;

pub(crate) fn run(args: &TrainArgs, app: &App) -> Result<ExitCode> {
    set_threads(args.threads)?;
    let recipe = recipe(args, app)?;
    let mut session = match session(args, recipe, app)? {
        Ok(session) => session,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let run_dir = session.run_dir().to_owned();
    let was_over = run_dir.join("summary.json").is_file();
    app.progress.say(&format!("Run folder {}", run_dir.display()));
    let outcome = session.run(&mut Watch {
        on_event: &mut |event| tell(event, app),
        progress: &app.progress,
        stop: &app.stop,
    });
    let go_on = format!("trainer train --resume {}", run_dir.display());
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
            conclude(&summary, &run_dir, page.as_deref(), app)?;
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

/// The recipe, or that of the run to resume, with what the flags say.
fn recipe(args: &TrainArgs, app: &App) -> Result<Recipe> {
    let mut overrides = Vec::new();
    let mut set = |key: &str, value: Option<toml::Value>| {
        overrides.extend(value.map(|value| Override::new(key, value)));
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
    set("epochs", integer("epochs", args.epochs)?);
    set("batch_size", integer("batch-size", args.batch_size.map(|n| n as u64))?);
    set("optimizer.lr", args.lr.map(Into::into));
    set("seed", integer("seed", args.seed)?);
    set("init_from", args.init_from.as_deref().map(path));
    set("device", args.device.clone().map(Into::into));
    set("model.weights", args.weights.clone().map(Into::into));
    set("precision", args.precision.map(|p| p.in_recipe().as_str().into()));
    for text in &args.set {
        overrides.push(Override::parse(text)?);
    }
    match &args.resume {
        Some(run) => {
            RunFolder::recipe_of(run)?; // says what is wrong with the folder, where it is no run folder
            Ok(RunFolder::load(run, &overrides)?)
        }
        None => match (&args.recipe, args.dataset.as_deref().map(Spec::parse).transpose()?) {
            (Some(name), _) => Ok(load_recipe(name, &overrides)?),
            (None, Some(spec)) if spec.is_of_files() => auto::recipe(args, &spec, &overrides, app),
            (None, _) => Ok(load_recipe(DEFAULT_RECIPE, &overrides)?),
        },
    }
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
    let pretrained = Pretrained::find(&recipe.model, args.offline, app)?;
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
    let mut dataset = match source::load(&request, app)?.told(app) {
        Ok(dataset) => dataset,
        Err(signal) => return Ok(Err(signal)),
    };
    recipe.data.dataset = spec.resolved(&dataset);
    if let Some(shape) = dataset.train.block_shape() {
        inputs::decide_for_block(&mut recipe.data, shape, input_px);
    }
    dataset.normalization = inputs::normalization(&recipe, pretrained.as_ref(), &dataset);
    if is_new {
        recipe.data.normalization = Some(dataset.normalization);
        inputs::give_up_validation(&mut recipe, &dataset, app);
        if spec.is_of_files() && !duplicates::say_between_parts(&dataset, app)? {
            return Ok(Err(app.stop.raised().unwrap_or(StopSignal::Interrupt)));
        }
    }
    ensure!(
        recipe.data.size_factors.is_empty() || architecture.sizes == InputSizes::Any,
        "recipe: data.size_factors: a {} takes images of one size only: leave it out",
        architecture.name
    );
    let n_classes = dataset.train.class_names().len();
    let model = architecture.build(&recipe.model, n_classes, recipe.seed, &device)?;
    if let Some(pretrained) = &pretrained {
        pretrained.load_into(&model, app)?;
    }
    let data = TrainData::new(dataset, &recipe)?;
    Ok(Ok(match (&args.resume, &args.run_dir) {
        (Some(run), _) => Session::resume(recipe, model, data, run)?,
        (None, Some(path)) => Session::start(recipe, model, data, &RunPlace::At(path.clone()))?,
        (None, None) => Session::start(recipe, model, data, &RunPlace::Under(RUNS.into()))?,
    }))
}

/// Tells the user what happened.
fn tell(event: &Event, app: &App) {
    let text = match event {
        Event::Started { n_train, n_val, n_test, n_parameters, epoch, batch, .. } => {
            let from = match (epoch, batch) {
                (1, 0) => String::new(),
                (epoch, 0) => format!("; going on with epoch {epoch}"),
                (epoch, batch) => format!("; going on with epoch {epoch} after {batch} steps"),
            };
            format!(
                "{n_parameters} parameters; {n_train} images to train on, {n_val} to validate, {n_test} to test{from}"
            )
        }
        Event::Estimate { epoch_secs, left_secs, peak_rss_bytes } => {
            let memory =
                peak_rss_bytes.map_or(String::new(), |b| format!(", {} MB of memory", b / 1_000_000));
            format!("About {} per epoch, {} in all{memory}", duration(*epoch_secs), duration(*left_secs))
        }
        Event::Epoch { record, n_epochs, n_steps, secs, step_ms, .. } => {
            let decimals = if *step_ms < 10.0 { 1 } else { 0 };
            let val = match (record.val_accuracy, record.val_loss) {
                (Some(accuracy), Some(loss)) => format!("  val_accuracy {accuracy:.4}  val_loss {loss:.4}"),
                _ => String::new(),
            };
            format!(
                "Epoch {}/{n_epochs}  {n_steps} steps  {}  {step_ms:.decimals$}ms/step  accuracy {:.4}  loss {:.4}{val}  learning_rate {:.4e}",
                record.epoch,
                duration(*secs),
                record.accuracy,
                record.loss,
                record.learning_rate
            )
        }
        Event::RateLowered { epoch, from, to } => {
            format!("Epoch {epoch}: learning rate lowered from {from:e} to {to:e}")
        }
        Event::StoppedEarly { epoch } => format!("Epoch {epoch}: no more improvement, stopping early"),
        Event::BestRestored { epoch } => format!("Weights of the best epoch, {epoch}, restored"),
        Event::Notice { text } => format!("Note: {text}"),
        _ => return,
    };
    app.progress.say(&text);
}

/// The last word: the report, test accuracy with its interval, the run folder, the page about it.
fn conclude(summary: &Summary, run_dir: &Path, page: Option<&Path>, app: &App) -> Result<()> {
    let dishonest = "Validation looked at the test images: this test accuracy is not an honest estimate";
    let is_dishonest = RunFolder::recipe_of(run_dir)?.data.validate_on == ValidateOn::Test;
    if app.global.json {
        if is_dishonest {
            app.progress.say(dishonest);
        }
        if let Some(page) = page {
            app.progress.say(&format!("Report {}", page.display()));
        }
        return output::json(summary);
    }
    let report = run_dir.join("evaluation/report.txt");
    let report =
        std::fs::read_to_string(&report).with_context(|| format!("cannot read {}", report.display()))?;
    output::line(&format!("\n{report}"))?;
    if let Some(test) = &summary.test {
        let [low, high] = test.accuracy_interval.map(|share| 100.0 * share);
        output::line(&format!(
            "Test accuracy {:.2} % (95 % interval {low:.2} to {high:.2}), loss {:.4}, on {} images of {}",
            100.0 * test.accuracy,
            test.loss,
            summary.n_test,
            summary.dataset
        ))?;
    }
    if is_dishonest {
        output::line(dishonest)?;
    }
    output::line(&format!(
        "{} in {}, {:.0} images/s with {} ({}, {}, {})",
        output::counted(summary.epochs_run, "epoch"),
        duration(summary.train_seconds),
        summary.images_per_second,
        output::counted(summary.threads, "thread"),
        summary.device,
        summary.isa,
        summary.precision
    ))?;
    if let Some(secs) = summary.features_seconds {
        output::line(&format!("The backbone's features took {}; they are kept", duration(secs)))?;
    }
    output::line(&format!("Run folder {}", run_dir.display()))?;
    page.map_or(Ok(()), |page| output::line(&format!("Report {}", page.display())))
}

/// A time as people say it: `8.3s`, `12m 05s`, `3h 20m`.
fn duration(secs: f64) -> String {
    let whole = secs.round() as u64;
    match whole {
        _ if secs < 9.95 => format!("{secs:.1}s"),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases = [(0.04, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (61.0, "1m 01s"), (3720.0, "1h 02m")];
        for (secs, text) in cases {
            assert_eq!(duration(secs), text);
        }
    }
}
