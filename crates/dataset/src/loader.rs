//! Batches of images in a seeded order, prepared by other threads ahead of the training step.
//!
//! A batch is a function of (images, configuration, epoch, its position in the epoch) alone. An epoch that begins at
//! batch `k` gives the same batches as a whole epoch from batch `k` on. Resuming needs this. Images in memory are
//! prepared by one plain thread: the training step already occupies every core, and the preparation takes a small part
//! of the step's time. Files are read and decoded by a pool of threads, batch by batch. The pool has as many threads as
//! the pool that computes.

use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use rayon::prelude::*;
use tallow_core::memory::ARENA;
use tallow_core::{Purpose, Stream};

use crate::pipeline::{Pipeline, Scratch};
use crate::{Augment, Error, ImageSet, Mix, Mixed, Normalization, Preprocess, Transform};

/// Largest number of prepared batches that wait, besides the one in use and the one being prepared.
const N_PREFETCHED: usize = 2;

/// Configuration of training batches.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainLoader {
    /// Number of images in a batch.
    pub batch_size: usize,
    /// Whether the last batch is left out if it is not full.
    pub drop_last: bool,
    /// Augmentation of the images.
    pub augment: Augment,
    /// Mixup and cutmix within a batch.
    pub mix: Mix,
    /// Mean and standard deviation for normalising the pixels.
    pub normalization: Normalization,
    /// How images are fitted to the model's input size. `None`: images keep their own size, which must be the same for
    /// all.
    pub preprocess: Option<Preprocess>,
    /// Seed of the order, the augmentation and the mixing.
    pub seed: u64,
    /// The part of each batch that is needed. `None`: all of it.
    pub share: Option<Share>,
}

/// The part of every batch that one of several processes needs. The images outside it are not read: their numbers are
/// arbitrary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Number of shards that a batch is cut into.
    pub n_shards: usize,
    /// The shards that are needed.
    pub shards: Range<usize>,
}

impl Share {
    /// Returns the images of the shard `shard` of `n_shards` in a batch of `n`: shards are consecutive, and their sizes differ
    /// by one at most. A batch with fewer images than shards has empty shards.
    pub fn of_shard(shard: usize, n_shards: usize, n: usize) -> Range<usize> {
        n * shard / n_shards..n * (shard + 1) / n_shards
    }

    /// Whether the image at `place` in a batch of `n` is needed. Mixing needs the partner of each image as well, which has the
    /// same place counted from the end.
    fn needs(&self, place: usize, n: usize, is_mixed: bool) -> bool {
        let own = n * self.shards.start / self.n_shards..n * self.shards.end / self.n_shards;
        own.contains(&place) || is_mixed && own.contains(&(n - 1 - place))
    }
}

/// Normalised images with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Position of the first image in the epoch's order, counted from 0.
    pub first_position: usize,
    /// Normalised pixels, NHWC.
    pub images: Vec<f32>,
    /// The class of each image.
    pub targets: Vec<u32>,
    /// The partners of mixed images; `None` if the batch is not mixed.
    pub mixed: Option<Mixed>,
    /// The index of each image in its set.
    pub indices: Vec<u32>,
    /// Number of images.
    pub n: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Values per pixel.
    pub channels: usize,
}

/// Returns the number of batches that `n` images make. The last batch may be short; with `drop_last`, a short batch is
/// left out. A batch size of 0 gives 0.
pub fn n_batches(n: usize, batch_size: usize, drop_last: bool) -> usize {
    match (batch_size, drop_last) {
        (0, _) => 0,
        (_, true) => n / batch_size,
        (_, false) => n.div_ceil(batch_size),
    }
}

