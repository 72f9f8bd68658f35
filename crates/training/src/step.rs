//! The training step: takes one batch, updates the network and returns figures. It does not depend on runs, files or epochs.

use std::sync::Arc;
use std::time::Instant;

use tallow_comm::Comm;
use tallow_dataset::{Batch, Mixed, Share};
use tallow_metrics::argmax;
use tallow_nn::{
    Act, Announcer, Backend, CrossEntropy, Ctx, Dims, Gradients, Model, Optimizer, Precision, Rate,
    Reduction, TrainKey,
};

use crate::error::Result;
use crate::exchange::GradientOrder;
use crate::feed::Content;
use crate::shards::{TreeSum, add, own_shards, shard_of};

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
    /// Number of parts that a batch is cut into; see [`Recipe::shards`](crate::Recipe::shards).
    pub n_shards: usize,
    /// The order of the gradients, once a step with several shards has shown it.
    pub order: Option<GradientOrder>,
}

/// The figures of one step, before its update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
    /// With several shards, the processes of `comm` share them. Every process takes the same step of the whole batch, and needs
    /// only the images of its own shards.
    ///
    /// # Errors
    /// If the batch does not fit the network, the device fails, or another process is lost.
    pub fn step(
        &mut self,
        batch: Batch,
        content: Content,
        key: TrainKey,
        rate: impl Into<Rate>,
        comm: &Comm,
    ) -> Result<StepFigures> {
        let Pass { figures, grads } = match self.n_shards {
            0 | 1 => self.forward(batch, content, key, 1.0)?.pass()?,
            _ => self.pass_over_shards(&batch, content, key, comm)?,
        };
        let Some(mut grads) = grads else { return Ok(figures) };
        if let Some(max_norm) = self.max_grad_norm {
            grads.clip_global_norm(max_norm)?;
        }
        self.optimizer.step(&self.model.params, &grads, rate)?;
        Ok(figures)
    }

    /// Runs the forward pass and the loss. Gradients are multiplied by `factor`.
    fn forward(&self, batch: Batch, content: Content, key: TrainKey, factor: f32) -> Result<Forward> {
        let device = self.model.params.device().clone();
        let divisor = self.divisor(&batch);
        let mut ctx = Ctx::train(Backend::of(&device), &device, key).with_precision(self.precision);
        let x =
            ctx.input(batch.images, Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width })?;
        let logits = content.forward(&self.model, x, &mut ctx)?;
        let mut loss = match &batch.mixed {
            Some(Mixed { targets, share }) => {
                self.criterion.forward_mixed(&logits, &batch.targets, targets, *share)?
            }
            None => self.criterion.forward(&logits, &batch.targets)?,
        };
        if divisor == 0.0 {
            // all images have the class weight 0: their mean is undefined, but they do not count
            loss.mean = 0.0;
            loss.grad_logits.fill(0.0);
        }
        let figures = StepFigures {
            n_images: batch.n as u64,
            n_correct: n_correct(&loss.logits, logits.dims().c, &batch.targets, batch.mixed.as_ref()),
            loss: f64::from(loss.mean),
            cross_entropy: f64::from(loss.plain_mean),
        };
        if factor != 1.0 {
            loss.grad_logits.iter_mut().for_each(|grad| *grad *= factor);
        }
        Ok(Forward { figures, ctx, logits, grad_logits: loss.grad_logits })
    }

    /// Returns the divisor of the batch's mean loss; 0 if all its images have the class weight 0.
    fn divisor(&self, batch: &Batch) -> f64 {
        let mixed = batch.mixed.as_ref().map(|mixed| (mixed.targets.as_slice(), mixed.share));
        self.criterion.divisor(&batch.targets, mixed)
    }

    /// Runs the passes over the own shards of the batch, and adds the results of all processes in the order of a tree.
    ///
    /// Each shard begins with the same running statistics. Afterwards they are the mean of what the shards made of them. Until
    /// all processes have their results, nothing of the network has changed.
    fn pass_over_shards(
        &mut self,
        batch: &Batch,
        content: Content,
        key: TrainKey,
        comm: &Comm,
    ) -> Result<Pass> {
        let own = own_shards(self.n_shards, comm)?.shards;
        let params = &self.model.params;
        let (mut figures, mut earlier, mut last) = (TreeSum::default(), TreeSum::default(), None);
        for shard in own.clone() {
            let Shard { figures: of_shard, mut flat, forward } = self.shard(shard, batch, content, key)?;
            figures.push(of_shard, StepFigures::plus);
            if !of_shard.loss.is_finite() {
                last = None;
                break; // the step will not be taken
            }
            if shard + 1 == own.end {
                last = Some((flat, forward));
            } else {
                if let Some(forward) = forward {
                    params.fill_gradients(&mut flat, &forward.backward(None)?)?;
                }
                earlier.push(flat, add);
            }
        }
        let own = figures.finish(StepFigures::plus).unwrap_or_default();
        let (figures, all_know_the_order) = agreed(own, self.order.is_some(), comm)?;
        let Some((mut flat, forward)) = last.filter(|_| figures.loss.is_finite()) else {
            return Ok(Pass { figures, grads: None });
        };
        let sum = match self.order.as_ref().filter(|_| all_know_the_order && comm.world() > 1) {
            Some(order) => order.sum(comm, earlier, flat, |announcer| {
                forward.map_or(Ok(()), |forward| forward.backward(Some(announcer)).map(drop))
            })?,
            None => {
                if let Some(forward) = forward {
                    let grads = forward.backward(None)?;
                    params.fill_gradients(&mut flat, &grads)?;
                    self.order = self.order.take().or_else(|| GradientOrder::of(params, &grads));
                }
                earlier.push(flat, add);
                let mut sum = earlier.finish(add).unwrap_or_default();
                let since = Instant::now();
                comm.sum(&mut sum)?;
                comm.count_stall(since.elapsed());
                sum
            }
        };
        Ok(Pass { figures, grads: Some(params.take_flat(&sum)?) })
    }

    /// Runs the forward pass over a shard, and leaves the running statistics as they were. The shard's figures and statistics are
    /// multiplied by its share of the batch.
    fn shard(&self, shard: usize, batch: &Batch, content: Content, key: TrainKey) -> Result<Shard> {
        let params = &self.model.params;
        let range = Share::of_shard(shard, self.n_shards, batch.n);
        if range.is_empty() {
            return Ok(Shard { figures: StepFigures::default(), flat: params.no_pass(), forward: None });
        }
        let of_shard = shard_of(batch, range);
        let share_of_images = of_shard.n as f64 / batch.n as f64;
        let share_of_loss = match self.divisor(batch) {
            0.0 => 0.0,
            whole => self.divisor(&of_shard) / whole,
        };
        let factor = match self.criterion.reduction {
            Reduction::Mean => share_of_loss as f32,
            Reduction::Sum => 1.0,
        };
        let key = TrainKey { first_position: of_shard.first_position as u64, ..key };
        let before = params.copy_running()?;
        let forward = self.forward(of_shard, content, key, factor);
        let flat = params.flat_pass(share_of_images as f32);
        params.load_running(&before)?;
        let (forward, flat) = (forward?, flat?);
        let mut figures = forward.figures;
        figures.loss *= share_of_loss;
        figures.cross_entropy *= share_of_images;
        Ok(Shard { figures, flat, forward: Some(forward) })
    }
}

