//! The folder of a series: the common recipe of its runs, a run folder for each seed, and their table.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tallow_core::shown::shown_path;
use tallow_core::{FileError, Foreign, files};
use tallow_metrics::Summary;
use tallow_run_files::{PAGE, RECIPE, SUMMARY};
use tallow_training::{Recipe, RunFolder};

use crate::recipe_diff::{self, Diff};
use crate::recipe_input::load_recipe;

/// The recipe as requested; this file marks the folder of a series.
const RECIPE_FILE: &str = "series.toml";
/// The table, with a row for each finished run.
const TABLE_FILE: &str = "seeds.csv";
/// Prefix of a run folder's name; the seed follows.
const RUN_PREFIX: &str = "seed-";
/// Keys that may differ between runs of a series. The place of the data does not affect the result, and the digest of the
/// data is compared.
const MAY_DIFFER: [&str; 2] = ["seed", "data.data_dir"];
/// Size limit of a summary, in bytes.
const MAX_SUMMARY_BYTES: u64 = 16 << 20;

/// A series: runs of one recipe.
pub(super) struct Series {
    pub(super) path: PathBuf,
    /// The recipe as requested, with the seed of the first run.
    pub(super) recipe: Recipe,
}

/// A finished run.
pub(super) struct SeriesRun {
    pub(super) seed: u64,
    /// The name of the run's folder.
    pub(super) name: String,
    pub(super) summary: Summary,
}

/// Whether `path` is the folder of a series.
///
/// # Errors
/// If the system cannot tell.
pub(crate) fn is_series(path: &Path) -> std::result::Result<bool, FileError> {
    files::is_file(&path.join(RECIPE_FILE))
}

/// Returns the paths of all run folders of the series at `path`, finished or not, ordered by seed.
pub(crate) fn runs_of_series(path: &Path) -> Result<Vec<PathBuf>> {
    Ok(run_folders(path)?.into_iter().map(|(_, name)| path.join(name)).collect())
}

impl Series {
    /// Opens the series at `path` for runs of `recipe`. It may be a new series; nothing is written yet.
    pub(super) fn open(path: PathBuf, recipe: Recipe) -> Result<Self> {
        let series = Self { path, recipe };
        let shown = shown_path(&series.path);
        if !is_series(&series.path)? {
            let mut entries = match fs::read_dir(&series.path) {
                Ok(entries) => entries,
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(series),
                Err(e) => {
                    return Err(e).with_context(|| format!("cannot use {shown} as the folder of a series"));
                }
            };
            ensure!(
                entries.next().is_none(),
                "{shown} is not empty and is not a series of seeds: name another folder with --out"
            );
            return Ok(series);
        }
        if run_folders(&series.path)?.is_empty() {
            return Ok(series); // no run was begun with the recipe in this folder
        }
        let then = load_recipe(series.recipe_path(), &[])?;
        let mut differences = recipe_diff::differences(&then, &series.recipe)?;
        differences.retain(|difference| !MAY_DIFFER.contains(&difference.key.as_str()));
        if !differences.is_empty() {
            let diff = Diff { a: "in the series", b: "requested", differences };
            bail!(
                "{shown} holds runs of another recipe: name another folder with --out, or use the same \
                 recipe.\n{}",
                recipe_diff::text(&diff)
            );
        }
        Ok(series)
    }

    /// Reads the series at `path` with its finished runs; there must be at least one.
    pub(super) fn read(path: &Path) -> Result<(Self, Vec<SeriesRun>)> {
        let recipe = load_recipe(path.join(RECIPE_FILE), &[])?;
        let series = Self { path: path.to_owned(), recipe };
        let runs = series.runs()?;
        ensure!(!runs.is_empty(), "{} has no finished run: continue with trainer seeds", shown_path(path));
        Ok((series, runs))
    }

    /// Returns the text of the name of the series' folder.
    pub(super) fn name(&self) -> Foreign {
        let whole = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        Foreign::of_path(Path::new(whole.file_name().unwrap_or(whole.as_os_str())))
    }

    pub(super) fn recipe_path(&self) -> PathBuf {
        self.path.join(RECIPE_FILE)
    }

