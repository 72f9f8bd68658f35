//! Why a server cannot start, or ends before it was asked to.

use std::io;

use tallow_core::Foreign;

/// An error that keeps a server from starting, or ends it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// No model was passed.
    #[error("no model to serve: at least one is expected")]
    NoModel,
    /// The model does not name the size that pictures are fitted to: it takes images without resizing.
    #[error(
        "the model {name:?} does not say to which size pictures are fitted: its own program made it, and only that can ask it"
    )]
    NoSize {
        /// The model's name.
        name: Foreign,
    },
    /// An error of the listener or of a thread.
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
    /// The thread that computes ended before the server was asked to stop, or it panicked.
    #[error("the thread that computes answers has ended: this is a bug; start the server again")]
    Ended,
}
