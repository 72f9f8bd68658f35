//! Batches: a seeded order, augmentation, normalisation, prepared ahead by one thread.
//!
//! A batch is a function of (images, configuration, epoch, its place in the epoch) alone. An epoch that begins at
//! batch `k` gives exactly what a whole one gives from batch `k` on: that is what resuming needs. One plain thread
//! prepares, because a step of the training occupies every core already, and preparing takes a small part of it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use tallow_core::{Purpose, Stream, memory};

use crate::resize::Resize;
use crate::{Augment, Error, ImageSet, Normalization, Transform};

/// How many prepared batches wait at most, beside the one that is used and the one in the making.
const N_PREFETCHED: usize = 2;

/// How training batches are made.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainLoader {
    /// Images in a batch.
    pub batch_size: usize,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// What is done to the images.
    pub augment: Augment,
    /// What the pixels are normalised by.
    pub normalization: Normalization,
    /// Rows and columns that images are resized to, bilinearly, after they were changed; `None`: their own.
    pub size_px: Option<[usize; 2]>,
    /// Seed of order and augmentation.
    pub seed: u64,
}

/// Normalised images with their classes.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Place of the first image in the epoch's order, counted from 0.
    pub first_position: usize,
    /// NHWC.
    pub images: Vec<f32>,
    /// The class of each image.
    pub targets: Vec<u32>,
    /// The index of each image in its set.
    pub indices: Vec<u32>,
    /// Number of images.
    pub n: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Numbers per pixel.
    pub channels: usize,
}

/// How many batches `n` images make: the last one may be short, or left out with `drop_last`. None of size 0.
pub fn n_batches(n: usize, batch_size: usize, drop_last: bool) -> usize {
    match (batch_size, drop_last) {
        (0, _) => 0,
        (_, true) => n / batch_size,
        (_, false) => n.div_ceil(batch_size),
    }
}

/// The training batches of `epoch`, from batch `first_batch` on.
///
/// The order is that of the stream (seed, shuffle, `epoch`, 0); image `i` of the set is changed as
/// [`Augment::draw`] says for (seed, `epoch`, `i`).
///
/// # Errors
/// If the batch size or a size to resize to is 0, not even one batch comes out, `first_batch` is beyond the end, an
/// index has no image, or the augmentation does not fit the images.
pub fn train_batches(
    set: Arc<ImageSet>,
    indices: Arc<[u32]>,
    cfg: &TrainLoader,
    epoch: u64,
    first_batch: usize,
) -> Result<BatchIter, Error> {
    let n_batches = check(&set, &indices, cfg.batch_size, cfg.drop_last, cfg.size_px)?;
    cfg.augment.validate(set.height(), set.width())?;
    if first_batch > n_batches {
        let reason = format!("an epoch has {n_batches} batches, and number {first_batch} is asked for");
        return Err(Error::Batches { batch_size: cfg.batch_size, n_images: indices.len(), reason });
    }
    let mut order = indices.to_vec();
    Stream::new(cfg.seed, Purpose::Shuffle, epoch, 0).shuffle(&mut order);
    let (augment, seed) = (cfg.augment.clone(), cfg.seed);
    let (height, width) = (set.height(), set.width());
    let transform = move |index| augment.draw(seed, epoch, index, height, width);
    let resize = resize(&set, cfg.size_px);
    let table = cfg.normalization.table();
    let work = Work { set, order, batch_size: cfg.batch_size, table, resize, transform };
    BatchIter::start(work, first_batch..n_batches)
}

/// All of `indices` in their order, normalised, resized to `size_px` rows and columns where it says so, and otherwise
/// unchanged; the last batch may be short.
///
/// # Errors
/// If the batch size or a size to resize to is 0, there is no image, or an index has no image.
pub fn eval_batches(
    set: Arc<ImageSet>,
    indices: Arc<[u32]>,
    batch_size: usize,
    normalization: &Normalization,
    size_px: Option<[usize; 2]>,
) -> Result<BatchIter, Error> {
    let n_batches = check(&set, &indices, batch_size, false, size_px)?;
    let transform = |_| Transform::IDENTITY;
    let resize = resize(&set, size_px);
    let (order, table) = (indices.to_vec(), normalization.table());
    let work = Work { set, order, batch_size, table, resize, transform };
    BatchIter::start(work, 0..n_batches)
}