    pub(super) fn run_path(&self, seed: u64) -> PathBuf {
        self.path.join(format!("{RUN_PREFIX}{seed}"))
    }

    /// Whether the run with this seed is finished and has its report.
    pub(super) fn has_finished(&self, seed: u64) -> Result<bool> {
        let run = self.run_path(seed);
        Ok(RunFolder::has_ended(&run)? && files::is_file(&run.join(PAGE))?)
    }

    /// Creates the folder with the recipe, unless it already has runs.
    pub(super) fn create(&self) -> Result<()> {
        if is_series(&self.path)? && !run_folders(&self.path)?.is_empty() {
            return Ok(());
        }
        files::create_folder(&self.path)?;
        Ok(files::write(&self.recipe_path(), self.recipe.to_toml()?.as_bytes())?)
    }

    /// Removes the folder if no run was begun in it.
    pub(super) fn remove_if_empty(&self) {
        if run_folders(&self.path).is_ok_and(|runs| runs.is_empty()) {
            let _ = fs::remove_file(self.recipe_path());
            let _ = fs::remove_dir(&self.path); // fails if the folder holds anything else
        }
    }

    /// Returns the finished runs, ordered by seed.
    pub(super) fn runs(&self) -> Result<Vec<SeriesRun>> {
        let mut runs = Vec::new();
        for (seed, name) in run_folders(&self.path)? {
            let path = self.path.join(&name).join(SUMMARY);
            if !files::is_file(&path)? {
                continue;
            }
            let bytes = files::read_at_most(&path, MAX_SUMMARY_BYTES)?;
            let summary = serde_json::from_slice(&bytes).with_context(|| {
                format!("{} cannot be read: remove its folder and run trainer seeds again", shown_path(&path))
            })?;
            runs.push(SeriesRun { seed, name, summary });
        }
        Ok(runs)
    }

    /// Refuses data that differ from those of the finished runs.
    pub(super) fn check_data(&self, digest: &str) -> Result<()> {
        let runs = self.runs()?;
        let other = runs.iter().find(|run| run.summary.data_digest != digest);
        ensure!(
            other.is_none(),
            "the data are not those that the runs in {} were trained on: restore those data, or name \
             another folder with --out",
            shown_path(&self.path)
        );
        Ok(())
    }

    /// Writes the table with a row for each of `runs`; returns its path.
    pub(super) fn write_table(&self, runs: &[SeriesRun]) -> Result<PathBuf> {
        let mut csv = String::from(
            "seed,run,test_accuracy,test_loss,val_accuracy,epochs,seconds,train_seconds,features_own_seconds,threads,device,isa,\
             precision\n",
        );
        for SeriesRun { seed, name, summary } in runs {
            let number = |x: Option<f64>| x.map(|x| x.to_string()).unwrap_or_default();
            csv.push_str(&format!(
                "{seed},{name},{},{},{},{},{},{},{},{},{},{},{}\n",
                number(summary.test.map(|test| test.accuracy)),
                number(summary.test.map(|test| test.loss)),
                number(summary.val.map(|val| val.accuracy)),
                summary.epochs_run,
                summary.model_seconds(),
                summary.train_seconds,
                number(summary.features_own_seconds),
                summary.threads,
                summary.device.in_csv(),
                summary.isa.in_csv(),
                summary.precision.in_csv()
            ));
        }
        let path = self.path.join(TABLE_FILE);
        files::write(&path, csv.as_bytes())?;
        Ok(path)
    }
}

/// Returns seed and name of all run folders of a series, finished or not, ordered by seed.
fn run_folders(series: &Path) -> Result<Vec<(u64, String)>> {
    let entries = match fs::read_dir(series) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", shown_path(series))),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.with_context(|| format!("cannot read {}", shown_path(series)))?.file_name();
        let Some(name) = name.to_str() else { continue };
        let Some(seed) = name.strip_prefix(RUN_PREFIX).and_then(|text| text.parse().ok()) else {
            continue;
        };
        // names such as seed-00 and seed-+0 also parse as 0
        if name == format!("{RUN_PREFIX}{seed}") && files::is_file(&series.join(name).join(RECIPE))? {
            found.push((seed, name.to_owned()));
        }
    }
    found.sort_unstable();
    Ok(found)
}
