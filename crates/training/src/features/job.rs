//! The job of computing features, shard by shard: what lies there already is read.
//!
//! It may take hours, so its rate is measured on the first batches and said.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use tallow_core::{Bar, Progress, Unit};
use tallow_dataset::{ImageSet, eval_batches};
use tallow_nn::{Ctx, Dims, HostTensor, Model, Precision, Trunk};

use super::Features;
use super::shard::{SHARD_LEN, read_shard, shard_name, shards, write_shard};
use crate::error::Result;
use crate::evaluate::{images_per_pass, mirrored as mirror};
use crate::feed::Input;
use crate::session::Watch;

/// Batches that the rate is measured on, after a first one that prepares weights and memory.
const TIMED_BATCHES: usize = 2;

/// Of which images features are wanted.
pub(super) struct Wanted<'a> {
    pub(super) set: &'a Arc<ImageSet>,
    /// The name that shards begin with.
    pub(super) part: &'static str,
    /// Whether of the mirror images, too.
    pub(super) mirrored: bool,
}

impl Wanted<'_> {
    /// Each pass over the set: whether it mirrors, and the name that its shards begin with.
    fn passes(&self) -> impl Iterator<Item = (bool, String)> + use<> {
        let (part, n) = (self.part, if self.mirrored { 2 } else { 1 });
        [(false, ""), (true, "-mirrored")]
            .into_iter()
            .take(n)
            .map(move |(m, end)| (m, format!("{part}{end}")))
    }

    /// Images, and mirror images, whose features do not lie in `folder`.
    fn n_missing(&self, folder: &Path) -> usize {
        let missing = |part: String| {
            let is_missing =
                move |images: &Range<usize>| !folder.join(shard_name(&part, images.start)).exists();
            shards(self.set.len()).filter(is_missing).map(|images| images.len()).sum::<usize>()
        };
        self.passes().map(|(_, part)| missing(part)).sum()
    }
}

/// What features are computed by, and where they are kept.
pub(super) struct Job<'a> {
    model: &'a Model,
    trunk: &'a Trunk,
    input: Input,
    precision: Precision,
    folder: &'a Path,
    pace: Pace,
}

