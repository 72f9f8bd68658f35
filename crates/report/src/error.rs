//! The errors of this crate.

use std::path::PathBuf;

use tallow_core::shown::{shown, shown_path};
use tallow_core::{FileError, Foreign};
use tallow_metrics::MetricsError;

/// The reason why a report cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A folder that is not a run folder.
    #[error("{} is not a run folder: {problem}", shown_path(path))]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// Runs that cannot be compared.
    #[error("{} and {} cannot be compared: {problem}", first.shown(), second.shown())]
    NotComparable {
        /// One run.
        first: Foreign,
        /// The other.
        second: Foreign,
        /// The reason.
        problem: String,
    },
    /// Something that was asked for but that the run does not have.
    #[error("{}: {problem}", run.shown())]
    Missing {
        /// The run.
        run: Foreign,
        /// The missing thing, and the remedy.
        problem: String,
    },
    /// A chart or a picture that could not be drawn.
    #[error("chart {name}: {}", shown(problem))]
    Picture {
        /// The name of the chart or the picture.
        name: String,
        /// What went wrong.
        problem: String,
    },
    /// A figure that could not be computed.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A file that could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The result type of this crate's functions.
pub(crate) type Result<T> = std::result::Result<T, ReportError>;
