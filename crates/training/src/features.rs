//! Features of a model's frozen trunk: computed once per image, kept in files under the data folder, and handed out in
//! batches like images.
//!
//! What is kept belongs to whole sets in their own order, so any split, subset, seed or head finds it again. The folder
//! is named after a digest of everything that decides a feature; each file (a shard of some images) carries a digest of
//! what it holds, and one that is damaged or of a stopped run is made again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tallow_core::digest::Hasher;
use tallow_core::{Progress, Purpose, Stream, Unit, files};
use tallow_dataset::{Batch, Flip, ImageSet, Normalization, TrainLoader, eval_batches, n_batches};
use tallow_nn::{Ctx, Dims, HostTensor, Model, Precision, Tensors, Trunk, decode, device_name, encode, isa};

use crate::checkpoint::{digest, encoding};
use crate::data::Part;
use crate::error::{Result, TrainingError};
use crate::session::{Session, Watch};

/// Changes whenever the trunk's kernels give other bits than before.
const KERNELS_VERSION: u32 = 1;

/// Images of a shard.
const SHARD_LEN: usize = 2048;

/// Pixels of a batch, about: maps stay small, and there are enough of them for all threads.
const BATCH_PX: usize = 1 << 18;

/// Images of a batch at least.
const MIN_BATCH: usize = 8;

const FEATURES: &str = "features";

/// Longer files are no shards.
const MAX_SHARD_BYTES: u64 = 1 << 30;

/// The features of all images of a set, in their order.
#[derive(Debug)]
pub(crate) struct Features {
    width: usize,
    /// (images, width).
    plain: Vec<f32>,
    /// Of the mirrored images; empty where nobody wants them.
    mirrored: Vec<f32>,
}

/// Everything that decides a feature.
#[derive(Debug, Serialize, Deserialize)]
struct Key {
    kernels_version: u32,
    /// Architecture, strides and input size.
    trunk: String,
    /// Of the trunk's weights and statistics.
    weights: String,
    /// Of class names, sizes, labels and pixels.
    data: String,
    interpolation: String,
    mean: [f32; 3],
    std: [f32; 3],
    precision: String,
    device: String,
    isa: String,
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
        mirror: impl Fn(u32) -> bool,
    ) -> Batch {
        Batch {
            first_position,
            images: indices.iter().flat_map(|&i| self.row(i, mirror(i))).copied().collect(),
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
        let job = Job {
            model: &self.model,
            trunk,
            normalization: dataset.normalization,
            precision: self.precision(),
            folder: &folder,
        };
        let mirror = augment.flip != Flip::None;
        let Some(train) = job.features(&dataset.train, "train", mirror, watch)? else { return Ok(false) };
        let Some(test) = job.features(&dataset.test, "test", false, watch)? else { return Ok(false) };
        let of_train = Arc::clone(&dataset.train);
        let parts = [Some(&mut self.data.train), self.data.val.as_mut(), Some(&mut self.data.test)];
        for part in parts.into_iter().flatten() {
            let features = if Arc::ptr_eq(&part.set, &of_train) { &train } else { &test };
            part.features = Some(Arc::clone(features));
        }
        Ok(true)
    }

    /// The folder of this trunk's features of these data, with a `key.json` that says what they are of.
    fn feature_folder(&self, trunk: &Trunk) -> Result<PathBuf> {
        let dataset = &self.data.dataset;
        let Normalization { mean, std } = dataset.normalization;
        let key = Key {
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
        let text = serde_json::to_string_pretty(&key).map_err(encoding)?;
        let mut hasher = Hasher::new();
        hasher.update(text.as_bytes());
        let name = &hasher.finish()[..16];
        let folder = self.recipe.data.data_dir.join(FEATURES).join(name);
        files::create_folder(&folder)?;
        files::write(&folder.join("key.json"), format!("{text}\n").as_bytes())?;
        Ok(folder)
    }
}

/// What features are computed by, and where they are kept.
struct Job<'a> {
    model: &'a Model,
    trunk: &'a Trunk,
    normalization: Normalization,
    precision: Precision,
    folder: &'a Path,
}

