//! `trainer seeds`: trains a recipe with several seeds, one after the other, and summarises the runs.
//!
//! `folder.rs` knows the folder of a series, `text.rs` formats its results, `compare.rs` compares two series.

mod compare;
mod folder;
mod text;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use tallow_core::shown::{shell_word, shown_path};
use tallow_core::{Progress as _, StopSignal, duration, files, temporary};
use tallow_run_files::RECIPE;
use tallow_training::{Override, Recipe, RunFolder, RunPlace, Session};

use self::folder::Series;
use crate::App;
use crate::args::{SeedsArgs, SettingsArgs};
use crate::preparation::{self, Place, RUNS, overrides, session};
use crate::train::{set_threads, work};
use crate::{end, output, recipe_input, telling};

pub(crate) use compare::compare;
pub(crate) use folder::{is_series, runs_of_series};

pub(crate) fn run(args: &SeedsArgs, app: &App) -> Result<ExitCode> {
    set_threads(args.settings.threads)?;
    let recipe = recipe(args, app)?;
    let seeds = recipe.seed..recipe.seed.checked_add(args.seeds).context("the seeds are too large")?;
    let path =
        args.out.clone().unwrap_or_else(|| Path::new(RUNS).join(format!("{}-seeds", recipe.name.raw())));
    let series = Series::open(path, recipe)?;
    temporary::remove_files(&series.path);
    let go_on = go_on(args, &series);
    let mut is_complete = true;
    for (i, seed) in seeds.enumerate() {
        if series.has_finished(seed)? {
            continue;
        }
        if let Some(signal) = app.stop.raised() {
            app.progress.say(&format!("Stopped. To go on: {go_on}"));
            return Ok(ExitCode::from(signal.exit_status()));
        }
        app.progress.say(&format!("Run {} of {}, seed {seed}", i + 1, args.seeds));
        match train_one(args, &series, seed, &go_on, app)? {
            Ok(is_whole) => is_complete &= is_whole,
            Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
        }
    }
    conclude(&series, app)?;
    Ok(end::status(is_complete))
}

/// Returns the recipe of the first run.
fn recipe(args: &SeedsArgs, app: &App) -> Result<Recipe> {
    let mut overrides = overrides(&args.settings, None)?;
    if let Some(seed) = args.first_seed {
        let value = i64::try_from(seed).with_context(|| format!("--first-seed {seed} is too large"))?;
        overrides.push(Override::new("seed", value).given_as(format!("--first-seed {seed}")));
        recipe_input::refuse_conflicts(&overrides)?;
    }
    preparation::recipe(&args.settings, &overrides, app)
}

/// Returns the command that continues the series.
fn go_on(args: &SeedsArgs, series: &Series) -> String {
    let (folder, recipe) = (shell_word(&series.path), shell_word(&series.recipe_path()));
    let mut command = format!("trainer seeds --recipe {recipe} --seeds {} --out {folder}", args.seeds);
    command.extend(args.first_seed.map(|seed| format!(" --first-seed {seed}")));
    command.extend(args.settings.threads.map(|n| format!(" --threads {n}")));
    command.push_str(if args.settings.offline { " --offline" } else { "" });
    command
}

/// Trains the run with this seed, from its start or from its last checkpoint, and adds it to the table. Returns whether no
/// step of its end failed, or the stop signal if a stop was requested on the way.
fn train_one(
    args: &SeedsArgs,
    series: &Series,
    seed: u64,
    go_on: &str,
    app: &App,
) -> Result<std::result::Result<bool, StopSignal>> {
    let run = series.run_path(seed);
    let is_new = !files::is_file(&run.join(RECIPE))?;
    let begun = match is_new {
        true => begin(args, series, seed, &run, app),
        false => go_on_with(args, &run, app),
    };
    let mut session = match begun? {
        Ok(session) => session,
        Err(signal) => return Ok(Err(signal)),
    };
    if let Err(e) = series.check_data(&session.data().dataset.digest) {
        drop(session);
        if is_new {
            std::fs::remove_dir_all(&run).with_context(|| format!("cannot remove {}", shown_path(&run)))?;
        }
        return Err(e);
    }
    telling::begin(&session, app);
    let ended = match work(&mut session, None, go_on, app)? {
        Ok(ended) => ended,
        Err(signal) => return Ok(Err(signal)),
    };
    let accuracy =
        ended.summary.test.map(|test| format!("{:.2} % of the test images right, ", 100.0 * test.accuracy));
    app.progress.say(&format!(
        "Seed {seed}: {}{}; run folder {}",
        accuracy.unwrap_or_default(),
        duration(ended.summary.model_seconds()),
        shell_word(&run)
    ));
    series.write_table(&series.runs()?)?;
    Ok(Ok(ended.missing.is_empty()))
}

fn begin(
    args: &SeedsArgs,
    series: &Series,
    seed: u64,
    run: &Path,
    app: &App,
) -> Result<std::result::Result<Session, StopSignal>> {
    series.create()?;
    let recipe = Recipe { seed, ..series.recipe.clone() };
    let begun = session(&args.settings, &Place::New(RunPlace::At(run.to_owned())), recipe, app);
    if !matches!(begun, Ok(Ok(_))) {
        series.remove_if_empty();
    }
    begun
}

/// Resumes a run. Only flags for the place of data and for network use apply; the series has already checked that the other
/// settings are unchanged.
fn go_on_with(args: &SeedsArgs, run: &Path, app: &App) -> Result<std::result::Result<Session, StopSignal>> {
    let SettingsArgs { data_dir, offline, .. } = args.settings.clone();
    let settings = SettingsArgs { data_dir, offline, ..SettingsArgs::default() };
    let recipe = RunFolder::load(run, &overrides(&settings, None)?)?;
    session(&settings, &Place::Resumed { run: run.to_owned(), lr: None }, recipe, app)
}

/// Writes the table and prints the summary of the runs.
fn conclude(series: &Series, app: &App) -> Result<()> {
    let runs = series.runs()?;
    ensure!(!runs.is_empty(), "{} has no finished run", shown_path(&series.path));
    let table = series.write_table(&runs)?;
    match app.global.json {
        true => output::json(&text::figures(series, &runs, Some(&table))?),
        false => output::line(&text::text(series, &runs, &table)?),
    }
}
