//! [`CommError`]: why processes cannot work together.

use std::io;

/// Why processes cannot work together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommError {
    /// A variable of the launcher has no sensible value.
    #[error("the environment variable {name} is {value:?}: {problem}")]
    Variable {
        /// Its name.
        name: String,
        /// Its value; empty if it is not set.
        value: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// Rank 0 cannot wait for the others at the address.
    #[error(
        "rank 0 cannot listen at {address}: {error}; MASTER_ADDR must be an address of this machine, and MASTER_PORT a free \
         port"
    )]
    Listen {
        /// The address and port.
        address: String,
        /// The system's answer.
        error: io::Error,
    },
    /// Not all ranks have come in time.
    #[error("after {secs} s, {missing}; look at what the other processes say")]
    Missing {
        /// How long this rank waited, in seconds.
        secs: u64,
        /// Who did not come.
        missing: String,
    },
    /// Two ranks do not belong together.
    #[error("rank {rank} cannot join: {problem}")]
    Misfit {
        /// The other rank.
        rank: usize,
        /// What differs.
        problem: String,
    },
    /// Another rank said why it fails.
    #[error("rank {rank} failed: {reason}")]
    Failed {
        /// The other rank.
        rank: usize,
        /// What it said.
        reason: String,
    },
    /// Another rank is gone.
    #[error("rank {rank} is gone: {reason}")]
    Gone {
        /// The other rank.
        rank: usize,
        /// How this rank noticed.
        reason: String,
    },
    /// The number of ranks is not a power of two.
    #[error("the number of processes must be a power of two, it is {world}")]
    World {
        /// The number of ranks.
        world: usize,
    },
    /// Two ranks called different operations, or with different data.
    #[error(
        "rank {rank} sent {got} bytes where {expected} were expected: do all processes have the same data and settings?"
    )]
    OutOfStep {
        /// The other rank.
        rank: usize,
        /// Bytes that came.
        got: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// MPI cannot be used.
    #[error("MPI: {0}")]
    Mpi(String),
    /// A connection could not be set up.
    #[error("cannot set up a connection: {0}")]
    Setup(#[source] io::Error),
}
