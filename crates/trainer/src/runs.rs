//! `trainer runs`: lists the runs of a folder.

use std::cmp::{Ordering, Reverse};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use rayon::prelude::*;
use serde::Serialize;
use tallow_core::shown::{shell_word, shown_path};
use tallow_core::{FileError, Foreign, Progress as _};
use tallow_metrics::Caveat;
use tallow_report::{ListedRun, ReportError, RunRecord, RunState, is_honest, runs_text};
use tallow_training::RunFolder;

use crate::App;
use crate::args::{RunsArgs, RunsColumn};
use crate::output;
use crate::series::is_series;

#[derive(Serialize)]
struct Document<'a> {
    #[serde(serialize_with = "output::path")]
    dir: &'a Path,
    runs: Vec<RunEntry<'a>>,
}

#[derive(Serialize)]
struct RunEntry<'a> {
    name: &'a Foreign,
    #[serde(serialize_with = "output::path")]
    path: &'a Path,
    state: &'static str,
    /// Number of completed epochs; the planned number follows.
    epochs_run: Option<u64>,
    epochs: Option<u64>,
    dataset: Option<Foreign>,
    model: Option<Foreign>,
    recipe: Option<Foreign>,
    seed: Option<u64>,
    test_accuracy: Option<f64>,
    test_accuracy_interval: Option<[f64; 2]>,
    val_accuracy: Option<f64>,
    seconds: Option<f64>,
    started_unix_secs: Option<f64>,
    /// Whether no decision was based on the test images.
    honest: bool,
    /// Reasons to distrust the run's figures.
    caveats: Vec<Caveat>,
    problems: &'a [Foreign],
}

pub(crate) fn run(args: &RunsArgs, app: &App) -> Result<ExitCode> {
    let (mut runs, unread) = read(&args.dir)?;
    for problem in unread {
        app.progress.say(&format!("Note: {problem}, so it is not listed"));
    }
    sort(&mut runs, args.sort);
    if app.global.json {
        output::json(&Document { dir: &args.dir, runs: runs.iter().map(entry).collect() })?;
    } else if !runs.is_empty() {
        output::line(runs_text(&runs, output::columns()).trim_end())?;
    }
    let series = series_in(&args.dir)?;
    for path in &series {
        app.progress
            .say(&format!("Runs of one recipe with several seeds: trainer runs {}", shell_word(path)));
    }
    if runs.is_empty() && series.is_empty() {
        app.progress.say(&format!(
            "There is no run folder in {}: trainer train makes one, and trainer runs DIR looks elsewhere",
            shown_path(&args.dir)
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the run folders directly below `dir`; other entries are skipped. Also returns why the system cannot look at some.
fn read(dir: &Path) -> Result<(Vec<ListedRun>, Vec<FileError>)> {
    ensure!(
        dir.is_dir(),
        "there is no folder {}: trainer train makes runs/RECIPE-1, and trainer runs DIR looks elsewhere",
        shown_path(dir)
    );
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", shown_path(dir)))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", shown_path(dir)))?;
        // a folder under construction has a hidden name
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    let read: Vec<_> = paths.par_iter().map(|path| RunRecord::read_brief(path)).collect();
    let (mut runs, mut unread) = (Vec::new(), Vec::new());
    for record in read {
        match record {
            Ok(record) => {
                let state = RunState::of(&record, RunFolder::is_in_use(&record.path));
                runs.push(ListedRun { record, state });
            }
            Err(ReportError::NotARun { .. }) => {}
            Err(ReportError::File(e)) => unread.push(e),
            Err(e) => return Err(e.into()),
        }
    }
    ensure!(
        !runs.is_empty() || !unread.is_empty() || RunRecord::read_brief(dir).is_err(),
        "{} is a run folder itself: name the folder that holds it, or see trainer report {}",
        shown_path(dir),
        shown_path(dir)
    );
    Ok((runs, unread))
}

/// Returns the folders of series directly below `dir`.
fn series_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", shown_path(dir)))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    // what the system cannot look at was told before
    let mut found: Vec<PathBuf> = paths.filter(|path| is_series(path).unwrap_or(false)).collect();
    found.sort();
    Ok(found)
}

fn entry(run: &ListedRun) -> RunEntry<'_> {
    let record = &run.record;
    let (test_accuracy, test_accuracy_interval) = run.test_accuracy().unzip();
    RunEntry {
        name: &record.name,
        path: &record.path,
        state: run.state.word(),
        epochs_run: run.n_epochs(),
        epochs: record.recipe_value(&["epochs"]).and_then(|text| text.raw().parse().ok()),
        dataset: run.dataset(),
        model: run.model(),
        recipe: run.recipe(),
        seed: run.seed(),
        test_accuracy,
        test_accuracy_interval,
        val_accuracy: run.val_accuracy(),
        seconds: run.seconds(),
        started_unix_secs: run.started_unix_secs(),
        honest: is_honest(record),
        caveats: record.caveats(),
        // the missing summary of an unfinished run is its state, not a problem
        problems: if matches!(run.state, RunState::Damaged(_)) { &record.problems } else { &[] },
    }
}

