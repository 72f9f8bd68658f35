//! The folders of cached features: their names, their content, their list and their removal.
//!
//! `data_dir/features/<key>` holds `key.json`, which describes how the features were computed, and shards of some pictures
//! each. The key is a digest of everything that decides a feature except the picture, so data sets that have pictures in
//! common share their features. A folder whose name does not match its `key.json` is ignored. Each use writes `key.json`
//! again, so the time of that file is the time of the last use.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tallow_core::digest::Hasher;
use tallow_core::{FileError, Foreign, files, temporary};

use super::index::Index;
use super::shard::{Of, is_shard_name};
use crate::checkpoint::encoding;
use crate::error::{Result, TrainingError};

/// Size limit of `key.json`, in bytes; a longer file is not one.
const MAX_KEY_BYTES: u64 = 1 << 16;

/// Number of characters of a key.
const KEY_LEN: usize = 16;

/// The folder of all caches.
const FEATURES: &str = "features";

const KEY_FILE: &str = "key.json";

/// Everything that decides a feature, except the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureKey {
    /// Version of the kernels; changes when they give other bits than before.
    pub kernels_version: u32,
    /// Architecture, strides and input size.
    pub trunk: Foreign,
    /// The digest of the trunk's weights and statistics.
    pub weights: String,
    /// How images are resized.
    pub interpolation: String,
    /// Mean that is subtracted from red, green and blue, in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation that the difference is divided by.
    pub std: [f32; 3],
    /// The precision of the trunk's computation.
    pub precision: Foreign,
    /// The device of the trunk's computation.
    pub device: Foreign,
    /// The instruction set.
    pub isa: Foreign,
}

/// The content of `key.json`: the key, and further information for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AboutFeatures {
    /// Number of features per image.
    pub n_features: usize,
    /// The key that names the folder.
    pub key: FeatureKey,
}

/// A folder of cached features under a data folder.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureCache {
    /// The folder.
    pub path: PathBuf,
    /// How the features were computed; `None` for features of an older program, which are no longer used.
    pub about: Option<AboutFeatures>,
    /// Number of pictures with features.
    pub n_pictures: usize,
    /// Number of pictures whose mirror images have features.
    pub n_mirrored: usize,
    /// Total size of all files, in bytes.
    pub n_bytes: u64,
    /// Time of the last use by a run.
    pub last_used: SystemTime,
}

impl FeatureCache {
    /// The folder's name.
    pub fn key(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Reads the cache in `folder`; returns `None` if it is not a folder of features.
    fn read(folder: &Path) -> Option<Self> {
        let name = folder.file_name()?.to_str()?;
        let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
        let key_file = folder.join(KEY_FILE);
        let text = is_folder.then(|| files::read_at_most(&key_file, MAX_KEY_BYTES).ok())??;
        let about = match serde_json::from_slice::<AboutFeatures>(&text) {
            Ok(about) if name == key_name(&about.key).ok()? => Some(about),
            Ok(_) => return None,
            Err(_) if is_of_older(name, &text) => None,
            Err(_) => return None,
        };
        let index = Index::read(folder);
        let pictures: HashSet<&Of> = index.shards.iter().flat_map(|shard| &shard.pictures).collect();
        let n_mirrored = pictures.iter().filter(|of| of.mirrored).count();
        let sizes = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.metadata().ok());
        Some(Self {
            path: folder.to_owned(),
            n_pictures: pictures.len() - n_mirrored,
            n_mirrored,
            n_bytes: sizes.map(|metadata| metadata.len()).sum(),
            last_used: fs::metadata(&key_file).and_then(|metadata| metadata.modified()).ok()?,
            about,
        })
    }