/// Returns the figures of all processes together, and whether all of them know the order of gradients.
fn agreed(own: StepFigures, knows_order: bool, comm: &Comm) -> Result<(StepFigures, bool)> {
    let mut message = own.to_bytes();
    message.push(u8::from(knows_order));
    let (mut figures, mut all_know) = (TreeSum::default(), true);
    for message in comm.gather(&message)? {
        figures.push(StepFigures::from_bytes(&message), StepFigures::plus);
        all_know &= message.last() == Some(&1);
    }
    Ok((figures.finish(StepFigures::plus).unwrap_or_default(), all_know))
}

impl StepFigures {
    /// Adds the figures of two parts of a batch. Their means are shares of the whole batch's.
    fn plus(self, other: Self) -> Self {
        Self {
            n_images: self.n_images + other.n_images,
            n_correct: self.n_correct + other.n_correct,
            loss: self.loss + other.loss,
            cross_entropy: self.cross_entropy + other.cross_entropy,
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let Self { n_images, n_correct, loss, cross_entropy } = self;
        let numbers = [n_images, n_correct.to_bits(), loss.to_bits(), cross_entropy.to_bits()];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = bytes.chunks_exact(8).map(|bytes| {
            let mut number = [0; 8];
            number.copy_from_slice(bytes);
            u64::from_le_bytes(number)
        });
        let mut next = || numbers.next().unwrap_or(f64::NAN.to_bits());
        Self {
            n_images: next(),
            n_correct: f64::from_bits(next()),
            loss: f64::from_bits(next()),
            cross_entropy: f64::from_bits(next()),
        }
    }
}

/// A forward pass with its loss, ready for its backward pass.
struct Forward {
    figures: StepFigures,
    ctx: Ctx,
    logits: Act,
    grad_logits: Vec<f32>,
}

impl Forward {
    /// Runs the backward pass, unless the loss is not finite.
    fn pass(self) -> Result<Pass> {
        let figures = self.figures;
        let grads = figures.loss.is_finite().then(|| self.backward(None)).transpose()?;
        Ok(Pass { figures, grads })
    }

    fn backward(self, announcer: Option<Announcer>) -> Result<Gradients> {
        Ok(self.ctx.backward_announced(&self.logits, self.grad_logits, announcer)?)
    }
}

/// The results of a forward and backward pass.
struct Pass {
    figures: StepFigures,
    /// Missing if the loss is not finite.
    grads: Option<Gradients>,
}

/// The forward pass over a shard of a batch.
struct Shard {
    figures: StepFigures,
    /// A flat pass without gradients.
    flat: Vec<f32>,
    /// Missing if the shard is empty.
    forward: Option<Forward>,
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
    fn figures_travel_whole() {
        let figures =
            StepFigures { n_images: 3, n_correct: 1.25, loss: f64::NEG_INFINITY, cross_entropy: -0.0 };
        let back = StepFigures::from_bytes(&figures.to_bytes());
        assert_eq!(back, figures);
        assert!(back.cross_entropy.is_sign_negative());
        assert!(StepFigures::from_bytes(&[]).loss.is_nan());
    }

    #[test]
    fn a_mixed_image_counts_by_the_shares_of_its_classes() {
        let logits = [2.0, 1.0, 0.0, /**/ 0.0, 3.0, 1.0, /**/ 0.0, 0.0, 5.0];
        assert_eq!(n_correct(&logits, 3, &[0, 0, 2], None), 2.0);
        let mixed = Mixed { targets: vec![1, 1, 2], share: 0.75 };
        assert_eq!(n_correct(&logits, 3, &[0, 0, 2], Some(&mixed)), 0.75 * 2.0 + 0.25 * 2.0);
    }
}