/// Sorts by `column`; runs with equal or unknown values are sorted by name.
fn sort(runs: &mut [ListedRun], column: RunsColumn) {
    let text = |a: Option<Foreign>, b: Option<Foreign>| last(a, b, |a, b| natural(a.raw(), b.raw()));
    let number = |a: Option<f64>, b: Option<f64>| last(a, b, f64::total_cmp);
    let greatest_first = |a: Option<f64>, b: Option<f64>| last(a, b, |a, b| b.total_cmp(a));
    runs.sort_by(|a, b| {
        let order = match column {
            RunsColumn::Name => Ordering::Equal,
            RunsColumn::State => a.state.word().cmp(b.state.word()),
            RunsColumn::Data => text(a.dataset(), b.dataset()),
            RunsColumn::Model => text(a.model(), b.model()),
            RunsColumn::Recipe => text(a.recipe(), b.recipe()),
            RunsColumn::Seed => last(a.seed(), b.seed(), u64::cmp),
            RunsColumn::Accuracy => {
                greatest_first(a.test_accuracy().map(|test| test.0), b.test_accuracy().map(|test| test.0))
            }
            RunsColumn::Validation => greatest_first(a.val_accuracy(), b.val_accuracy()),
            RunsColumn::Epochs => last(a.n_epochs(), b.n_epochs(), |a, b| Reverse(a).cmp(&Reverse(b))),
            RunsColumn::Time => number(a.seconds(), b.seconds()),
            RunsColumn::Started => greatest_first(a.started_unix_secs(), b.started_unix_secs()),
        };
        order.then_with(|| natural(a.record.name.raw(), b.record.name.raw()))
    });
}

/// Compares two values; unknown ones come last, whatever the order of the others.
fn last<T>(a: Option<T>, b: Option<T>, compare: impl Fn(&T, &T) -> Ordering) -> Ordering {
    match (&a, &b) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => a.is_none().cmp(&b.is_none()),
    }
}

/// Compares names with their numbers as numbers: cnn-2 comes before cnn-10.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (n_a, n_b) = (n_digits(a), n_digits(b));
        if n_a > 0 && n_b > 0 {
            let (digits_a, digits_b) = (a[..n_a].trim_start_matches('0'), b[..n_b].trim_start_matches('0'));
            let order = digits_a.len().cmp(&digits_b.len()).then_with(|| digits_a.cmp(digits_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[n_a..], &b[n_b..]);
            continue;
        }
        let (mut rest_a, mut rest_b) = (a.chars(), b.chars());
        match (rest_a.next(), rest_b.next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (rest_a.as_str(), rest_b.as_str()),
            (x, y) => return x.cmp(&y),
        }
    }
}

fn n_digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_as_numbers() {
        let mut names = ["cnn-10", "b", "cnn-2", "cnn-2b", "cnn", "cnn-02", "猫-9", "猫-11", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "b", "cnn", "cnn-2", "cnn-02", "cnn-2b", "cnn-10", "猫-9", "猫-11"]);
    }

    #[test]
    fn what_is_not_known_comes_last() {
        let mut numbers = [None, Some(1), Some(3), None, Some(2)];
        numbers.sort_by(|a, b| last(*a, *b, |a, b| b.cmp(a)));
        assert_eq!(numbers, [Some(3), Some(2), Some(1), None, None]);
    }
}