impl<'a> Job<'a> {
    /// The job of computing what is `wanted`, but not in `folder` yet.
    pub(super) fn new(
        model: &'a Model,
        trunk: &'a Trunk,
        input: Input,
        precision: Precision,
        folder: &'a Path,
        wanted: &[Wanted<'_>],
    ) -> Self {
        let n_images = wanted.iter().map(|wanted| wanted.n_missing(folder)).sum();
        Self { model, trunk, input, precision, folder, pace: Pace::new(n_images) }
    }

    /// The features of all images of a set; `None` if a stop was asked for.
    pub(super) fn features(
        &mut self,
        wanted: &Wanted<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Arc<Features>>> {
        let (n, width) = (wanted.set.len(), self.trunk.n_features);
        let mut features =
            Features { width, plain: Vec::new(), mirrored: Vec::new(), secs: Some(0.0), is_reused: true };
        let label = format!("features of the {} images", wanted.part);
        let n_total = wanted.passes().count() * n;
        let bar = Bar::begin(watch.progress, &label, Some(n_total as u64), Unit::Items("images"));
        for (mirrored, part) in wanted.passes() {
            let all = if mirrored { &mut features.mirrored } else { &mut features.plain };
            *all = vec![0.0; n * width];
            let found = self.read_shards(&part, n, all, watch.progress);
            let found_here = shards(n).zip(&found).filter(|(_, found)| found.is_some());
            let n_before = if mirrored { n } else { 0 };
            let mut n_done = n_before + found_here.map(|(images, _)| images.len()).sum::<usize>();
            for (images, found) in shards(n).zip(&found) {
                let secs = match found {
                    Some(secs) => *secs,
                    None => {
                        features.is_reused = false;
                        let start = Instant::now();
                        let computed = self.compute(wanted.set, images.clone(), mirrored, n_done, watch);
                        let Some(data) = computed? else { return Ok(None) };
                        n_done += images.len();
                        all[images.start * width..images.end * width].copy_from_slice(&data);
                        let path = self.folder.join(shard_name(&part, images.start));
                        let tensor = HostTensor { shape: vec![images.len(), width], data };
                        Some(write_shard(&path, tensor, start.elapsed().as_secs_f64())?)
                    }
                };
                features.secs = features.secs.zip(secs).map(|(all, shard)| all + shard);
                bar.advance(n_done as u64);
            }
        }
        Ok(Some(Arc::new(features)))
    }

    /// Fills `all`, the features of `n` images, from the shards of a part that lie there whole, by all threads. Of each
    /// shard that did: how long the trunk took, if that is known.
    fn read_shards(
        &self,
        part: &str,
        n: usize,
        all: &mut [f32],
        progress: &dyn Progress,
    ) -> Vec<Option<Option<f64>>> {
        let width = self.trunk.n_features;
        let shards: Vec<Range<usize>> = shards(n).collect();
        let pieces = all.par_chunks_mut(SHARD_LEN * width).zip(shards);
        let read = |(rows, images): (&mut [f32], Range<usize>)| {
            let path = self.folder.join(shard_name(part, images.start));
            let shard = read_shard(&path, &[images.len(), width], progress)?;
            rows.copy_from_slice(&shard.features);
            Some(shard.secs)
        };
        pieces.map(read).collect()
    }

    /// The features of these images, computed now; `None` if a stop was asked for. `n_done` were done before.
    fn compute(
        &mut self,
        set: &Arc<ImageSet>,
        images: Range<usize>,
        mirrored: bool,
        n_done: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let Input { preprocess, normalization } = &self.input;
        let own = set.block_shape().map(|[h, w, _]| [h, w]);
        let size_px = preprocess.as_ref().map(|p| p.size_px).or(own);
        let batch_size = images_per_pass(size_px.unwrap_or([1, 1]));
        let indices: Arc<[u32]> = images.map(|i| i as u32).collect();
        let device = self.model.params.device();
        let mut all = Vec::with_capacity(indices.len() * self.trunk.n_features);
        for batch in eval_batches(set.clone(), indices, batch_size, normalization, preprocess.as_ref())? {
            if watch.stop.raised().is_some() {
                return Ok(None);
            }
            let batch = batch?;
            let batch = if mirrored { mirror(&batch) } else { batch };
            let dims = Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width };
            let mut ctx = Ctx::eval(tallow_nn::Path::of(device), device).with_precision(self.precision);
            let x = ctx.input(batch.images, dims)?;
            all.extend(self.trunk.layer.forward(x, &mut ctx)?.to_vec()?);
            watch.progress.advance((n_done + all.len() / self.trunk.n_features) as u64);
            if let Some(text) = self.pace.after_batch(dims.n) {
                watch.progress.say(&text);
            }
        }
        Ok(Some(all))
    }
}

/// How fast it goes, measured once.
struct Pace {
    /// Images of the whole job.
    n_images: usize,
    n_batches: usize,
    /// Images of the batches that are timed.
    n_timed: usize,
    start: Instant,
}

impl Pace {
    fn new(n_images: usize) -> Self {
        Self { n_images, n_batches: 0, n_timed: 0, start: Instant::now() }
    }

    /// Counts a batch of `n` images; what there is to say once the rate is known.
    fn after_batch(&mut self, n: usize) -> Option<String> {
        self.n_batches += 1;
        if self.n_batches == 1 {
            self.start = Instant::now();
        } else {
            self.n_timed += n;
        }
        let is_known = self.n_batches == 1 + TIMED_BATCHES;
        is_known.then(|| estimate(self.n_timed as f64 / self.start.elapsed().as_secs_f64(), self.n_images))
    }
}

/// What a rate means for a job.
fn estimate(images_per_sec: f64, n_images: usize) -> String {
    let secs = n_images as f64 / images_per_sec.max(f64::MIN_POSITIVE);
    let time = match secs {
        ..90.0 => format!("{:.0} s", secs.ceil()),
        90.0..5400.0 => format!("{:.0} minutes", secs / 60.0),
        _ => format!("{:.1} hours", secs / 3600.0),
    };
    let digits = if images_per_sec < 10.0 { 1 } else { 0 };
    format!("About {images_per_sec:.digits$} images/s: {time} for the features of {n_images} images")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_said_once_and_without_the_first_batch() {
        let mut pace = Pace::new(1000);
        assert_eq!(pace.after_batch(100), None);
        pace.start = Instant::now() - std::time::Duration::from_secs(10);
        assert_eq!(pace.after_batch(100), None);
        let text = pace.after_batch(100).unwrap();
        assert!(
            text.starts_with("About 20 images/s: 5") && text.ends_with(" s for the features of 1000 images"),
            "{text}"
        );
        assert_eq!(pace.after_batch(100), None);
    }

    #[test]
    fn times_read_well() {
        let ends_with =
            |rate, n, end: &str| assert!(estimate(rate, n).contains(end), "{}", estimate(rate, n));
        ends_with(552.3, 10, "About 552 images/s: 1 s for");
        ends_with(9.96, 60_000, "About 10.0 images/s: 1.7 hours for the features of 60000 images");
        ends_with(136.0, 110_000, ": 13 minutes for");
    }
}
