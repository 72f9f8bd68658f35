//! Why a data set could not be fetched, and what to do about it.

use std::path::PathBuf;

use tallow_core::{FileError, StopSignal};

/// Why a data set could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// A file could not be read or written; a download so far is kept.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something that is neither an address nor a file.
    #[error("{0:?} is neither an address (http:// or https://) nor a file")]
    Address(String),
    /// No connection, or no answer.
    #[error(
        "cannot reach {url}: {reason} (is this machine online? an archive that you have already is taken with \
         `cargo xtask fetch-data --from FILE`)"
    )]
    Connect {
        /// The address.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The server refuses.
    #[error("{url} answers with status {status}: check the address, or give another one with `--from`")]
    Status {
        /// The address.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// What is there is no archive.
    #[error(
        "{from} is {what}, a tar.gz archive is expected: check the address (or whether the network wants a login)"
    )]
    NotAnArchive {
        /// Address or file.
        from: String,
        /// What it is instead.
        what: &'static str,
    },
    /// The download broke off, and trying again did not help.
    #[error(
        "the download from {url} broke off after {n_bytes}{} bytes: {reason} (what came is kept: the same command \
         goes on from there)",
        of_total(*total_bytes)
    )]
    Cut {
        /// The address.
        url: String,
        /// How much is there.
        n_bytes: u64,
        /// How much there is to be, where that is known.
        total_bytes: Option<u64>,
        /// What happened.
        reason: String,
    },
    /// A digest is not the one that is known.
    #[error("{what} is not the official one: SHA-256 {actual}, expected {expected}; {remedy}")]
    Digest {
        /// The archive or the file in it.
        what: String,
        /// The known digest.
        expected: String,
        /// What was found.
        actual: String,
        /// What was done and can be done.
        remedy: &'static str,
    },
    /// An archive that is damaged or holds what it should not.
    #[error("the archive {from} is refused: {reason}; {remedy}")]
    Archive {
        /// Address or file.
        from: String,
        /// What is wrong with it.
        reason: String,
        /// What was done and can be done.
        remedy: &'static str,
    },
    /// The unpacked files are not what a data set looks like.
    #[error("what was unpacked is refused, and nothing of it kept: {0}")]
    Data(#[source] crate::Error),
    /// Another fetch is under way.
    #[error("another fetch is writing to {} (it holds {}): wait for it to end", lock.parent().unwrap_or(lock).display(), lock.display())]
    Busy {
        /// The lock file.
        lock: PathBuf,
    },
    /// Ctrl-C or SIGTERM came.
    #[error("stopped; what was downloaded is kept: the same command goes on from there")]
    Stopped(StopSignal),
}

fn of_total(total_bytes: Option<u64>) -> String {
    total_bytes.map_or(String::new(), |total| format!(" of {total}"))
}

impl FetchError {
    /// Whether the archive itself is to blame, so that keeping it would only repeat the failure.
    pub(super) fn blames_archive(&self) -> bool {
        matches!(self, Self::NotAnArchive { .. } | Self::Digest { .. } | Self::Archive { .. } | Self::Data(_))
    }
}
