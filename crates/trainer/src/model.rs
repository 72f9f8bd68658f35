//! Opens a trained model for predictions.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use tallow_core::files;
use tallow_core::shown::{shell_word, shown_path};
use tallow_dataset::MAX_PICTURE_BYTES;
use tallow_dataset::decode::probe;
use tallow_training::{Device, Model, Predictor, SavedModel, device, read_model};

use crate::preparation::RUNS;

/// Reads the model of a run folder or of a model file.
pub(crate) fn read(path: &Path) -> Result<SavedModel> {
    if !files::exists(path)? {
        let in_runs = Path::new(RUNS).join(path);
        ensure!(
            path.is_absolute() || !files::exists(&in_runs)?,
            "{} does not exist: did you mean {}?",
            shown_path(path),
            shell_word(&in_runs)
        );
    } else if files::is_file(path)? && is_picture(path) {
        bail!(
            "{} is a picture: name the run folder or the model file first, then pictures",
            shown_path(path)
        );
    }
    Ok(read_model(path)?)
}

fn is_picture(path: &Path) -> bool {
    path.extension().is_none_or(|end| end != "safetensors")
        && files::read_at_most(path, MAX_PICTURE_BYTES).is_ok_and(|bytes| probe(&bytes).is_ok())
}

/// Opens the model of a run folder or of a model file on `device_name`.
pub(crate) fn open(path: &Path, device_name: &str) -> Result<Predictor> {
    let saved = read(path)?;
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
