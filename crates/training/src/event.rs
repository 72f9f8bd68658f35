//! Events of a run. They are reported to the caller's watch, and the run's recorder writes them to `events.jsonl` and other
//! files.

use serde::Serialize;
use tallow_metrics::{EpochRecord, TestScore};

use crate::program::Program;
use crate::step_points::StepPoint;

/// An event. Epochs and steps count from 1.
///
/// `events.jsonl` holds the serialised events. It omits steps, because there are too many.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Training begins or is resumed.
    Started {
        /// Images that are trained on.
        n_train: usize,
        /// Images that are validated on.
        n_val: usize,
        /// Images that are tested on.
        n_test: usize,
        /// Parameters of the model.
        n_parameters: usize,
        /// Parameters that are trained.
        n_trained: usize,
        /// The epoch in which training begins.
        epoch: u64,
        /// Batches of that epoch that have been trained on already.
        batch: usize,
        /// The program that trains.
        program: Program,
    },
    /// An estimate of the run's duration. Reported after the first steps, and again when it changes much.
    Estimate {
        /// Duration of one epoch with validation, in seconds.
        epoch_secs: f64,
        /// Remaining duration of the run, in seconds.
        left_secs: f64,
        /// The most memory the process has held so far, in bytes.
        peak_rss_bytes: Option<u64>,
    },
    /// A training step was taken.
    Step {
        /// The step's number in the run.
        step: u64,
        /// The accuracy on the step's images, before its update. A mixed image counts by the shares of its two classes.
        accuracy: f64,
        /// The mean cross-entropy of the step's images, before its update.
        loss: f64,
        /// The mean of the optimised loss over the step's images, before its update.
        optimized_loss: f64,
        /// The learning rate of the step's update.
        learning_rate: f64,
    },
    /// An epoch is over.
    Epoch {
        /// The epoch's figures.
        record: EpochRecord,
        /// How many epochs the run has.
        n_epochs: u64,
        /// How many steps the epoch had.
        n_steps: usize,
        /// Duration of the epoch with validation, in seconds. If it was resumed in the middle, only the time since then.
        secs: f64,
        /// Mean duration of a step, in milliseconds.
        step_ms: f64,
        /// Images per second during the epoch's steps. `None` if all steps were taken before a resume, or if a head trains on
        /// cached features. Not written to `events.jsonl`.
        #[serde(skip)]
        images_per_second: Option<f64>,
        /// The epoch's steps, a few per point.
        points: Vec<StepPoint>,
    },
    /// The learning rate was lowered.
    RateLowered {
        /// The epoch after which it was lowered.
        epoch: u64,
        /// The base rate before.
        from: f64,
        /// The base rate from now on.
        to: f64,
    },
    /// The monitored figure no longer improves, and the run ends.
    StoppedEarly {
        /// The epoch after which the run ends.
        epoch: u64,
    },
    /// The best epoch's weights were restored at the end.
    BestRestored {
        /// The epoch of the weights.
        epoch: u64,
    },
    /// The model of a fold was tested on the images that the fold held out.
    FoldTested {
        /// The fold, from 1.
        fold: usize,
        /// Number of folds.
        n_folds: usize,
        /// Number of held-out images.
        n_images: usize,
        /// The accuracy on them.
        accuracy: f64,
        /// The mean cross-entropy of the held-out images.
        loss: f64,
        /// How long the fold's model was trained, in seconds.
        train_secs: f64,
    },
    /// The finished model was evaluated on the test images: the last event of a whole run.
    Tested {
        /// Number of epochs of training.
        epoch: u64,
        /// The test score.
        score: TestScore,
    },
    /// The run was asked to stop and wrote a checkpoint.
    Interrupted {
        /// The epoch in which the run stopped.
        epoch: u64,
        /// Number of batches of that epoch that were trained on.
        batch: usize,
    },
    /// A notice for the user.
    Notice {
        /// The text of the notice.
        text: String,
    },
}
