//! A source of pictures in files. A file is read and decoded each time its picture is requested.

use std::fs;
use std::path::PathBuf;

use tallow_core::FileError;
use tallow_core::digest::Hasher;

use crate::decode::decode;
use crate::source::{Facts, Identity, ImageSource, Picture};
use crate::{BadPicture, Error};

/// Largest picture file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Picture files as an [`ImageSource`].
pub struct Files {
    paths: Vec<PathBuf>,
    /// Facts that a scan found about each file; empty if there was no scan.
    facts: Vec<Facts>,
}

impl Files {
    /// Creates a source of files that have not been scanned.
    pub fn unseen(paths: Vec<PathBuf>) -> Self {
        Self { paths, facts: Vec::new() }
    }

    /// Creates a source of files with the facts that a scan found about each.
    pub(crate) fn scanned(files: impl Iterator<Item = (PathBuf, Facts)>) -> Self {
        let (paths, facts) = files.unzip();
        Self { paths, facts }
    }
}

impl ImageSource for Files {
    fn len(&self) -> usize {
        self.paths.len()
    }

    fn read(&self, i: usize) -> Result<Picture<'_>, Error> {
        let path = &self.paths[i];
        let bytes = read_file(path)?;
        let decoded = decode(&bytes);
        let decoded =
            decoded.map_err(|reason| BadPicture { path: path.clone(), reason: reason.to_string() })?;
        let image = decoded.image;
        Ok(Picture { height: image.height, width: image.width, channels: 3, pixels: image.pixels.into() })
    }

    /// SHA-256 of the content; of the path if the file has not been scanned.
    fn identity(&self, i: usize) -> Identity {
        self.facts(i).map_or_else(
            || {
                let mut hasher = Hasher::new();
                hasher.update(self.paths[i].as_os_str().as_encoded_bytes());
                hasher.finish_bytes()
            },
            |facts| facts.identity,
        )
    }

    fn facts(&self, i: usize) -> Option<&Facts> {
        self.facts.get(i)
    }
}

/// Reads the bytes of a picture file.
pub(crate) fn read_file(path: &PathBuf) -> Result<Vec<u8>, Error> {
    let bad = |reason: String| BadPicture { path: path.clone(), reason };
    let metadata = fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => bad("a broken link".into()),
        std::io::ErrorKind::NotFound => bad("there is no such file".into()),
        _ => bad(e.to_string()),
    })?;
    // reading a pipe or a device might never end
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a folder" } else { "a special file (such as a pipe)" };
        return Err(bad(format!("{what}, not a picture")).into());
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(bad(format!("a file of {} MB, expected at most 1 GB", metadata.len() >> 20)).into());
    }
    Ok(fs::read(path).map_err(FileError::reading(path))?)
}
