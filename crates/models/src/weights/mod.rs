//! Pretrained weights: finds their files, reads them and loads them into a network.
//!
//! ```text
//! text -> WeightsSource -> resolve: a folder, a file, or the hub's cache -> WeightFiles
//!      -> read: tensors in f32 -> load_into: the network's parameters, all of them or none
//!      -> PretrainedConfig::read: what config.json says about the network and its input
//! ```
//!
//! Choosing and building the network is left to the caller.

mod config;
mod error;
mod hub;
mod input;
mod load;
mod source;

use std::path::{Path, PathBuf};

use tallow_core::{Progress, StopFlag, path_text};

pub use config::PretrainedConfig;
pub use error::WeightsError;
pub use hub::HubOptions;
pub use input::PretrainedInput;
pub use load::{Report, WidthChange, load_into, read};
pub use source::{HubModel, WeightsSource};
pub use tallow_fetch::Patience;

/// Name of the file that describes a network, in a folder or on the hub.
const CONFIG_FILE: &str = "config.json";
/// Name of the file with the network's weights.
const MODEL_FILE: &str = "model.safetensors";

/// The local files of pretrained weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightFiles {
    /// `config.json`; `None` if the source is a single file, or a model on the hub without this file.
    pub config: Option<PathBuf>,
    /// The safetensors file.
    pub model: PathBuf,
    /// Origin of the weights, for the records: the text of the path ([`path_text()`]), or `hf:OWNER/NAME@COMMIT`, which always
    /// names the same weights.
    pub origin: String,
    /// The commit on the hub; `None` for local files.
    pub commit: Option<String>,
}

/// Finds the files of `source`. Files of a model on the hub that are not in the cache are downloaded.
///
/// The digest of every downloaded file is compared with the digest that the hub states. It is compared again each time the file
/// is found in the cache, except on systems without symbolic links. A branch is looked up on the hub only once; later calls use
/// the commit in the cache, without a request.
///
/// # Errors
/// The message says what was expected and what to do. The part of a download that breaks off is kept for the next call; a
/// download with a wrong digest is deleted.
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
    let origin = path_text(path);
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
