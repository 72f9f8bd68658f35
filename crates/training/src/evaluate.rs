//! Evaluation: one path for validation, the test, and every later look at a model.

use tallow_core::{Bar, Progress, StopFlag, Unit};
use tallow_dataset::{Batch, ImageSet};
use tallow_metrics::Predictions;
use tallow_nn::{Ctx, Dims, Model, Path, Precision, Trunk, log_softmax};

use crate::error::{Result, TrainingError};
use crate::feed::{Content, Feed};
use crate::views::{Views, logits_of_views};

/// Pixels per forward pass, about; results do not depend on it.
const BATCH_PX: usize = 1 << 18;

/// Rows of features per forward pass, and images at most.
const MAX_BATCH: usize = 1024;

/// What `model` says about every image of `feed`, in its order, by the mean logits of its `views`; `None` if `stop` was raised
/// on the way.
///
/// # Errors
/// If images cannot be read, images and model do not fit, or the model's answers are no numbers.
pub(crate) fn evaluate(
    model: &Model,
    feed: &Feed,
    precision: Precision,
    views: Views,
    label: &str,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Option<Predictions>> {
    let part = feed.part();
    let n_classes = part.set.class_names().len();
    let (mut targets, mut log_probs) = (Vec::new(), Vec::new());
    let bar = Bar::begin(progress, label, Some(part.len() as u64), Unit::Items("images"));
    for batch in feed.eval_batches(batch_size(feed))? {
        if stop.raised().is_some() {
            return Ok(None);
        }
        let batch = batch?;
        targets.extend(&batch.targets);
        let indices = batch.indices.clone();
        let logits = logits_of_views(model, batch, feed.content(), precision, views)?;
        check_finite(&logits, n_classes, label, &indices, &part.set)?;
        log_probs.extend(log_softmax(&logits, n_classes));
        bar.advance(targets.len() as u64);
    }
    Ok(Some(Predictions::new(n_classes, targets, log_probs, part.indices.to_vec())?))
}

/// Refuses answers that are no numbers, which would make every figure one that says nothing.
///
/// # Errors
/// [`TrainingError::NonFiniteAnswer`] with the first image, of `set`, that has such an answer.
pub(crate) fn check_finite(
    logits: &[f32],
    n_classes: usize,
    label: &str,
    indices: &[u32],
    set: &ImageSet,
) -> Result<()> {
    let Some(at) = logits.iter().position(|logit| !logit.is_finite()) else { return Ok(()) };
    let index = indices[at / n_classes];
    let file = set.file(index as usize).map(str::to_owned);
    Err(TrainingError::NonFiniteAnswer { label: label.to_owned(), index, file, value: logits[at] })
}

/// The logits of a batch, (n, classes), of a network that does not learn.
pub(crate) fn logits(
    model: &Model,
    batch: Batch,
    content: Content,
    precision: Precision,
) -> Result<Vec<f32>> {
    let device = model.params.device();
    let mut ctx = Ctx::eval(Path::of(device), device).with_precision(precision);
    let x =
        ctx.input(batch.images, Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width })?;
    Ok(content.forward(model, x, &mut ctx)?.to_vec()?)
}

/// The features that the frozen `trunk` of `model` makes of the images of `batch`, which it takes: (n, features).
pub(crate) fn features(
    model: &Model,
    trunk: &Trunk,
    batch: &mut Batch,
    precision: Precision,
) -> Result<Vec<f32>> {
    let device = model.params.device();
    let mut ctx = Ctx::eval(Path::of(device), device).with_precision(precision);
    let dims = Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width };
    let x = ctx.input(std::mem::take(&mut batch.images), dims)?;
    Ok(trunk.layer.forward(x, &mut ctx)?.to_vec()?)
}

/// 256 images of 32 x 32 pixels, or as many pixels of another size, but 8 images at least.
pub(crate) fn batch_size(feed: &Feed) -> usize {
    match feed {
        Feed::Features { .. } => MAX_BATCH,
        Feed::Images { part, input } => {
            let own = part.set.block_shape().map(|[h, w, _]| [h, w]);
            images_per_pass(input.preprocess.as_ref().map(|p| p.size_px).or(own).unwrap_or([1, 1]))
        }
    }
}

/// How many images of this size a forward pass takes.
pub(crate) fn images_per_pass([h, w]: [usize; 2]) -> usize {
    (BATCH_PX / (h * w).max(1)).clamp(8, MAX_BATCH)
}
