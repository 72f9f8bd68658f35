//! Provides the features of whole sets: reads the cached ones picture by picture, computes the rest and caches them.
//!
//! Computing may take hours, so the rate is measured on the first batches and reported.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rayon::prelude::*;
use tallow_comm::Comm;
use tallow_core::{Bar, Progress, Unit, memory};
use tallow_dataset::{Identity, ImageSet, eval_batches};
use tallow_nn::{HostTensor, Model, Precision, Trunk};
use tracing::debug;

use super::Features;
use super::index::{Index, Listed};
use super::shard::{Of, SHARD_LEN, read_shard, shard_name, write_shard};
use crate::company::Company;
use crate::error::Result;
use crate::evaluate::{features, images_per_pass};
use crate::feed::Input;
use crate::session::Watch;
use crate::views::mirrored as mirror;

/// Number of batches that measure the rate, after a first batch that prepares weights and memory.
const TIMED_BATCHES: usize = 2;

/// The images whose features are requested.
pub(super) struct Wanted {
    set: Arc<ImageSet>,
    /// The name of the images in messages.
    part: &'static str,
    /// Whether features of the mirror images are requested, too.
    mirrored: bool,
    identities: Vec<Identity>,
}

impl Wanted {
    pub(super) fn new(set: &Arc<ImageSet>, part: &'static str, mirrored: bool) -> Self {
        let identities = (0..set.len()).into_par_iter().map(|i| set.identity(i)).collect();
        Self { set: Arc::clone(set), part, mirrored, identities }
    }

    /// Returns the passes over the set; `true` is a pass over the mirror images.
    fn passes(&self) -> &'static [bool] {
        if self.mirrored { &[false, true] } else { &[false] }
    }

    /// Returns the keys of a pass's features, in the order of the set.
    fn pictures(&self, mirrored: bool) -> impl Iterator<Item = Of> + '_ {
        self.identities.iter().map(move |&identity| Of { identity, mirrored })
    }
}

/// The model and settings that compute features, and the cache folder.
pub(super) struct Job<'a> {
    model: &'a Model,
    trunk: &'a Trunk,
    input: Input,
    precision: Precision,
    folder: &'a Path,
    comm: &'a Comm,
    index: Index,
    pace: Pace,
}

impl<'a> Job<'a> {
    /// Prepares the computation of all features in `wanted` that are not in `folder` yet.
    pub(super) fn new(
        model: &'a Model,
        trunk: &'a Trunk,
        input: Input,
        precision: Precision,
        (folder, comm): (&'a Path, &'a Comm),
        wanted: &[Wanted],
    ) -> Self {
        let index = Index::read(folder);
        let missing = |wanted: &Wanted, mirrored| {
            wanted.pictures(mirrored).filter(|of| index.place(of).is_none()).count()
        };
        let n_images: usize = wanted
            .iter()
            .flat_map(|wanted| {
                wanted.passes().iter().map(|&mirrored| missing(wanted, mirrored)).collect::<Vec<_>>()
            })
            .sum();
        let pace = Pace::new(n_images.div_ceil(comm.world()));
        Self { model, trunk, input, precision, folder, comm, index, pace }
    }

