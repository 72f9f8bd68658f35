//! Checks a run folder: against its manifest, by the digests that model and checkpoints carry, by reading its records, and by
//! computing the accuracies again.

use std::path::Path;

use tallow_core::shown::shell_word;
use tallow_core::{Bar, Unit, files};
use tallow_metrics::{PredictionsTable, Summary};
use tallow_report::{ReportError, RunRecord};
use tallow_run_files::{
    BEST_CHECKPOINT, LAST_CHECKPOINT, MANIFEST, MODEL, Manifest, ManifestError, PREVIOUS_CHECKPOINT, SUMMARY,
    TEST_PREDICTIONS, VAL_PREDICTIONS, is_of_end,
};
use tallow_training::{RunFolder, TrainingError, check_checkpoint, check_model};

use super::remedy::remedy;
use super::{Kind, Verified, WHOLE, WITHOUT_DIGEST};
use crate::output::counted;
use crate::series::is_series;
use crate::{App, end};

/// Largest difference between a loss of the summary and the same computed again, as a share of it: what another order of
/// the sum may change.
const MAX_LOSS_ERROR: f64 = 1e-6;

/// How far a run has come.
struct Reached {
    /// Whether it has its results.
    is_over: bool,
    /// Whether it goes on with training or with its evaluation, so that its manifest does not have its files.
    is_unfinished: bool,
    /// Whether steps that follow its results are left, or a process takes them: their files may still change.
    is_ending: bool,
    /// Whether a process works on it.
    is_in_use: bool,
}

/// Checks the run folder `run`. Ends early if a stop was requested.
pub(super) fn verify(run: &Path, app: &App) -> Verified {
    let mut found = Verified::new(run, Kind::Run);
    if let Some(problem) = why_no_run(run) {
        found.differs(WHOLE, &problem, String::new());
        return found;
    }
    let manifest = Manifest::read(run);
    let reached = match reached(run, &manifest, &mut found) {
        Ok(reached) => reached,
        Err(e) => {
            found.differs(WHOLE, &e.to_string(), String::new());
            return found;
        }
    };
    if reached.is_unfinished || matches!(manifest, Ok(None)) {
        found.notes.push(without_manifest(run, &reached));
    }
    match &manifest {
        Ok(Some(manifest)) => compare(manifest, run, &reached, &mut found, app),
        Ok(None) => {}
        Err(e) => found.differs(MANIFEST, &e.to_string(), String::new()),
    }
    if app.stop.raised().is_some() {
        return found;
    }
    let record = if reached.is_over { RunRecord::read(run) } else { RunRecord::read_brief(run) };
    match record {
        Ok(record) => {
            read(&record, &reached, &mut found);
            agree(&record, &mut found);
        }
        // the manifest has told what is missing
        Err(e) if found.problems.is_empty() => found.differs(WHOLE, &e.to_string(), String::new()),
        Err(_) => {}
    }
    model(run, reached.is_over, &mut found);
    if !reached.is_in_use {
        checkpoints(run, &mut found);
    }
    found
}

/// Returns how far the run has come, and adds what its end has not made yet to the findings.
fn reached(
    run: &Path,
    manifest: &Result<Option<Manifest>, ManifestError>,
    found: &mut Verified,
) -> Result<Reached, TrainingError> {
    let is_over = files::is_file(&run.join(SUMMARY))?;
    // a manifest that has the summary was written at the end
    let is_recorded = match manifest {
        Ok(manifest) => manifest.as_ref().is_some_and(|manifest| manifest.file(SUMMARY).is_some()),
        Err(_) => true,
    };
    let is_in_use = RunFolder::is_in_use(run);
    let taken = RunFolder::steps_taken(run)?.filter(|_| is_over);
    match &taken {
        Some(_) if is_in_use => {
            found.notes.push("a process makes the rest of the run; its files are not checked yet".to_owned());
        }
        Some(taken) => found.left_to_make = Some(end::left(run, taken)?),
        None => {}
    }
    let is_unfinished = !is_over && !is_recorded;
    Ok(Reached { is_over, is_unfinished, is_ending: taken.is_some(), is_in_use })
}

/// Returns why the folder is not a run folder, with a remedy; `None` if it is one.
fn why_no_run(run: &Path) -> Option<String> {
    match (is_series(run), files::is_file(&run.join(MANIFEST))) {
        (Err(e), _) | (_, Err(e)) => Some(e.to_string()),
        (Ok(true), _) => Some(
            "it is a series of seeds without a run that can be read: continue it with trainer seeds"
                .to_owned(),
        ),
        (Ok(false), Ok(true)) => None,
        (Ok(false), Ok(false)) => match RunRecord::read_brief(run) {
            Ok(_) => None,
            Err(e @ ReportError::NotARun { .. }) => {
                Some(format!("{e}: name a run folder, as in trainer verify {}/*", shell_word(run)))
            }
            Err(e) => Some(e.to_string()),
        },
    }
}

/// Tells why a run has no manifest, or none of its own files.
fn without_manifest(run: &Path, reached: &Reached) -> String {
    let what = "what can be checked without it is";
    match (reached.is_over, reached.is_in_use) {
        (true, _) => format!(
            "there is no {MANIFEST}: an older version wrote the run, or somebody removed it; {what}, but other \
             content that can be read goes unnoticed"
        ),
        (false, true) => format!("a process works on the run, so its files are in no {MANIFEST} yet; {what}"),
        (false, false) => format!(
            "the run is not finished (trainer --resume {} goes on), so its files are in no {MANIFEST} yet; {what}",
            shell_word(run)
        ),
    }
}