/// Returns the training batches of `epoch`, from batch `first_batch` on.
///
/// The order is that of [`epoch_order`]. Image `i` of the set is changed as [`Augment::draw`] determines for (seed,
/// `epoch`, `i`). Batch `k` is mixed as [`Mix`] determines for (seed, `epoch`, `k`).
///
/// # Errors
/// If the batch size or a size to fit to is 0, there is not a single batch, `first_batch` is beyond the end, an index
/// has no image, or the augmentation does not fit the images.
pub fn train_batches(
    set: Arc<ImageSet>,
    indices: Arc<[u32]>,
    cfg: &TrainLoader,
    epoch: u64,
    first_batch: usize,
) -> Result<BatchIter, Error> {
    let n_batches = check(&set, &indices, cfg.batch_size, cfg.drop_last)?;
    let pipeline = Pipeline::new(set, cfg.preprocess, cfg.normalization)?;
    let [height, width] = pipeline.augmented_px();
    cfg.augment.validate(height, width)?;
    cfg.mix.validate()?;
    if first_batch > n_batches {
        let reason = format!("an epoch has {n_batches} batches, but number {first_batch} was requested");
        return Err(Error::Batches { batch_size: cfg.batch_size, n_images: indices.len(), reason });
    }
    let order = epoch_order(&indices, cfg.seed, epoch);
    let (augment, mix, seed) = (cfg.augment.clone(), cfg.mix, cfg.seed);
    let work = Work {
        pipeline,
        order,
        batch_size: cfg.batch_size,
        transform: move |index| augment.draw(seed, epoch, index, height, width),
        share: cfg.share.clone(),
        is_mixed: !cfg.mix.is_none(),
        mix: move |batch: &mut Batch, number| {
            let Batch { height, width, channels, .. } = *batch;
            let blend = mix.draw(seed, epoch, number as u64, height, width);
            let shape = [height, width, channels];
            batch.mixed = blend.map(|blend| blend.apply(&mut batch.images, shape, &batch.targets));
        },
        reads_apart: true,
    };
    BatchIter::start(first_batch..n_batches, move |number| work.batch(number))
}

