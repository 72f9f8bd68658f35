//! A part of a file: the bytes that have come so far. Beside it, `PART.json` records the file that it is a part of, unless
//! the part's own name does.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallow_core::digest::Hasher;
use tallow_core::{FileError, files};

use crate::request::Answer;
use crate::{Kind, RemoteFile};

/// The file whose first bytes a part holds.
#[derive(Serialize, Deserialize)]
pub(crate) struct Origin {
    url: String,
    /// Strong ETag or date of the last change, for `If-Range`.
    pub(crate) validator: Option<String>,
    pub(crate) total_bytes: Option<u64>,
}

/// A part. Only one download at a time may touch it.
pub(crate) struct Part<'a> {
    pub(crate) remote: &'a RemoteFile<'a>,
    path: &'a Path,
    pub(crate) origin: Origin,
    pub(crate) n_bytes: u64,
    pub(crate) hasher: Hasher,
    /// The file, once something has been written.
    file: Option<File>,
}

impl<'a> Part<'a> {
    /// Opens the part that an earlier call left, or begins an empty one.
    pub(crate) fn open(path: &'a Path, remote: &'a RemoteFile<'_>) -> Result<Self, FileError> {
        let record = || serde_json::from_slice(&fs::read(record_of(path)).ok()?).ok();
        let recorded =
            record().filter(|origin: &Origin| remote.n_bytes.is_none() && origin.url == remote.url);
        let is_known = remote.n_bytes.is_some() || recorded.is_some();
        let new = Origin { url: remote.url.to_owned(), validator: None, total_bytes: remote.n_bytes };
        let (origin, hasher) = (recorded.unwrap_or(new), Hasher::new());
        let mut part = Self { remote, path, origin, n_bytes: 0, hasher, file: None };
        match File::open(path) {
            Ok(mut file) if is_known => {
                part.n_bytes = io::copy(&mut file, &mut part.hasher).map_err(FileError::reading(path))?;
            }
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(FileError::reading(path)(e)),
            _ => part.remove()?, // of another address, or of unknown origin
        }
        Ok(part)
    }

    /// Whether the answer to a request for the missing bytes continues this very file.
    pub(crate) fn is_continued_by(&self, answer: &Answer<'_>) -> bool {
        let range = answer.header("content-range").and_then(|value| value.strip_prefix("bytes "));
        let Some((span, total)) = range.and_then(|range| range.split_once('/')) else { return false };
        let starts_at = span.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
        let same_total = self.origin.total_bytes.is_none_or(|known| total.trim().parse() == Ok(known));
        // Detects a changed file on a server that supports Range but not If-Range.
        let same_file = match (self.origin.validator.as_deref(), answer.validator()) {
            (Some(known), Some(now)) => known == now,
            _ => true,
        };
        starts_at == Some(self.n_bytes) && same_total && same_file
    }

    /// Begins anew with the file that the answer has. The old bytes are removed first, so that they are never taken for
    /// a part of the new file.
    pub(crate) fn restart(&mut self, answer: &Answer<'_>) -> Result<(), FileError> {
        self.remove()?;
        if self.remote.n_bytes.is_none() {
            self.origin.validator = answer.validator().map(str::to_owned);
            self.record(answer.n_bytes)?;
        }
        self.file = Some(File::create(self.path).map_err(FileError::writing(self.path))?);
        Ok(())
    }

    /// Appends bytes. If they are too many, it removes the part and fails.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Kind> {
        let max_bytes = self.origin.total_bytes.unwrap_or(u64::MAX).min(self.remote.max_bytes);
        if self.n_bytes + bytes.len() as u64 > max_bytes {
            self.remove()?;
            return Err(Kind::TooLong(max_bytes));
        }
        let file = match self.file.take() {
            Some(file) => Ok(file),
            None => File::options().append(true).open(self.path),
        };
        let written = file.and_then(|mut file| file.write_all(bytes).map(|()| file));
        self.file = Some(written.map_err(FileError::writing(self.path))?);
        self.hasher.update(bytes);
        self.n_bytes += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), FileError> {
        self.file.as_ref().map_or(Ok(()), File::sync_all).map_err(FileError::writing(self.path))
    }

    /// Records the length of the whole file.
    pub(crate) fn record(&mut self, total_bytes: Option<u64>) -> Result<(), FileError> {
        self.origin.total_bytes = total_bytes;
        let path = record_of(self.path);
        let json =
            serde_json::to_vec_pretty(&self.origin).map_err(|e| FileError::writing(&path)(e.into()))?;
        files::write(&path, &json)
    }

    /// Removes the part and its record.
    pub(crate) fn remove(&mut self) -> Result<(), FileError> {
        (self.n_bytes, self.hasher, self.file) = (0, Hasher::new(), None);
        (self.origin.validator, self.origin.total_bytes) = (None, self.remote.n_bytes);
        remove_part(self.path)
    }
}

fn record_of(part: &Path) -> PathBuf {
    part.with_added_extension("json")
}

/// Removes a part and its record, if they exist.
///
/// # Errors
/// If they cannot be removed.
pub fn remove_part(path: &Path) -> Result<(), FileError> {
    for path in [path, &record_of(path)] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(FileError::new("remove", path)(e)),
            _ => {}
        }
    }
    Ok(())
}