    /// Removes the folder and returns the number of bytes freed. `key.json` is removed last, so that after an interruption
    /// the rest is still a cache.
    ///
    /// # Errors
    /// If the folder holds a file that does not belong to a cache (then nothing is removed), or if a file cannot be removed.
    pub fn remove(&self) -> Result<u64> {
        let entries: io::Result<Vec<DirEntry>> = fs::read_dir(&self.path).and_then(Iterator::collect);
        let entries = entries.map_err(FileError::reading(&self.path))?;
        if let Some(foreign) = entries.iter().find(|entry| !is_ours(entry)) {
            return Err(TrainingError::Damaged {
                path: foreign.path(),
                problem: "it is not a file of features: move it away, and the rest can be removed".into(),
            });
        }
        let mut n_bytes = 0;
        let (key, rest): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.file_name() == KEY_FILE);
        for entry in rest.into_iter().chain(key) {
            let path = entry.path();
            let n = entry.metadata().map_or(0, |metadata| metadata.len());
            fs::remove_file(&path).map_err(FileError::new("remove", &path))?;
            n_bytes += n;
        }
        fs::remove_dir(&self.path).map_err(FileError::new("remove the folder", &self.path))?;
        Ok(n_bytes)
    }
}

/// Returns the feature caches under `data_dir`, the last used first. Other folders are skipped.
///
/// # Errors
/// If the folder of caches exists but cannot be read.
pub fn feature_caches(data_dir: &Path) -> Result<Vec<FeatureCache>> {
    let folder = data_dir.join(FEATURES);
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(FileError::reading(&folder))?,
    };
    let mut caches: Vec<_> =
        entries.flatten().filter_map(|entry| FeatureCache::read(&entry.path())).collect();
    caches.sort_by(|a, b| b.last_used.cmp(&a.last_used).then_with(|| a.path.cmp(&b.path)));
    Ok(caches)
}

/// Where these features lie, or would lie.
pub(super) fn folder_of(data_dir: &Path, about: &AboutFeatures) -> Result<PathBuf> {
    Ok(data_dir.join(FEATURES).join(key_name(&about.key)?))
}

/// Creates the folder for these features, removes the files of killed runs in it, and writes its `key.json`.
pub(super) fn folder_for(data_dir: &Path, about: &AboutFeatures) -> Result<PathBuf> {
    let folder = folder_of(data_dir, about)?;
    files::create_folder(&folder)?;
    temporary::remove_files(&folder);
    let text = serde_json::to_string_pretty(about).map_err(encoding)?;
    files::write(&folder.join(KEY_FILE), format!("{text}\n").as_bytes())?;
    Ok(folder)
}

fn key_name(key: &FeatureKey) -> Result<String> {
    let mut hasher = Hasher::new();
    hasher.update(serde_json::to_string_pretty(key).map_err(encoding)?.as_bytes());
    Ok(hasher.finish()[..KEY_LEN].to_owned())
}

/// Whether a folder holds features of an older program, which cached whole data sets; their digest was part of the key.
fn is_of_older(name: &str, key_file: &[u8]) -> bool {
    let is_key = name.len() == KEY_LEN && name.bytes().all(|b| b.is_ascii_hexdigit());
    let key: Option<serde_json::Value> = serde_json::from_slice(key_file).ok();
    is_key && key.is_some_and(|about| about["key"]["data"].is_string() && about["key"]["trunk"].is_string())
}

/// Whether an older program could give a shard this name.
fn is_older_shard_name(name: &str) -> bool {
    let first = |part: &str| name.strip_prefix(part)?.strip_prefix('-')?.strip_suffix(".safetensors");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    ["train", "train-mirrored", "test"].iter().filter_map(|part| first(part)).any(is_number)
}

/// Whether the file can belong to a cache: `key.json`, a shard, or an unfinished file of a killed run.
fn is_ours(entry: &DirEntry) -> bool {
    let (name, is_file) = (entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_file()));
    let name = name.to_string_lossy();
    is_file
        && (name == KEY_FILE
            || name.starts_with(".tmp-")
            || is_shard_name(&name)
            || is_older_shard_name(&name))
}

#[cfg(test)]
mod tests {
    use super::super::shard::write_shard;
    use super::*;
    use tallow_nn::HostTensor;

