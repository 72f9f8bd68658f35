//! Evaluation: the same path for validation, the test, and every later evaluation of a model.

use std::time::Instant;

use tallow_core::{Bar, Unit};
use tallow_dataset::{Batch, ImageSet};
use tallow_metrics::Predictions;
use tallow_nn::{Backend, Ctx, Dims, Model, Precision, Trunk, log_softmax};
use tracing::debug;

use crate::company::Company;
use crate::error::{Result, TrainingError};
use crate::feed::{Content, Feed};
use crate::views::{Views, logits_of_views};

/// Approximate number of pixels per forward pass; results do not depend on it.
const BATCH_PX: usize = 1 << 18;

/// Largest number of pixels per forward pass of more than one image.
const MAX_BATCH_PX: usize = 1 << 22;

/// Number of feature rows per forward pass, and the largest number of images.
const MAX_BATCH: usize = 1024;

/// Returns the predictions of `model` for every image of `feed`, in the feed's order, from the mean logits of its `views`.
/// The processes of `company` take some of the images each. Returns `None` if any of them was stopped on the way.
///
/// # Errors
/// If images cannot be read, images do not fit the model, or logits are not finite.
pub(crate) fn evaluate(
    model: &Model,
    feed: &Feed,
    precision: Precision,
    views: Views,
    label: &str,
    company: Company<'_>,
) -> Result<Option<Predictions>> {
    let part = feed.part();
    let (n, n_classes) = (part.len(), part.set.class_names().len());
    let bar = Bar::begin(company.progress, label, Some(n as u64), Unit::Items("images"));
    let started = Instant::now();
    let own = feed.of_places(company.own(n));
    let mut log_probs = Some(Vec::new());
    // a process may have no image at all
    let batches = (!own.part().is_empty()).then(|| own.eval_batches(batch_size(feed))).transpose()?;
    for batch in batches.into_iter().flatten() {
        let (Some(log_probs), None) = (&mut log_probs, company.stop.raised()) else {
            log_probs = None;
            break;
        };
        let batch = batch?;
        let indices = batch.indices.clone();
        let logits = logits_of_views(model, batch, feed.content(), precision, views)?;
        check_finite(&logits, n_classes, label, &indices, &part.set)?;
        log_probs.extend(log_softmax(&logits, n_classes));
        bar.advance((log_probs.len() / n_classes.max(1) * company.comm.world()).min(n) as u64);
    }
    let Some(log_probs) = company.joined(log_probs)? else { return Ok(None) };
    debug!(label, images = n, secs = started.elapsed().as_secs_f64(), "evaluated");
    let targets = part.indices.iter().map(|&i| part.set.label(i as usize)).collect();
    Ok(Some(Predictions::new(n_classes, targets, log_probs, part.indices.to_vec())?))
}

/// Refuses logits that are not finite, as every metric computed from them would be meaningless.
///
/// # Errors
/// [`TrainingError::NonFiniteAnswer`] with the first image of `set` that has such a logit.
pub(crate) fn check_finite(
    logits: &[f32],
    n_classes: usize,
    label: &str,
    indices: &[u32],
    set: &ImageSet,
) -> Result<()> {
    let Some(at) = logits.iter().position(|logit| !logit.is_finite()) else { return Ok(()) };
    let index = indices[at / n_classes];
    let file = set.file(index as usize).cloned();
    Err(TrainingError::NonFiniteAnswer { label: label.to_owned(), index, file, value: logits[at] })
}

/// Returns the logits of a batch, (n, classes), in evaluation mode.
pub(crate) fn logits(
    model: &Model,
    batch: Batch,
    content: Content,
    precision: Precision,
) -> Result<Vec<f32>> {
    let device = model.params.device();
    let mut ctx = Ctx::eval(Backend::of(device), device).with_precision(precision);
    let x =
        ctx.input(batch.images, Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width })?;
    Ok(content.forward(model, x, &mut ctx)?.to_vec()?)
}

/// Returns the features, (n, features), that the frozen `trunk` of `model` computes for the images of `batch`. Takes the
/// images out of the batch.
pub(crate) fn features(
    model: &Model,
    trunk: &Trunk,
    batch: &mut Batch,
    precision: Precision,
) -> Result<Vec<f32>> {
    let device = model.params.device();
    let mut ctx = Ctx::eval(Backend::of(device), device).with_precision(precision);
    let dims = Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width };
    let x = ctx.input(std::mem::take(&mut batch.images), dims)?;
    Ok(trunk.layer.forward(x, &mut ctx)?.to_vec()?)
}

/// Number of images or feature rows per batch of `feed`.
pub(crate) fn batch_size(feed: &Feed) -> usize {
    match feed {
        Feed::Features { .. } => MAX_BATCH,
        Feed::Images { part, input } => {
            let own = part.set.block_shape().map(|[h, w, _]| [h, w]);
            images_per_pass(input.preprocess.as_ref().map(|p| p.size_px).or(own).unwrap_or([1, 1]))
        }
    }
}

/// Number of images of this size per forward pass: about [`BATCH_PX`] pixels, but at least 8 images, or as many of them as have
/// [`MAX_BATCH_PX`] pixels.
pub(crate) fn images_per_pass([h, w]: [usize; 2]) -> usize {
    let px = h.saturating_mul(w).max(1);
    let at_least = (MAX_BATCH_PX / px).clamp(1, 8);
    (BATCH_PX / px).clamp(at_least, MAX_BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_has_some_images_but_not_any_number_of_pixels() {
        let of_side = |px| images_per_pass([px, px]);
        assert_eq!([1, 32, 96, 224, 518, 724].map(of_side), [1024, 256, 28, 8, 8, 8]);
        assert_eq!([1024, 2048, 4096, usize::MAX].map(of_side), [4, 1, 1, 1]);
    }
}
