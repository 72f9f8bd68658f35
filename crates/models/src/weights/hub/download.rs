//! Downloads one file of known length and digest, in several attempts if necessary.
//!
//! ```text
//! until the part has all bytes:
//!     request the missing bytes (Range)
//!     206 with the right range -> append        200 -> the server sends all bytes: begin anew
//!     206 with a wrong range, or 416 -> delete the part        other status -> give up
//!     cut or silent -> wait a little, request again; give up after a few attempts that brought nothing new
//! wrong digest -> delete the part; if some bytes were from an earlier attempt, download all once more
//! ```
//!
//! The name of the part is the digest of the whole file, so a part of any program and server can be continued.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tallow_core::{FileError, Progress, Unit};

use super::Hub;
use super::answer::{Answer, STOP_POLL, Silence};
use super::cache::remove;
use super::listing::RemoteFile;
use crate::weights::WeightsError;

/// Number of attempts in a row without new bytes after which the download fails.
const MAX_VAIN_ATTEMPTS: u32 = 3;

/// The download of one file.
pub(super) struct Download<'a> {
    pub(super) hub: &'a Hub<'a>,
    pub(super) file: &'a RemoteFile,
    pub(super) url: String,
    /// The file with the bytes received so far.
    pub(super) part: PathBuf,
}

/// Why an attempt did not complete the part.
enum Failure {
    /// Another attempt may help.
    Cut(String),
    /// Another attempt will not help.
    Final(WeightsError),
}

impl<E: Into<WeightsError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

impl From<Silence> for Failure {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Stopped(signal) => Self::Final(WeightsError::Stopped(signal)),
            Silence::Lost(reason) => Self::Cut(reason),
        }
    }
}

