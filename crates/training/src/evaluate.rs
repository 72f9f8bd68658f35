//! Evaluation: one path for validation, the test, and every later look at a model.

use tallow_core::{Progress, StopFlag, Unit};
use tallow_dataset::Normalization;
use tallow_metrics::Predictions;
use tallow_nn::{Ctx, Dims, Model, Path, Precision, log_softmax};

use crate::data::Part;
use crate::error::Result;

/// Pixels per forward pass, about; results do not depend on it.
const BATCH_PX: usize = 1 << 18;

/// What `model` says about every image of `part`, in its order; `None` if `stop` was raised on the way.
///
/// # Errors
/// If images and model do not fit, or the model's answers are no numbers.
pub fn evaluate(
    model: &Model,
    part: &Part,
    normalization: &Normalization,
    precision: Precision,
    label: &str,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<Option<Predictions>> {
    let n_classes = part.set.class_names().len();
    let (mut targets, mut log_probs) = (Vec::new(), Vec::new());
    progress.begin(label, Some(part.len() as u64), Unit::Items("images"));
    let batch_size = batch_size(model, part);
    for batch in part.eval_batches(batch_size, normalization, model.resize_px)? {
        if stop.raised().is_some() {
            progress.end();
            return Ok(None);
        }
        let device = model.params.device();
        let mut ctx = Ctx::eval(Path::of(device), device).with_precision(precision);
        let x =
            ctx.input(batch.images, Dims { n: batch.n, c: batch.channels, h: batch.height, w: batch.width })?;
        let logits = match part.features {
            Some(_) => model.network.forward(x, &mut ctx)?,
            None => model.forward(x, &mut ctx)?,
        };
        let logits = logits.to_vec()?;
        log_probs.extend(log_softmax(&logits, n_classes));
        targets.extend(batch.targets);
        progress.advance(targets.len() as u64);
    }
    progress.end();
    Ok(Some(Predictions::new(n_classes, targets, log_probs, part.indices.to_vec())?))
}

/// Rows of features per forward pass, and images at most.
const MAX_BATCH: usize = 1024;

/// 256 images of 32 x 32 pixels, or as many pixels of another size, but 8 images at least.
fn batch_size(model: &Model, part: &Part) -> usize {
    if part.features.is_some() {
        return MAX_BATCH;
    }
    let [h, w] = model.resize_px.unwrap_or([part.set.height(), part.set.width()]);
    (BATCH_PX / (h * w).max(1)).clamp(8, MAX_BATCH)
}