/// Compares all files with the manifest, except those that the end of the run still writes.
fn compare(manifest: &Manifest, run: &Path, reached: &Reached, found: &mut Verified, app: &App) {
    let is_still_written = |name: &str| reached.is_ending && is_of_end(name);
    let files: Vec<_> = manifest.files().iter().filter(|file| !is_still_written(&file.path)).collect();
    let n_bytes: u64 = files.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
    let bar = Bar::begin(&app.progress, "verifying", Some(n_bytes), Unit::Bytes);
    let mut n_done = 0_u64;
    for file in &files {
        if app.stop.raised().is_some() {
            return;
        }
        match file.compare(run) {
            Ok(None) => {}
            Ok(Some(difference)) => {
                found.differs(&file.path, &difference.to_string(), remedy(&file.path, run));
            }
            Err(e) => found.differs(&file.path, &e.to_string(), String::new()),
        }
        n_done = n_done.saturating_add(file.bytes);
        bar.advance(n_done);
    }
    if found.problems.is_empty() {
        found.checked.push(format!("{} as recorded", counted(files.len() as u64, "file")));
    }
    if reached.is_unfinished {
        return; // hardly any file is recorded yet
    }
    match manifest.unknown(run) {
        Ok(unknown) => found.unknown.extend(unknown.into_iter().filter(|name| !is_still_written(name))),
        Err(e) => found.differs(WHOLE, &e.to_string(), String::new()),
    }
}

/// Takes over the problems of reading the records. A run that is not over lacks its summary, as it should.
fn read(record: &RunRecord, reached: &Reached, found: &mut Verified) {
    for problem in &record.problems {
        // they begin with the name of a file
        let problem = problem.raw();
        let name = problem.split([':', ' ']).next().unwrap_or_default();
        let is_expected =
            (reached.is_unfinished && name == SUMMARY) || (reached.is_ending && is_of_end(name));
        if !is_expected && !found.has_problem(name) && !problem.contains(MANIFEST) {
            let problem = problem[name.len()..].trim_start_matches([':', ' ']);
            found.differs(name, problem, remedy(name, &record.path));
        }
    }
}

/// Checks that tables of predictions give the figures of the summary.
fn agree(record: &RunRecord, found: &mut Verified) {
    let Some(summary) = &record.summary else { return };
    let Summary { n_val, n_test, val, test, .. } = summary;
    let of_test = test.map(|test| (test.accuracy, test.loss));
    let of_val = val.map(|val| (val.accuracy, val.loss));
    for (name, table, score, n) in
        [(TEST_PREDICTIONS, &record.test, of_test, *n_test), (VAL_PREDICTIONS, &record.val, of_val, *n_val)]
    {
        match (table, score) {
            (Some(table), Some((accuracy, loss))) => match disagreement(table, n, accuracy, loss) {
                Some(problem) => found.differs(name, &problem, remedy(name, &record.path)),
                None => found.checked.push(format!("{name} gives the accuracy and the loss of {SUMMARY}")),
            },
            (None, Some(_)) if !found.has_problem(name) => {
                found.differs(name, "is missing", remedy(name, &record.path));
            }
            _ => {}
        }
    }
}

/// Returns how a table of predictions differs from the figures of the summary.
fn disagreement(table: &PredictionsTable, n: u64, accuracy: f64, loss: f64) -> Option<String> {
    let predictions = &table.predictions;
    if predictions.len() as u64 != n {
        return Some(format!("has {} predictions, {SUMMARY} says {n}", predictions.len()));
    }
    let computed = predictions.accuracy().unwrap_or_default();
    if computed != accuracy {
        return Some(format!("gives an accuracy of {computed}, {SUMMARY} says {accuracy}"));
    }
    let computed = predictions.mean_nll().unwrap_or_default();
    let is_close = computed == loss || (computed - loss).abs() <= MAX_LOSS_ERROR * loss.abs();
    (!is_close).then(|| format!("gives a loss of {computed}, {SUMMARY} says {loss}"))
}

/// Checks the digest that the model file carries.
fn model(run: &Path, is_over: bool, found: &mut Verified) {
    let is_of_fold = || RunFolder::recipe_of(run).is_ok_and(|recipe| recipe.data.fold.is_some());
    if let Ok(None) = files::metadata(&run.join(MODEL)) {
        if is_over && !found.has_problem(MODEL) && !is_of_fold() {
            found.differs(MODEL, "is missing", remedy(MODEL, run));
        }
        return;
    }
    match check_model(&run.join(MODEL)) {
        Ok(true) => found.checked.push(format!("{MODEL} matches the digest that it carries")),
        Ok(false) => found.notes.push(WITHOUT_DIGEST.to_owned()),
        Err(_) if found.has_problem(MODEL) => {}
        Err(e) => found.differs(MODEL, &e.to_string(), remedy(MODEL, run)),
    }
}

/// Checks the digests that the checkpoints carry.
fn checkpoints(run: &Path, found: &mut Verified) {
    let mut n_whole = 0;
    for name in [LAST_CHECKPOINT, PREVIOUS_CHECKPOINT, BEST_CHECKPOINT] {
        let path = run.join(name);
        if let Ok(None) = files::metadata(&path) {
            continue;
        }
        match check_checkpoint(&path) {
            Ok(()) => n_whole += 1,
            Err(_) if found.has_problem(name) => {}
            Err(e) => found.differs(name, &e.to_string(), remedy(name, run)),
        }
    }
    if n_whole > 0 {
        let them = if n_whole == 1 {
            "matches the digest that it carries"
        } else {
            "match the digests that they carry"
        };
        found.checked.push(format!("{} {them}", counted(n_whole, "checkpoint")));
    }
}