/// Returns the order in which an epoch uses the images `indices`: shuffled by the stream (`seed`, shuffle, `epoch`, 0).
pub fn epoch_order(indices: &[u32], seed: u64, epoch: u64) -> Vec<u32> {
    let mut order = indices.to_vec();
    Stream::new(seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
    order
}

/// Returns batches of all `indices` in their order. Images are fitted as `preprocess` says and normalised, and
/// otherwise unchanged. The last batch may be short.
///
/// # Errors
/// If the batch size or a size to fit to is 0, there is no image, or an index has no image.
pub fn eval_batches(
    set: Arc<ImageSet>,
    indices: Arc<[u32]>,
    batch_size: usize,
    normalization: &Normalization,
    preprocess: Option<&Preprocess>,
) -> Result<BatchIter, Error> {
    let n_batches = check(&set, &indices, batch_size, false)?;
    let work = Work {
        pipeline: Pipeline::new(set, preprocess.copied(), *normalization)?,
        order: indices.to_vec(),
        batch_size,
        transform: |_| Transform::IDENTITY,
        share: None,
        is_mixed: false,
        mix: |_: &mut Batch, _| {},
        reads_apart: true,
    };
    BatchIter::start(0..n_batches, move |number| work.batch(number))
}

/// The images of a batch that could be read, and those that could not, with the reason.
#[derive(Debug)]
pub struct Readable {
    /// The images that could be read; may be empty.
    pub batch: Batch,
    /// Index and error of each image that could not be read, in the batch's order.
    pub failed: Vec<(u32, Error)>,
}

/// Like [`eval_batches`], but an image that cannot be read does not fail its batch: the other images of the batch are
/// returned.
///
/// # Errors
/// Like [`eval_batches`].
pub fn readable_batches(
    set: Arc<ImageSet>,
    indices: Arc<[u32]>,
    batch_size: usize,
    normalization: &Normalization,
    preprocess: Option<&Preprocess>,
) -> Result<BatchIter<Readable>, Error> {
    let n_batches = check(&set, &indices, batch_size, false)?;
    let pipeline = Pipeline::new(set, preprocess.copied(), *normalization)?;
    let transform = |_| Transform::IDENTITY;
    let (order, mix) = (indices.to_vec(), |_: &mut Batch, _| {});
    let (share, is_mixed) = (None, false);
    let work = Work { pipeline, order, batch_size, transform, share, is_mixed, mix, reads_apart: true };
    BatchIter::start(0..n_batches, move |number| work.readable(number))
}

/// Returns all of `indices` as a single batch, like those of [`readable_batches`]. The caller makes it, with the pool of threads
/// that compute. The pool that decodes is not used: waking it takes longer than decoding a few small pictures.
///
/// # Errors
/// Like [`eval_batches`].
pub fn readable_batch(
    set: Arc<ImageSet>,
    indices: &[u32],
    normalization: &Normalization,
    preprocess: Option<&Preprocess>,
) -> Result<Readable, Error> {
    check(&set, indices, indices.len().max(1), false)?;
    let pipeline = Pipeline::new(set, preprocess.copied(), *normalization)?;
    let (order, transform) = (indices.to_vec(), |_| Transform::IDENTITY);
    let work = Work {
        pipeline,
        batch_size: order.len(),
        order,
        transform,
        share: None,
        is_mixed: false,
        mix: |_: &mut Batch, _| {},
        reads_apart: false,
    };
    work.readable(0)
}

/// Returns the number of batches, or an error if there can be none.
fn check(set: &ImageSet, indices: &[u32], batch_size: usize, drop_last: bool) -> Result<usize, Error> {
    let n_images = indices.len();
    let refuse = |reason: &str| Err(Error::Batches { batch_size, n_images, reason: reason.to_owned() });
    if let Some(i) = indices.iter().find(|&&i| i as usize >= set.len()) {
        return refuse(&format!("image {i} of {} was requested", set.len()));
    }
    match n_batches(n_images, batch_size, drop_last) {
        _ if batch_size == 0 => refuse("expected a batch size of at least 1"),
        0 if n_images > 0 => refuse("no batch is full, and drop_last leaves out partial batches"),
        0 => refuse("there are no images"),
        n => Ok(n),
    }
}

/// Everything that is needed to make any batch of an epoch. `T` gives the transform of the image with an index. `M`
/// mixes the batch with a number.
struct Work<T, M> {
    pipeline: Pipeline,
    order: Vec<u32>,
    batch_size: usize,
    transform: T,
    /// The part of each batch that is read; all of it if `None`.
    share: Option<Share>,
    /// Whether `mix` may mix images with their partners.
    is_mixed: bool,
    mix: M,
    /// Whether the threads of [`decoders`] read files. If false, the threads that compute do.
    reads_apart: bool,
}

impl<T: Fn(u32) -> Transform + Sync, M: Fn(&mut Batch, usize) + Sync> Work<T, M> {
    /// Makes the batch with this number. If images cannot be read, returns the error of the first of them.
    fn batch(&self, number: usize) -> Result<Batch, Error> {
        let Readable { mut batch, failed } = self.readable(number)?;
        match failed.into_iter().next() {
            Some((_, error)) => Err(error),
            None => {
                (self.mix)(&mut batch, number);
                Ok(batch)
            }
        }
    }

    /// Makes the batch with this number of the images that can be read, without mixing.
    fn readable(&self, number: usize) -> Result<Readable, Error> {
        let first_position = number * self.batch_size;
        let order = &self.order[first_position..self.order.len().min(first_position + self.batch_size)];
        let [height, width, channels] = self.pipeline.shape();
        let image_len = height * width * channels;
        let mut images = ARENA.take_loose::<f32>(order.len().saturating_mul(image_len));
        let results = self.write(order, &mut images, image_len)?;
        let (mut indices, mut failed) = (Vec::with_capacity(order.len()), Vec::new());
        for (place, (&index, result)) in order.iter().zip(results).enumerate() {
            match result {
                Ok(()) => {
                    if !failed.is_empty() {
                        // close the gap that the unreadable images left
                        let from = place * image_len..(place + 1) * image_len;
                        images.copy_within(from, indices.len() * image_len);
                    }
                    indices.push(index);
                }
                Err(error) => failed.push((index, error)),
            }
        }
        images.truncate(indices.len() * image_len);
        let batch = Batch {
            first_position,
            images,
            targets: indices.iter().map(|&i| self.pipeline.set().label(i as usize)).collect(),
            mixed: None,
            n: indices.len(),
            indices,
            height,
            width,
            channels,
        };
        Ok(Readable { batch, failed })
    }

    /// Overwrites `images` with the images `indices`, one after another. Returns the result of each.
    fn write(
        &self,
        indices: &[u32],
        images: &mut [f32],
        image_len: usize,
    ) -> Result<Vec<Result<(), Error>>, Error> {
        let n = indices.len();
        let is_needed = |place| self.share.as_ref().is_none_or(|share| share.needs(place, n, self.is_mixed));
        let write = |scratch: &mut Scratch, (place, (out, &index)): (usize, (&mut [f32], &u32))| {
            if !is_needed(place) {
                return Ok(());
            }
            self.pipeline.write(index as usize, &(self.transform)(index), scratch, out)
        };
        if self.pipeline.set().block_shape().is_some() {
            let mut scratch = Scratch::default();
            let images = images.chunks_exact_mut(image_len).zip(indices).enumerate();
            return Ok(images.map(|image| write(&mut scratch, image)).collect());
        }
        let images = images.par_chunks_exact_mut(image_len).zip(indices).enumerate().with_max_len(1);
        let read = || images.map_init(Scratch::default, write).collect();
        Ok(if self.reads_apart { decoders()?.install(read) } else { read() })
    }
}

/// Returns the pool of threads that read and decode files. It has as many threads as the pool that computes. The two
/// pools are separate: a picture to be decoded in the middle of a kernel would delay the kernel for long.
pub(crate) fn decoders() -> Result<&'static rayon::ThreadPool, Error> {
    static POOL: OnceLock<rayon::ThreadPool> = OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(rayon::current_num_threads());
    let pool = builder.thread_name(|i| format!("decode-{i}")).build();
    let pool = pool.map_err(|e| Error::Thread(std::io::Error::other(e)))?;
    Ok(POOL.get_or_init(|| pool))
}

