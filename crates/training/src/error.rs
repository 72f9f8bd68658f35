//! Errors of recipes, run folders and runs. The messages address the person who has to correct the problem.

use std::path::PathBuf;

use tallow_comm::CommError;
use tallow_core::shown::{shell_word, shown, shown_lines, shown_path};
use tallow_core::{FileError, Foreign};
use tallow_metrics::MetricsError;
use tallow_nn::{NnError, NonFinite};
use tallow_run_files::ManifestError;

use crate::schedule::InvalidSetting;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The manifest of a run folder cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Processes that cannot work together.
    #[error(transparent)]
    Comm(#[from] CommError),
    /// Processes that share a run do not have the same settings, data or weights.
    #[error(
        "rank {rank} has not the same {what} as rank 0: start all processes with the same command, the same data and the \
         same program"
    )]
    OutOfStep {
        /// The other process.
        rank: usize,
        /// What differs.
        what: &'static str,
    },
    /// Data that cannot be used.
    #[error(transparent)]
    Data(#[from] tallow_dataset::Error),
    /// A network that cannot be built or fed.
    #[error(transparent)]
    Nn(#[from] NnError),
    /// Figures that cannot be computed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// An invalid setting of the schedule or of a callback.
    #[error("recipe: {0}")]
    Setting(#[from] InvalidSetting),
    /// No recipe has this name.
    #[error(
        "there is no recipe \"{}\": expected one of {known}, or a file ending in .toml{nearest}",
        shown(name)
    )]
    UnknownRecipe {
        /// The name that was asked for.
        name: String,
        /// The known names.
        known: String,
        /// A suggestion for the name that was probably meant, as the end of a sentence; may be empty.
        nearest: String,
    },
    /// An override given beside the recipe that matches no key, or has the wrong type for its key.
    #[error("{}: {}", shown(given), shown(problem))]
    Override {
        /// The override as it was given: `--set epoch=3`.
        given: String,
        /// The problem, with the key.
        problem: String,
    },
    /// A recipe that cannot be read.
    #[error("recipe {}: {}", shown(origin), shown_lines(problem))]
    Recipe {
        /// The recipe's name or file.
        origin: String,
        /// The problem, with the key; the lines of the file that it quotes are lines here too.
        problem: String,
    },
    /// A value of a recipe that is out of range.
    #[error("recipe: {key} {problem}")]
    Value {
        /// The key, such as `data.val_fraction`.
        key: &'static str,
        /// The expected value and the actual one.
        problem: String,
    },
    /// A folder that is not a run folder.
    #[error("{} is not a run folder: {problem}", shown_path(path))]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// The run folder exists already.
    #[error(
        "{} exists already: choose another --run-dir, or continue that run: --resume {}",
        shown_path(.0),
        shell_word(.0)
    )]
    RunExists(PathBuf),
    /// Another process works on the run folder.
    #[error("{} is in use by another process: wait for it or stop it", shown_path(.0))]
    RunInUse(PathBuf),
    /// A checkpoint or model file that cannot be used.
    #[error("{}: {}", shown_path(path), shown(problem))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem and what can be done about it.
        problem: String,
    },
    /// A model file whose weights a run cannot start from.
    #[error(
        "{}: the file has a {}, but the recipe's model is a {}: {problem}. Give the recipe the same [model], or \
         name another file",
        shown_path(path),
        theirs.shown(),
        ours.shown()
    )]
    OtherNetwork {
        /// The run folder or file.
        path: PathBuf,
        /// The architecture in the file.
        theirs: Foreign,
        /// The recipe's architecture.
        ours: Foreign,
        /// The mismatch.
        problem: String,
    },
    /// A picture for the event file that is not a PNG.
    #[error("the picture {0:?} is not a PNG: only PNGs can be logged")]
    NotAPng(String),
    /// A setting that may not change when a run is resumed.
    #[error(
        "--resume: {} is {} now, but the run was started with {}; only --epochs may change, and only to a larger \
         number",
        shown(key),
        shown(now),
        shown(then)
    )]
    Changed {
        /// The key.
        key: String,
        /// The value that the run was started with.
        then: String,
        /// The value that was asked for.
        now: String,
    },
    /// The frozen weights are not those that the run was started with.
    #[error(
        "the frozen weights are not those that the run was started with: name the original weights with \
         --weights"
    )]
    OtherWeights,
    /// The data are not those that the run was started with.
    #[error(
        "the data have changed since the run was started ({what}; digest {now}, expected {}): start a \
         new run with the new data; if the classes are the same, it can --init-from this run",
        shown(then)
    )]
    OtherData {
        /// The run's digest.
        then: String,
        /// The digest now.
        now: String,
        /// What differs, in words.
        what: String,
    },
    /// The loss is NaN or infinite.
    #[error(
        "the loss became {loss} in epoch {epoch}, step {step}, at learning rate {lr}: try a lower learning rate \
         (--lr), a warm-up (schedule.warmup_epochs) or max_grad_norm; the last good checkpoint is kept"
    )]
    NonFinite {
        /// The loss.
        loss: f32,
        /// The epoch, from 1.
        epoch: u64,
        /// The step in the epoch, from 1.
        step: usize,
        /// The learning rate of the step.
        lr: f64,
    },
    /// Weights became NaN or infinite.
    #[error(
        "after epoch {epoch}, step {step}, the weights are no longer finite: {broken}. Try a lower learning \
         rate (--lr), f32 (--precision f32) or max_grad_norm; the last good checkpoint is kept"
    )]
    NonFiniteWeights {
        /// The tensor.
        broken: NonFinite,
        /// The epoch, from 1.
        epoch: u64,
        /// The step in the epoch, from 1.
        step: usize,
    },
    /// The model's output is NaN or infinite.
    #[error(
        "{label}: the model's answer to image {index}{} is {value}, not a finite number: its weights or \
         activations grew too large. Train with a lower learning rate (--lr) or in f32 (--precision f32), \
         or use an earlier model; the last good checkpoint of a run is kept",
        file.as_ref().map_or(String::new(), |file| format!(" ({})", file.shown()))
    )]
    NonFiniteAnswer {
        /// The purpose of the evaluation: "validation", "test".
        label: String,
        /// The image's index in its set.
        index: u32,
        /// The user's file that the image is from, if it has one.
        file: Option<Foreign>,
        /// The first logit that is not finite.
        value: f32,
    },
}

impl TrainingError {
    /// Adds the recipe's name or file to an error about an invalid value; returns other errors unchanged.
    pub(crate) fn in_recipe(self, origin: &str) -> Self {
        let problem = match self {
            Self::Setting(setting) => setting.to_string(),
            Self::Value { key, problem } => format!("{key} {problem}"),
            Self::Nn(NnError::Setting(problem)) => problem,
            other => return other,
        };
        Self::Recipe { origin: origin.to_owned(), problem }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, TrainingError>;
