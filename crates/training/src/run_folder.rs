//! The run folder: holds all files of a run and keeps them whole. `recorder.rs` decides the content of its logs.
//!
//! A folder gets its final name only once it has a recipe and a first checkpoint. So a run can be resumed whenever it is
//! killed. `rotation.rs` saves the checkpoints that continue a run.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use tallow_core::temporary::{self, TemporaryFolder};
use tallow_core::{FileError, files};
use tallow_dataset::{Fit, Interpolation};
use tallow_metrics::Summary;
use tallow_run_files::{CHECKPOINTS, ENDING, EVENTS, HISTORY, LAST_CHECKPOINT, RECIPE, SUMMARY};
use tracing::debug;

use crate::checkpoint::{Checkpoint, encoding};
use crate::error::{Result, TrainingError};
use crate::recipe::Recipe;
use crate::recipe_source::{Override, load_recipe};
use crate::rotation::Rotation;

/// Prefix of the temporary name of a run folder that is not complete yet.
const STAGING: &str = ".new-run-";

/// Size limit of the list of steps that were taken at the end, in bytes.
const MAX_ENDING_BYTES: u64 = 1 << 16;

/// Number of attempts, and the time between them, to lock a folder that is in use.
const N_TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Size limit of a summary, in bytes.
const MAX_SUMMARY_BYTES: u64 = 16 << 20;

/// The place of a new run folder.
#[derive(Clone, Debug, PartialEq)]
pub enum RunPlace {
    /// Exactly this path.
    At(PathBuf),
    /// `<name>-<n>` in this folder, with the first `n` that is free.
    Under(PathBuf),
}

/// A run folder that this process has locked; no other process can work on it while this value exists.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// `events.jsonl`, open for appending, and locked.
    pub(crate) events: File,
    rotation: Rotation,
}

impl RunFolder {
    /// Creates a folder with `recipe`, the `history` of no epoch and a first checkpoint, either completely or not at all.
    pub(crate) fn create(
        place: &RunPlace,
        recipe: &Recipe,
        history: &str,
        first: &Checkpoint,
    ) -> Result<Self> {
        let parent = match place {
            RunPlace::At(path) if fs::symlink_metadata(path).is_ok() => {
                return Err(TrainingError::RunExists(path.clone()));
            }
            RunPlace::At(path) => files::folder_of(path),
            RunPlace::Under(parent) => parent,
        };
        let path = in_folder(parent, || {
            temporary::remove_folders(parent, STAGING);
            let staging = TemporaryFolder::new(parent, STAGING)?;
            files::create_folder(&staging.path().join(CHECKPOINTS))?;
            files::write(&staging.path().join(RECIPE), recipe.to_toml()?.as_bytes())?;
            files::write(&staging.path().join(LAST_CHECKPOINT), &first.to_bytes()?)?;
            files::write(&staging.path().join(HISTORY), history.as_bytes())?;
            files::write(&staging.path().join(EVENTS), b"")?;
            let path = move_in(staging.path(), place, recipe.name.raw())?;
            staging.keep();
            Ok(path)
        })?;
        files::sync_folder(parent)?;
        Ok(Self { rotation: Rotation::new(&path, true), ..Self::open(&path)? })
    }

    /// Opens a folder to resume its run.
    ///
    /// # Errors
    /// If it is not a run folder, or another process works on it.
    pub fn open(path: &Path) -> Result<Self> {
        let looks = [
            (RECIPE, files::is_file(&path.join(RECIPE))?),
            (CHECKPOINTS, files::is_folder(&path.join(CHECKPOINTS))?),
        ];
        for (part, is_there) in looks {
            if !is_there {
                return Err(TrainingError::NotARun {
                    path: path.to_owned(),
                    problem: format!("it has no {part}"),
                });
            }
        }
        let log = path.join(EVENTS);
        let events =
            OpenOptions::new().create(true).append(true).open(&log).map_err(FileError::writing(&log))?;
        // a process that only checks whether the folder is in use holds the lock for an instant
        let mut locked = events.try_lock();
        for _ in 0..N_TRIES {
            if !matches!(locked, Err(fs::TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(BETWEEN_TRIES);
            locked = events.try_lock();
        }
        match locked {
            Ok(()) => Ok(Self { path: path.to_owned(), events, rotation: Rotation::new(path, false) }),
            Err(fs::TryLockError::WouldBlock) => Err(TrainingError::RunInUse(path.to_owned())),
            Err(fs::TryLockError::Error(e)) => Err(FileError::new("lock", &log)(e).into()),
        }
    }

    /// Whether a process works on the run folder `path`, as far as this can be determined.
    pub fn is_in_use(path: &Path) -> bool {
        let log = path.join(EVENTS);
        let Some(file) = log.is_file().then(|| File::open(&log).ok()).flatten() else { return false };
        // the lock is released at once, with the file
        matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
    }

    /// Whether the run in `path` has ended. The summary alone does not say so: the steps that follow it may be left to do.
    ///
    /// # Errors
    /// If the system cannot tell whether these files are there.
    pub fn has_ended(path: &Path) -> Result<bool> {
        Ok(files::is_file(&path.join(SUMMARY))? && !files::exists(&path.join(ENDING))?)
    }

    /// Removes the temporary files that killed processes left in the folder, and the incomplete run folders beside it.
    pub(crate) fn remove_leftovers(&self) {
        temporary::remove_files(&self.path);
        temporary::remove_folders(files::folder_of(&self.path), STAGING);
    }

    /// Returns the path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the recipe that the run in `path` was started with.
    ///
    /// # Errors
    /// If the folder has no recipe, or the recipe cannot be read.
    pub fn recipe_of(path: &Path) -> Result<Recipe> {
        let recipe = path.join(RECIPE);
        if !files::is_file(&recipe)? {
            return Err(TrainingError::NotARun {
                path: path.to_owned(),
                problem: format!("it has no {RECIPE}"),
            });
        }
        Self::load(path, &[])
    }

    /// Loads the recipe that the run `path` was started with and applies `overrides`. If an older version wrote the recipe
    /// without a resizing method, the method of that version is filled in.
    ///
    /// # Errors
    /// The same as [`load_recipe`].
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Recipe> {
        let mut recipe = load_recipe(path.join(RECIPE), overrides)?;
        let data = &mut recipe.data;
        data.interpolation.get_or_insert(Interpolation::Linear);
        data.fit.get_or_insert(Fit::Squash);
        Ok(recipe)
    }

    pub(crate) fn write_recipe(&self, recipe: &Recipe) -> Result<()> {
        Ok(files::write(&self.path.join(RECIPE), recipe.to_toml()?.as_bytes())?)
    }

    fn checkpoint(&self, name: &str) -> PathBuf {
        self.path.join(CHECKPOINTS).join(name)
    }

    /// Makes `checkpoint` the last one, and the former last one the previous.
    pub(crate) fn write_last(&mut self, checkpoint: &Checkpoint) -> Result<()> {
        let (started, bytes) = (Instant::now(), checkpoint.to_bytes()?);
        self.rotation.save(&bytes)?;
        debug!(bytes = bytes.len(), secs = started.elapsed().as_secs_f64(), "checkpoint written");
        Ok(())
    }

    /// Reads the newest checkpoint that can be read. If that takes passing over a damaged or missing file, also returns this
    /// as a text.
    pub(crate) fn read_last(&mut self) -> Result<(Checkpoint, Option<String>)> {
        self.rotation.read()
    }

    pub(crate) fn write_best(&self, checkpoint: &Checkpoint) -> Result<()> {
        Ok(files::write(&self.checkpoint("best"), &checkpoint.to_bytes()?)?)
    }

    pub(crate) fn read_best(&self) -> Result<Checkpoint> {
        Checkpoint::read(&self.checkpoint("best"))
    }

    /// Writes a file of the folder durably, and creates the folders above it.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        files::create_folder(files::folder_of(&path))?;
        Ok(files::write(&path, bytes)?)
    }

    /// Writes a file of the folder durably, as indented JSON.
    pub(crate) fn write_json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let json = serde_json::to_string_pretty(value).map_err(encoding)?;
        self.write(name, format!("{json}\n").as_bytes())
    }

