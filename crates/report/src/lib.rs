//! Shows people the results of runs: pages, pictures and texts, made from run folders alone.
//!
//! * [`RunRecord`]: the content of a run folder; missing or damaged files are listed, and do not stop the reading.
//! * [`run_report`]: one self-contained HTML page that loads nothing, and its charts.
//! * [`suspects_report`]: the page of labels that may be wrong.
//! * [`Comparison`]: a comparison of several runs on the same test images; [`comparison_report`] is its page.
//! * [`chart`]: the charts, as SVG and PNG, and grids of images.
//! * Texts: [`comparison_text`], [`runs_text`] and [`confusion_text`] for a terminal, [`model_card`] for a model hub.
//!
//! This crate does not use models or tensors; the numbers come from `tallow-metrics`. The templates escape names from
//! outside. Characters that stay dangerous after escaping are shown as their codes ([`shown`]).
//!
//! ```no_run
//! use tallow_report::{Options, RunRecord, run_report};
//! let run = RunRecord::read("runs/cnn-1".as_ref())?;
//! let report = run_report(&run, &Options { target_accuracy: Some(0.98), ..Options::default() })?;
//! tallow_core::files::write("report.html".as_ref(), report.html.as_bytes())?;
//! for chart in &report.charts {
//!     tallow_core::files::write(format!("plots/{}.png", chart.name).as_ref(), &chart.to_png(2.0)?)?;
//! }
//! # Ok::<(), tallow_report::ReportError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

pub mod chart;

mod analysis;
mod comparison;
mod error;
mod honesty;
mod page;
mod record;
mod shown;
mod state;
mod targets;
mod text;
mod times;

pub use analysis::{CONFIDENCE, N_BINS, Options, surest_wrong_images, wanted_test_images};
pub use comparison::Comparison;
pub use error::ReportError;
pub use honesty::is_honest;
pub use page::{Report, comparison_report, run_report, sample_grids, suspects_report};
pub use record::{Picture, PictureIndex, Role, RunEvents, RunRecord, StepPoint};
pub use shown::{columns, padded, shortened, shown};
pub use state::{Epochs, RunState};
pub use text::{
    ComparisonFigures, ListedRun, PairFigures, RunFigures, comparison_figures, comparison_text,
    confusion_text, model_card, runs_text,
};
