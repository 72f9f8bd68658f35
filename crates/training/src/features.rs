//! Features of a model's frozen trunk: computed once per image, kept in files under the data folder, and handed out in
//! batches like images.
//!
//! What is kept belongs to whole sets in their own order, so any split, subset, seed or head finds it again. The folder
//! is named after a digest of everything that decides a feature; each file (a shard of some images) carries a digest of
//! what it holds, and one that is damaged or of a stopped run is made again.

mod cache;
mod job;
mod shard;

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;
use tallow_core::{Purpose, Stream, memory};
use tallow_dataset::{Batch, Flip, ImageSet, Normalization, TrainLoader, n_batches};
use tallow_nn::{Trunk, device_name, isa};

use crate::data::Part;
use crate::error::{Result, TrainingError};
use crate::session::{Session, Watch};

use cache::folder_for;
pub use cache::{AboutFeatures, FeatureCache, FeatureKey, feature_caches};
use job::{Job, Wanted};

/// Changes whenever the trunk's kernels give other bits than before.
const KERNELS_VERSION: u32 = 2;

/// The features of all images of a set, in their order.
#[derive(Debug)]
pub(crate) struct Features {
    width: usize,
    /// (images, width).
    plain: Vec<f32>,
    /// Of the mirrored images; empty where nobody wants them.
    mirrored: Vec<f32>,
    /// How long the trunk took for them, in this run or an earlier one, if that is known.
    secs: Option<f64>,
}

impl Features {
    /// The features of an image, or of its mirror image.
    fn row(&self, index: u32, mirrored: bool) -> &[f32] {
        let all = if mirrored && !self.mirrored.is_empty() { &self.mirrored } else { &self.plain };
        &all[index as usize * self.width..][..self.width]
    }

    fn batch(
        &self,
        set: &ImageSet,
        indices: &[u32],
        first_position: usize,
        mirror: impl Fn(u32) -> bool + Sync,
    ) -> Batch {
        let mut images = memory::F32.take(indices.len() * self.width);
        images.par_chunks_exact_mut(self.width).zip(indices).for_each(|(row, &i)| {
            row.copy_from_slice(self.row(i, mirror(i)));
        });
        Batch {
            first_position,
            images,
            targets: indices.iter().map(|&i| set.label(i as usize)).collect(),
            indices: indices.to_vec(),
            n: indices.len(),
            height: 1,
            width: 1,
            channels: self.width,
        }
    }

    /// What [`tallow_dataset::train_batches`] is for images: the same order, and mirror images where it mirrors.
    pub(crate) fn train_batches(
        self: &Arc<Self>,
        part: &Part,
        loader: &TrainLoader,
        epoch: u64,
        first_batch: usize,
    ) -> impl Iterator<Item = Batch> + use<> {
        let mut order = part.indices.to_vec();
        Stream::new(loader.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
        let n_batches = n_batches(order.len(), loader.batch_size, loader.drop_last);
        let (features, set, loader) = (Arc::clone(self), Arc::clone(&part.set), loader.clone());
        (first_batch..n_batches).map(move |number| {
            let first = number * loader.batch_size;
            let indices = &order[first..order.len().min(first + loader.batch_size)];
            let is_mirrored = |i| loader.augment.draw(loader.seed, epoch, i, set.height(), set.width()).flip;
            features.batch(&set, indices, first, is_mirrored)
        })
    }

    /// What [`tallow_dataset::eval_batches`] is for images.
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

impl Session {
    /// Gives the parts of the data their features where the model has a trunk: from files, or computed now.
    ///
    /// Returns whether it was done; not if a stop was asked for.
    pub(crate) fn prepare_features(&mut self, watch: &mut Watch<'_>) -> Result<bool> {
        let Some(trunk) = &self.model.trunk else { return Ok(true) };
        let augment = &self.recipe.augment;
        if augment.crop_padding_px > 0 || augment.cutout_px > 0 {
            let problem =
                "must be 0: features are computed once per image, which can only be mirrored".into();
            return Err(TrainingError::Value {
                key: "augment.crop_padding_px and augment.cutout_px",
                problem,
            });
        }
        let dataset = &self.data.dataset;
        let folder = self.feature_folder(trunk)?;
        let mirrored = augment.flip != Flip::None;
        let wanted = [
            Wanted { set: &dataset.train, part: "train", mirrored },
            Wanted { set: &dataset.test, part: "test", mirrored: false },
        ];
        let mut job = Job::new(&self.model, trunk, dataset.normalization, self.precision(), &folder, &wanted);
        let Some(train) = job.features(&wanted[0], watch)? else { return Ok(false) };
        let Some(test) = job.features(&wanted[1], watch)? else { return Ok(false) };
        let of_train = Arc::clone(&dataset.train);
        let parts = [Some(&mut self.data.train), self.data.val.as_mut(), Some(&mut self.data.test)];
        for part in parts.into_iter().flatten() {
            let features = if Arc::ptr_eq(&part.set, &of_train) { &train } else { &test };
            part.features = Some(Arc::clone(features));
        }
        Ok(true)
    }

    /// How long the trunk took for the features that this run uses, whenever that was; none where it has none.
    pub(crate) fn features_secs(&self) -> Option<f64> {
        let secs = |part: &Part| part.features.as_ref()?.secs;
        Some(secs(&self.data.train)? + secs(&self.data.test)?)
    }

    /// The folder of this trunk's features of these data.
    fn feature_folder(&self, trunk: &Trunk) -> Result<PathBuf> {
        let dataset = &self.data.dataset;
        let Normalization { mean, std } = dataset.normalization;
        let key = FeatureKey {
            kernels_version: KERNELS_VERSION,
            trunk: trunk.description.clone(),
            weights: self.state.frozen_digest.clone().unwrap_or_default(),
            data: dataset.digest.clone(),
            interpolation: "bilinear".into(),
            mean,
            std,
            precision: self.recipe.precision.as_str().into(),
            device: device_name(self.model.params.device()),
            isa: isa().as_str().into(),
        };
        let about = AboutFeatures {
            dataset: dataset.name.clone(),
            n_train: dataset.train.len(),
            n_test: dataset.test.len(),
            n_features: trunk.n_features,
            key,
        };
        folder_for(&self.recipe.data.data_dir, &about)
    }
}
