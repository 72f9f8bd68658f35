//! Opens a trained model for predictions.

use std::path::Path;

use anyhow::{Context as _, Result};
use tallow_training::{Predictor, SavedModel, device, read_model};

/// Opens the model of a run folder or of a model file on `device_name`.
pub(crate) fn open(path: &Path, device_name: &str) -> Result<Predictor> {
    let SavedModel { info, weights, novelty } = read_model(path)?;
    let device = device(device_name)?;
    let model = tallow_models::build(&info.model, info.class_names.len(), 0, &device)
        .with_context(|| format!("{}: its architecture cannot be built", path.display()))?;
    model.params.load_tensors(&weights).with_context(|| path.display().to_string())?;
    Ok(Predictor::new(info, model, novelty))
}
