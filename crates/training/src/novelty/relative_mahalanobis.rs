//! The relative Mahalanobis distance: how unlike the training pictures a picture is, by its features.
//!
//! The method fits normal distributions to the features in two ways: one distribution for each class, all with the same
//! covariance W, and one distribution for all pictures, with the covariance T. The score compares the nearest class with the
//! distribution of all pictures:
//!
//! ```text
//! score(x) = min over classes c of (x - m_c)^T W^-1 (x - m_c)  -  (x - m)^T T^-1 (x - m)
//! ```
//!
//! Features that are unusual in any picture, known or new, cancel. Features that set a picture apart from every class remain.
//! Source: J. Ren, S. Fort, J. Liu, A. Guha Roy, S. Padhy, B. Lakshminarayanan, "A Simple Fix to Mahalanobis Distance for
//! Improving Near-OOD Detection", <https://arxiv.org/abs/2106.09022>. Two things are added. Both covariances are shrunk
//! towards a multiple of the identity, more strongly with fewer pictures, as few pictures do not determine a thousand
//! directions. And only the [`RANK`] directions of the largest variance have a full covariance; the other directions share
//! one variance, so that a model file grows only a little.

use rayon::prelude::*;
use tallow_nn::{HostTensor, Tensors};

use super::directions::{directions, product};
use super::triangle::inverse_cholesky;

/// Number of directions with a full covariance.
const RANK: usize = 128;
/// Number of features whose moments are computed at a time.
const FEATURES: usize = 64;
/// Number of rows that are scored at a time.
const ROWS: usize = 1024;

/// Both kinds of distributions, in a form for scoring.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RelativeMahalanobis {
    /// (width): mean of all training pictures.
    mean: Vec<f32>,
    /// (width): one over the standard deviation of each feature.
    inverse_std: Vec<f32>,
    /// (rank, width): orthonormal directions of the largest variance of standardised features.
    basis: Vec<f32>,
    /// (rank, rank): whitening matrix of the covariance within classes.
    within: Vec<f32>,
    /// (rank, rank): whitening matrix of the covariance of all pictures.
    total: Vec<f32>,
    /// (classes, rank): means of the classes that have pictures, whitened by `within`.
    class_means: Vec<f32>,
    /// Weight of the squared distance in the directions orthogonal to `basis`.
    across: f32,
}

impl RelativeMahalanobis {
    /// Fits the distributions to pictures; returns `None` if their features do not vary.
    ///
    /// # Shapes
    /// `features` (n, width), overwritten; `classes` (n), each below `n_classes`.
    pub(super) fn fit(features: &mut [f32], classes: &[u32], n_classes: usize) -> Option<Self> {
        let (n, x) = (classes.len(), features);
        let width = x.len().checked_div(n).filter(|width| *width > 0 && n > 1)?;
        let (mean, inverse_std) = moments(x, width);
        standardise(x, &mean, &inverse_std);
        let basis = directions(x, width, RANK.min(width).min(n - 1))?;
        let rank = basis.len() / width;
        let z = product(x, &basis, width);

        // second moments along the directions, and their sum over all features
        let along_total = second_moments(&z, rank);
        let all_total =
            x.par_chunks(width).map(sum_of_squares).collect::<Vec<_>>().iter().sum::<f64>() / n as f64;
        let (mut along_within, mut all_within) = (along_total.clone(), all_total);
        let share = |count: usize| count as f64 / n as f64;
        for (count, mean) in means(x, width, classes, n_classes) {
            all_within -= share(count) * mean.iter().map(|m| m * m).sum::<f64>();
        }
        let z_means = means(&z, rank, classes, n_classes);
        for (count, mean) in &z_means {
            for (row, m) in along_within.chunks_exact_mut(rank).zip(mean) {
                row.iter_mut().zip(mean).for_each(|(entry, other)| *entry -= share(*count) * m * other);
            }
        }

        let shrinkage = width as f64 / (n + width) as f64;
        let within = Shrunk::new(along_within, rank, all_within, width, shrinkage)?;
        let total = Shrunk::new(along_total, rank, all_total, width, shrinkage)?;
        let turned = |mean: &Vec<f64>| -> Vec<f32> {
            let rows = within.whitening.chunks_exact(rank);
            rows.map(|row| row.iter().zip(mean).map(|(a, b)| a * b).sum::<f64>() as f32).collect()
        };
        Some(Self {
            class_means: z_means.iter().flat_map(|(_, mean)| turned(mean)).collect(),
            across: (1.0 / within.across - 1.0 / total.across) as f32,
            within: narrowed(&within.whitening),
            total: narrowed(&total.whitening),
            mean,
            inverse_std,
            basis,
        })
    }

