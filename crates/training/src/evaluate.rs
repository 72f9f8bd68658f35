//! Evaluation: one path for validation, the test, and every later look at a model.

use tallow_core::{Progress, StopFlag, Unit};
use tallow_dataset::Batch;
use tallow_metrics::Predictions;
use tallow_nn::{Ctx, Dims, Model, Path, Precision, log_softmax};

use crate::error::Result;
use crate::feed::{Content, Feed};

/// Pixels per forward pass, about; results do not depend on it.
const BATCH_PX: usize = 1 << 18;

/// Rows of features per forward pass, and images at most.
const MAX_BATCH: usize = 1024;

/// What `model` says about every image of `feed`, in its order; `None` if `stop` was raised on the way.
///
/// # Errors
/// If images cannot be read, images and model do not fit, or the model's answers are no numbers.
pub(crate) fn evaluate(
    model: &Model,
    feed: &Feed,
    precision: Precision,
    label: &str,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Option<Predictions>> {
    let part = feed.part();
    let n_classes = part.set.class_names().len();
    let (mut targets, mut log_probs) = (Vec::new(), Vec::new());
    progress.begin(label, Some(part.len() as u64), Unit::Items("images"));
    for batch in feed.eval_batches(batch_size(feed))? {
        if stop.raised().is_some() {
            progress.end();
            return Ok(None);
        }
        let batch = batch.inspect_err(|_| progress.end())?;
        targets.extend(&batch.targets);
        log_probs.extend(log_softmax(&logits(model, batch, feed.content(), precision)?, n_classes));
        progress.advance(targets.len() as u64);
    }
    progress.end();
    Ok(Some(Predictions::new(n_classes, targets, log_probs, part.indices.to_vec())?))
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

/// 256 images of 32 x 32 pixels, or as many pixels of another size, but 8 images at least.
fn batch_size(feed: &Feed) -> usize {
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
