//! Tells whether a picture is unlike the pictures that a model was trained on, by comparing its features from a frozen
//! backbone with those of the training pictures.
//!
//! `relative_mahalanobis.rs` computes the score, and `tallow_metrics::typicality` turns it into a typicality. `record.rs`
//! measures for the report how well that works.

mod directions;
mod record;
mod relative_mahalanobis;
#[cfg(test)]
mod tests;
mod triangle;

use tallow_metrics::typicality;
use tallow_nn::{HostTensor, Tensors};

use relative_mahalanobis::RelativeMahalanobis;

/// Largest number of scores of known pictures that are kept.
const MAX_KNOWN: usize = 1000;
/// Name of the tensor of these scores.
const KNOWN: &str = "known";

/// Tells pictures that are like the training pictures from others.
#[derive(Clone, Debug, PartialEq)]
pub struct Novelty {
    score: RelativeMahalanobis,
    /// Ascending scores of pictures that belong to the model's classes but were not trained on.
    known: Vec<f32>,
}

impl Novelty {
    /// Keeps the scores `known`. If there are too many, keeps quantiles at even steps.
    fn new(score: RelativeMahalanobis, mut known: Vec<f32>) -> Self {
        known.sort_unstable_by(f32::total_cmp);
        let n = known.len();
        if n > MAX_KNOWN {
            known = (1..=MAX_KNOWN).map(|i| known[i * (n + 1) / (MAX_KNOWN + 1) - 1]).collect();
        }
        Self { score, known }
    }

    /// Number of features of a picture.
    pub(crate) fn n_features(&self) -> usize {
        self.score.width()
    }

    /// Returns the [`typicality`] of each picture: the share of known pictures that are at least as unlike the training
    /// pictures as it is.
    ///
    /// # Shapes
    /// `features` (n, [`n_features`](Self::n_features)), of the model's frozen backbone; the result (n).
    pub(crate) fn typicalities(&self, features: &[f32]) -> Vec<f64> {
        self.score.scores(features).into_iter().map(|score| self.typicality(score)).collect()
    }

    fn typicality(&self, score: f32) -> f64 {
        typicality(&self.known, score)
    }

    /// Returns the named tensors for a file.
    pub(crate) fn to_tensors(&self) -> Tensors {
        let mut tensors = self.score.to_tensors();
        let known = HostTensor { shape: vec![self.known.len()], data: self.known.clone() };
        tensors.insert(KNOWN.to_owned(), known);
        tensors
    }

    /// Reads the tensors of [`to_tensors`](Self::to_tensors); returns `None` if they are others.
    pub(crate) fn from_tensors(mut tensors: Tensors) -> Option<Self> {
        let known = tensors.remove(KNOWN)?.data;
        let score = RelativeMahalanobis::from_tensors(tensors)?;
        known.is_sorted().then_some(Self { score, known })
    }
}