    /// Returns the features of all images of a set, or `None` if a stop was requested.
    pub(super) fn features(
        &mut self,
        wanted: &Wanted,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Arc<Features>>> {
        let (n, width) = (wanted.set.len(), self.trunk.n_features);
        let mut features =
            Features { width, plain: Vec::new(), mirrored: Vec::new(), secs: 0.0, own_secs: 0.0 };
        let label = format!("features of the {} images", wanted.part);
        let n_total = wanted.passes().len() * n;
        let bar = Bar::begin(watch.progress, &label, Some(n_total as u64), Unit::Items("images"));
        let (started, mut n_done, mut n_made) = (Instant::now(), 0, 0);
        for &mirrored in wanted.passes() {
            let pictures: Vec<Of> = wanted.pictures(mirrored).collect();
            let mut all = memory::filled(0.0, n.saturating_mul(width));
            let (missing, secs) = self.read(&pictures, &mut all, watch.progress);
            // what one process lacks, all compute together, so that each has everything
            let missing = Company::new(self.comm, watch).union(missing)?;
            features.secs += secs;
            n_done += n - missing.len();
            bar.advance(n_done as u64);
            for images in missing.chunks(SHARD_LEN) {
                let Some(secs) = self.make(wanted, &pictures, images, &mut all, n_done, watch)? else {
                    return Ok(None);
                };
                features.secs += secs;
                features.own_secs += secs;
                n_done += images.len();
                n_made += images.len();
            }
            copy_twins(&pictures, &missing, &mut all, width);
            *(if mirrored { &mut features.mirrored } else { &mut features.plain }) = all;
        }
        let secs = started.elapsed().as_secs_f64();
        debug!(part = wanted.part, images = n_total, computed = n_made, secs, "features");
        Ok(Some(Arc::new(features)))
    }

    /// Fills the rows of `all` whose features are cached, on all threads. Returns the first image of each picture that is not
    /// cached, in the order of the images, and the time the trunk had taken for the features that were read.
    pub(super) fn read(
        &self,
        pictures: &[Of],
        all: &mut [f32],
        progress: &dyn Progress,
    ) -> (Vec<usize>, f64) {
        let width = self.trunk.n_features;
        let mut by_shard: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
        for (image, picture) in pictures.iter().enumerate() {
            if let Some(place) = self.index.place(picture) {
                by_shard.entry(place.shard).or_default().push((place.row, image));
            }
        }
        let read = |(shard, rows): &(usize, Vec<(usize, usize)>)| {
            let Listed { path, pictures } = &self.index.shards[*shard];
            Some((rows.clone(), pictures.len(), read_shard(path, pictures.len(), width, progress)?))
        };
        let mut is_there = vec![false; pictures.len()];
        let mut secs = 0.0;
        let mut shards: Vec<_> = by_shard.into_iter().collect();
        shards.sort_unstable_by_key(|(shard, _)| *shard);
        // a few at a time, so that a large cache is never in memory twice as a whole
        for some in shards.chunks(2 * rayon::current_num_threads()) {
            let some: Vec<_> = some.par_iter().filter_map(read).collect();
            for (rows, n_rows, shard) in some {
                for &(row, image) in &rows {
                    all[image * width..][..width].copy_from_slice(&shard.features[row * width..][..width]);
                    is_there[image] = true;
                }
                secs += shard.secs * rows.len() as f64 / n_rows as f64;
            }
        }
        let mut seen = HashSet::new();
        let missing = (0..pictures.len()).filter(|&i| !is_there[i] && seen.insert(pictures[i]));
        (missing.collect(), secs)
    }

    /// Computes the features of `images`, caches them and copies them into `all`. Returns the time that took, or `None` if a
    /// stop was requested. `n_done` counts the images done before.
    fn make(
        &mut self,
        wanted: &Wanted,
        pictures: &[Of],
        images: &[usize],
        all: &mut [f32],
        n_done: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Option<f64>> {
        let start = Instant::now();
        let of: Vec<Of> = images.iter().map(|&i| pictures[i]).collect();
        let indices = images.iter().map(|&i| i as u32).collect();
        let Some(data) = self.compute(&wanted.set, indices, of[0].mirrored, n_done, watch)? else {
            return Ok(None);
        };
        let width = self.trunk.n_features;
        for (row, &image) in data.chunks_exact(width).zip(images) {
            all[image * width..][..width].copy_from_slice(row);
        }
        let features = HostTensor { shape: vec![of.len(), width], data };
        let secs = write_shard(self.folder, &of, features, start.elapsed().as_secs_f64())?;
        self.index.add(Listed { path: self.folder.join(shard_name(&of)), pictures: of });
        Ok(Some(secs))
    }

    /// Computes the features of these images. Returns `None` if a stop was requested. `n_done` counts the images done before.
    fn compute(
        &mut self,
        set: &Arc<ImageSet>,
        indices: Arc<[u32]>,
        mirrored: bool,
        n_done: usize,
        watch: &mut Watch<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let Input { preprocess, normalization } = &self.input;
        let own = set.block_shape().map(|[h, w, _]| [h, w]);
        let size_px = preprocess.as_ref().map(|p| p.size_px).or(own);
        let batch_size = images_per_pass(size_px.unwrap_or([1, 1]));
        let company = Company::new(self.comm, watch);
        let own: Arc<[u32]> = indices[company.own(indices.len())].into();
        let width = self.trunk.n_features;
        let mut all = Some(Vec::with_capacity(own.len() * width));
        let batches = (!own.is_empty())
            .then(|| eval_batches(set.clone(), own, batch_size, normalization, preprocess.as_ref()))
            .transpose()?;
        for batch in batches.into_iter().flatten() {
            let (Some(rows), None) = (&mut all, watch.stop.raised()) else {
                all = None;
                break;
            };
            let batch = batch?;
            let mut batch = if mirrored { mirror(&batch) } else { batch };
            rows.extend(features(self.model, self.trunk, &mut batch, self.precision)?);
            let n_own = rows.len() / width;
            watch.progress.advance((n_done + (n_own * self.comm.world()).min(indices.len())) as u64);
            if let Some(text) = self.pace.after_batch(batch.n) {
                watch.progress.say(&text);
            }
        }
        company.joined(all)
    }
}

/// Copies the features of a computed picture to all other images of the same picture.
fn copy_twins(pictures: &[Of], computed: &[usize], all: &mut [f32], width: usize) {
    let firsts: HashMap<Of, usize> = computed.iter().map(|&i| (pictures[i], i)).collect();
    for (image, picture) in pictures.iter().enumerate() {
        if let Some(&first) = firsts.get(picture).filter(|&&first| first != image) {
            all.copy_within(first * width..(first + 1) * width, image * width);
        }
    }
}

/// The speed of the computation, measured once.
struct Pace {
    /// Number of images of the whole job.
    n_images: usize,
    n_batches: usize,
    /// Number of images in the timed batches.
    n_timed: usize,
    start: Instant,
}

impl Pace {
    fn new(n_images: usize) -> Self {
        Self { n_images, n_batches: 0, n_timed: 0, start: Instant::now() }
    }

    /// Counts a batch of `n` images. Returns a text for the user once the rate is known.
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

/// Describes the rate and the time it gives for the whole job.
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