    /// Returns the run's summary; `None` if it has not been written, or is damaged. Then the run has no results.
    ///
    /// # Errors
    /// If a summary is there and the system fails to read it.
    pub(crate) fn read_summary(&self) -> Result<Option<Summary>> {
        read_summary(&self.path)
    }

    /// Returns the steps of the end of the run in `path` that were taken, by name; `None` unless the end has begun and is not
    /// complete.
    ///
    /// # Errors
    /// If the system cannot tell whether the run has such a list.
    pub fn steps_taken(path: &Path) -> Result<Option<Vec<String>>> {
        let path = path.join(ENDING);
        if !files::exists(&path)? {
            return Ok(None);
        }
        // if the list cannot be read, the steps are taken again
        let text = files::read_at_most(&path, MAX_ENDING_BYTES);
        let text = text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        Ok(Some(text.lines().map(str::to_owned).collect()))
    }

    /// Records the steps of the end that were taken.
    pub(crate) fn write_ending(&self, taken: &[String]) -> Result<()> {
        self.write(ENDING, taken.iter().map(|name| format!("{name}\n")).collect::<String>().as_bytes())
    }

    /// Removes a file of the folder, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", &path)(e).into()),
            _ => Ok(files::sync_folder(files::folder_of(&path))?),
        }
    }
}

/// Returns the summary in the folder `folder`; `None` if there is none, or it is damaged.
pub(crate) fn read_summary(folder: &Path) -> Result<Option<Summary>> {
    let path = folder.join(SUMMARY);
    if !files::is_file(&path)? {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&files::read_at_most(&path, MAX_SUMMARY_BYTES)?).ok())
}

/// Whether a name is known to be taken.
fn is_taken(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(true))
}

/// Creates `folder` and calls `fill`. If that fails, removes the folders that were created for it.
fn in_folder<T>(folder: &Path, fill: impl FnOnce() -> Result<T>) -> Result<T> {
    let is_missing = |f: &&Path| !f.as_os_str().is_empty() && fs::symlink_metadata(f).is_err();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    files::create_folder(folder).map_err(TrainingError::from).and_then(|()| fill()).inspect_err(|_| {
        for folder in missing {
            let _ = fs::remove_dir(folder); // innermost first; removing a folder that is not empty fails, and it stays
        }
    })
}

/// Renames the finished folder to its place. Fails if [`RunPlace::At`] is taken, and tries the next number for
/// [`RunPlace::Under`].
fn move_in(staging: &Path, place: &RunPlace, name: &str) -> Result<PathBuf> {
    match place {
        RunPlace::At(path) => match fs::rename(staging, path) {
            Ok(()) => Ok(path.clone()),
            Err(_) if is_taken(path) => Err(TrainingError::RunExists(path.clone())),
            Err(e) => Err(FileError::new("create the folder", path)(e).into()),
        },
        RunPlace::Under(parent) => {
            let mut n = 1;
            loop {
                let path = parent.join(format!("{name}-{n}"));
                if fs::symlink_metadata(&path).is_err() {
                    match fs::rename(staging, &path) {
                        Ok(()) => return Ok(path),
                        Err(_) if is_taken(&path) => {} // another process was faster
                        Err(e) => return Err(FileError::new("create the folder", &path)(e).into()),
                    }
                }
                n += 1;
            }
        }
    }
}
