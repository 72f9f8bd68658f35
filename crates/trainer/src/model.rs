//! Opens a trained model for predictions.

use std::path::Path;

use anyhow::{Context as _, Result};
use tallow_core::shown::shown_path;
use tallow_training::{Device, Model, Predictor, SavedModel, device, read_model};

/// Opens the model of a run folder or of a model file on `device_name`.
pub(crate) fn open(path: &Path, device_name: &str) -> Result<Predictor> {
    let saved = read_model(path)?;
    let model = built(&saved, path, &device(device_name)?)?;
    Ok(Predictor::new(saved.info, model, saved.novelty))
}

/// Builds the network of the model file at `path` on `device`, with its weights.
pub(crate) fn built(saved: &SavedModel, path: &Path, device: &Device) -> Result<Model> {
    let SavedModel { info, weights, .. } = saved;
    tallow_models::build_with(&info.model, info.class_names.len(), device, weights).with_context(|| {
        format!("{}: the network that it describes cannot be built with its weights", shown_path(path))
    })
}
