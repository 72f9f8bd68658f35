//! A shard: a file with the features of some pictures. Its header names the pictures and has a digest of the content.
//!
//! A file is written either completely or not at all. Later damage is detected on reading.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tallow_core::digest::{Hasher, hex};
use tallow_core::shown::shown_path;
use tallow_core::{Progress, files};
use tallow_dataset::Identity;
use tallow_nn::{HostTensor, METADATA_KEY, Tensors, decode, encode};

use crate::checkpoint::{digest, encoding};
use crate::error::Result;

/// Largest number of pictures in a shard.
pub(super) const SHARD_LEN: usize = 2048;

/// Size limits in bytes: a longer file is not a shard, and a longer header not that of a shard.
const MAX_SHARD_BYTES: u64 = 1 << 30;
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// The tensor of the features, (pictures, width).
const FEATURES: &str = "features";

/// The tensor of one number: the seconds that the features took.
const SECONDS: &str = "seconds";

/// The key of features: a picture, identified by its content, and whether it is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Of {
    pub(super) identity: Identity,
    pub(super) mirrored: bool,
}

/// The metadata in a shard's header.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    /// Digest of `pictures` and all tensors.
    digest: String,
    /// For each row: the SHA-256 of a picture, followed by `m` if the picture is mirrored, else by `-`.
    pictures: String,
}

/// Number of characters of one entry of [`About::pictures`].
const ENTRY_LEN: usize = 65;

fn text_of(pictures: &[Of]) -> String {
    let mut text = String::with_capacity(ENTRY_LEN * pictures.len());
    for Of { identity, mirrored } in pictures {
        text.push_str(&hex(identity));
        text.push(if *mirrored { 'm' } else { '-' });
    }
    text
}

fn pictures_of(text: &str) -> Option<Vec<Of>> {
    let entries = text.as_bytes().chunks(ENTRY_LEN);
    let nibble = |c: u8| char::from(c).to_digit(16).map(|digit| digit as u8);
    let picture = |entry: &[u8]| {
        let (hex, mark) = entry.split_at_checked(ENTRY_LEN - 1)?;
        let mut identity = Identity::default();
        for (byte, pair) in identity.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
        }
        let mirrored = match mark {
            b"m" => true,
            b"-" => false,
            _ => return None,
        };
        Some(Of { identity, mirrored })
    };
    entries.map(picture).collect()
}

/// Returns the file name of a shard of these pictures. Runs that compute the same pictures write the same file.
pub(super) fn shard_name(pictures: &[Of]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(text_of(pictures).as_bytes());
    format!("{}.safetensors", &hasher.finish()[..16])
}

/// Whether [`shard_name`] could give a file this name.
pub(super) fn is_shard_name(name: &str) -> bool {
    let stem = name.strip_suffix(".safetensors");
    stem.is_some_and(|stem| stem.len() == 16 && stem.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Reads only the header of the shard at `path` and returns the pictures it names; `None` if the file is not a shard.
pub(super) fn read_pictures(path: &Path) -> Option<Vec<Of>> {
    let mut file = files::open(path).ok()?;
    let mut length = [0; 8];
    file.read_exact(&mut length).ok()?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES {
        return None;
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    about(header.get("__metadata__")?.get(METADATA_KEY)?.as_str()?).map(|(_, pictures)| pictures)
}

fn about(text: &str) -> Option<(About, Vec<Of>)> {
    let about: About = serde_json::from_str(text).ok()?;
    let pictures = pictures_of(&about.pictures)?;
    Some((about, pictures))
}

/// The features of a shard's pictures.
pub(super) struct Shard {
    /// (pictures, width).
    pub(super) features: Vec<f32>,
    /// Time the backbone took for all these features, in seconds.
    pub(super) secs: f64,
}

/// Reads the whole shard at `path`, of `n` pictures. If it cannot be read or is damaged, reports that and returns `None`.
/// A damaged file is removed; one that cannot be read now may be whole.
pub(super) fn read_shard(path: &Path, n: usize, width: usize, progress: &dyn Progress) -> Option<Shard> {
    let bytes = match files::read_at_most(path, MAX_SHARD_BYTES) {
        Ok(bytes) => bytes,
        Err(e) => {
            progress.say(&format!("{e}: these features are computed again"));
            return None;
        }
    };
    let shard = whole_shard(&bytes, n, width);
    if shard.is_none() {
        let _ = fs::remove_file(path); // another run may have removed it already
        progress.say(&format!("{} is damaged: these features are computed again", shown_path(path)));
    }
    shard
}

/// Returns the content of a shard, unless it is damaged.
fn whole_shard(bytes: &[u8], n: usize, width: usize) -> Option<Shard> {
    let (mut tensors, metadata) = decode(bytes).ok()?;
    let (about, _) = about(&metadata?)?;
    let is_whole = about.digest == digest(&about.pictures, &tensors);
    let features = tensors.remove(FEATURES).filter(|f| is_whole && f.shape == [n, width])?;
    let secs = f64::from(*tensors.remove(SECONDS)?.data.first()?);
    Some(Shard { features: features.data, secs })
}

/// Writes the shard of `pictures` into `folder`. Returns the seconds as the file stores them, rounded to f32.
pub(super) fn write_shard(folder: &Path, pictures: &[Of], features: HostTensor, secs: f64) -> Result<f64> {
    let secs = secs as f32;
    let seconds = HostTensor { shape: vec![1], data: vec![secs] };
    let tensors: Tensors = [(FEATURES.to_owned(), features), (SECONDS.to_owned(), seconds)].into();
    let text = text_of(pictures);
    let about = About { digest: digest(&text, &tensors), pictures: text };
    let bytes = encode(&tensors, &serde_json::to_string(&about).map_err(encoding)?)?;
    files::write(&folder.join(shard_name(pictures)), &bytes)?;
    Ok(f64::from(secs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tallow_core::Silent;

    #[test]
    fn a_shard_names_its_pictures_and_notices_damage() {
        let folder = tempfile::tempdir().unwrap();
        let pictures: Vec<Of> = (0..3).map(|i| Of { identity: [i; 32], mirrored: i == 1 }).collect();
        let features = HostTensor { shape: vec![3, 2], data: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0] };
        write_shard(folder.path(), &pictures, features.clone(), 1.5).unwrap();
        let path = folder.path().join(shard_name(&pictures));
        assert!(is_shard_name(path.file_name().unwrap().to_str().unwrap()));
        assert_eq!(read_pictures(&path), Some(pictures));
        let shard = read_shard(&path, 3, 2, &Silent).unwrap();
        assert_eq!((shard.features, shard.secs), (features.data, 1.5));

        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(read_shard(&path, 3, 2, &Silent).is_none() && !files::exists(&path).unwrap());
        for no_shard in [&b""[..], &[0xff; 9], b"\x02\0\0\0\0\0\0\0{}"] {
            fs::write(&path, no_shard).unwrap();
            assert_eq!(read_pictures(&path), None);
        }
        fs::remove_file(&path).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&path, &path).unwrap();
            assert!(read_shard(&path, 3, 2, &Silent).is_none());
            assert!(path.symlink_metadata().is_ok(), "only damage is removed");
        }
        assert!(!is_shard_name("train-0000000.safetensors") && !is_shard_name("key.json"));
    }
}