impl Job<'_> {
    /// The features of all images of `set`; `None` if a stop was asked for.
    fn features(
        &self,
        set: &Arc<ImageSet>,
        part: &str,
        mirror: bool,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Arc<Features>>> {
        let width = self.trunk.n_features;
        let mut features = Features { width, plain: Vec::new(), mirrored: Vec::new() };
        let variants = if mirror { 2 } else { 1 };
        let label = format!("features of the {part} images");
        watch.progress.begin(&label, Some((variants * set.len()) as u64), Unit::Items("images"));
        for mirrored in [false, true].into_iter().take(variants) {
            let all = if mirrored { &mut features.mirrored } else { &mut features.plain };
            all.reserve_exact(set.len() * width);
            for first in (0..set.len()).step_by(SHARD_LEN) {
                let images = first..set.len().min(first + SHARD_LEN);
                let name =
                    format!("{part}{}-{first:07}.safetensors", if mirrored { "-mirrored" } else { "" });
                let path = self.folder.join(name);
                let shape = vec![images.len(), width];
                let shard = match read_shard(&path, &shape, watch.progress) {
                    Some(shard) => shard,
                    None => {
                        let Some(data) =
                            self.compute(set, images.clone(), mirrored, all.len() / width, watch)?
                        else {
                            watch.progress.end();
                            return Ok(None);
                        };
                        write_shard(&path, HostTensor { shape, data })?
                    }
                };
                all.extend_from_slice(&shard);
                let done = if mirrored { set.len() } else { 0 } + images.end;
                watch.progress.advance(done as u64);
            }
        }
        watch.progress.end();
        Ok(Some(Arc::new(features)))
    }

    /// The features of these images, computed now; `None` if a stop was asked for.
    fn compute(
        &self,
        set: &Arc<ImageSet>,
        images: std::ops::Range<usize>,
        mirrored: bool,
        n_done: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let size = self.model.resize_px;
        let [h, w] = size.unwrap_or([set.height(), set.width()]);
        let batch_size = (BATCH_PX / (h * w).max(1)).max(MIN_BATCH);
        let indices: Arc<[u32]> = images.map(|i| i as u32).collect();
        let base = if mirrored { set.len() } else { 0 } + n_done;
        let device = self.model.params.device();
        let mut all = Vec::with_capacity(indices.len() * self.trunk.n_features);
        for mut batch in eval_batches(set.clone(), indices, batch_size, &self.normalization, size)? {
            if watch.stop.raised().is_some() {
                return Ok(None);
            }
            if mirrored {
                mirror(&mut batch);
            }
            let dims = Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width };
            let mut ctx = Ctx::eval(tallow_nn::Path::of(device), device).with_precision(self.precision);
            let x = ctx.input(batch.images, dims)?;
            all.extend(self.trunk.layer.forward(x, &mut ctx)?.to_vec()?);
            watch.progress.advance((base + all.len() / self.trunk.n_features) as u64);
        }
        Ok(Some(all))
    }
}

/// Mirrors each image left to right.
fn mirror(batch: &mut Batch) {
    let (line, c) = (batch.width * batch.channels, batch.channels);
    for line in batch.images.chunks_exact_mut(line.max(1)) {
        for left in 0..batch.width / 2 {
            let right = batch.width - 1 - left;
            for channel in 0..c {
                line.swap(left * c + channel, right * c + channel);
            }
        }
    }
}

/// What a whole shard of this shape holds; `None` where there is none, and it has to be made.
fn read_shard(path: &Path, shape: &[usize], progress: &dyn Progress) -> Option<Vec<f32>> {
    if !path.exists() {
        return None;
    }
    let read = || -> Option<HostTensor> {
        let bytes = files::read_at_most(path, MAX_SHARD_BYTES).ok()?;
        let (mut tensors, metadata) = decode(&bytes).ok()?;
        let is_whole = metadata.as_deref() == Some(&digest("", &tensors));
        tensors.remove(FEATURES).filter(|features| is_whole && features.shape == shape)
    };
    let shard = read();
    if shard.is_none() {
        progress.say(&format!("{} is damaged: these features are computed again", path.display()));
    }
    shard.map(|features| features.data)
}

fn write_shard(path: &Path, features: HostTensor) -> Result<Vec<f32>> {
    let mut tensors: Tensors = [(FEATURES.to_owned(), features)].into();
    let bytes = encode(&tensors, &digest("", &tensors))?;
    files::write(path, &bytes)?;
    Ok(tensors.remove(FEATURES).map(|features| features.data).unwrap_or_default())
}
