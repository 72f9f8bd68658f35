//! [`Error`]: why a file did not come.

use tallow_core::{FileError, StopSignal};

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {kind}")]
pub struct Error {
    /// The address.
    pub url: String,
    /// What happened.
    pub kind: Kind,
}

/// The kinds of errors. The texts follow the address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Kind {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// No server answered, or the connection broke off.
    #[error("the server cannot be reached: {0}")]
    Connect(String),
    /// The server refused the request with this HTTP status.
    #[error("the server returned status {0}")]
    Status(u16),
    /// The answer breaks a rule of HTTP or of this crate.
    #[error("{0}")]
    Answer(String),
    /// [`RemoteFile::check`](crate::RemoteFile::check) found this instead of the file.
    #[error("it is {0}")]
    Content(&'static str),
    /// The file has more than this many bytes. Nothing of it is kept.
    #[error("it has more than {0} bytes")]
    TooLong(u64),
    /// The download broke off, and further attempts brought too little.
    #[error(
        "the download broke off after {n_bytes}{} bytes: {reason} (the part that arrived is kept: run the same \
         command to continue)",
        total_bytes.map_or(String::new(), |total| format!(" of {total}"))
    )]
    Cut {
        /// Bytes so far.
        n_bytes: u64,
        /// Bytes of the whole file, if known.
        total_bytes: Option<u64>,
        /// Why it broke off.
        reason: String,
    },
    /// Ctrl-C or SIGTERM came.
    #[error("stopped; the download is kept: run the same command to continue")]
    Stopped(StopSignal),
}

/// Returns the error of a lost connection. Another attempt may help.
pub(crate) fn lost(reason: impl ToString) -> Kind {
    Kind::Connect(reason.to_string())
}
