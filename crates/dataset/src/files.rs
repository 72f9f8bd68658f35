//! A source of pictures in files. A file is read and decoded each time its picture is requested.

use std::fs;
use std::io;
use std::path::PathBuf;

use tallow_core::digest::Hasher;
use tallow_core::files::read_at_most;

use crate::decode::decode;
use crate::source::{Facts, Identity, ImageSource, Picture};
use crate::{BadPicture, Error};

/// Largest picture file that is read, in bytes.
pub const MAX_PICTURE_BYTES: u64 = 1 << 30;

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
pub(crate) fn read_file(path: &PathBuf) -> Result<Vec<u8>, BadPicture> {
    read_at_most(path, MAX_PICTURE_BYTES).map_err(|e| {
        let reason = match e.source.kind() {
            io::ErrorKind::NotFound if fs::symlink_metadata(path).is_ok() => "a broken link".to_owned(),
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => e.source.to_string(),
        };
        BadPicture { path: path.clone(), reason }
    })
}
