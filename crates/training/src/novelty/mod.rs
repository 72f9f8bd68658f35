//! Whether a picture is unlike anything that a model was trained on: by the features of a frozen backbone, against those of its
//! training pictures.
//!
//! The score is `relative_mahalanobis.rs`'s, what it is worth `tallow_metrics::typicality`'s; `record.rs` finds out how well it works,
//! for the report.

mod directions;
mod record;
mod relative_mahalanobis;
#[cfg(test)]
mod tests;
mod triangle;

use tallow_metrics::typicality;
use tallow_nn::{HostTensor, Tensors};

use relative_mahalanobis::RelativeMahalanobis;

/// Scores of known pictures that are kept, at most.
const MAX_KNOWN: usize = 1000;
/// The tensor of these scores.
const KNOWN: &str = "known";

/// What tells pictures that are like the training pictures from others.
#[derive(Clone, Debug, PartialEq)]
pub struct Novelty {
    score: RelativeMahalanobis,
    /// Scores of pictures of the model's classes that it was not trained on, ascending.
    known: Vec<f32>,
}

impl Novelty {
    /// Of more scores than are kept, evenly many of each size are.
    fn new(score: RelativeMahalanobis, mut known: Vec<f32>) -> Self {
        known.sort_unstable_by(f32::total_cmp);
        let n = known.len();
        if n > MAX_KNOWN {
            known = (1..=MAX_KNOWN).map(|i| known[i * (n + 1) / (MAX_KNOWN + 1) - 1]).collect();
        }
        Self { score, known }
    }

    /// Features of a picture.
    pub(crate) fn n_features(&self) -> usize {
        self.score.width()
    }

    /// The [`typicality`] of each picture: the share of pictures like the training pictures that are at least as unlike them.
    ///
    /// # Shapes
    /// `features` (n, [`n_features`](Self::n_features)), of the model's frozen backbone; the result (n).
    pub(crate) fn typicalities(&self, features: &[f32]) -> Vec<f64> {
        self.score.scores(features).into_iter().map(|score| self.typicality(score)).collect()
    }

    fn typicality(&self, score: f32) -> f64 {
        typicality(&self.known, score)
    }

    /// As named tensors.
    pub(crate) fn to_tensors(&self) -> Tensors {
        let mut tensors = self.score.to_tensors();
        let known = HostTensor { shape: vec![self.known.len()], data: self.known.clone() };
        tensors.insert(KNOWN.to_owned(), known);
        tensors
    }

    /// What [`to_tensors`](Self::to_tensors) made; none where they are something else.
    pub(crate) fn from_tensors(mut tensors: Tensors) -> Option<Self> {
        let known = tensors.remove(KNOWN)?.data;
        let score = RelativeMahalanobis::from_tensors(tensors)?;
        known.is_sorted().then_some(Self { score, known })
    }
}
