//! The state of a run: everything except weights and optimiser state that it needs to resume with the same bits.

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;
use tallow_metrics::{Caveat, EpochRecord, PretrainedWeights, WeightedMean};

use crate::callbacks::{EarlyStoppingState, ReduceLrOnPlateauState};
use crate::error::Result;
use crate::recipe::Recipe;
use crate::step_points::StepPoints;

/// The version of the content of a checkpoint.
pub(crate) const STATE_VERSION: u32 = 1;

/// The state of a run between two steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// [`STATE_VERSION`] of the program that wrote the state.
    pub(crate) version: u32,
    /// The digest of the data that the run trains on.
    pub data_digest: String,
    /// The classes, in the order of the logits; empty in a checkpoint of an older program that did not write them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) class_names: Vec<Foreign>,
    /// The digest of the frozen weights, which are not part of a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frozen_digest: Option<String>,
    /// Number of completed epochs.
    pub epoch: u64,
    /// Number of batches of the current epoch that were trained on.
    pub batch: usize,
    /// The mean optimised loss in the current epoch so far.
    pub(crate) loss: WeightedMean,
    /// The mean cross-entropy in the current epoch so far; empty in a checkpoint of an older program without this entry.
    #[serde(default)]
    pub(crate) cross_entropy: WeightedMean,
    /// The steps of the current epoch so far, a few per point.
    #[serde(default)]
    pub(crate) points: StepPoints,
    /// Number of correct predictions in the current epoch so far.
    pub(crate) n_correct: f64,
    /// The base learning rate; callbacks lower it.
    pub(crate) base_lr: f64,
    /// The learning rate of the last step.
    pub(crate) last_lr: f64,
    pub(crate) early_stopping: EarlyStoppingState,
    pub(crate) reduce_lr_on_plateau: ReduceLrOnPlateauState,
    /// The best epoch so far and its monitored value.
    pub best: Option<Best>,
    /// If early stopping ended the run: the number of epochs that the run was to have. If it is extended beyond that number,
    /// it continues.
    pub stopped_early: Option<u64>,
    /// One record per completed epoch.
    pub history: Vec<EpochRecord>,
    /// Number of weights in the average that the checkpoint holds, if the recipe asks for an average.
    #[serde(default)]
    pub(crate) n_averaged: u64,
    /// Time a frozen backbone took for features that were not cached and were computed for this run, in seconds.
    #[serde(default)]
    pub(crate) features_secs: f64,
    /// The pretrained weights that training began with, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pretrained: Option<PretrainedWeights>,
    /// Reasons to distrust the figures of this run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) caveats: Vec<Caveat>,
    /// Time that the run has trained and validated, in seconds of wall time.
    pub(crate) train_secs: f64,
    /// The part of `train_secs` that its steps took.
    pub(crate) step_secs: f64,
    /// Number of images in those steps.
    pub(crate) n_images: u64,
    /// Length of `events.jsonl` in bytes when the state was written.
    pub(crate) events_bytes: u64,
    /// Length of `events.out.tfevents.*` in bytes when the state was written; 0 in a checkpoint of an older program without
    /// it.
    #[serde(default)]
    pub(crate) tfevents_bytes: u64,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    /// The epoch, from 1.
    pub epoch: u64,
    /// The monitored value.
    pub value: f64,
}

impl State {
    /// Returns the state before the first step.
    pub(crate) fn new(
        recipe: &Recipe,
        data_digest: &str,
        class_names: &[Foreign],
        frozen_digest: Option<String>,
    ) -> Self {
        Self {
            pretrained: None,
            version: STATE_VERSION,
            data_digest: data_digest.to_owned(),
            class_names: class_names.to_vec(),
            frozen_digest,
            epoch: 0,
            batch: 0,
            loss: WeightedMean::default(),
            cross_entropy: WeightedMean::default(),
            points: StepPoints::default(),
            n_correct: 0.0,
            base_lr: recipe.optimizer.lr(),
            last_lr: 0.0,
            early_stopping: EarlyStoppingState::default(),
            reduce_lr_on_plateau: ReduceLrOnPlateauState::default(),
            best: None,
            stopped_early: None,
            history: Vec::new(),
            n_averaged: 0,
            features_secs: 0.0,
            caveats: Vec::new(),
            train_secs: 0.0,
            step_secs: 0.0,
            n_images: 0,
            events_bytes: 0,
            tfevents_bytes: 0,
        }
    }

    /// Whether training is complete.
    pub(crate) fn is_trained(&self, recipe: &Recipe) -> bool {
        self.epoch.max(self.stopped_early.unwrap_or(0)) >= recipe.epochs
    }

    /// Returns the number of steps taken so far; an epoch has `steps_per_epoch`.
    pub(crate) fn n_steps(&self, steps_per_epoch: usize) -> u64 {
        self.epoch.saturating_mul(steps_per_epoch as u64).saturating_add(self.batch as u64)
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self).map_err(crate::checkpoint::encoding)?)
    }
}
