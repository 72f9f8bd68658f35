//! Errors of fetching a data set, with what to do about them.

use std::path::PathBuf;

use tallow_core::{FileError, StopSignal};

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
    /// The download broke off, and further attempts did not help.
    #[error(
        "the download from {url} broke off after {n_bytes}{} bytes: {reason} (the part that arrived is \
         kept: run the same command to continue)",
        of_total(*total_bytes)
    )]
    Cut {
        /// The address.
        url: String,
        /// Bytes that have been downloaded.
        n_bytes: u64,
        /// Total bytes of the download, if known.
        total_bytes: Option<u64>,
        /// Reason of the interruption.
        reason: String,
    },
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
    #[error("another fetch is writing to {} (it holds {}): wait for it to end", lock.parent().unwrap_or(lock).display(), lock.display())]
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
    /// Ctrl-C or SIGTERM came.
    #[error("stopped; the download is kept: run the same command to continue")]
    Stopped(StopSignal),
}

fn of_total(total_bytes: Option<u64>) -> String {
    total_bytes.map_or(String::new(), |total| format!(" of {total}"))
}

impl FetchError {
    /// Returns whether the archive itself is to blame, so that keeping it would only repeat the failure.
    pub(super) fn blames_archive(&self) -> bool {
        matches!(self, Self::NotAnArchive { .. } | Self::Digest { .. } | Self::Archive { .. } | Self::Data(_))
    }
}
