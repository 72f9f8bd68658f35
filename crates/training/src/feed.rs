//! The input of a network: batches of images, or of features that a frozen trunk computed from them. Only this module decides
//! which of the two a batch holds and which layers then run.

use std::ops::Range;
use std::sync::Arc;

use tallow_dataset::{Batch, Normalization, Preprocess, TrainLoader, eval_batches, train_batches};
use tallow_nn::{Act, Ctx, Model};

use crate::data::{Part, TrainData};
use crate::error::Result;
use crate::features::Features;
use crate::recipe::Recipe;

/// Largest number of rows or columns of a network's images.
pub(crate) const MAX_INPUT_PX: usize = 4096;

/// Batches in order; a batch that cannot be made ends them.
pub(crate) type Batches = Box<dyn Iterator<Item = Result<Batch>>>;

/// How images become the numbers that a network receives.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// How images are fitted to the model's size. `None`: images keep their size, and all have the same.
    pub preprocess: Option<Preprocess>,
    /// Mean and standard deviation for normalising pixels.
    pub normalization: Normalization,
}

/// The content of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Images: the whole network runs.
    Images,
    /// Features of the trunk: only the layers after the trunk run.
    Features,
}

impl Content {
    /// Runs the network on a batch with this content and returns its logits.
    ///
    /// # Errors
    /// If the batch does not fit the network, or the device fails.
    pub fn forward(self, model: &Model, x: Act, ctx: &mut Ctx) -> Result<Act> {
        Ok(match self {
            Self::Images => model.forward(x, ctx)?,
            Self::Features => model.network.forward(x, ctx)?,
        })
    }
}

/// The source of a part's batches.
#[derive(Clone, Debug)]
pub(crate) enum Feed {
    Images {
        part: Part,
        input: Input,
    },
    /// Features; `features` holds those of all images of the part's set.
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

    /// Returns the feed of the images at `places` of the part.
    pub(crate) fn of_places(&self, places: Range<usize>) -> Self {
        let mut feed = self.clone();
        let (Self::Images { part, .. } | Self::Features { part, .. }) = &mut feed;
        if places.len() < part.len() {
            part.indices = part.indices[places].into();
        }
        feed
    }

    pub(crate) fn content(&self) -> Content {
        match self {
            Self::Images { .. } => Content::Images,
            Self::Features { .. } => Content::Features,
        }
    }

    /// Returns the training batches of `epoch`, starting with batch `first_batch`.
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

    /// Returns all batches in the part's order.
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
    /// Whether test images come from the training set, as they do if folds are the test.
    pub(crate) fn are_of_one_set(&self) -> bool {
        Arc::ptr_eq(&self.train.part().set, &self.test.part().set)
    }
}

/// Returns the loader settings for an epoch that trains on images of size `size_px`; with `None`, images keep their own size.
pub fn train_loader(recipe: &Recipe, data: &TrainData, size_px: Option<[usize; 2]>) -> TrainLoader {
    TrainLoader {
        batch_size: recipe.batch_size,
        drop_last: recipe.data.drop_last,
        augment: recipe.augment.clone(),
        mix: recipe.mix,
        normalization: data.dataset.normalization,
        preprocess: size_px.map(|px| recipe.data.preprocess(px)),
        seed: recipe.seed,
        share: None,
    }
}
