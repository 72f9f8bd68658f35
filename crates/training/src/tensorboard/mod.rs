//! `events.out.tfevents.*`: the run for TensorBoard and other readers of its files.
//!
//! There is one file per run. On resume it is cut back to its length at the checkpoint, as `events.jsonl` is. So every
//! reader, not only TensorBoard, sees each step once. (TensorBoard's own method is a second file that begins with a
//! `SessionLog`. With that method, readers that do not support purging see steps twice.) The same steps take the same number
//! of bytes again. So if TensorBoard was watching the run before it was killed, it finds the next record where it stopped
//! reading.

mod proto;
mod values;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tallow_core::{FileError, files};
use tallow_run_files::{EVENT_FILE_PREFIX as PREFIX, event_files};

use crate::checks::settings;
use crate::error::{Result, TrainingError};
use crate::event::Event;
use crate::recipe::Recipe;
use values::Value;

/// One step of this many is written. A run of 20 epochs of CIFAR-10 then has 700 points, and TensorBoard shows all of them;
/// each takes about 100 bytes.
const STEPS_PER_POINT: u64 = 10;

/// An event file open for writing.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Opens the event file of the run in `folder` and cuts it back to `n_bytes`. If there is no file of that length, creates
    /// a new one. Also returns whether the file has no events yet.
    ///
    /// # Errors
    /// If the system cannot tell which files there are, or how long one is: a new file would lack the events of the old one.
    pub(crate) fn open(folder: &Path, n_bytes: u64) -> Result<(Self, bool)> {
        let newest = match event_files(folder)?.into_iter().max() {
            Some(path) => {
                let length = fs::metadata(&path).map_err(FileError::reading(&path))?.len();
                Some(path).filter(|_| length >= n_bytes)
            }
            None => None,
        };
        let n_bytes = newest.as_ref().map_or(0, |_| n_bytes);
        let path =
            newest.unwrap_or_else(|| folder.join(format!("{PREFIX}{:.0}.tallow", now_unix_secs().floor())));
        let open = || -> std::io::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            file.set_len(n_bytes)?;
            Ok(file)
        };
        let file = open().map_err(FileError::writing(&path))?;
        let event_file = Self { path, file };
        if n_bytes == 0 {
            event_file.write(&values::file_version(now_unix_secs()))?;
            files::sync_folder(folder)?;
        }
        Ok((event_file, n_bytes == 0))
    }

    /// Writes the run's recipe, as text and as hyper-parameters.
    pub(crate) fn begin(&self, recipe: &Recipe) -> Result<()> {
        let text = Value::text("recipe", &format!("```toml\n{}\n```", recipe.to_toml()?.trim_end()));
        self.append(0, &[text, Value::hparams(&settings(recipe)?, now_unix_secs())])
    }

    /// Appends the part of `event` that TensorBoard shows, if any.
    pub(crate) fn record(&self, event: &Event) -> Result<()> {
        let scalars = |step: u64, scalars: &[(&str, Option<f64>)]| {
            let values = scalars.iter().filter_map(|(tag, value)| Some(Value::scalar(tag, (*value)?)));
            self.append(step, &values.collect::<Vec<_>>())
        };
        match *event {
            Event::Step { step, accuracy, loss, optimized_loss, learning_rate }
                if step.is_multiple_of(STEPS_PER_POINT) =>
            {
                let figures = [
                    ("step/loss", Some(loss)),
                    ("step/optimized_loss", Some(optimized_loss)),
                    ("step/accuracy", Some(accuracy)),
                    ("step/learning_rate", Some(learning_rate)),
                ];
                scalars(step, &figures)
            }
            Event::Epoch { ref record, images_per_second, .. } => {
                let figures = [
                    ("loss/train", Some(record.loss)),
                    ("loss/val", record.val_loss),
                    ("loss/optimized", record.optimized_loss),
                    ("accuracy/train", Some(record.accuracy)),
                    ("accuracy/val", record.val_accuracy),
                    ("learning_rate", Some(record.learning_rate)),
                    ("images_per_second", images_per_second),
                ];
                scalars(record.epoch, &figures)
            }
            Event::Tested { epoch, score } => {
                scalars(epoch, &[("loss/test", Some(score.loss)), ("accuracy/test", Some(score.accuracy))])?;
                self.append(epoch, &[Value::hparams_end(now_unix_secs())])
            }
            _ => Ok(()),
        }
    }

    /// Appends a picture at `step` under `tag`.
    ///
    /// # Errors
    /// If `png` is not a PNG, or the file cannot be written.
    pub(crate) fn append_picture(&self, step: u64, tag: &str, png: &[u8]) -> Result<()> {
        let value = Value::image(tag, png).ok_or_else(|| TrainingError::NotAPng(tag.to_owned()))?;
        self.append(step, &[value])
    }

    /// Appends `values` at `step`.
    fn append(&self, step: u64, values: &[Value]) -> Result<()> {
        self.write(&values::event(now_unix_secs(), step, values))
    }

    /// Syncs the file to disk and returns its length in bytes.
    pub(crate) fn sync(&self) -> Result<u64> {
        let synced = self.file.sync_data().and_then(|()| self.file.metadata());
        Ok(synced.map_err(FileError::writing(&self.path))?.len())
    }

    /// Writes an event in one call, so that a killed process leaves whole records.
    fn write(&self, event: &proto::Message) -> Result<()> {
        let written = (&self.file).write_all(&event.to_record());
        Ok(written.map_err(FileError::writing(&self.path))?)
    }
}

fn now_unix_secs() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