/// Iterator over batches as they become ready. Dropping it ends the thread that prepares them.
#[derive(Debug)]
pub struct BatchIter<T = Batch> {
    /// `None` only while the iterator is being dropped.
    batches: Option<Receiver<Result<T, Error>>>,
    thread: Option<JoinHandle<()>>,
    n_left: usize,
}

impl<T: Send + 'static> BatchIter<T> {
    /// Calls `make` for each of `numbers` in order, on a thread that runs ahead of the consumer.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        numbers: Range<usize>,
        make: impl Fn(usize) -> Result<T, Error> + Send + 'static,
    ) -> Result<Self, Error> {
        let n_left = numbers.len();
        let (sender, receiver) = sync_channel(N_PREFETCHED);
        let prepare = move || {
            for number in numbers {
                let batch = make(number);
                let is_last = batch.is_err();
                if sender.send(batch).is_err() || is_last {
                    return; // the receiver is gone, or this batch failed and is the last one
                }
            }
        };
        let thread = std::thread::Builder::new().name("prefetch".into()).spawn(prepare);
        let thread = thread.map_err(Error::Thread)?;
        Ok(Self { batches: Some(receiver), thread: Some(thread), n_left })
    }
}

/// The iterator ends after the first error.
impl<T> Iterator for BatchIter<T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.n_left == 0 {
            return None;
        }
        let batch = self.batches.as_ref()?.recv().ok();
        match (&batch, self.thread.take_if(|_| batch.is_none())) {
            // The thread ended early, so it panicked. The panic is passed on: an epoch must not lack batches silently.
            (None, Some(thread)) => thread.join().err().map(|panic| std::panic::resume_unwind(panic)),
            (Some(Err(_)), _) => {
                self.n_left = 0;
                batch
            }
            _ => {
                self.n_left -= 1;
                batch
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.n_left))
    }
}

impl<T> BatchIter<T> {
    /// Returns the number of batches that are still to come, if none fails.
    pub fn n_left(&self) -> usize {
        self.n_left
    }
}

impl<T> Drop for BatchIter<T> {
    fn drop(&mut self) {
        drop(self.batches.take()); // the thread's next send fails, and it ends
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic was passed on by `next`, or the batch was never asked for
        }
    }
}
