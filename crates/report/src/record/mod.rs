//! Reads a run folder.
//!
//! Reading never stops at a file that is missing or damaged: the report shows the rest and lists the problems. A file that the
//! run's manifest contradicts counts as damaged, so that no figure comes from a table that somebody or something changed.

mod events;
mod pictures;

use std::path::{Path, PathBuf};

use tallow_core::shown::shell_word;
use tallow_core::{FileError, Foreign, files};
use tallow_metrics::{
    Caveat, EpochRecord, NOVELTY_VERSION, NoveltyRecord, PredictionsTable, RACE_VERSION, RaceRecord, Summary,
    parse_history, parse_predictions_csv,
};
use tallow_run_files::{
    Difference, EARLIER, ENDING, EVENTS, HISTORY, MANIFEST, Manifest, NOVELTY, RACE, RECIPE, SUMMARY,
    TEST_PREDICTIONS, VAL_PREDICTIONS,
};

pub use events::{RunEvents, StepPoint};
pub use pictures::{Picture, PictureIndex, Role};

use crate::error::{ReportError, Result};

/// Largest size of a text file in a run folder: 2 GiB hold the predictions of a million images for a hundred classes.
const MAX_TEXT_BYTES: u64 = 2 << 30;

/// Largest size of a file that is read for a list of runs.
const MAX_BRIEF_BYTES: u64 = 64 << 20;

/// The content of a run folder.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// The folder.
    pub path: PathBuf,
    /// The text of the folder's name.
    pub name: Foreign,
    /// `recipe.toml`, as text and as a table.
    pub recipe: Option<(String, toml::Table)>,
    /// `summary.json`; `None` until the run has its results.
    pub summary: Option<Summary>,
    /// Whether steps that follow the results, such as the report, are left to do.
    pub is_ending: bool,
    /// Whether the run was extended, or is being extended.
    pub is_extended: bool,
    /// `history.csv`.
    pub history: Vec<EpochRecord>,
    /// `events.jsonl`.
    pub events: RunEvents,
    /// `evaluation/predictions_val.csv`.
    pub val: Option<PredictionsTable>,
    /// `evaluation/predictions_test.csv`.
    pub test: Option<PredictionsTable>,
    /// `evaluation/novelty.json`; `None` unless the run trained on features of a frozen backbone.
    pub novelty: Option<NoveltyRecord>,
    /// `race.json`; `None` unless backbones were tried before the run began.
    pub race: Option<RaceRecord>,
    /// `images/index.json` and the pictures that it lists.
    pub pictures: PictureIndex,
    /// The missing and damaged files, each with the problem and, if known, the line and the field.
    pub problems: Vec<Foreign>,
    /// Whether the system failed to read a file, which may be whole: some of the problems are not the run's.
    pub is_unread: bool,
}

impl RunRecord {
    /// Reads the run folder at `path`.
    ///
    /// # Errors
    /// If it is not a folder, or has neither `recipe.toml` nor `summary.json` nor `history.csv`; or if the system cannot tell.
    pub fn read(path: &Path) -> Result<Self> {
        let (manifest, problem) = match Manifest::read(path) {
            Ok(manifest) => (manifest, None),
            Err(e) => (None, Some(e)),
        };
        let (mut run, mut reader) = Self::begin(path, MAX_TEXT_BYTES, manifest)?;
        reader.is_unread |= matches!(problem, Some(tallow_run_files::ManifestError::File(_)));
        reader.problems.extend(problem.map(|e| Foreign::from(e.to_string())));
        run.events = reader.parse(EVENTS, false, |text| Ok(RunEvents::parse(&text))).unwrap_or_default();
        // where folds are the test, the final model has a validation loss, but no predictions are kept
        let is_kept = run.summary.as_ref().is_none_or(|summary| summary.val.is_some());
        let has_validation =
            is_kept && run.history.iter().any(|record: &EpochRecord| record.val_loss.is_some());
        let predictions = |text: String| parse_predictions_csv(&text).map_err(|e| e.to_string());
        run.val = reader.parse(VAL_PREDICTIONS, has_validation, predictions);
        run.test = reader.parse(TEST_PREDICTIONS, true, predictions);
        run.novelty = reader.parse(NOVELTY, false, |text| {
            let record: NoveltyRecord = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            of_version(record.version, NOVELTY_VERSION, record)
        });
        run.race = reader.parse(RACE, false, |text| {
            let record: RaceRecord = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            of_version(record.version, RACE_VERSION, record)
        });
        run.pictures = PictureIndex::read(path, &mut reader.problems, &mut reader.is_unread);
        run.is_unread = reader.is_unread;
        run.problems = reader.problems;
        Ok(run)
    }

