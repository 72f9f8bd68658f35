//! `trainer verify`: checks that the files of runs, and model files, are as they were written. It changes nothing.
//!
//! The status is 1 if anything differs. Otherwise it is 3 if a run has its results, but its end is not complete: `train` ends
//! with the same status then. A run without results, and one at work, are not finished yet, which is no fault: status 0.
//!
//! `run.rs` checks a run folder, `remedy.rs` says what to do about a file.

mod remedy;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use tallow_core::shown::{shell_word, shown, shown_path};
use tallow_training::check_model;

use crate::args::VerifyArgs;
use crate::series::{is_series, runs_of_series};
use crate::{App, end, output};

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    /// Whether nothing differs and nothing is left to make: the status is 0.
    ok: bool,
    verified: Vec<Verified>,
}

/// The findings about a run folder or a model file.
#[derive(Serialize)]
struct Verified {
    path: PathBuf,
    kind: Kind,
    ok: bool,
    /// What was checked and found whole, in words.
    checked: Vec<String>,
    problems: Vec<Problem>,
    /// What a run with results has not made yet, in words; `None` if its end is complete, or a process is at it.
    left_to_make: Option<Vec<&'static str>>,
    /// Reasons why not everything could be checked.
    notes: Vec<String>,
    /// Files of the run folder that its manifest does not have.
    unknown: Vec<String>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Run,
    Model,
}

/// Something that is not as it was written.
#[derive(Serialize)]
struct Problem {
    /// The file: in a run folder, its name there, or [`WHOLE`].
    file: String,
    problem: String,
    /// What to do about it; empty if `problem` says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

/// Stands for the whole run folder in place of a file.
const WHOLE: &str = ".";

pub(crate) fn run(args: &VerifyArgs, app: &App) -> Result<ExitCode> {
    let mut verified = Vec::new();
    for path in with_runs_of_series(&args.paths) {
        let found = if path.is_dir() { run::verify(&path, app) } else { model(&path) };
        if let Some(signal) = app.stop.raised() {
            return Ok(ExitCode::from(signal.exit_status()));
        }
        verified.push(found.concluded());
    }
    let differs = verified.iter().any(|found| !found.problems.is_empty());
    let ok = verified.iter().all(|found| found.ok);
    match app.global.json {
        true => output::json(&Document { ok, verified })?,
        false => verified.iter().try_for_each(|found| output::line(&found.text()))?,
    }
    Ok(if differs { ExitCode::FAILURE } else { end::status(ok) })
}

/// Returns the paths with the runs of each series in its place. A series whose runs cannot be found stays.
fn with_runs_of_series(paths: &[PathBuf]) -> Vec<PathBuf> {
    let runs = |path: &PathBuf| match is_series(path) {
        Ok(true) => runs_of_series(path).ok().filter(|runs| !runs.is_empty()),
        _ => None, // what is wrong with the path is told when it is verified
    };
    paths.iter().flat_map(|path| runs(path).unwrap_or_else(|| vec![path.clone()])).collect()
}

/// Checks a model file.
fn model(path: &Path) -> Verified {
    let mut found = Verified::new(path, Kind::Model);
    match check_model(path) {
        Ok(true) => found.checked.push("the model matches the digest that it carries".to_owned()),
        Ok(false) => found.notes.push(WITHOUT_DIGEST.to_owned()),
        // the message names the file
        Err(e) => found.differs(&shown_path(path), &e.to_string(), String::new()),
    }
    found
}

/// Why a model file that can be read may be damaged all the same.
const WITHOUT_DIGEST: &str = "the model file can be read, but carries no digest to check its content with: an older version \
                              wrote it, or somebody changed it (trainer export --format safetensors writes a copy with one)";

impl Verified {
    fn new(path: &Path, kind: Kind) -> Self {
        let (checked, problems, notes, unknown) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { path: path.to_owned(), kind, ok: false, checked, problems, left_to_make: None, notes, unknown }
    }

    fn differs(&mut self, file: &str, problem: &str, remedy: String) {
        self.problems.push(Problem { file: file.to_owned(), problem: problem.to_owned(), remedy });
    }

    /// Whether a problem of this file is known.
    fn has_problem(&self, file: &str) -> bool {
        self.problems.iter().any(|problem| problem.file == file)
    }

    fn concluded(self) -> Self {
        Self { ok: self.problems.is_empty() && self.left_to_make.is_none(), ..self }
    }

    /// Returns the findings as text: a line for each path, and indented lines below it.
    fn text(&self) -> String {
        let mut text = shown_path(&self.path);
        text.push_str(&match self.problems.len() {
            0 if self.left_to_make.is_some() => ": nothing differs, but something is left to make".to_owned(),
            0 => ": nothing differs".to_owned(),
            n => format!(": {}", output::counted(n as u64, "problem")),
        });
        for Problem { file, problem, remedy } in &self.problems {
            let lines: Vec<_> = problem.lines().map(shown).collect();
            let problem = lines.join("\n    ");
            match file == WHOLE || problem.contains(file) {
                true => text += &format!("\n  {problem}"),
                false => text += &format!("\n  {} {problem}", shown(file)),
            }
            if !remedy.is_empty() {
                text += &format!("\n    {remedy}");
            }
        }
        if let Some(left) = &self.left_to_make {
            let left =
                if left.is_empty() { String::new() } else { format!("; left to make: {}", left.join(", ")) };
            let run = shell_word(&self.path);
            text += &format!(
                "\n  the end of this run is not complete{left}; trainer --resume {run} completes it"
            );
        }
        for line in self.checked.iter().chain(&self.notes) {
            text += &format!("\n  {line}");
        }
        if !self.unknown.is_empty() {
            let names: Vec<_> = self.unknown.iter().map(|name| shown(name)).collect();
            text += &format!("\n  not recorded, so not checked: {}", names.join(", "));
        }
        text
    }
}
