//! The training step: one batch in, a changed network and its figures out. It knows no run, file or epoch.

use tallow_dataset::Batch;
use tallow_metrics::argmax;
use tallow_nn::{CrossEntropy, Ctx, Dims, Model, Optimizer, Path, Precision, TrainKey};

use crate::error::Result;
use crate::feed::Content;

/// What learns, and by what.
pub struct Learner {
    /// The network and its parameters.
    pub model: Model,
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
    /// The mean loss over its images.
    pub loss: f64,
}

impl Learner {
    /// Forward, loss, backward, update. Where the loss is no number, nothing is changed and the figures say so.
    ///
    /// # Errors
    /// If the batch does not fit the network, or the device fails.
    pub fn step(&mut self, batch: Batch, content: Content, key: TrainKey, lr: f64) -> Result<StepFigures> {
        let device = self.model.params.device().clone();
        let mut ctx = Ctx::train(Path::of(&device), &device, key).with_precision(self.precision);
        let x =
            ctx.input(batch.images, Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width })?;
        let logits = content.forward(&self.model, x, &mut ctx)?;
        let loss = self.criterion.forward(&logits, &batch.targets)?;

        let rows = loss.logits.chunks_exact(logits.dims().c);
        let right = rows.zip(&batch.targets).filter(|(row, target)| argmax(row) == Some(**target as usize));
        let figures = StepFigures {
            n_images: batch.n as u64,
            n_correct: right.count() as f64,
            loss: f64::from(loss.mean),
        };
        if !figures.loss.is_finite() {
            return Ok(figures);
        }
        let mut grads = ctx.backward(&logits, loss.grad_logits)?;
        if let Some(max_norm) = self.max_grad_norm {
            grads.clip_global_norm(max_norm)?;
        }
        self.optimizer.step(&self.model.params, &grads, lr)?;
        Ok(figures)
    }
}
