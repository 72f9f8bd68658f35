//! The folders that features are kept in: how they are called, what is in them, which there are, and their removal.
//!
//! `data_dir/features/<key>` holds `key.json`, which says what the features are of, and shards of some images each. The
//! key is a digest of all that decides a feature, so a folder that is called otherwise than its `key.json` demands is
//! not ours. `key.json` is written at each use: its time is that of the last one.

use std::fs::{self, DirEntry};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tallow_core::digest::Hasher;
use tallow_core::{FileError, files};

use super::shard::{PARTS, is_shard_name, shard_name, shards};
use crate::checkpoint::encoding;
use crate::error::{Result, TrainingError};

/// Longer files are no `key.json`.
const MAX_KEY_BYTES: u64 = 1 << 16;

/// Characters of a key.
const KEY_LEN: usize = 16;

/// The folder of all caches.
const FEATURES: &str = "features";

const KEY_FILE: &str = "key.json";

/// Everything that decides a feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureKey {
    /// Changes whenever kernels give other bits than before.
    pub kernels_version: u32,
    /// Architecture, strides and input size.
    pub trunk: String,
    /// The digest of the trunk's weights and statistics.
    pub weights: String,
    /// The digest of class names, sizes, labels and pixels.
    pub data: String,
    /// How images are resized.
    pub interpolation: String,
    /// What is subtracted from red, green and blue in 0..1.
    pub mean: [f32; 3],
    /// What the difference is divided by.
    pub std: [f32; 3],
    /// What the trunk computes in.
    pub precision: String,
    /// What it computes on.
    pub device: String,
    /// The instruction set.
    pub isa: String,
}

/// What `key.json` says: the key, and what a person wants to know beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AboutFeatures {
    /// The name of the data set.
    pub dataset: String,
    /// Training images of the whole set.
    pub n_train: usize,
    /// Its test images.
    pub n_test: usize,
    /// Numbers per image.
    pub n_features: usize,
    /// What names the folder.
    pub key: FeatureKey,
}

/// Features that lie under a data folder.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureCache {
    /// The folder.
    pub path: PathBuf,
    /// What they are of.
    pub about: AboutFeatures,
    /// Of how many training images there are features.
    pub n_train: usize,
    /// Of how many training images' mirror images; none where nobody wanted any.
    pub n_mirrored: usize,
    /// Of how many test images.
    pub n_test: usize,
    /// What all files take.
    pub n_bytes: u64,
    /// When a run last used them.
    pub last_used: SystemTime,
}

impl FeatureCache {
    /// The folder's name.
    pub fn key(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Whether every image has its features, and every training image those of its mirror image or none has. Whether
    /// a shard was damaged since is only seen when it is read.
    pub fn is_complete(&self) -> bool {
        let AboutFeatures { n_train, n_test, .. } = self.about;
        self.n_train == n_train && self.n_test == n_test && [0, n_train].contains(&self.n_mirrored)
    }

    /// The one in `folder`; `None` if it is no folder of features.
    fn read(folder: &Path) -> Option<Self> {
        let name = folder.file_name()?.to_str()?;
        let is_folder = fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir());
        let key_file = folder.join(KEY_FILE);
        let about = is_folder.then(|| files::read_at_most(&key_file, MAX_KEY_BYTES).ok())??;
        let about: AboutFeatures = serde_json::from_slice(&about).ok()?;
        if name != key_name(&about.key).ok()? {
            return None;
        }
        let n_done = |part: &str, n: usize| {
            let is_there = |images: &Range<usize>| folder.join(shard_name(part, images.start)).is_file();
            shards(n).filter(is_there).map(|images| images.len()).sum()
        };
        let sizes = fs::read_dir(folder).ok()?.flatten().filter_map(|entry| entry.metadata().ok());
        Some(Self {
            path: folder.to_owned(),
            n_train: n_done(PARTS[0], about.n_train),
            n_mirrored: n_done(PARTS[1], about.n_train),
            n_test: n_done(PARTS[2], about.n_test),
            n_bytes: sizes.map(|metadata| metadata.len()).sum(),
            last_used: fs::metadata(&key_file).and_then(|metadata| metadata.modified()).ok()?,
            about,
        })
    }