    /// Number of features of a picture.
    pub(super) fn width(&self) -> usize {
        self.mean.len()
    }

    /// Returns a score for each picture; a higher score means less like the training pictures. A picture's score has the same
    /// bits whether it is scored alone or with others.
    ///
    /// # Shapes
    /// `features` (n, width); the result (n).
    pub(super) fn scores(&self, features: &[f32]) -> Vec<f32> {
        let width = self.width();
        let rank = self.basis.len() / width;
        let score_some = |features: &[f32]| -> Vec<f32> {
            let mut x = features.to_vec();
            standardise(&mut x, &self.mean, &self.inverse_std);
            let z = product(&x, &self.basis, width);
            let (of_class, of_all) = (product(&z, &self.within, rank), product(&z, &self.total, rank));
            let rows = x.chunks_exact(width).zip(z.chunks_exact(rank));
            let turned = of_class.chunks_exact(rank).zip(of_all.chunks_exact(rank));
            rows.zip(turned)
                .map(|((x, z), (of_class, of_all))| {
                    let means = self.class_means.chunks_exact(rank);
                    let nearest =
                        means.map(|mean| squared_distance(of_class, mean)).fold(f64::INFINITY, f64::min);
                    let across = (sum_of_squares(x) - sum_of_squares(z)).max(0.0);
                    (nearest - sum_of_squares(of_all) + f64::from(self.across) * across) as f32
                })
                .collect()
        };
        features.chunks(ROWS * width).flat_map(score_some).collect()
    }

    /// Returns the named tensors for a file.
    pub(super) fn to_tensors(&self) -> Tensors {
        let width = self.width();
        let rank = self.basis.len() / width;
        let tensor =
            |shape: &[usize], data: &[f32]| HostTensor { shape: shape.to_vec(), data: data.to_vec() };
        [
            ("mean", tensor(&[width], &self.mean)),
            ("inverse_std", tensor(&[width], &self.inverse_std)),
            ("basis", tensor(&[rank, width], &self.basis)),
            ("within", tensor(&[rank, rank], &self.within)),
            ("total", tensor(&[rank, rank], &self.total)),
            ("class_means", tensor(&[self.class_means.len() / rank, rank], &self.class_means)),
            ("across", tensor(&[1], &[self.across])),
        ]
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .into()
    }

    /// Reads the tensors of [`to_tensors`](Self::to_tensors); returns `None` if a tensor is missing, extra or has another
    /// shape.
    pub(super) fn from_tensors(mut tensors: Tensors) -> Option<Self> {
        let &[rank, width] = tensors.get("basis")?.shape.as_slice() else { return None };
        let &[n_classes, _] = tensors.get("class_means")?.shape.as_slice() else { return None };
        let mut take = |name: &str, shape: &[usize]| {
            tensors.remove(name).filter(|tensor| tensor.shape == shape && !shape.contains(&0)).map(|t| t.data)
        };
        let fitted = Self {
            mean: take("mean", &[width])?,
            inverse_std: take("inverse_std", &[width])?,
            basis: take("basis", &[rank, width])?,
            within: take("within", &[rank, rank])?,
            total: take("total", &[rank, rank])?,
            class_means: take("class_means", &[n_classes, rank])?,
            across: take("across", &[1])?[0],
        };
        tensors.is_empty().then_some(fitted)
    }
}

