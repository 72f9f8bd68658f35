//! The files of a run folder: their names, and the manifest that notices when they change.
//!
//! * The names ([`SUMMARY`], [`TEST_PREDICTIONS`], …), for all crates that read or write such a file.
//! * [`Manifest`]: size and SHA-256 of the files that a run wrote and that will not change again. [`begin`] writes it at the
//!   end of a run; [`record`] takes files into it that a command writes later; [`forget`] prepares it for a run that goes on.
//!
//! The crate does not know what the files hold.
//!
//! ```
//! use tallow_run_files::{HISTORY, Manifest, SUMMARY, begin, record};
//! let folder = tempfile::tempdir()?;
//! let run = folder.path();
//! std::fs::write(run.join(HISTORY), "epoch,loss\n1,0.5\n")?;
//! begin(run, &[HISTORY], (SUMMARY, b"{}"))?;
//! std::fs::write(run.join(SUMMARY), "{}")?;
//!
//! let manifest = Manifest::read(run)?.expect("it was written");
//! assert!(manifest.files().iter().all(|file| file.compare(run).is_ok_and(|found| found.is_none())));
//! std::fs::write(run.join(HISTORY), "epoch,loss\n1,0.4\n")?;
//! let found = manifest.files()[0].compare(run)?.expect("a digit changed");
//! assert!(found.to_string().contains("other content"));
//!
//! record(run, &[run.join(HISTORY)])?; // as the command that wrote it would
//! let manifest = Manifest::read(run)?.expect("it is still there");
//! assert_eq!(manifest.files()[0].compare(run)?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod manifest;
mod names;
mod walk;

pub use manifest::{Difference, FileEntry, Manifest, ManifestError, begin, forget, record};
pub use names::*;
pub use walk::event_files;
