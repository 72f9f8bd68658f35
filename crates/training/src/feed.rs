//! What a network is fed: batches of images, or of the features that a frozen trunk made of them. Which of the two, and
//! what then runs, is decided here alone.

use std::sync::Arc;

use tallow_dataset::{Batch, Normalization, Preprocess, TrainLoader, eval_batches, train_batches};
use tallow_nn::{Act, Ctx, Model};

use crate::data::{Part, TrainData};
use crate::error::Result;
use crate::features::Features;
use crate::recipe::Recipe;

/// Batches as they are ready; one that cannot be made is the last.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<Batch>>>;

/// How images come to the numbers that a network sees.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// How images are fitted to the model's size; `None`: they keep their own, which is one for all.
    pub preprocess: Option<Preprocess>,
    /// What their pixels are normalised by.
    pub normalization: Normalization,
}

/// What batches hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Images: the whole network runs.
    Images,
    /// Features of the trunk: what comes after it runs.
    Features,
}

impl Content {
    /// The logits of a batch with this content.
    ///
    /// # Errors
    /// If it does not fit the network, or the device fails.
    pub fn forward(self, model: &Model, x: Act, ctx: &mut Ctx) -> Result<Act> {
        Ok(match self {
            Self::Images => model.forward(x, ctx)?,
            Self::Features => model.network.forward(x, ctx)?,
        })
    }
}

/// Where the batches of a part come from.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    Images {
        part: Part,
        input: Input,
    },
    /// `features` are those of all images of the part's set.
    Features {
        part: Part,
        features: Arc<Features>,
    },
}

impl Feed {
    pub(crate) fn part(&self) -> &Part {
        match self {
            Self::Images { part, .. } | Self::Features { part, .. } => part,
        }
    }

    pub(crate) fn content(&self) -> Content {
        match self {
            Self::Images { .. } => Content::Images,
            Self::Features { .. } => Content::Features,
        }
    }

    /// The training batches of `epoch` from batch `first_batch` on.
    pub(crate) fn train_batches(&self, cfg: &TrainLoader, epoch: u64, first_batch: usize) -> Result<Batches> {
        match self {
            Self::Images { part: Part { set, indices }, .. } => {
                let batches = train_batches(set.clone(), indices.clone(), cfg, epoch, first_batch)?;
                Ok(Box::new(batches.map(|batch| Ok(batch?))))
            }
            Self::Features { part, features } => {
                let batches = features.train_batches(part, cfg, epoch, first_batch)?;
                Ok(Box::new(batches.map(|batch| Ok(batch?))))
            }
        }
    }

    /// All batches in the part's order.
    pub(crate) fn eval_batches(&self, batch_size: usize) -> Result<Batches> {
        match self {
            Self::Images { part: Part { set, indices }, input } => {
                let Input { preprocess, normalization } = input;
                let (set, indices) = (set.clone(), indices.clone());
                let batches = eval_batches(set, indices, batch_size, normalization, preprocess.as_ref())?;
                Ok(Box::new(batches.map(|batch| Ok(batch?))))
            }
            Self::Features { part, features } => {
                Ok(Box::new(features.eval_batches(part, batch_size).map(Ok)))
            }
        }
    }
}

/// The feeds of a run.
#[derive(Clone, Debug)]
pub(crate) struct Feeds {
    pub(crate) train: Feed,
    pub(crate) val: Option<Feed>,
    pub(crate) test: Feed,
}

impl Feeds {
    /// Whether the test images are of the training set, as they are where folds are the test.
    pub(crate) fn are_of_one_set(&self) -> bool {
        Arc::ptr_eq(&self.train.part().set, &self.test.part().set)
    }
}

/// How batches of images are made in an epoch that trains on images of this size; `None`: of their own.
pub fn train_loader(recipe: &Recipe, data: &TrainData, size_px: Option<[usize; 2]>) -> TrainLoader {
    TrainLoader {
        batch_size: recipe.batch_size,
        drop_last: recipe.data.drop_last,
        augment: recipe.augment.clone(),
        mix: recipe.mix,
        normalization: data.dataset.normalization,
        preprocess: size_px.map(|px| recipe.data.preprocess(px)),
        seed: recipe.seed,
    }
}
