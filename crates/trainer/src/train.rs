//! `trainer train`: turns flags and a recipe into a run.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use tallow_core::shown::shell_word;
use tallow_core::{Progress as _, StopSignal};
use tallow_metrics::Summary;
use tallow_training::{Outcome, RunFolder, RunPlace, Session, TrainingError, Watch};

use crate::App;
use crate::args::{SettingsArgs, TrainArgs};
use crate::preparation::{self, Place, RUNS, overrides, session};
use crate::race::{self, Chosen};
use crate::{event_pictures, report, telling};

/// Largest number of threads. More than any machine has cores is a mistake, which would otherwise only show as a machine that
/// hangs.
const MAX_THREADS: usize = 1024;

pub(crate) fn run(args: &TrainArgs, app: &App) -> Result<ExitCode> {
    set_threads(args.settings.threads)?;
    let (recipe, race) = match recipe(args, app)? {
        Ok(Chosen { recipe, race }) => (recipe, race),
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let place = match (&args.resume, &args.run_dir) {
        (Some(run), _) => Place::Resumed { run: run.clone(), lr: args.settings.lr },
        (None, Some(path)) => Place::New(RunPlace::At(path.clone())),
        (None, None) => Place::New(RunPlace::Under(RUNS.into())),
    };
    let mut session = match session(&args.settings, &place, recipe, app)? {
        Ok(session) => session,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    let run_dir = session.run_dir().to_owned();
    if let Some(race) = &race {
        race::write(race, &run_dir)?;
    }
    telling::begin(&session, app);
    let ended = work(&mut session, &format!("trainer --resume {}", shell_word(&run_dir)), app)?;
    let Ended { summary, page } = match ended {
        Ok(ended) => ended,
        Err(signal) => return Ok(ExitCode::from(signal.exit_status())),
    };
    telling::conclude(&summary, &run_dir, page.as_deref(), app)?;
    if let Some(race) = race {
        race::conclude(race, &run_dir, app)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The result of a run that was not interrupted.
pub(crate) struct Ended {
    pub(crate) summary: Box<Summary>,
    /// The report page, if it could be written.
    pub(crate) page: Option<PathBuf>,
}

/// Trains the rest of the run and writes the report. Returns the stop signal if a stop was requested on the way. If the run
/// is not complete, prints `go_on` as the command that continues it.
pub(crate) fn work(
    session: &mut Session,
    go_on: &str,
    app: &App,
) -> Result<std::result::Result<Ended, StopSignal>> {
    let run_dir = session.run_dir().to_owned();
    let was_over = run_dir.join("summary.json").is_file();
    let outcome = session.run(&mut Watch {
        on_event: &mut |event| telling::event(event, app),
        progress: &app.progress,
        stop: &app.stop,
    });
    if let Err(TrainingError::File(_)) = outcome {
        app.progress.say(&format!("To go on from the last checkpoint after correcting this: {go_on}"));
    }
    match outcome? {
        Outcome::Finished(summary) => {
            let page = run_dir.join("report.html");
            let page = match was_over && page.is_file() {
                true => Some(page),
                false => report::after_training(session, app),
            };
            event_pictures::log(session, app);
            Ok(Ok(Ended { summary, page }))
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
        ensure!((1..=MAX_THREADS).contains(&n), "--threads must be 1 to {MAX_THREADS}, it is {n}");
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(n.unwrap_or(0));
    builder.build_global().context("cannot start the threads")
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
        None => preparation::recipe(&args.settings, &overrides, app)?,
    };
    Ok(Ok(Chosen { recipe, race: None }))
}
