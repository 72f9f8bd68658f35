//! A partial download: `NAME.part`, and beside it `NAME.part.json`, which records the file that it is a part of.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallow_core::{FileError, files};

/// The file whose first bytes a part holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    pub(super) url: String,
    /// Strong ETag or date of the last change, for `If-Range`.
    pub(super) validator: Option<String>,
    pub(super) total_bytes: Option<u64>,
}

/// The partial download of one data set in a data folder. Only the holder of the folder's lock touches it.
#[derive(Debug)]
pub(super) struct PartialFile {
    path: PathBuf,
    origin_path: PathBuf,
    url: String,
    /// `None` if nothing has been downloaded.
    origin: Option<Origin>,
}

impl PartialFile {
    /// Opens the part of the archive at `url` that an earlier call left, or starts an empty one.
    pub(super) fn open(data_dir: &Path, name: &str, url: &str) -> Result<Self, FileError> {
        let path = data_dir.join(format!("{name}.part"));
        let origin_path = data_dir.join(format!("{name}.part.json"));
        let origin =
            fs::read(&origin_path).ok().and_then(|json| serde_json::from_slice::<Origin>(&json).ok());
        let origin = origin.filter(|origin| origin.url == url && path.is_file());
        let mut part = Self { path, origin_path, url: url.to_owned(), origin };
        if part.origin.is_none() {
            part.remove()?; // from another address, or of unknown origin
        }
        Ok(part)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the file that the bytes are part of; `None` if nothing has been downloaded.
    pub(super) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// Returns the number of bytes downloaded so far.
    pub(super) fn n_bytes(&self) -> Result<u64, FileError> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(metadata.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(FileError::reading(&self.path)(e)),
        }
    }

    /// Starts again with the file `origin`. The old bytes are removed first, so that they are never taken for a part of
    /// the new `origin`.
    pub(super) fn restart(&mut self, origin: Origin) -> Result<File, FileError> {
        self.remove()?;
        self.note(origin)?;
        File::create(&self.path).map_err(FileError::writing(&self.path))
    }

    /// Opens the part for appending.
    pub(super) fn append(&self) -> Result<File, FileError> {
        File::options().append(true).open(&self.path).map_err(FileError::writing(&self.path))
    }

    /// Records that the download is complete and has `n_bytes` bytes.
    pub(super) fn complete(&mut self, n_bytes: u64) -> Result<(), FileError> {
        match &self.origin {
            Some(origin) if origin.total_bytes != Some(n_bytes) => {
                self.note(Origin { total_bytes: Some(n_bytes), ..origin.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Removes the part and its record.
    pub(super) fn remove(&mut self) -> Result<(), FileError> {
        self.origin = None;
        for path in [&self.path, &self.origin_path] {
            match fs::remove_file(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(FileError::new("remove", path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, origin: Origin) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(&origin)
            .map_err(|e| FileError::writing(&self.origin_path)(e.into()))?;
        files::write(&self.origin_path, &json)?;
        self.origin = Some(origin);
        Ok(())
    }
}
