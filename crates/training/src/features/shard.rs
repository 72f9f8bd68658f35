//! A shard: the file of the features of some images, with a digest of what it holds.
//!
//! Files are written whole or not at all; one that was damaged since is noticed here.

use std::ops::Range;
use std::path::Path;

use tallow_core::{Progress, files};
use tallow_nn::{HostTensor, Tensors, decode, encode};

use crate::checkpoint::digest;
use crate::error::Result;

/// Images of a shard; of the last one of a set fewer.
pub(super) const SHARD_LEN: usize = 2048;

/// Longer files are no shards.
const MAX_SHARD_BYTES: u64 = 1 << 30;

/// The tensor of the features, (images, width).
const FEATURES: &str = "features";

/// The tensor of the one number of seconds that they took. Shards of older builds have none.
const SECONDS: &str = "seconds";

/// What shards may be of: training images, their mirror images, test images.
pub(super) const PARTS: [&str; 3] = ["train", "train-mirrored", "test"];

/// The images of each shard of `n` images.
pub(super) fn shards(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(SHARD_LEN).map(move |first| first..n.min(first + SHARD_LEN))
}

/// The file of the shard of a part that begins with image `first`.
pub(super) fn shard_name(part: &str, first: usize) -> String {
    format!("{part}-{first:07}.safetensors")
}

/// Whether [`shard_name`] could give a file this name.
pub(super) fn is_shard_name(name: &str) -> bool {
    let first = |part: &str| name.strip_prefix(part)?.strip_prefix('-')?.strip_suffix(".safetensors");
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    PARTS.iter().filter_map(|part| first(part)).any(is_number)
}

/// The features of a shard's images.
pub(super) struct Shard {
    /// (images, width).
    pub(super) features: Vec<f32>,
    /// How long the backbone took for them, if that is known.
    pub(super) secs: Option<f64>,
}

/// What a whole shard of this shape holds; `None` where there is none, and it has to be made.
pub(super) fn read_shard(path: &Path, shape: &[usize], progress: &dyn Progress) -> Option<Shard> {
    if !path.exists() {
        return None;
    }
    let read = || -> Option<Shard> {
        let bytes = files::read_at_most(path, MAX_SHARD_BYTES).ok()?;
        let (mut tensors, metadata) = decode(&bytes).ok()?;
        let is_whole = metadata.as_deref() == Some(&digest("", &tensors));
        let features = tensors.remove(FEATURES).filter(|features| is_whole && features.shape == shape)?;
        let secs = tensors.remove(SECONDS).and_then(|secs| secs.data.first().map(|&secs| f64::from(secs)));
        Some(Shard { features: features.data, secs })
    };
    let shard = read();
    if shard.is_none() {
        progress.say(&format!("{} is damaged: these features are computed again", path.display()));
    }
    shard
}

/// Writes a shard, and gives back how long the backbone took as the file has it.
pub(super) fn write_shard(path: &Path, features: HostTensor, secs: f64) -> Result<f64> {
    let secs = secs as f32;
    let seconds = HostTensor { shape: vec![1], data: vec![secs] };
    let tensors: Tensors = [(FEATURES.to_owned(), features), (SECONDS.to_owned(), seconds)].into();
    let bytes = encode(&tensors, &digest("", &tensors))?;
    files::write(path, &bytes)?;
    Ok(f64::from(secs))
}
