//! `trainer train`: turns flags and a recipe into a run.

use std::cell::RefCell;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use tallow_core::shown::shell_word;
use tallow_core::{Progress as _, StopSignal, files};
use tallow_metrics::{RaceRecord, Summary};
use tallow_run_files::PAGE;
use tallow_training::{Outcome, RunFolder, RunPlace, SHARED_SHARDS, Session, TrainingError, Watch};

use crate::App;
use crate::args::{SettingsArgs, TrainArgs};
use crate::preparation::{self, Place, RUNS, overrides, session};
use crate::race::{self, Chosen};
use crate::together::OwnFolder;
use crate::{end, telling};

/// Largest number of threads. More than any machine has cores is a mistake, which would otherwise only show as a machine that
/// hangs.
const MAX_THREADS: usize = 1024;

/// The environment variables from which rayon and Candle take numbers of threads; rayon still knows the second by its old name.
const THREAD_VARIABLES: [&str; 3] = ["RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS", "CANDLE_NUM_THREADS"];

pub(crate) fn run(args: &TrainArgs, app: &App) -> Result<ExitCode> {
    set_threads(args.settings.threads.or(app.company.n_threads()))?;
    let own = app.company.own_folder()?;
    let args = &of_process(args, own.as_ref(), app)?;
    let (mut session, race) = match app.company.after_the_first(|| prepared(args, app))? {
        Ok(prepared) => prepared,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    session.share_work(&app.company.comm)?;
    let run_dir = session.run_dir().to_owned();
    if !app.company.is_first() {
        return work_along(&mut session, app);
    }
    if let Some(race) = &race {
        race::write(race, &run_dir)?;
    }
    telling::begin(&session, app);
    let go_on = format!("trainer --resume {}", shell_word(&run_dir));
    match work(&mut session, race.as_ref(), &go_on, app)? {
        Ok(ended) => {
            telling::conclude(&ended, &run_dir, app)?;
            Ok(end::status(ended.missing.is_empty()))
        }
        Err(signal) => Ok(ExitCode::from(signal.exit_status())),
    }
}

/// Returns the session of the new or resumed run, and the race that chose its backbone. Returns the stop signal if a stop was
/// requested on the way.
fn prepared(
    args: &TrainArgs,
    app: &App,
) -> Result<std::result::Result<(Session, Option<RaceRecord>), StopSignal>> {
    let Chosen { recipe, race } = match recipe(args, app)? {
        Ok(chosen) => chosen,
        Err(signal) => return Ok(Err(signal)),
    };
    let place = match (&args.resume, &args.run_dir) {
        (Some(run), _) => Place::Resumed { run: run.clone(), lr: args.settings.lr },
        (None, Some(path)) => Place::New(RunPlace::At(path.clone())),
        (None, None) => Place::New(RunPlace::Under(RUNS.into())),
    };
    Ok(session(&args.settings, &place, recipe, app)?.map(|session| (session, race)))
}

/// Returns the arguments for this process: one that is not the first has its run in `own`.
fn of_process(args: &TrainArgs, own: Option<&OwnFolder>, app: &App) -> Result<TrainArgs> {
    let mut args = args.clone();
    ensure!(
        !app.company.is_shared() || !race::is_wanted(&args),
        "backbones are tried by one process: run this command without the launcher, or train with the recipe of such a run \
         (--recipe RUN/recipe.toml)"
    );
    if let Some(run) = &args.resume {
        args.resume = Some(app.company.copied(run, own)?);
    } else if let Some(own) = own {
        args.run_dir = Some(own.run_dir());
    }
    Ok(args)
}

/// Trains as one of several processes whose first one keeps the results and talks.
fn work_along(session: &mut Session, app: &App) -> Result<ExitCode> {
    let mut watch = Watch { on_event: &mut |_| (), progress: &app.progress, stop: &app.stop };
    Ok(match session.run(&mut watch)? {
        Outcome::Finished(_) => ExitCode::SUCCESS,
        Outcome::Interrupted(signal) => ExitCode::from(signal.exit_status()),
    })
}

/// The result of a run that was not interrupted.
pub(crate) struct Ended {
    pub(crate) summary: Box<Summary>,
    /// The report page, if it could be written.
    pub(crate) page: Option<PathBuf>,
    /// The steps of the end that failed, by name.
    pub(crate) missing: Vec<&'static str>,
}

/// Trains the rest of the run and takes the steps of its end, which add the time to the record `race`, if any. Returns the
/// stop signal if a stop was requested on the way. If the run is not complete, prints `go_on` as the command that continues
/// it.
pub(crate) fn work(
    session: &mut Session,
    race: Option<&RaceRecord>,
    go_on: &str,
    app: &App,
) -> Result<std::result::Result<Ended, StopSignal>> {
    let page = session.run_dir().join(PAGE);
    if !files::is_file(&page)? {
        session.repeat_end(); // a run that is over, but has no report, gets one
    }
    let failed = RefCell::default();
    let mut watch =
        Watch { on_event: &mut |event| telling::event(event, app), progress: &app.progress, stop: &app.stop };
    let outcome = session.run_with(&mut watch, &end::steps(race, go_on, &failed, app));
    if let Err(TrainingError::File(_)) = outcome {
        app.progress.say(&format!("To go on from the last checkpoint after correcting this: {go_on}"));
    }
    match outcome? {
        Outcome::Finished(summary) => {
            let missing = failed.take();
            let page = Some(page).filter(|page| page.is_file() && !missing.contains(&"report"));
            Ok(Ok(Ended { summary, page, missing }))
        }
        Outcome::Interrupted(signal) => {
            app.progress.say(&format!("Stopped. To go on: {go_on}"));
            Ok(Err(signal))
        }
    }
}

/// Sets the number of threads of all computations to `n`.
pub(crate) fn set_threads(n: Option<usize>) -> Result<()> {
    if let Some(n) = n {
        require_threads("--threads", n)?;
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(n.unwrap_or(0));
    builder.build_global().context("cannot start the threads")
}

fn require_threads(what: &str, n: usize) -> Result<()> {
    ensure!((1..=MAX_THREADS).contains(&n), "{what} must be 1 to {MAX_THREADS}, it is {n}");
    Ok(())
}

/// Refuses environment variables that ask for too many threads, whatever the command: the first computation would start them.
/// The libraries ignore 0 and what is not a number.
pub(crate) fn check_thread_variables(variable: impl Fn(&str) -> Option<String>) -> Result<()> {
    for name in THREAD_VARIABLES {
        match variable(name).map(|text| text.parse::<usize>()) {
            Some(Ok(n)) if n > 0 => require_threads(name, n)?,
            _ => {}
        }
    }
    Ok(())
}

/// Returns the recipe, or that of the run to resume, with the flags applied. Returns the stop signal if a stop was requested
/// while backbones were tried.
fn recipe(args: &TrainArgs, app: &App) -> Result<std::result::Result<Chosen, StopSignal>> {
    // when resuming, --lr is the rate of an extension
    let lr = args.settings.lr.filter(|_| args.resume.is_none());
    let overrides = overrides(&SettingsArgs { lr, ..args.settings.clone() }, args.seed)?;
    if race::is_wanted(args) {
        return race::recipe(args, &overrides, app);
    }
    let recipe = match &args.resume {
        Some(run) => {
            RunFolder::recipe_of(run)?; // its error tells why the folder is not a run folder
            RunFolder::load(run, &overrides)?
        }
        None => {
            let mut recipe = preparation::recipe(&args.settings, &overrides, app)?;
            if app.company.comm.is_launched() {
                recipe.shards.get_or_insert(SHARED_SHARDS);
            }
            recipe
        }
    };
    Ok(Ok(Chosen { recipe, race: None }))
}
