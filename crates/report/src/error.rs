//! What can go wrong in making a report.

use std::path::PathBuf;

use tallow_core::FileError;
use tallow_metrics::MetricsError;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A folder that is no run folder.
    #[error("{} is no run folder: {problem}", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        problem: String,
    },
    /// Runs that cannot be compared.
    #[error("{first} and {second} cannot be compared: {problem}")]
    NotComparable {
        /// One run.
        first: String,
        /// The other.
        second: String,
        /// Why.
        problem: String,
    },
    /// Something asked of a run that it does not have.
    #[error("{run}: {problem}")]
    Missing {
        /// The run.
        run: String,
        /// What is missing, and the remedy.
        problem: String,
    },
    /// A chart that could not be drawn as a picture.
    #[error("chart {name}: {problem}")]
    Picture {
        /// The chart's name.
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

/// What this crate's functions return.
pub(crate) type Result<T> = std::result::Result<T, ReportError>;
