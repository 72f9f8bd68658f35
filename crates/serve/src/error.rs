//! Why a server cannot begin, or ends before it was asked to.

use std::io;

/// What keeps a server from its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is nothing to serve.
    #[error("no model to serve: at least one is expected")]
    NoModel,
    /// A network that takes images as they are, of one size that it does not name.
    #[error(
        "the model {name:?} does not say to which size pictures are fitted: its own program made it, and only that can ask it"
    )]
    NoSize {
        /// The model.
        name: String,
    },
    /// The listener or the threads cannot be used.
    #[error("cannot serve: {0}")]
    Io(#[from] io::Error),
    /// The thread that computes has ended by itself.
    #[error("the thread that computes answers has ended: this is a bug; start the server again")]
    Ended,
}
