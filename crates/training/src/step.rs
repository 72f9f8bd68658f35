//! The training step: one batch in, a changed network and its figures out. It knows no run, file or epoch.

use std::sync::Arc;

use tallow_dataset::{Batch, Mixed};
use tallow_metrics::argmax;
use tallow_nn::{CrossEntropy, Ctx, Dims, Model, Optimizer, Path, Precision, Rate, TrainKey};

use crate::error::Result;
use crate::feed::Content;

/// What learns, and by what.
pub struct Learner {
    /// The network and its parameters.
    pub model: Arc<Model>,
    /// What is to become small.
    pub criterion: CrossEntropy,
    /// What changes the parameters.
    pub optimizer: Optimizer,
    /// What the network computes in.
    pub precision: Precision,
    /// Gradients are scaled down to this global norm where theirs is larger.
    pub max_grad_norm: Option<f64>,
}

/// What one step came to, before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepFigures {
    /// Images of the batch.
    pub n_images: u64,
    /// How many of them had their class as the most probable one; an image that is mixed counts by the shares of its two.
    pub n_correct: f64,
    /// The mean over its images of what is made small: with label smoothing, weights of classes and mixing; also where their
    /// sum is made small.
    pub loss: f64,
    /// The mean cross-entropy of its images, by the shares of the classes of those that are mixed: what can be held against
    /// validation.
    pub cross_entropy: f64,
}

impl Learner {
    /// Forward, loss, backward, update. Where the loss is no number, nothing is changed and the figures say so.
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
        let mut ctx = Ctx::train(Path::of(&device), &device, key).with_precision(self.precision);
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

/// How many rows of `logits` have their target as the largest; of a mixed image, the shares of those of its two classes.
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
