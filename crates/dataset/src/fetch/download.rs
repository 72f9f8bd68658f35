//! Downloads an archive over HTTP, in several attempts if needed.
//!
//! ```text
//! until the part is complete:
//!     request the missing bytes (Range) of the file that the part is from (If-Range)
//!     206 and it fits   -> append                 200 -> the whole file: start again, if it is an archive
//!     206 or 416 that does not fit -> delete the part, try again        other status -> give up
//!     cut or silent     -> wait a little, try again; give up after several attempts without new bytes
//! ```

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tallow_core::{Bar, FileError, Progress, StopFlag, Unit};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::part::{Origin, PartialFile};
use super::unpack::{HEAD_BYTES, require_gzip};
use super::{FetchError, FetchRequest};

/// Number of attempts in a row without new bytes after which the download is given up.
const MAX_VAIN_ATTEMPTS: u32 = 3;
/// Time between two checks of the stop flag while the network is silent.
const STOP_POLL: Duration = Duration::from_millis(50);

/// Downloads the missing bytes of `part`.
pub(super) fn download(
    request: &FetchRequest,
    part: &mut PartialFile,
    progress: &dyn Progress,
    stop: &StopFlag,
) -> Result<(), FetchError> {
    let agent = agent(request, part.url());
    let attempts = Attempts { agent: &agent, request, progress, stop };
    std::thread::scope(|scope| {
        // On a silent network the download would block until the stall time-out. So this thread closes the connections
        // on a stop.
        let (over, is_over) = channel::<()>();
        scope.spawn({
            let agent = agent.clone();
            move || {
                while is_over.recv_timeout(STOP_POLL) == Err(RecvTimeoutError::Timeout) {
                    if stop.raised().is_some() {
                        return agent.shutdown();
                    }
                }
            }
        });
        let result = attempts.run(part);
        drop(over);
        stop.raised().map_or(result, |signal| Err(FetchError::Stopped(signal)))
    })
}

fn agent(request: &FetchRequest, url: &str) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(request.connect_timeout))
        .timeout_connect(Some(request.connect_timeout))
        .timeout_recv_response(Some(request.stall_timeout))
        .timeout_per_read(Some(request.stall_timeout));
    // Loopback addresses are never reached through a proxy, whatever the environment says.
    let config = if is_loopback(url) { config.proxy(None) } else { config };
    config.build().into()
}

fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    let host = uri.as_ref().and_then(Uri::host).unwrap_or("");
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Reason why an attempt did not complete the part.
enum Failure {
    /// The download broke off; another attempt may help.
    Cut(String),
    /// An error that another attempt would not mend.
    Final(FetchError),
}

impl<E: Into<FetchError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

struct Attempts<'a> {
    agent: &'a Agent,
    request: &'a FetchRequest,
    progress: &'a dyn Progress,
    stop: &'a StopFlag,
}