impl Download<'_> {
    /// Completes the part. On success its digest is the one that the hub states.
    pub(super) fn run(&self) -> Result<(), WeightsError> {
        let mut may_be_patched = true;
        loop {
            let is_patched = self.complete()?;
            let actual = self.file.blob.of_file_alike(&self.part)?;
            if actual == self.file.blob {
                return Ok(());
            }
            remove(&self.part)?;
            if !(is_patched && may_be_patched) {
                let (url, expected) = (self.url.clone(), self.file.blob.to_string());
                return Err(WeightsError::Digest { url, expected, actual: actual.to_string() });
            }
            may_be_patched = false;
            let name = self.file.name;
            self.hub
                .progress
                .say(&format!("the part of {name} on the disk was damaged: downloading the file again"));
        }
    }

    /// Makes attempts until the part has all bytes. Returns whether the part had some bytes before the last attempt.
    fn complete(&self) -> Result<bool, WeightsError> {
        let mut most_bytes = self.n_bytes()?;
        let (mut n_vain, mut is_patched) = (0, false);
        loop {
            let reason = match self.attempt(&mut is_patched) {
                Ok(()) => return Ok(is_patched),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Cut(reason)) => reason,
            };
            let n_bytes = self.n_bytes()?;
            n_vain = if n_bytes > most_bytes { 0 } else { n_vain + 1 };
            most_bytes = most_bytes.max(n_bytes);
            if n_vain >= MAX_VAIN_ATTEMPTS {
                let (url, total_bytes) = (self.url.clone(), self.file.n_bytes);
                return Err(WeightsError::Cut { url, n_bytes, total_bytes, reason });
            }
            let progress = self.hub.progress;
            progress.say(&format!("the download broke off after {n_bytes} bytes ({reason}): trying again"));
            self.wait(self.hub.options.retry_delay * (1 << n_vain))?;
        }
    }

    fn n_bytes(&self) -> Result<u64, FileError> {
        match fs::metadata(&self.part) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
            metadata => Ok(metadata.map_err(FileError::reading(&self.part))?.len()),
        }
    }

    /// Waits for `delay`. Fails if a stop comes.
    fn wait(&self, delay: Duration) -> Result<(), WeightsError> {
        let start = Instant::now();
        while start.elapsed() < delay {
            if let Some(signal) = self.hub.stop.raised() {
                return Err(WeightsError::Stopped(signal));
            }
            std::thread::sleep(STOP_POLL.min(delay));
        }
        Ok(())
    }

    /// Sends one request. Sets `is_patched` to whether the part keeps bytes from before the request.
    fn attempt(&self, is_patched: &mut bool) -> Result<(), Failure> {
        let mut offset = self.n_bytes()?;
        if offset > self.file.n_bytes {
            remove(&self.part)?; // longer than the file, so not a part of it
            offset = 0;
        }
        *is_patched = offset > 0;
        if offset == self.file.n_bytes && offset > 0 {
            return Ok(()); // an earlier call received all bytes
        }
        let mut request = self.hub.request(&self.url);
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        let (head, answer) = Answer::to(request, self.hub.options, self.hub.stop)?;
        match head.status {
            200 => {
                *is_patched = false;
                let file = File::create(&self.part).map_err(FileError::writing(&self.part))?;
                self.take(&answer, file, 0)
            }
            206 if offset > 0 && fits(head.content_range.as_deref(), offset, self.file.n_bytes) => {
                let file = File::options().append(true).open(&self.part);
                self.take(&answer, file.map_err(FileError::writing(&self.part))?, offset)
            }
            206 | 416 if offset > 0 => {
                remove(&self.part)?;
                Err(Failure::Cut("the server cannot send the missing part".to_owned()))
            }
            status => Err(WeightsError::Status { url: self.url.clone(), status }.into()),
        }
    }

    /// Appends the body of the answer to the part, which has `offset` bytes.
    fn take(&self, answer: &Answer<'_>, mut file: File, offset: u64) -> Result<(), Failure> {
        let total = self.file.n_bytes;
        let label = format!("downloading {} of {}", self.file.name, self.hub.model);
        let bar = Bar::begin(self.hub.progress, &label, total);
        let mut n_bytes = offset;
        let end = loop {
            bar.0.advance(n_bytes);
            match answer.bytes() {
                Err(silence) => break Err(silence.into()),
                Ok(None) if n_bytes < total => {
                    break Err(Failure::Cut("the server closed the connection".to_owned()));
                }
                Ok(None) => break Ok(()),
                Ok(Some(bytes)) => {
                    n_bytes += bytes.len() as u64;
                    if n_bytes > total {
                        remove(&self.part)?;
                        return Err(self.too_long().into());
                    }
                    file.write_all(&bytes).map_err(FileError::writing(&self.part))?;
                }
            }
        };
        file.sync_all().map_err(FileError::writing(&self.part))?;
        end
    }

    fn too_long(&self) -> WeightsError {
        let n_bytes = self.file.n_bytes;
        WeightsError::Digest {
            url: self.url.clone(),
            expected: format!("{} with {n_bytes} bytes", self.file.blob),
            actual: format!("more than {n_bytes} bytes"),
        }
    }
}

/// Whether the range of a 206 answer begins at `offset` of a file of `total` bytes.
fn fits(content_range: Option<&str>, offset: u64, total: u64) -> bool {
    let range = content_range.and_then(|value| value.strip_prefix("bytes "));
    let Some((span, stated_total)) = range.and_then(|range| range.split_once('/')) else { return false };
    let start = span.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    start == Some(offset) && stated_total.trim().parse().is_ok_and(|stated: u64| stated == total)
}

/// Renames a complete part to the blob.
pub(super) fn put_in_place(part: &Path, blob: &Path) -> Result<(), FileError> {
    fs::rename(part, blob).map_err(FileError::new("rename", part))?;
    tallow_core::files::sync_folder(tallow_core::files::folder_of(blob))
}

/// A progress bar that ends when it is dropped.
struct Bar<'a>(&'a dyn Progress);

impl<'a> Bar<'a> {
    fn begin(progress: &'a dyn Progress, label: &str, total: u64) -> Self {
        progress.begin(label, Some(total), Unit::Bytes);
        Self(progress)
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}
