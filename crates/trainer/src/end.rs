//! What `trainer` adds to a run folder once the model is tested, as a list of steps: the report with its pictures, the pictures
//! for TensorBoard, the time of a race, and the digests of these files. `tallow-training` takes the steps in order, and those
//! that a killed process left when the run is resumed. A step that fails does not take back the model and its test; the exit
//! status tells of it.

use std::cell::RefCell;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use tallow_core::terminal::print_error;
use tallow_core::{FileError, files};
use tallow_metrics::RaceRecord;
use tallow_run_files::{IMAGES, PAGE, PLOTS, RACE, event_files, record};
use tallow_training::{EndStep, Session};

use crate::{App, event_pictures, race, report};

/// The exit status if the model is trained and tested, but a step of the end failed.
const INCOMPLETE: u8 = 3;

/// The steps in their order: the name of each, and a phrase for what it makes.
const STEPS: [(&str, &str); 5] = [
    ("pictures", "the pictures of its report"),
    ("report", "its report"),
    ("tensorboard", "its pictures for TensorBoard"),
    ("race", "the time of its race"),
    ("manifest", "the digests of these files"),
];

/// The names of the steps that failed.
pub(crate) type Failed = RefCell<Vec<&'static str>>;

type Make<'a> = Box<dyn Fn(&Session) -> Result<()> + 'a>;

/// Returns what the steps make that the run `run` has not `taken`, in words.
pub(crate) fn left(run: &Path, taken: &[String]) -> std::result::Result<Vec<&'static str>, FileError> {
    let has_race = files::exists(&run.join(RACE))?;
    let is_left =
        |(name, _): &(&str, &str)| !taken.iter().any(|taken| taken == name) && (*name != "race" || has_race);
    Ok(STEPS.into_iter().filter(is_left).map(|(_, makes)| makes).collect())
}

/// Returns the steps, each with a function that takes it and replaces what is there. A failure is printed with `go_on`, the
/// command that tries again, and added to `failed`.
pub(crate) fn steps<'a>(
    race: Option<&'a RaceRecord>,
    go_on: &'a str,
    failed: &'a Failed,
    app: &'a App,
) -> Vec<EndStep<'a>> {
    let conclude = move |session: &Session| match race {
        Some(race) => race::conclude(race, session.run_dir(), app),
        None => Ok(()), // no race, or an earlier process ran it
    };
    let makers: [Make<'a>; STEPS.len()] = [
        Box::new(report::write_pictures),
        Box::new(report::write_page),
        Box::new(event_pictures::write),
        Box::new(conclude),
        Box::new(record_files),
    ];
    let step = |((name, makes), make): ((&'static str, &'static str), Make<'a>)| EndStep {
        name,
        take: Box::new(move |session| {
            let started = Instant::now();
            let made = make(session);
            tracing::debug!(name, secs = started.elapsed().as_secs_f64(), "step of the end taken");
            if let Err(error) = &made {
                let what = format!("the model is trained and tested, but {makes} could not be written");
                print_error([format!("{what}: {error:#}. To try again: {go_on}")]);
                failed.borrow_mut().push(name);
            }
            made.is_ok()
        }),
    };
    STEPS.into_iter().zip(makers).map(step).collect()
}

/// Takes what the steps before wrote into the manifest.
fn record_files(session: &Session) -> Result<()> {
    let run = session.run_dir();
    let mut written = [PAGE, PLOTS, IMAGES, RACE].map(|name| run.join(name)).to_vec();
    written.extend(event_files(run)?);
    Ok(record(run, &written)?)
}

/// Returns the exit status of a command whose runs are complete, or not.
pub(crate) fn status(is_complete: bool) -> ExitCode {
    if is_complete { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) }
}