    /// Reads only the small files of the run folder at `path`: the recipe, the summary, the history and the start time.
    /// The other files are left out, and are not reported as problems. Nothing is compared with the manifest.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_brief(path: &Path) -> Result<Self> {
        let (mut run, reader) = Self::begin(path, MAX_BRIEF_BYTES, None)?;
        run.events = events::first(&path.join(EVENTS));
        run.problems = reader.problems;
        Ok(run)
    }

    /// Reads recipe, summary and history, and returns them with the reader.
    fn begin(path: &Path, max_bytes: u64, manifest: Option<Manifest>) -> Result<(Self, Reader<'_>)> {
        let not_a_run =
            |problem: &str| ReportError::NotARun { path: path.to_owned(), problem: problem.to_owned() };
        if !files::is_folder(path)? {
            return Err(not_a_run("there is no such folder"));
        }
        if !is_run(path)? {
            return Err(not_a_run(&format!("it has neither {RECIPE} nor {SUMMARY} nor {HISTORY}")));
        }
        let mut reader = Reader { path, max_bytes, manifest, problems: Vec::new(), is_unread: false };
        let recipe = reader.parse(RECIPE, true, |text| {
            let table: toml::Table = toml::from_str(&text).map_err(|e| one_line(&e))?;
            Ok((text, table))
        });
        let summary = reader
            .parse(SUMMARY, true, |text| serde_json::from_str::<Summary>(&text).map_err(|e| e.to_string()));
        let history = reader.parse(HISTORY, true, |text| parse_history(&text).map_err(|e| e.to_string()));
        let (is_ending, is_extended) = (reader.has(ENDING), reader.has(EARLIER));
        let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let run = Self {
            path: path.to_owned(),
            name: Foreign::of_path(Path::new(absolute.file_name().unwrap_or(absolute.as_os_str()))),
            recipe,
            summary,
            is_ending,
            is_extended,
            history: history.unwrap_or_default(),
            events: RunEvents::default(),
            val: None,
            test: None,
            novelty: None,
            race: None,
            pictures: PictureIndex::default(),
            problems: Vec::new(),
            is_unread: false,
        };
        Ok((run, reader))
    }

    /// Returns a value of the recipe as text, given its keys.
    pub fn recipe_value(&self, keys: &[&str]) -> Option<Foreign> {
        let (_, table) = self.recipe.as_ref()?;
        let (first, rest) = keys.split_first()?;
        let value = rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))?;
        Some(value.as_str().map_or_else(|| value.to_string().into(), Foreign::from))
    }

    /// Returns the caveats of the run. For a run of an older program, they are derived from its recipe.
    pub fn caveats(&self) -> Vec<Caveat> {
        let known = self.summary.as_ref().map(|summary| summary.caveats.clone()).unwrap_or_default();
        let on_test = self.recipe_value(&["data", "validate_on"]).is_some_and(|on| on == "test");
        Caveat::complete(known, on_test, self.recipe_value(&["init_from"]))
    }

    /// Returns the epoch with the best monitored value; `None` if no value was monitored.
    pub fn best_epoch(&self) -> Option<u64> {
        self.summary.as_ref().and_then(|summary| summary.best_epoch)
    }
}

/// Whether the folder has any of the files that make a run folder.
fn is_run(path: &Path) -> std::result::Result<bool, FileError> {
    let looks = [RECIPE, SUMMARY, HISTORY].map(|name| files::is_file(&path.join(name)));
    if looks.iter().any(|look| matches!(look, Ok(true))) {
        return Ok(true); // what cannot be looked at beside it is told when it is read
    }
    looks.into_iter().collect::<std::result::Result<Vec<bool>, _>>().map(|_| false)
}

/// Returns the place of an error and what is wrong there, without the drawing of the line in the file.
fn one_line(error: &toml::de::Error) -> String {
    let drawn = error.to_string();
    format!("{}: {}", drawn.lines().next().unwrap_or_default(), error.message())
}

fn of_version<T>(version: u32, expected: u32, record: T) -> std::result::Result<T, String> {
    match version == expected {
        true => Ok(record),
        false => Err(format!("its version is {version}, expected {expected}")),
    }
}

/// Describes a file of the run folder `run` that its manifest contradicts.
fn changed(difference: Difference, run: &Path) -> String {
    let run = shell_word(run);
    format!("it {difference} in {MANIFEST}, so it is not used: trainer verify {run} says what to do")
}

/// Reads the files of a folder and collects their problems.
struct Reader<'a> {
    path: &'a Path,
    max_bytes: u64,
    /// Sizes and digests of the files, if they are known and are to be compared.
    manifest: Option<Manifest>,
    problems: Vec<Foreign>,
    is_unread: bool,
}

impl Reader<'_> {
    /// Whether the folder has `name`. If the system cannot tell, that is a problem of the run.
    fn has(&mut self, name: &str) -> bool {
        self.path.join(name).try_exists().unwrap_or_else(|e| {
            self.problems.push(format!("{name}: {e}").into());
            self.is_unread = true;
            false
        })
    }

    fn parse<T>(
        &mut self,
        name: &str,
        expected: bool,
        parse: impl FnOnce(String) -> std::result::Result<T, String>,
    ) -> Option<T> {
        let path = self.path.join(name);
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => {
                let problem = expected.then(|| format!("{name} is missing").into());
                self.problems.extend(problem);
                return None;
            }
            // whether it is there is not known: this is not the same as a run without it
            Err(e) => {
                self.problems.push(format!("{name}: {e}").into());
                self.is_unread = true;
                return None;
            }
        }
        let read = files::read_at_most(&path, self.max_bytes);
        self.is_unread |= read.is_err();
        let text = read.map_err(|e| e.to_string()).and_then(|bytes| {
            if let Some(difference) = self.manifest.as_ref().and_then(|m| m.difference(name, &bytes)) {
                return Err(changed(difference, self.path));
            }
            let text = String::from_utf8(bytes);
            text.map_err(|e| format!("byte {} is not UTF-8", e.utf8_error().valid_up_to()))
        });
        text.and_then(parse).map_err(|problem| self.problems.push(format!("{name}: {problem}").into())).ok()
    }
}