impl Attempts<'_> {
    fn run(&self, part: &mut PartialFile) -> Result<(), FetchError> {
        let mut most_bytes = part.n_bytes()?;
        let (mut n_vain, mut connected) = (0, false);
        loop {
            let reason = match self.attempt(part, &mut connected) {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Cut(reason)) => reason,
            };
            let url = part.url().to_owned();
            if !connected {
                return Err(FetchError::Connect { url, reason });
            }
            let n_bytes = part.n_bytes()?;
            n_vain = if n_bytes > most_bytes { 0 } else { n_vain + 1 };
            most_bytes = most_bytes.max(n_bytes);
            if n_vain >= MAX_VAIN_ATTEMPTS || self.stop.raised().is_some() {
                let total_bytes = part.origin().and_then(|origin| origin.total_bytes);
                return Err(FetchError::Cut { url, n_bytes, total_bytes, reason });
            }
            self.progress
                .say(&format!("the download broke off after {n_bytes} bytes ({reason}): trying again"));
            self.wait(self.request.retry_delay * (1 << n_vain));
        }
    }

    /// Waits for `delay`, or until a stop.
    fn wait(&self, delay: Duration) {
        let start = Instant::now();
        while start.elapsed() < delay && self.stop.raised().is_none() {
            std::thread::sleep(STOP_POLL);
        }
    }

    /// Sends one request. `connected` is set once a server has answered.
    fn attempt(&self, part: &mut PartialFile, connected: &mut bool) -> Result<(), Failure> {
        // Without a length or a validator, nothing shows whether the server still has the same file.
        let origin =
            part.origin().filter(|origin| origin.total_bytes.is_some() || origin.validator.is_some());
        let offset = if origin.is_some() { part.n_bytes()? } else { 0 };
        if offset > 0 && origin.is_some_and(|origin| origin.total_bytes == Some(offset)) {
            return Ok(()); // an earlier call downloaded everything
        }
        let mut request = self.agent.get(part.url()).header("Accept-Encoding", "identity");
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
            if let Some(validator) = origin.and_then(|origin| origin.validator.as_deref()) {
                request = request.header("If-Range", validator);
            }
        }
        let response = request.call().map_err(|e| Failure::Cut(e.to_string()))?;
        *connected = true;
        match response.status().as_u16() {
            200 => self.take_all(response, part),
            206 if origin.is_some_and(|origin| fits(response.headers(), offset, origin)) => {
                let file = part.append()?;
                self.copy(response.into_body().into_reader(), file, offset, part)
            }
            206 | 416 if offset > 0 => {
                part.remove()?;
                Err(Failure::Cut("the file on the server has changed since the download began".to_owned()))
            }
            status => Err(FetchError::Status { url: part.url().to_owned(), status }.into()),
        }
    }

    /// Takes a response with the whole archive. The existing part is deleted only if the response looks like an
    /// archive.
    fn take_all(&self, response: Response<Body>, part: &mut PartialFile) -> Result<(), Failure> {
        let headers = response.headers();
        let says_html = header(headers, "content-type").is_some_and(|value| value.contains("html"));
        let origin = Origin {
            url: part.url().to_owned(),
            validator: validator(headers).map(str::to_owned),
            total_bytes: header(headers, "content-length").and_then(|value| value.parse().ok()),
        };
        let mut body = response.into_body().into_reader();
        let mut head = Vec::new();
        body.by_ref().take(HEAD_BYTES).read_to_end(&mut head).map_err(|e| Failure::Cut(e.to_string()))?;
        require_gzip(&head, says_html, part.url())?;
        let file = part.restart(origin)?;
        self.copy(io::Cursor::new(head).chain(body), file, 0, part)
    }

    /// Appends `body` to the part, which already has `offset` bytes.
    fn copy(
        &self,
        mut body: impl Read,
        mut file: File,
        offset: u64,
        part: &mut PartialFile,
    ) -> Result<(), Failure> {
        let total = part.origin().and_then(|origin| origin.total_bytes);
        let max_bytes = total.unwrap_or(u64::MAX).min(self.request.spec.max_bytes);
        let label = format!("downloading {}", self.request.spec.title);
        let _bar = Bar::begin(self.progress, &label, total, Unit::Bytes);
        let mut n_bytes = offset;
        let mut buffer = vec![0; 1 << 16];
        let cut = loop {
            self.progress.advance(n_bytes);
            match body.read(&mut buffer) {
                _ if self.stop.raised().is_some() => break Some("stopped".to_owned()),
                Ok(0) if total.is_some_and(|total| n_bytes < total) => {
                    break Some("the server closed the connection".to_owned());
                }
                Ok(0) => break None,
                Ok(n) => {
                    n_bytes += n as u64;
                    if n_bytes > max_bytes {
                        part.remove()?;
                        return Err(too_large(part.url(), max_bytes).into());
                    }
                    file.write_all(&buffer[..n]).map_err(FileError::writing(part.path()))?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Some(e.to_string()),
            }
        };
        file.sync_data().map_err(FileError::writing(part.path()))?;
        match cut {
            Some(reason) => Err(Failure::Cut(reason)),
            None => Ok(part.complete(n_bytes)?),
        }
    }
}

fn too_large(url: &str, max_bytes: u64) -> FetchError {
    let reason = format!("it has more than {max_bytes} bytes");
    FetchError::Archive {
        from: url.to_owned(),
        reason,
        remedy: "the download was deleted; check the address",
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the validator for `If-Range`: a strong ETag, or the date of the last change.
fn validator(headers: &HeaderMap) -> Option<&str> {
    let strong = header(headers, "etag").filter(|etag| !etag.starts_with("W/"));
    strong.or_else(|| header(headers, "last-modified"))
}

/// Returns whether a 206 response continues at `offset` the file that the part is from.
fn fits(headers: &HeaderMap, offset: u64, origin: &Origin) -> bool {
    let range = header(headers, "content-range").and_then(|value| value.strip_prefix("bytes "));
    let Some((span, total)) = range.and_then(|range| range.split_once('/')) else { return false };
    let starts_at = span.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    let same_total = origin.total_bytes.is_none_or(|known| total.trim().parse() == Ok(known));
    // Detects a changed file on a server that supports Range but not If-Range.
    let same_file = match (&origin.validator, validator(headers)) {
        (Some(known), Some(now)) => known == now,
        _ => true,
    };
    starts_at == Some(offset) && same_total && same_file
}
