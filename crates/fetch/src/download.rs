//! [`Client::download`]: attempts until a part is complete.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tallow_core::{Bar, Unit};

use crate::error::lost;
use crate::part::Part;
use crate::watch::{MIN_BYTES_PER_SEC, STOP_POLL, Watch};
use crate::{Client, Error, Kind};

/// Number of attempts in a row that brought too little, after which a download is given up.
const MAX_VAIN_ATTEMPTS: u32 = 3;
/// Number of first bytes that show the kind of a file.
const HEAD_BYTES: u64 = 512;

/// A file on a server.
pub struct RemoteFile<'a> {
    /// The address.
    pub url: &'a str,
    /// The title of the progress bar.
    pub label: &'a str,
    /// Its length, if the caller knows it. The caller then knows the digest as well, and the part is named by it.
    pub n_bytes: Option<u64>,
    /// Most bytes that it may have.
    pub max_bytes: u64,
    /// Checks the first 512 bytes of the file, and whether the server calls it HTML. Returns what the file is instead.
    pub check: fn(&[u8], bool) -> Result<(), &'static str>,
}

/// A complete download.
#[derive(Debug)]
pub struct Downloaded {
    /// SHA-256 of the file.
    pub sha256: String,
    /// Whether some of it came before the last request, so that the pieces might be of two files.
    pub is_patched: bool,
}

impl Client<'_> {
    /// Downloads the missing bytes of the part at `path`. On success the part is the whole file.
    ///
    /// The caller makes sure that no other call writes to the part.
    ///
    /// # Errors
    /// What has come is kept for the next call, unless it is too long.
    pub fn download(&self, remote: &RemoteFile<'_>, path: &Path) -> Result<Downloaded, Error> {
        let complete = || {
            let mut part = Part::open(path, remote)?;
            let completed = self.complete(&mut part);
            if part.n_bytes == 0 && completed.is_err() {
                part.remove()?; // there is nothing that a later call could continue
            }
            completed.map(|is_patched| Downloaded { sha256: part.hasher.finish(), is_patched })
        };
        complete().map_err(|kind| Error { url: remote.url.to_owned(), kind })
    }

    /// Makes attempts until the part is complete. Returns whether the last attempt found some bytes of it.
    fn complete(&self, part: &mut Part<'_>) -> Result<bool, Kind> {
        let (mut most_bytes, mut n_vain) = (part.n_bytes, 0);
        loop {
            let begin = Instant::now();
            let reason = match self.watched(|watch| self.attempt(part, watch)) {
                Err(Kind::Connect(reason)) if self.has_answered.load(Ordering::Relaxed) => reason,
                ended => return ended,
            };
            let n_bytes = part.n_bytes;
            let enough = MIN_BYTES_PER_SEC * begin.elapsed().as_secs().max(1);
            n_vain = if n_bytes >= most_bytes + enough { 0 } else { n_vain + 1 };
            most_bytes = most_bytes.max(n_bytes);
            if n_vain >= MAX_VAIN_ATTEMPTS {
                return Err(Kind::Cut { n_bytes, total_bytes: part.origin.total_bytes, reason });
            }
            self.progress
                .say(&format!("the download broke off after {n_bytes} bytes ({reason}): trying again"));
            let (begin, delay) = (Instant::now(), self.patience.retry_delay * (1 << n_vain));
            while begin.elapsed() < delay && self.stop.raised().is_none() {
                std::thread::sleep(STOP_POLL.min(delay));
            }
        }
    }

    /// Sends one request. Returns whether the part keeps bytes from before.
    fn attempt(&self, part: &mut Part<'_>, watch: &Watch) -> Result<bool, Kind> {
        let (remote, total, validator) =
            (part.remote, part.origin.total_bytes, part.origin.validator.clone());
        // Without a length or a validator, nothing shows whether the server still has the same file.
        let offset = if total.is_some() || validator.is_some() { part.n_bytes } else { 0 };
        let mut headers = Vec::new();
        if offset > 0 {
            if total == Some(offset) {
                return Ok(true); // an earlier call received everything
            }
            headers.push(("Range", format!("bytes={offset}-")));
            headers.extend(validator.map(|validator| ("If-Range", validator)));
        }
        let mut answer = self.send(watch, remote.url, &headers)?;
        // An archive that a server calls gzip is what was asked for; its first bytes tell.
        let encoding = answer.header("content-encoding").unwrap_or("identity");
        let is_encoded = remote.n_bytes.is_some() && !encoding.eq_ignore_ascii_case("identity");
        let kept = if answer.status == 206 { offset } else { 0 };
        let mut first = Vec::new();
        match answer.status {
            200 | 206 if kept.saturating_add(answer.n_bytes.unwrap_or(0)) > remote.max_bytes => {
                part.remove()?;
                return Err(Kind::TooLong(remote.max_bytes));
            }
            200 | 206 if is_encoded => {
                return Err(Kind::Answer("the server compressed the file, expected it as it is".to_owned()));
            }
            200 => {
                let says_html = answer.header("content-type").is_some_and(|kind| kind.contains("html"));
                answer.by_ref().take(HEAD_BYTES).read_to_end(&mut first).map_err(lost)?;
                (remote.check)(&first, says_html).map_err(Kind::Content)?; // the old part is kept
                part.restart(&answer)?;
            }
            206 if offset > 0 && part.is_continued_by(&answer) => {}
            206 | 416 if offset > 0 => {
                part.remove()?;
                return Err(lost("the server did not send the missing part of the same file"));
            }
            status => return Err(Kind::Status(status)),
        }
        self.take(first.as_slice().chain(answer), part).map(|()| kept > 0)
    }

    /// Appends `body`, the rest of the file, to the part.
    fn take(&self, mut body: impl Read, part: &mut Part<'_>) -> Result<(), Kind> {
        let total = part.origin.total_bytes;
        let bar = Bar::go_on(self.progress, part.remote.label, total, Unit::Bytes, part.n_bytes);
        let mut buffer = vec![0; 1 << 16];
        let end = loop {
            match body.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(n) => {
                    part.append(&buffer[..n])?;
                    bar.advance(part.n_bytes);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => break Err(lost(e)),
            }
        };
        part.sync()?;
        end?;
        match total {
            Some(total) if part.n_bytes < total => Err(lost("the server closed the connection")),
            Some(_) => Ok(()),
            None => Ok(part.record(Some(part.n_bytes))?),
        }
    }
}
