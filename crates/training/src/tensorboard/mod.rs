//! `events.out.tfevents.*`: the run as TensorBoard, and whatever else reads its files, shows it.
//!
//! One file per run. On resume it is cut back to where the checkpoint saw it, as `events.jsonl` is: every reader, not
//! TensorBoard alone, sees each step once. (TensorBoard's own way, a second file that begins with a `SessionLog`, leaves
//! the steps twice for the readers that know no purging.) The same steps take the same number of bytes again, so a
//! TensorBoard that watched the run before it was killed finds the next record where it stopped reading.

mod proto;
mod values;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tallow_core::{FileError, files};

use crate::checks::settings;
use crate::error::{Result, TrainingError};
use crate::event::Event;
use crate::recipe::Recipe;
use values::Value;

const PREFIX: &str = "events.out.tfevents.";

/// Of every so many steps one is written: a run of 20 epochs of CIFAR-10 leaves 700 points, of which TensorBoard shows
/// all; each takes about 100 bytes.
const STEPS_PER_POINT: u64 = 10;

/// An event file that is written.
#[derive(Debug)]
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// The event file of the run in `folder`, cut back to `n_bytes`; a new one where there is none of that length. Also
    /// whether nothing is in it yet.
    pub(crate) fn open(folder: &Path, n_bytes: u64) -> Result<(Self, bool)> {
        let newest = newest(folder)?.filter(|path| fs::metadata(path).is_ok_and(|m| m.len() >= n_bytes));
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

    /// Begins a run: its recipe, as text and as hyper-parameters.
    pub(crate) fn begin(&self, recipe: &Recipe) -> Result<()> {
        let text = Value::text("recipe", &format!("```toml\n{}\n```", recipe.to_toml()?.trim_end()));
        self.append(0, &[text, Value::hparams(&settings(recipe)?, now_unix_secs())])
    }

    /// Appends what TensorBoard shows of `event`, if it shows anything.
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

    /// Appends a picture at `step`, under `tag`.
    ///
    /// # Errors
    /// If `png` is no PNG, or the file cannot be written.
    pub(crate) fn append_picture(&self, step: u64, tag: &str, png: &[u8]) -> Result<()> {
        let value = Value::image(tag, png).ok_or_else(|| TrainingError::NotAPng(tag.to_owned()))?;
        self.append(step, &[value])
    }

    /// Appends `values` at `step`.
    fn append(&self, step: u64, values: &[Value]) -> Result<()> {
        self.write(&values::event(now_unix_secs(), step, values))
    }

    /// Brings what was written to the disk; returns how long the file is.
    pub(crate) fn sync(&self) -> Result<u64> {
        let synced = self.file.sync_data().and_then(|()| self.file.metadata());
        Ok(synced.map_err(FileError::writing(&self.path))?.len())
    }

    /// In one piece, so that a process that is killed leaves whole records.
    fn write(&self, event: &proto::Message) -> Result<()> {
        let written = (&self.file).write_all(&event.to_record());
        Ok(written.map_err(FileError::writing(&self.path))?)
    }
}

/// The event file that was begun last.
fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(FileError::reading(folder))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.filter(|name| name.to_string_lossy().starts_with(PREFIX)).max().map(|name| folder.join(name)))
}

fn now_unix_secs() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