    /// Removes the folder; returns how many bytes that frees. `key.json` goes last, so that what an interruption leaves
    /// is still a cache.
    ///
    /// # Errors
    /// If it holds a file that is not of a cache, and nothing is removed then; or a file cannot be removed.
    pub fn remove(&self) -> Result<u64> {
        let entries: io::Result<Vec<DirEntry>> = fs::read_dir(&self.path).and_then(Iterator::collect);
        let entries = entries.map_err(FileError::reading(&self.path))?;
        if let Some(foreign) = entries.iter().find(|entry| !is_ours(entry)) {
            return Err(TrainingError::Damaged {
                path: foreign.path(),
                problem: "it is no file of features: move it away, and the rest can be removed".into(),
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

/// The features under `data_dir`, those that were used last first. Folders that are something else are passed over.
///
/// # Errors
/// If the folder of caches is there but cannot be read.
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

/// The folder for these features, with its `key.json`.
pub(super) fn folder_for(data_dir: &Path, about: &AboutFeatures) -> Result<PathBuf> {
    let folder = data_dir.join(FEATURES).join(key_name(&about.key)?);
    files::create_folder(&folder)?;
    let text = serde_json::to_string_pretty(about).map_err(encoding)?;
    files::write(&folder.join(KEY_FILE), format!("{text}\n").as_bytes())?;
    Ok(folder)
}

fn key_name(key: &FeatureKey) -> Result<String> {
    let mut hasher = Hasher::new();
    hasher.update(serde_json::to_string_pretty(key).map_err(encoding)?.as_bytes());
    Ok(hasher.finish()[..KEY_LEN].to_owned())
}

/// Whether a cache has such a file: `key.json`, a shard, or what a killed run had not finished writing.
fn is_ours(entry: &DirEntry) -> bool {
    let (name, is_file) = (entry.file_name(), entry.file_type().is_ok_and(|kind| kind.is_file()));
    let name = name.to_string_lossy();
    is_file && (name == KEY_FILE || name.starts_with(".tmp-") || is_shard_name(&name))
}

#[cfg(test)]
mod tests {
    use super::super::shard::SHARD_LEN;
    use super::*;

    fn about(trunk: &str) -> AboutFeatures {
        let key = FeatureKey {
            kernels_version: 1,
            trunk: trunk.into(),
            weights: "w".into(),
            data: "d".into(),
            interpolation: "bilinear".into(),
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.1, 0.3],
            precision: "f32".into(),
            device: "cpu".into(),
            isa: "avx2".into(),
        };
        AboutFeatures { dataset: "cifar10".into(), n_train: 2 * SHARD_LEN + 1, n_test: 3, n_features: 2, key }
    }

    fn shard(folder: &Path, part: &str, first: usize) {
        fs::write(folder.join(shard_name(part, first)), "12345").unwrap();
    }

    #[test]
    fn images_are_counted_shard_by_shard() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(feature_caches(data.path()).unwrap(), []);
        let folder = folder_for(data.path(), &about("a")).unwrap();
        let look = || {
            let [cache] = feature_caches(data.path()).unwrap().try_into().unwrap();
            (cache.n_train, cache.n_mirrored, cache.n_test, cache.is_complete())
        };
        assert_eq!(look(), (0, 0, 0, false));
        shard(&folder, "train", 2 * SHARD_LEN);
        shard(&folder, "test", 0);
        assert_eq!(look(), (1, 0, 3, false));
        shard(&folder, "train", 0);
        shard(&folder, "train", SHARD_LEN);
        assert_eq!(look(), (4097, 0, 3, true));
        shard(&folder, "train-mirrored", 0);
        assert_eq!(look(), (4097, 2048, 3, false));
    }

    #[test]
    fn only_what_is_a_cache_is_one() {
        let data = tempfile::tempdir().unwrap();
        let cache = folder_for(data.path(), &about("a")).unwrap();
        let features = data.path().join(FEATURES);
        fs::create_dir(features.join("0123456789abcdef")).unwrap();
        fs::write(features.join("a file"), "").unwrap();
        // the key of another
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
        shard(&folder, "train", 0);
        fs::write(folder.join(".tmp-x"), "123").unwrap();
        fs::write(folder.join("train-notes.safetensors"), "").unwrap();
        let [cache] = feature_caches(data.path()).unwrap().try_into().unwrap();
        let message = cache.remove().unwrap_err().to_string();
        assert!(message.contains("train-notes.safetensors") && message.contains("move it away"), "{message}");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);

        fs::remove_file(folder.join("train-notes.safetensors")).unwrap();
        let key_bytes = fs::metadata(folder.join(KEY_FILE)).unwrap().len();
        assert_eq!(cache.n_bytes, key_bytes + 8);
        assert_eq!(cache.remove().unwrap(), key_bytes + 8);
        assert_eq!(fs::read_dir(data.path().join(FEATURES)).unwrap().count(), 0);
    }
}
