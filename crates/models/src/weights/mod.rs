//! Pretrained weights: where they come from, and how they get into a network.
//!
//! ```text
//! text -> WeightsSource -> resolve: a folder, a file, or the hub's cache -> WeightFiles
//!      -> read: tensors in f32 -> load_into: the network's parameters, all of them or none
//!      -> PretrainedConfig::read: what config.json says about the network and its input
//! ```
//!
//! Which network the weights are for is not known here.

mod config;
mod error;
mod hub;
mod input;
mod load;
mod source;

use std::path::{Path, PathBuf};

use tallow_core::{Progress, StopFlag};

pub use config::PretrainedConfig;
pub use error::WeightsError;
pub use hub::HubOptions;
pub use input::PretrainedInput;
pub use load::{Report, WidthChange, load_into, read};
pub use source::{HubModel, WeightsSource};

/// What describes a network, in a folder or on the hub.
const CONFIG_FILE: &str = "config.json";
/// What holds its weights.
const MODEL_FILE: &str = "model.safetensors";

/// Files that are there to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFiles {
    /// `config.json`. A file that is named itself has none, nor have some models on the hub.
    pub config: Option<PathBuf>,
    /// The safetensors file.
    pub model: PathBuf,
    /// For a record: the path, or `hf:OWNER/NAME@COMMIT`, which names the same weights for ever.
    pub origin: String,
    /// The commit on the hub.
    pub commit: Option<String>,
}

/// Finds the files of `source`; what the hub has and its cache has not is downloaded.
///
/// From the hub, every file's digest is compared with the one that the hub states, and again each time that it is
/// found in the cache. A branch is looked up once: from then on the cache answers, without a request.
///
/// # Errors
/// Says what was expected and what to do. A download that breaks off is kept for the next call; wrong bytes are not.
pub fn resolve(
    source: &WeightsSource,
    options: &HubOptions,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<WeightFiles, WeightsError> {
    match source {
        WeightsSource::Path(path) => local(path),
        WeightsSource::Hub(model) => hub::resolve(model, options, progress, stop),
    }
}

fn local(path: &Path) -> Result<WeightFiles, WeightsError> {
    let origin = path.display().to_string();
    if path.is_file() {
        return Ok(WeightFiles { config: None, model: path.to_owned(), origin, commit: None });
    }
    if !path.is_dir() {
        return Err(WeightsError::Absent { path: path.to_owned() });
    }
    for missing in [CONFIG_FILE, MODEL_FILE] {
        if !path.join(missing).is_file() {
            return Err(WeightsError::Folder { folder: path.to_owned(), missing });
        }
    }
    Ok(WeightFiles {
        config: Some(path.join(CONFIG_FILE)),
        model: path.join(MODEL_FILE),
        origin,
        commit: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_wants_both_files_and_a_file_is_enough_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (config, model) = (folder.path().join(CONFIG_FILE), folder.path().join(MODEL_FILE));
        let message = |path: &Path| local(path).unwrap_err().to_string();
        assert!(message(&folder.path().join("x")).contains("neither a folder nor a file"));
        assert!(message(folder.path()).contains("has no config.json"));
        std::fs::write(&config, "{}").unwrap();
        assert!(message(folder.path()).contains("has no model.safetensors"));
        std::fs::write(&model, "").unwrap();
        let files = local(folder.path()).unwrap();
        assert_eq!((files.config, &files.model, files.commit), (Some(config), &model, None));
        assert_eq!(local(&model).unwrap().config, None);
    }
}
