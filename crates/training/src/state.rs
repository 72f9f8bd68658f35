//! Where a run is: everything beside weights and optimiser state that it needs to go on bit for bit.

use serde::{Deserialize, Serialize};
use tallow_metrics::{Caveat, EpochRecord, PretrainedWeights, WeightedMean};

use crate::callbacks::{EarlyStoppingState, ReduceLrOnPlateauState};
use crate::error::Result;
use crate::recipe::Recipe;
use crate::step_points::StepPoints;

/// The version of what a checkpoint holds.
pub(crate) const STATE_VERSION: u32 = 1;

/// The state of a run between two steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// [`STATE_VERSION`] of the program that wrote it.
    pub(crate) version: u32,
    /// The digest of the data that the run trains on.
    pub data_digest: String,
    /// The classes, in the order of the logits; none in a checkpoint of a program that did not write them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) class_names: Vec<String>,
    /// The digest of the weights that stay as they are, which are not part of a checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) frozen_digest: Option<String>,
    /// Epochs that are over.
    pub epoch: u64,
    /// Batches of the current epoch that were trained on.
    pub batch: usize,
    /// The mean of what is optimised in the current epoch so far.
    pub(crate) loss: WeightedMean,
    /// The mean cross-entropy of the current epoch so far; nothing in a checkpoint of a program that did not tell it apart.
    #[serde(default)]
    pub(crate) cross_entropy: WeightedMean,
    /// The steps of the current epoch so far, a few at a time.
    #[serde(default)]
    pub(crate) points: StepPoints,
    /// Right answers in the current epoch so far.
    pub(crate) n_correct: f64,
    /// The base rate; callbacks lower it.
    pub(crate) base_lr: f64,
    /// The rate of the last step.
    pub(crate) last_lr: f64,
    pub(crate) early_stopping: EarlyStoppingState,
    pub(crate) reduce_lr_on_plateau: ReduceLrOnPlateauState,
    /// The best epoch so far and its monitored value.
    pub best: Option<Best>,
    /// Where early stopping ended the run: how many epochs it was to have. Extended beyond those, it goes on.
    pub stopped_early: Option<u64>,
    /// One record per epoch that is over.
    pub history: Vec<EpochRecord>,
    /// Weights in the average that the checkpoint holds, where the recipe asks for one.
    #[serde(default)]
    pub(crate) n_averaged: u64,
    /// How long a frozen backbone took for features that were computed for this run, and not found.
    #[serde(default)]
    pub(crate) features_secs: f64,
    /// The weights that training began with, where others had trained them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pretrained: Option<PretrainedWeights>,
    /// What takes something from the figures to come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) caveats: Vec<Caveat>,
    /// How long the run has trained and validated, by the clock.
    pub(crate) train_secs: f64,
    /// How long of that its steps took.
    pub(crate) step_secs: f64,
    /// Images that those steps took.
    pub(crate) n_images: u64,
    /// The length of `events.jsonl` when this was written.
    pub(crate) events_bytes: u64,
    /// The length of `events.out.tfevents.*` when this was written; 0 in a checkpoint of a program without it.
    #[serde(default)]
    pub(crate) tfevents_bytes: u64,
}

/// The best epoch so far.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    /// From 1.
    pub epoch: u64,
    /// What was monitored.
    pub value: f64,
}

impl State {
    /// The state before the first step.
    pub(crate) fn new(
        recipe: &Recipe,
        data_digest: &str,
        class_names: &[String],
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

    /// Whether there is nothing left to train.
    pub(crate) fn is_trained(&self, recipe: &Recipe) -> bool {
        self.epoch.max(self.stopped_early.unwrap_or(0)) >= recipe.epochs
    }

    /// Steps taken so far, where an epoch has `steps_per_epoch`.
    pub(crate) fn n_steps(&self, steps_per_epoch: usize) -> u64 {
        self.epoch * steps_per_epoch as u64 + self.batch as u64
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self).map_err(crate::checkpoint::encoding)?)
    }
}
