//! Whitening: before training begins, sets the filters of the convolution that reads the images. The filters become the
//! principal directions of the image patches, each scaled to variance 1, and the negatives of these.
//!
//! The model names the convolution (`Model::patch_filters`), and the recipe asks for whitening. It is done once, when a run
//! begins with initial weights; after that, checkpoints contain the filters.

mod jacobi;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tallow_dataset::Batch;
use tallow_nn::{HostTensor, Model};

use crate::data::Part;
use crate::error::{Result, TrainingError};
use crate::evaluate::batch_size;
use crate::feed::{Feed, Input};
use crate::schedule::{InvalidSetting, require};

/// The `[whitening]` table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Whitening {
    /// Number of training images, evenly spaced over all, whose patches are used.
    pub images: usize,
    /// Added to each variance, so that directions with hardly any variance are not amplified.
    pub eps: f64,
}

impl Default for Whitening {
    fn default() -> Self {
        Self { images: 5000, eps: 5e-4 }
    }
}

impl Whitening {
    /// Checks the values.
    pub(crate) fn validate(self) -> std::result::Result<(), InvalidSetting> {
        require(self.images > 0, "whitening.images", "must be at least 1", self.images)?;
        require(self.eps > 0.0 && self.eps.is_finite(), "whitening.eps", "must be above 0", self.eps)
    }

    /// Sets the filters of `model` from images of `part`, preprocessed by `input`. Returns a notice for the user.
    ///
    /// # Errors
    /// If the model has no such filters, their number does not fit the patches, or images cannot be read.
    pub(crate) fn apply(self, model: &Model, part: &Part, input: Input) -> Result<String> {
        let misfit = |problem: String| TrainingError::Value { key: "whitening:", problem };
        let Some(name) = &model.patch_filters else {
            let problem =
                "this model has no filters that are made from patches of images: leave the table out";
            return Err(misfit(problem.into()));
        };
        let mut weights = model.params.learned_tensors()?;
        let Some(filters) = weights.get_mut(name) else {
            return Err(misfit(format!("{name} does not learn: leave the table out")));
        };
        let &[c_out, c_in, k_h, k_w] = filters.shape.as_slice() else {
            return Err(misfit(format!(
                "{name} has the shape {:?}, expected filters with four dimensions",
                filters.shape
            )));
        };
        let n = self.images.min(part.len());
        let part = Part::new(&part.set, evenly(&part.indices, n));
        let feed = Feed::Images { part, input };
        let patches = Patches { c_in, k_h, k_w };
        if c_out != 2 * patches.len() {
            let problem =
                format!("{name} has {c_out} filters, but patches have {} directions", patches.len());
            return Err(misfit(problem));
        }
        let moments = patches.moments(&feed)?;
        *filters = HostTensor { data: self.filters(moments, patches.len()), ..filters.clone() };
        model.params.load_learned(&weights)?;
        Ok(format!(
            "{name} is whitened: its filters are computed from the {k_h} x {k_w} patches of {n} training \
             images"
        ))
    }

    /// Returns the directions, each divided by the root of its variance, and their negatives, (2 d, d).
    fn filters(self, moments: Vec<f64>, d: usize) -> Vec<f32> {
        let directions = jacobi::eigenvectors(moments, d);
        let filter = |sign: f64| {
            directions.iter().flat_map(move |(value, vector)| {
                let factor = sign / (value.max(0.0) + self.eps).sqrt();
                vector.iter().map(move |x| (factor * x) as f32)
            })
        };
        filter(1.0).chain(filter(-1.0)).collect()
    }
}

/// Returns `n` of `indices`, evenly spaced, so that every class has its share even if indices are sorted by class.
fn evenly(indices: &[u32], n: usize) -> Vec<u32> {
    (0..n).map(|i| indices[i * indices.len() / n]).collect()
}

/// The shape of image patches; their numbers are in the order channels, rows, columns.
#[derive(Clone, Copy)]
struct Patches {
    c_in: usize,
    k_h: usize,
    k_w: usize,
}

impl Patches {
    /// Number of elements in a patch.
    fn len(self) -> usize {
        self.c_in * self.k_h * self.k_w
    }

    /// Returns the mean products of the elements of patches, (d, d). This is their covariance if images are normalised, so
    /// that the mean is about 0. Sums are in f64, first within an image and then over images, whatever the number of threads.
    fn moments(self, feed: &Feed) -> Result<Vec<f64>> {
        let d = self.len();
        let (mut sum, mut n) = (vec![0.0; d * d], 0);
        for batch in feed.eval_batches(batch_size(feed))? {
            let batch = batch?;
            if batch.channels != self.c_in || batch.height < self.k_h || batch.width < self.k_w {
                let Batch { height, width, channels, .. } = batch;
                let problem =
                    format!("images of {height} x {width} pixels with {channels} channels are too small");
                return Err(TrainingError::Value { key: "whitening:", problem });
            }
            let image = batch.height * batch.width * batch.channels;
            let sums: Vec<Vec<f64>> =
                batch.images.par_chunks_exact(image).map(|image| self.sum_of(image, batch.width)).collect();
            for of_image in sums {
                sum.iter_mut().zip(of_image).for_each(|(sum, x)| *sum += x);
            }
            n += batch.n * (batch.height - self.k_h + 1) * (batch.width - self.k_w + 1);
        }
        Ok(sum.into_iter().map(|sum| sum / n as f64).collect())
    }

    /// Returns the sum of the products of patch elements over all patches of an image, (h, w, c).
    fn sum_of(self, image: &[f32], width: usize) -> Vec<f64> {
        let Self { c_in, k_h, k_w } = self;
        let d = self.len();
        let height = image.len() / (width * c_in);
        let (mut sum, mut patch) = (vec![0.0; d * d], vec![0.0; d]);
        for y in 0..=height - k_h {
            for x in 0..=width - k_w {
                for (i, number) in patch.iter_mut().enumerate() {
                    let (c, row, column) = (i / (k_h * k_w), i / k_w % k_h, i % k_w);
                    *number = f64::from(image[((y + row) * width + x + column) * c_in + c]);
                }
                for (products, &a) in sum.chunks_exact_mut(d).zip(&patch) {
                    products.iter_mut().zip(&patch).for_each(|(sum, b)| *sum += a * b);
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests;
