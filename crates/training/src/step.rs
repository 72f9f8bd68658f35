//! The training step: takes one batch, updates the network and returns figures. It does not depend on runs, files or epochs.

use std::sync::Arc;

use tallow_dataset::{Batch, Mixed};
use tallow_metrics::argmax;
use tallow_nn::{Backend, CrossEntropy, Ctx, Dims, Model, Optimizer, Precision, Rate, TrainKey};

use crate::error::Result;
use crate::feed::Content;

/// Everything that a training step needs.
pub struct Learner {
    /// The network and its parameters.
    pub model: Arc<Model>,
    /// The loss.
    pub criterion: CrossEntropy,
    /// The optimiser of the parameters.
    pub optimizer: Optimizer,
    /// The precision of the network's computation.
    pub precision: Precision,
    /// Gradients with a larger global norm are scaled down to this norm.
    pub max_grad_norm: Option<f64>,
}

/// The figures of one step, before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepFigures {
    /// Number of images in the batch.
    pub n_images: u64,
    /// Number of images with the right class as the most probable. A mixed image counts by the shares of its two classes.
    pub n_correct: f64,
    /// The mean optimised loss over the images, with label smoothing, class weights and mixing. It is the mean even if the
    /// sum is optimised.
    pub loss: f64,
    /// The mean cross-entropy of the images, comparable with validation. Mixed images are weighted by the shares of their
    /// classes.
    pub cross_entropy: f64,
}

impl Learner {
    /// Runs the forward pass, the loss, the backward pass and the update. If the loss is NaN or infinite, nothing is updated,
    /// and the figures contain that loss.
    ///
    /// # Errors
    /// If the batch does not fit the network, or the device fails.
    pub fn step(
        &mut self,
        batch: Batch,
        content: Content,
        key: TrainKey,
        rate: impl Into<Rate>,
    ) -> Result<StepFigures> {
        let device = self.model.params.device().clone();
        let mut ctx = Ctx::train(Backend::of(&device), &device, key).with_precision(self.precision);
        let x =
            ctx.input(batch.images, Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width })?;
        let logits = content.forward(&self.model, x, &mut ctx)?;
        let loss = match &batch.mixed {
            Some(Mixed { targets, share }) => {
                self.criterion.forward_mixed(&logits, &batch.targets, targets, *share)?
            }
            None => self.criterion.forward(&logits, &batch.targets)?,
        };
        let figures = StepFigures {
            n_images: batch.n as u64,
            n_correct: n_correct(&loss.logits, logits.dims().c, &batch.targets, batch.mixed.as_ref()),
            loss: f64::from(loss.mean),
            cross_entropy: f64::from(loss.plain_mean),
        };
        if !figures.loss.is_finite() {
            return Ok(figures);
        }
        let mut grads = ctx.backward(&logits, loss.grad_logits)?;
        if let Some(max_norm) = self.max_grad_norm {
            grads.clip_global_norm(max_norm)?;
        }
        self.optimizer.step(&self.model.params, &grads, rate)?;
        Ok(figures)
    }
}

/// Counts the rows of `logits` with the largest value at their target. A mixed image counts the shares of those of its two
/// classes that are largest.
fn n_correct(logits: &[f32], n_classes: usize, targets: &[u32], mixed: Option<&Mixed>) -> f64 {
    let hits = |targets: &[u32]| {
        let rows = logits.chunks_exact(n_classes).zip(targets);
        rows.filter(|(row, target)| argmax(row) == Some(**target as usize)).count() as f64
    };
    match mixed {
        Some(Mixed { targets: partners, share }) => {
            let share = f64::from(*share);
            share * hits(targets) + (1.0 - share) * hits(partners)
        }
        None => hits(targets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mixed_image_counts_by_the_shares_of_its_classes() {
        let logits = [2.0, 1.0, 0.0, /**/ 0.0, 3.0, 1.0, /**/ 0.0, 0.0, 5.0];
        assert_eq!(n_correct(&logits, 3, &[0, 0, 2], None), 2.0);
        let mixed = Mixed { targets: vec![1, 1, 2], share: 0.75 };
        assert_eq!(n_correct(&logits, 3, &[0, 0, 2], Some(&mixed)), 0.75 * 2.0 + 0.25 * 2.0);
    }
}
