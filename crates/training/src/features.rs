//! Features of a model's frozen trunk: computed once per image, cached in files under the data folder, and handed out in
//! batches like images.
//!
//! A cached feature belongs to a picture, identified by the SHA-256 of its stored content, and not to a data set. So any
//! split, subset, seed, class list or head finds it again, and after a data set grows only the features of the new pictures
//! are computed. The folder is named after a digest of everything else that decides a feature. Each file (a shard of some
//! pictures) names its pictures and carries a digest of its content. A damaged or unfinished file is computed again.

mod cache;
mod index;
mod job;
mod nearest;
mod neighbours;
mod shard;

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use tallow_core::memory::ARENA;
use tallow_dataset::{
    Batch, BatchIter, Fit, Flip, ImageSet, Interpolation, Normalization, Preprocess, TrainLoader,
    epoch_order, n_batches,
};
use tallow_nn::{Model, Trunk, device_name, isa};

use crate::data::Part;
use crate::error::Result;
use crate::feed::{Feed, Feeds, Input};
use crate::recipe::PrecisionSetting;
use crate::session::{Session, Watch};

pub use cache::{AboutFeatures, FeatureCache, FeatureKey, feature_caches};
use cache::{folder_for, folder_of};
use index::Index;
use job::{Job, Wanted};
pub use nearest::Near;
pub(crate) use neighbours::Neighbours;
use shard::Of;

/// Version of the trunk's kernels: increase it when they give other bits than before.
const KERNELS_VERSION: u32 = 3;

/// The features of all images of a set, in the order of the set.
#[derive(Debug)]
pub(crate) struct Features {
    width: usize,
    /// (images, width).
    plain: Vec<f32>,
    /// Features of the mirrored images, (images, width); empty if mirroring was not requested.
    mirrored: Vec<f32>,
    /// Time the trunk took for all these features, in this run or earlier ones, in seconds.
    secs: f64,
    /// The part of `secs` that this run spent, on features that were not in the cache.
    own_secs: f64,
}

impl Features {
    /// Returns the features of an image or of its mirror image.
    fn row(&self, index: u32, mirrored: bool) -> &[f32] {
        let all = if mirrored && !self.mirrored.is_empty() { &self.mirrored } else { &self.plain };
        &all[index as usize * self.width..][..self.width]
    }

    /// Returns the features of some images, (images, width).
    pub(crate) fn rows(&self, indices: &[u32]) -> Vec<f32> {
        indices.iter().flat_map(|&i| self.row(i, false)).copied().collect()
    }

    fn batch(
        &self,
        set: &ImageSet,
        indices: &[u32],
        first_position: usize,
        mirror: impl Fn(u32) -> bool,
    ) -> Batch {
        let mut images = ARENA.take_loose::<f32>(indices.len() * self.width);
        for (row, &i) in images.chunks_exact_mut(self.width).zip(indices) {
            row.copy_from_slice(self.row(i, mirror(i)));
        }
        Batch {
            first_position,
            images,
            targets: indices.iter().map(|&i| set.label(i as usize)).collect(),
            mixed: None,
            indices: indices.to_vec(),
            n: indices.len(),
            height: 1,
            width: 1,
            channels: self.width,
        }
    }

    /// Does for features what [`tallow_dataset::train_batches`] does for images: gives the same order and the same mirroring,
    /// and gathers batches ahead in a thread, since a head's step hardly takes longer than gathering its batch.
    pub(crate) fn train_batches(
        self: &Arc<Self>,
        part: &Part,
        loader: &TrainLoader,
        epoch: u64,
        first_batch: usize,
    ) -> Result<BatchIter> {
        let order = epoch_order(&part.indices, loader.seed, epoch);
        let n_batches = n_batches(order.len(), loader.batch_size, loader.drop_last);
        let (features, set, loader) = (Arc::clone(self), Arc::clone(&part.set), loader.clone());
        Ok(BatchIter::start(first_batch..n_batches, move |number| {
            let first = number * loader.batch_size;
            let indices = &order[first..order.len().min(first + loader.batch_size)];
            let is_mirrored = |i| loader.augment.draw(loader.seed, epoch, i, 1, 1).flip;
            Ok(features.batch(&set, indices, first, is_mirrored))
        })?)
    }

    /// Does for features what [`tallow_dataset::eval_batches`] does for images.
    pub(crate) fn eval_batches(
        self: &Arc<Self>,
        part: &Part,
        batch_size: usize,
    ) -> impl Iterator<Item = Batch> + use<> {
        let (features, set, indices) = (Arc::clone(self), Arc::clone(&part.set), Arc::clone(&part.indices));
        (0..indices.len()).step_by(batch_size).map(move |first| {
            let indices = &indices[first..indices.len().min(first + batch_size)];
            features.batch(&set, indices, first, |_| false)
        })
    }
}

/// Describes in words how a picture is resized. "bilinear" is the text of older versions.
fn described(preprocess: Option<Preprocess>) -> String {
    match preprocess {
        Some(Preprocess { interpolation, fit, crop_fraction, .. }) => match (interpolation, fit) {
            (Interpolation::Linear, Fit::Squash) => "bilinear".to_owned(),
            (_, Fit::Crop) => format!("{interpolation:?}, {fit:?} of {crop_fraction}"),
            _ => format!("{interpolation:?}, {fit:?}"),
        },
        None => "bilinear".to_owned(),
    }
}

