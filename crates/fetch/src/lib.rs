//! Files over HTTP, for data sets and for weights.
//!
//! ```text
//! Client::document: a short answer, into memory
//! Client::download: a file, into a part on the disk, in several attempts if needed
//!     until the part is complete:
//!         request the missing bytes (Range) of the file that the part is from (If-Range)
//!         206 and it fits -> append        200 -> the whole file: begin anew, if it looks right
//!         206 or 416 that does not fit -> delete the part, try again        other status -> give up
//!         cut, silent or slow -> wait a little, try again; give up after several attempts that brought too little
//! ```
//!
//! `request` follows redirects and guards the token, `watch` bounds the time that a server may take, `part` keeps what has
//! come. The address, the file's final name, the comparison with its digest, and remedies are left to the callers.
//! Proxies are those of the environment (`ALL_PROXY`, `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`).
#![forbid(unsafe_code)]

mod download;
mod error;
mod part;
mod request;
mod watch;

use std::io::Read;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tallow_core::{Progress, StopFlag};
use ureq::Agent;
use ureq::config::Config;

pub use download::{Downloaded, RemoteFile};
use error::lost;
pub use error::{Error, Kind};
pub use part::remove_part;
use request::{Token, server_of};
use watch::Watch;

/// How long a client waits.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a name's address, and for a connection.
    pub connect: Duration,
    /// For a connected server that sends nothing.
    pub stall: Duration,
    /// A server that sends fewer than 1,000 bytes per second over this time is given up.
    pub pace: Duration,
    /// Before a download that broke off is continued. It doubles after each attempt that brought too little.
    pub retry_delay: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { connect: secs(5), stall: secs(30), pace: secs(60), retry_delay: secs(1) }
    }
}

/// Sends requests. A stop ends them at once, whatever they wait for.
pub struct Client<'a> {
    config: Config,
    token: Option<Token>,
    patience: Patience,
    progress: &'a dyn Progress,
    stop: &'a StopFlag,
    /// Whether any server has answered. Without an answer, another attempt would only cost time.
    has_answered: AtomicBool,
}

impl<'a> Client<'a> {
    /// Creates a client. A token is sent to the scheme, host and port of the address before it, and nowhere else.
    pub fn new(
        token: Option<(&str, &str)>,
        patience: Patience,
        progress: &'a dyn Progress,
        stop: &'a StopFlag,
    ) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("tallow/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity") // lengths and digests are those of the file itself
            .http_status_as_error(false)
            .max_redirects(0) // `request` follows them
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.stall))
            .timeout_per_read(Some(patience.stall))
            .build();
        let token = token.and_then(|(url, text)| Some((server_of(&url.parse().ok()?)?, text.to_owned())));
        Self { config, token, patience, progress, stop, has_answered: AtomicBool::new(false) }
    }

    /// Returns the content of the answer to `url`.
    ///
    /// # Errors
    /// If the answer does not come, breaks off, is a refusal, or has more than `max_bytes` bytes.
    pub fn document(&self, url: &str, max_bytes: u64) -> Result<Vec<u8>, Error> {
        let get = |watch: &Watch| {
            let answer = self.send(watch, url, &[])?;
            let (status, mut content) = (answer.status, Vec::new());
            answer.take(max_bytes + 1).read_to_end(&mut content).map_err(lost)?;
            match status {
                200 if content.len() as u64 > max_bytes => Err(Kind::TooLong(max_bytes)),
                200 => Ok(content),
                _ => Err(Kind::Status(status)),
            }
        };
        self.watched(get).map_err(|kind| Error { url: url.to_owned(), kind })
    }
}
