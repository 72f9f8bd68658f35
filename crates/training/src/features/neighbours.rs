//! Finds the training images that are nearest to new pictures. It compares features; those of the training images come from the
//! cache that the run wrote.

use std::path::Path;

use rayon::prelude::*;
use tallow_comm::Comm;
use tallow_core::{Progress, memory};
use tallow_nn::{Model, largest_products};

use super::nearest::Near;
use super::shard::Of;
use super::{Job, about, folder_of};
use crate::data::Part;
use crate::error::Result;
use crate::feed::Input;
use crate::recipe::PrecisionSetting;
use crate::session::frozen_digest;

/// The training images that new pictures are compared with.
pub(crate) struct Neighbours {
    part: Part,
    width: usize,
    /// Features of the images, scaled to length 1; shape (images of the part, width).
    rows: Vec<f32>,
    /// Number of training images that are found for each picture.
    n: usize,
}

impl Neighbours {
    /// Reads the features of the images of `part` that `model` made, from the cache under `data_dir`. Returns `None` if the model
    /// has no trunk, or the cache does not have the features of all images. No features are computed, and nothing is written.
    pub(crate) fn read(
        model: &Model,
        input: Input,
        precision: PrecisionSetting,
        part: &Part,
        data_dir: &Path,
        n: usize,
        progress: &dyn Progress,
    ) -> Result<Option<Self>> {
        let Some(trunk) = &model.trunk else { return Ok(None) };
        let about = about(model, trunk, frozen_digest(model)?, input.clone(), precision);
        let folder = folder_of(data_dir, &about)?;
        let comm = Comm::alone();
        let precision = precision.resolve(model.params.device());
        let job = Job::new(model, trunk, input, precision, (&folder, &comm), &[]);
        let identity = |&i: &u32| Of { identity: part.set.identity(i as usize), mirrored: false };
        let pictures: Vec<Of> = part.indices.par_iter().map(identity).collect();
        let width = trunk.n_features;
        let mut rows = memory::filled(0.0, pictures.len().saturating_mul(width));
        let (missing, _) = job.read(&pictures, &mut rows, progress);
        rows.par_chunks_exact_mut(width).for_each(normalize);
        Ok(missing.is_empty().then(|| Self { part: part.clone(), width, rows, n }))
    }

    /// Returns the `n` nearest training images of each picture, the nearest first.
    ///
    /// # Shapes
    /// `features` (pictures, width), of any length; result (pictures, n).
    pub(crate) fn nearest(&self, mut features: Vec<f32>) -> Vec<Vec<Near>> {
        features.chunks_exact_mut(self.width).for_each(normalize);
        let near =
            |(row, similarity): (u32, f32)| Near { index: self.part.indices[row as usize], similarity };
        let found = largest_products(&features, &self.rows, self.width, self.n);
        found.into_iter().map(|of_picture| of_picture.into_iter().map(near).collect()).collect()
    }
}

/// Scales a row to length 1. A row of zeros stays unchanged.
fn normalize(row: &mut [f32]) {
    let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    row.iter_mut().for_each(|x| *x /= length);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tallow_dataset::ImageSet;

    use super::*;

    #[test]
    fn the_nearest_of_the_part_point_the_same_way() {
        let set =
            ImageSet::new(1, 1, 1, vec![0; 5], vec![0; 5], ["a"].map(tallow_core::Foreign::from).into())
                .unwrap();
        let part = Part::new(&Arc::new(set), vec![4, 2, 1]);
        let mut rows = vec![3.0, 0.0, /**/ 0.0, 0.5, /**/ 0.0, 0.0];
        rows.chunks_exact_mut(2).for_each(normalize);
        let neighbours = Neighbours { part, width: 2, rows, n: 2 };
        let found = neighbours.nearest(vec![0.0, 7.0, /**/ 2.0, 1e-3]);
        let indices: Vec<Vec<u32>> =
            found.iter().map(|of| of.iter().map(|near| near.index).collect()).collect();
        assert_eq!(indices, [[2, 4], [4, 2]], "length does not count");
        assert_eq!(found[0][0].similarity, 1.0);
    }
}