impl Session {
    /// Returns the feeds of the run: images or, if the model has a trunk, its features, read from the cache or computed now.
    ///
    /// Returns `None` if a stop was requested.
    pub(crate) fn feeds(&self, watch: &mut Watch<'_>) -> Result<Option<Feeds>> {
        let (data, input) = (&self.data, self.input());
        let Some(trunk) = &self.learner.model.trunk else {
            let feed = |part: &Part| Feed::Images { part: part.clone(), input: input.clone() };
            let (train, val, test) = (feed(&data.train), data.val.as_ref().map(feed), feed(&data.test));
            return Ok(Some(Feeds { train, val, test }));
        };
        let dataset = &data.dataset;
        let folder = self.feature_folder(trunk)?;
        let wanted = [
            Wanted::new(&dataset.train, "train", self.recipe.augment.flip != Flip::None),
            Wanted::new(&dataset.test, "test", false),
        ];
        let (model, precision) = (&self.learner.model, self.learner.precision);
        let mut job = Job::new(model, trunk, input, precision, (&folder, &self.comm), &wanted);
        let Some(of_train) = job.features(&wanted[0], watch)? else { return Ok(None) };
        let Some(of_test) = job.features(&wanted[1], watch)? else { return Ok(None) };
        let feed = |part: &Part| {
            let features = if Arc::ptr_eq(&part.set, &dataset.train) { &of_train } else { &of_test };
            Feed::Features { part: part.clone(), features: Arc::clone(features) }
        };
        Ok(Some(Feeds { train: feed(&data.train), val: data.val.as_ref().map(feed), test: feed(&data.test) }))
    }

    /// Returns the feed of the training images alone; features of other images are neither read nor computed.
    ///
    /// Returns `None` if a stop was requested.
    pub(crate) fn train_feed(&self, watch: &mut Watch<'_>) -> Result<Option<Feed>> {
        let (part, input) = (self.data.train.clone(), self.input());
        let Some(trunk) = &self.learner.model.trunk else { return Ok(Some(Feed::Images { part, input })) };
        let wanted = [Wanted::new(&part.set, "train", self.recipe.augment.flip != Flip::None)];
        let (folder, precision) = (self.feature_folder(trunk)?, self.learner.precision);
        let mut job = Job::new(&self.learner.model, trunk, input, precision, (&folder, &self.comm), &wanted);
        let features = job.features(&wanted[0], watch)?;
        Ok(features.map(|features| Feed::Features { part, features }))
    }

    /// Returns the number of images of `set` whose features this run's model needs and the cache lacks; 0 if the model uses
    /// no features.
    ///
    /// # Errors
    /// If the data folder cannot be used.
    pub fn n_missing_features(&self, set: &ImageSet) -> Result<usize> {
        let Some(trunk) = &self.learner.model.trunk else { return Ok(0) };
        let index = Index::read(&self.feature_folder(trunk)?);
        let is_missing =
            |&i: &usize| index.place(&Of { identity: set.identity(i), mirrored: false }).is_none();
        Ok((0..set.len()).into_par_iter().filter(is_missing).count())
    }

    /// Returns the time the trunk took for the features of this run, in this run or earlier ones; `None` if the run uses no
    /// features.
    pub(crate) fn features_secs(&self) -> Option<f64> {
        let secs = |feed: &Feed| match feed {
            Feed::Features { features, .. } => Some(features.secs),
            Feed::Images { .. } => None,
        };
        let feeds = self.feeds.as_ref()?;
        Some(secs(&feeds.train)? + if feeds.are_of_one_set() { 0.0 } else { secs(&feeds.test)? })
    }

    /// Whether the run trains on features of a frozen trunk.
    pub(crate) fn has_features(&self) -> bool {
        self.learner.model.trunk.is_some()
    }

    /// Returns the time that this process spent on features that were not in the cache, in seconds.
    pub(crate) fn own_features_secs(&self) -> f64 {
        let own = |feed: &Feed| match feed {
            Feed::Features { features, .. } => features.own_secs,
            Feed::Images { .. } => 0.0,
        };
        let of_test = |feeds: &Feeds| if feeds.are_of_one_set() { 0.0 } else { own(&feeds.test) };
        self.feeds.as_ref().map_or(0.0, |feeds| own(&feeds.train) + of_test(feeds))
    }

    /// Returns the cache folder of this trunk's features.
    fn feature_folder(&self, trunk: &Trunk) -> Result<PathBuf> {
        let weights = self.state.frozen_digest.clone();
        let about = about(&self.learner.model, trunk, weights, self.input(), self.recipe.precision);
        folder_for(&self.recipe.data.data_dir, &about)
    }
}

/// What names and describes the folder of a trunk's features; `weights` is the digest of what is frozen in `model`.
fn about(
    model: &Model,
    trunk: &Trunk,
    weights: Option<String>,
    input: Input,
    precision: PrecisionSetting,
) -> AboutFeatures {
    let Input { preprocess, normalization: Normalization { mean, std } } = input;
    let key = FeatureKey {
        kernels_version: KERNELS_VERSION,
        trunk: trunk.description.clone().into(),
        weights: weights.unwrap_or_default(),
        interpolation: described(preprocess),
        mean,
        std,
        precision: precision.as_str().into(),
        device: device_name(model.params.device()).into(),
        isa: isa().as_str().into(),
    };
    AboutFeatures { n_features: trunk.n_features, key }
}