fn resize(set: &ImageSet, size_px: Option<[usize; 2]>) -> Option<Resize> {
    let own = [set.height(), set.width()];
    size_px.filter(|size| *size != own).map(|size| Resize::new(own, size, set.channels()))
}

/// The number of batches, if they can be made.
fn check(
    set: &ImageSet,
    indices: &[u32],
    batch_size: usize,
    drop_last: bool,
    size_px: Option<[usize; 2]>,
) -> Result<usize, Error> {
    let n_images = indices.len();
    let refuse = |reason: &str| Err(Error::Batches { batch_size, n_images, reason: reason.to_owned() });
    if let Some(i) = indices.iter().find(|&&i| i as usize >= set.len()) {
        return refuse(&format!("image {i} of {} is asked for", set.len()));
    }
    match n_batches(n_images, batch_size, drop_last) {
        _ if batch_size == 0 => refuse("a batch size of at least 1 is expected"),
        _ if size_px.is_some_and(|size| size.contains(&0)) => refuse("images cannot be resized to no pixels"),
        0 if n_images > 0 => refuse("no batch is full, and drop_last leaves out what is not"),
        0 => refuse("there is no image"),
        n => Ok(n),
    }
}

/// What the thread needs to make any batch of an epoch; `T` says what is done to the image with an index.
struct Work<T> {
    set: Arc<ImageSet>,
    order: Vec<u32>,
    batch_size: usize,
    table: [[f32; 256]; 3],
    /// Where images are to have another size.
    resize: Option<Resize>,
    transform: T,
}

impl<T: Fn(u32) -> Transform> Work<T> {
    fn batch(&self, number: usize) -> Batch {
        let first_position = number * self.batch_size;
        let indices = &self.order[first_position..self.order.len().min(first_position + self.batch_size)];
        let set = &self.set;
        let own = [set.height(), set.width(), set.channels()];
        let [height, width] = self.resize.as_ref().map_or([own[0], own[1]], Resize::size);
        let image_len = height * width * own[2];
        let mut images = memory::F32.take(indices.len() * image_len);
        let (mut image, mut line) = (vec![0.0; set.image_len()], Vec::new());
        for (&index, out) in indices.iter().zip(images.chunks_exact_mut(image_len)) {
            let (transform, pixels) = ((self.transform)(index), set.image(index as usize));
            match &self.resize {
                None => transform.apply(pixels, own, &self.table, out),
                Some(resize) => {
                    transform.apply(pixels, own, &self.table, &mut image);
                    resize.apply(&image, &mut line, out);
                }
            }
        }
        Batch {
            first_position,
            images,
            targets: indices.iter().map(|&i| set.label(i as usize)).collect(),
            indices: indices.to_vec(),
            n: indices.len(),
            height,
            width,
            channels: own[2],
        }
    }
}

/// Batches as they are ready. Dropping it ends the thread that prepares them.
#[derive(Debug)]
pub struct BatchIter {
    /// `None` only while the iterator is dropped.
    batches: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
    n_left: usize,
}

impl BatchIter {
    fn start<T>(work: Work<T>, numbers: Range<usize>) -> Result<Self, Error>
    where
        T: Fn(u32) -> Transform + Send + 'static,
    {
        let n_left = numbers.len();
        let (sender, receiver) = sync_channel(N_PREFETCHED);
        let prepare = move || {
            for number in numbers {
                if sender.send(work.batch(number)).is_err() {
                    return; // nobody takes any more
                }
            }
        };
        let thread = std::thread::Builder::new().name("prefetch".into()).spawn(prepare);
        let thread = thread.map_err(Error::Thread)?;
        Ok(Self { batches: Some(receiver), thread: Some(thread), n_left })
    }
}

impl Iterator for BatchIter {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.n_left == 0 {
            return None;
        }
        let batch = self.batches.as_ref()?.recv().ok();
        match (&batch, self.thread.take_if(|_| batch.is_none())) {
            // the thread ended early: it panicked, and an epoch that silently lacks batches would be worse
            (None, Some(thread)) => thread.join().err().map(|panic| std::panic::resume_unwind(panic)),
            _ => {
                self.n_left -= 1;
                batch
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.n_left, Some(self.n_left))
    }
}

impl ExactSizeIterator for BatchIter {}

impl Drop for BatchIter {
    fn drop(&mut self) {
        drop(self.batches.take()); // the thread's next send fails, and it ends
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it panicked only if `next` has said so, or nobody asked
        }
    }
}