    fn about(trunk: &str) -> AboutFeatures {
        let key = FeatureKey {
            kernels_version: 1,
            trunk: trunk.into(),
            weights: "w".into(),
            interpolation: "bilinear".into(),
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.1, 0.3],
            precision: "f32".into(),
            device: "cpu".into(),
            isa: "avx2".into(),
        };
        AboutFeatures { n_features: 2, key }
    }

    /// A shard of pictures that are all of one byte.
    fn shard(folder: &Path, bytes: std::ops::Range<u8>, mirrored: bool) {
        let pictures: Vec<Of> = bytes.map(|byte| Of { identity: [byte; 32], mirrored }).collect();
        let features = HostTensor { shape: vec![pictures.len(), 2], data: vec![0.0; 2 * pictures.len()] };
        write_shard(folder, &pictures, features, 1.0).unwrap();
    }

    #[test]
    fn pictures_are_counted_once() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(feature_caches(data.path()).unwrap(), []);
        let folder = folder_for(data.path(), &about("a")).unwrap();
        let look = || {
            let [cache] = feature_caches(data.path()).unwrap().try_into().unwrap();
            (cache.n_pictures, cache.n_mirrored)
        };
        assert_eq!(look(), (0, 0));
        shard(&folder, 0..5, false);
        shard(&folder, 3..7, false);
        shard(&folder, 0..2, true);
        assert_eq!(look(), (7, 2));
    }

    #[test]
    fn only_what_is_a_cache_is_one() {
        let data = tempfile::tempdir().unwrap();
        let cache = folder_for(data.path(), &about("a")).unwrap();
        let features = data.path().join(FEATURES);
        fs::create_dir(features.join("0123456789abcdef")).unwrap();
        fs::write(features.join("a file"), "").unwrap();
        // the key file of another folder
        fs::create_dir(features.join("fedcba9876543210")).unwrap();
        fs::copy(cache.join(KEY_FILE), features.join("fedcba9876543210").join(KEY_FILE)).unwrap();
        #[cfg(unix)]
        {
            let other = tempfile::tempdir().unwrap();
            let elsewhere = folder_for(other.path(), &about("b")).unwrap();
            let name = elsewhere.file_name().unwrap();
            std::os::unix::fs::symlink(&elsewhere, features.join(name)).unwrap();
            assert_eq!(feature_caches(other.path()).unwrap().len(), 1);
        }
        let found: Vec<PathBuf> = feature_caches(data.path()).unwrap().into_iter().map(|c| c.path).collect();
        assert_eq!(found, [cache]);
    }

    #[test]
    fn a_cache_is_removed_whole_unless_it_holds_something_else() {
        let data = tempfile::tempdir().unwrap();
        let folder = folder_for(data.path(), &about("a")).unwrap();
        shard(&folder, 0..3, false);
        fs::write(folder.join(".tmp-x"), "123").unwrap();
        fs::write(folder.join("train-notes.safetensors"), "").unwrap();
        let [cache] = feature_caches(data.path()).unwrap().try_into().unwrap();
        let message = cache.remove().unwrap_err().to_string();
        assert!(message.contains("train-notes.safetensors") && message.contains("move it away"), "{message}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);

        fs::remove_file(folder.join("train-notes.safetensors")).unwrap();
        assert_eq!(cache.remove().unwrap(), cache.n_bytes);
        assert_eq!(fs::read_dir(data.path().join(FEATURES)).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn the_next_use_removes_what_a_killed_run_left() {
        let data = tempfile::tempdir().unwrap();
        let folder = folder_for(data.path(), &about("a")).unwrap();
        shard(&folder, 0..3, false);
        fs::write(folder.join(".tmp-aB3dE6"), "a part of a shard").unwrap();
        folder_for(data.path(), &about("a")).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    /// Features of whole data sets, as an older program cached them. They are no longer used; they are listed and can be
    /// removed.
    #[test]
    fn what_an_older_program_kept_can_be_removed() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join(FEATURES).join("0123456789abcdef");
        fs::create_dir_all(&folder).unwrap();
        let key =
            r#"{"dataset":"sample","n_train":1,"n_test":1,"n_features":2,"key":{"trunk":"t","data":"d"}}"#;
        fs::write(folder.join(KEY_FILE), key).unwrap();
        fs::write(folder.join("train-mirrored-0002048.safetensors"), "12345").unwrap();
        let [cache] = feature_caches(data.path()).unwrap().try_into().unwrap();
        assert_eq!((cache.about.clone(), cache.n_pictures), (None, 0));
        assert_eq!(cache.remove().unwrap(), key.len() as u64 + 5);
    }
}
