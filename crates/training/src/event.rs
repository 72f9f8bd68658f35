//! What happens in a run: told to whoever watches it, and written down by the run's recorder, in `events.jsonl` and
//! wherever else it belongs.

use serde::Serialize;
use tallow_metrics::{EpochRecord, TestScore};

use crate::program::Program;
use crate::step_points::StepPoint;

/// Something that happened. Epochs and steps count from 1.
///
/// Serialised it is what `events.jsonl` holds of it. That has every event but steps, which are too many.
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
        /// Parameters of the model.
        n_parameters: usize,
        /// Those of them that are trained.
        n_trained: usize,
        /// The epoch in which it begins.
        epoch: u64,
        /// Batches of that epoch that were trained on already.
        batch: usize,
        /// What trains.
        program: Program,
    },
    /// After the first steps, and when that turns out otherwise: what the run will take.
    Estimate {
        /// One epoch, with validation.
        epoch_secs: f64,
        /// What is left of the run.
        left_secs: f64,
        /// The most memory the process held so far.
        peak_rss_bytes: Option<u64>,
    },
    /// A training step was taken.
    Step {
        /// Which one of the run.
        step: u64,
        /// The accuracy on its images, before its update; one that is mixed counts by the shares of its two classes.
        accuracy: f64,
        /// The mean cross-entropy of its images, before its update.
        loss: f64,
        /// The mean of what is made small, over its images, before its update.
        optimized_loss: f64,
        /// The rate of its update.
        learning_rate: f64,
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
        /// How many images its steps took per second; none where all of them were taken before a resume, and of a head on
        /// features that are kept. In
        /// `events.jsonl` it is left out.
        #[serde(skip)]
        images_per_second: Option<f64>,
        /// Its steps, a few at a time.
        points: Vec<StepPoint>,
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
    /// The model of a fold has seen the images that the fold held out.
    FoldTested {
        /// Which fold, from 1.
        fold: usize,
        /// Of how many.
        n_folds: usize,
        /// How many images it held out.
        n_images: usize,
        /// The share of them that are classified rightly.
        accuracy: f64,
        /// Their mean cross-entropy.
        loss: f64,
        /// How long its model was trained.
        train_secs: f64,
    },
    /// The finished model has seen the test images: the last event of a whole run.
    Tested {
        /// After how many epochs of training.
        epoch: u64,
        /// What it came to.
        score: TestScore,
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
