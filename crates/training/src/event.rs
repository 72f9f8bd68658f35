//! What happens in a run, for whoever watches, and for `events.jsonl`.

use serde::Serialize;
use tallow_metrics::EpochRecord;

use crate::program::Program;

/// Something that happened. Epochs count from 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Training begins, or goes on.
    Started {
        /// Images that are trained on.
        n_train: usize,
        /// Images that are validated on.
        n_val: usize,
        /// Images that are tested on.
        n_test: usize,
        /// Numbers that are trained.
        n_parameters: usize,
        /// The epoch in which it begins.
        epoch: u64,
        /// Batches of that epoch that were trained on already.
        batch: usize,
        /// What trains.
        program: Program,
    },
    /// After the first steps: what the run will take.
    Estimate {
        /// One epoch, with validation.
        epoch_secs: f64,
        /// What is left of the run.
        left_secs: f64,
        /// The most memory the process held so far.
        peak_rss_bytes: Option<u64>,
    },
    /// An epoch is over.
    Epoch {
        /// Its figures.
        record: EpochRecord,
        /// How many epochs the run has.
        n_epochs: u64,
        /// How many steps it had.
        n_steps: usize,
        /// How long it took, with validation; since the resume, where it was resumed in the middle.
        secs: f64,
        /// How long a step took.
        step_ms: f64,
    },
    /// The learning rate was lowered.
    RateLowered {
        /// After which epoch.
        epoch: u64,
        /// The base rate until now.
        from: f64,
        /// The base rate from now on.
        to: f64,
    },
    /// The monitored figure no longer improves, and the run ends.
    StoppedEarly {
        /// After which epoch.
        epoch: u64,
    },
    /// The best epoch's weights were taken up again at the end.
    BestRestored {
        /// Which epoch.
        epoch: u64,
    },
    /// The run was asked to stop, and wrote a checkpoint.
    Interrupted {
        /// In which epoch.
        epoch: u64,
        /// After how many of its batches.
        batch: usize,
    },
    /// Something that the user should know.
    Notice {
        /// What.
        text: String,
    },
}
