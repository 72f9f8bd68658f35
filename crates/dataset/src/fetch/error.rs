//! Errors of fetching a data set, with what to do about them.

use std::path::PathBuf;

use tallow_core::shown::shown_path;
use tallow_core::{FileError, StopSignal};
use tallow_fetch::Kind;

/// Reason why a data set could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A file could not be read or written. The download so far is kept.
    #[error(transparent)]
    File(#[from] FileError),
    /// The source is neither an address nor a file.
    #[error("{0:?} is neither an address (http:// or https://) nor a file")]
    Address(String),
    /// The server could not be reached or did not answer.
    #[error(
        "cannot reach {url}: {reason} (is this machine online? If you already have the archive, use `cargo \
         xtask fetch-data --from FILE`)"
    )]
    Connect {
        /// The address.
        url: String,
        /// Reason that the network reported.
        reason: String,
    },
    /// The server refused the request.
    #[error("{url} returned status {status}: check the address, or give another one with `--from`")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The file is not an archive.
    #[error(
        "{from} is {what}, expected a tar.gz archive: check the address, and whether the network requires a \
         login"
    )]
    NotAnArchive {
        /// Address or file of the archive.
        from: String,
        /// Actual content.
        what: &'static str,
    },
    /// The download failed otherwise.
    #[error(transparent)]
    Download(tallow_fetch::Error),
    /// A digest is not the expected one.
    #[error("{what} is not the official one: SHA-256 {actual}, expected {expected}; {remedy}")]
    Digest {
        /// The archive or the file in it.
        what: String,
        /// Expected digest.
        expected: String,
        /// Actual digest.
        actual: String,
        /// What has been done about it, and what the user can do.
        remedy: &'static str,
    },
    /// An archive is damaged or holds unexpected content.
    #[error("the archive {from} is refused: {reason}; {remedy}")]
    Archive {
        /// Address or file of the archive.
        from: String,
        /// Problem of the archive.
        reason: String,
        /// What has been done about it, and what the user can do.
        remedy: &'static str,
    },
    /// The unpacked files are not those of the data set.
    #[error("the unpacked files were rejected and deleted: {0}")]
    Data(#[source] crate::Error),
    /// Another fetch is under way.
    #[error("another fetch is writing to {} (it holds {}): wait for it to end", shown_path(lock.parent().unwrap_or(lock)), shown_path(lock))]
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
    /// Ctrl-C or SIGTERM came.
    #[error("stopped; the download is kept: run the same command to continue")]
    Stopped(StopSignal),
}

impl FetchError {
    /// Returns whether the archive itself is to blame, so that keeping it would only repeat the failure.
    pub(super) fn blames_archive(&self) -> bool {
        matches!(self, Self::NotAnArchive { .. } | Self::Digest { .. } | Self::Archive { .. } | Self::Data(_))
    }
}

impl From<tallow_fetch::Error> for FetchError {
    fn from(error: tallow_fetch::Error) -> Self {
        let url = error.url.clone();
        match error.kind {
            Kind::File(error) => Self::File(error),
            Kind::Connect(reason) => Self::Connect { url, reason },
            Kind::Status(status) => Self::Status { url, status },
            Kind::Content(what) => Self::NotAnArchive { from: url, what },
            Kind::TooLong(max_bytes) => Self::Archive {
                from: url,
                reason: format!("it has more than {max_bytes} bytes"),
                remedy: "the download was deleted; check the address",
            },
            Kind::Stopped(signal) => Self::Stopped(signal),
            _ => Self::Download(error),
        }
    }
}