/// A covariance shrunk towards a multiple of the identity.
struct Shrunk {
    /// (rank, rank): whitening matrix along the directions.
    whitening: Vec<f64>,
    /// The variance in each direction orthogonal to them.
    across: f64,
}

impl Shrunk {
    /// Shrinks the covariance with the second moments `along` the `rank` directions and the sum `all` of the second moments
    /// over all `width` features. Returns `None` if the variance in the other directions is zero.
    fn new(mut along: Vec<f64>, rank: usize, all: f64, width: usize, shrinkage: f64) -> Option<Self> {
        let sphere = all / width as f64;
        let trace: f64 = (0..rank).map(|i| along[i * rank + i]).sum();
        let rest = (all - trace).max(0.0) / (width - rank).max(1) as f64;
        along.iter_mut().for_each(|entry| *entry *= 1.0 - shrinkage);
        (0..rank).for_each(|i| along[i * rank + i] += shrinkage * sphere);
        let across = (1.0 - shrinkage) * rest + shrinkage * sphere;
        (across > 0.0).then(|| Self { whitening: inverse_cholesky(&along, rank), across })
    }
}

/// Returns the mean and one over the standard deviation of each feature. A feature that does not vary gets 0 instead, so that
/// it has no effect.
fn moments(x: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let n = (x.len() / width) as f64;
    let of_some = |first: usize| {
        let len = FEATURES.min(width - first);
        let rows = || x.chunks_exact(width).map(|row| &row[first..first + len]);
        let (mut mean, mut variance) = (vec![0.0; len], vec![0.0; len]);
        for row in rows() {
            mean.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v) / n);
        }
        for row in rows() {
            for ((sum, v), mean) in variance.iter_mut().zip(row).zip(&mean) {
                *sum += (f64::from(*v) - mean).powi(2) / n;
            }
        }
        let moments = |(mean, variance): (f64, f64)| {
            let std = variance.sqrt();
            (mean as f32, if std > 1e-6 * mean.abs().max(1e-30) { (1.0 / std) as f32 } else { 0.0 })
        };
        mean.into_iter().zip(variance).map(moments)
    };
    let firsts: Vec<usize> = (0..width).step_by(FEATURES).collect();
    firsts.into_par_iter().flat_map_iter(of_some).unzip()
}

fn standardise(x: &mut [f32], mean: &[f32], inverse_std: &[f32]) {
    x.par_chunks_mut(mean.len()).for_each(|row| {
        for ((v, mean), inverse_std) in row.iter_mut().zip(mean).zip(inverse_std) {
            *v = (*v - mean) * inverse_std;
        }
    });
}

/// Returns the mean products of the columns of `z`, (rank, rank).
fn second_moments(z: &[f32], rank: usize) -> Vec<f64> {
    let n = z.len() / rank;
    let row = |i: usize| {
        let mut sums = vec![0.0; rank];
        for z in z.chunks_exact(rank) {
            let weight = f64::from(z[i]);
            sums.iter_mut().zip(z).for_each(|(sum, v)| *sum += weight * f64::from(*v));
        }
        sums.into_iter().map(move |sum| sum / n as f64)
    };
    (0..rank).into_par_iter().flat_map_iter(row).collect()
}

/// Returns, for each class that has rows, their number and their mean.
fn means(x: &[f32], width: usize, classes: &[u32], n_classes: usize) -> Vec<(usize, Vec<f64>)> {
    let of_class = |class: usize| {
        let (mut count, mut sum) = (0, vec![0.0; width]);
        for (row, _) in x.chunks_exact(width).zip(classes).filter(|(_, c)| **c as usize == class) {
            count += 1;
            sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        sum.iter_mut().for_each(|sum| *sum /= f64::max(1.0, count as f64));
        (count, sum)
    };
    (0..n_classes).into_par_iter().map(of_class).filter(|(count, _)| *count > 0).collect()
}

fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|&v| v as f32).collect()
}

fn sum_of_squares(x: &[f32]) -> f64 {
    x.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
}
