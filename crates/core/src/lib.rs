//! The parts that all crates of Tallow share. A part that only one crate needs is in that crate.
//!
//! * [`rng`]: random streams that depend on (seed, purpose, epoch, index) only, with no shared state;
//! * [`files`]: files that are either complete or absent, also after a power cut;
//! * [`temporary`]: files and folders under temporary names, and the removal of those that killed processes left;
//! * [`memory`]: large arrays that are reused, and the memory that the process may take;
//! * [`digest`]: SHA-256 as hexadecimal text;
//! * [`mod@duration`]: durations as short text for people;
//! * [`stop`]: a flag that Ctrl-C and SIGTERM raise and long work checks;
//! * [`progress`]: the interface through which libraries report progress; a binary decides how to draw it;
//! * [`mod@nearest`]: suggestions for mistyped names;
//! * [`mod@path_text`]: paths in text files, byte for byte;
//! * `keys` (feature): a description of a document's keys, which checks and completes the document;
//! * `terminal` (feature): progress bars and error messages on standard error, for the binaries;
//! * [`foreign`]: text from outside, a type that must be escaped to be shown;
//! * [`mod@shown`]: text made safe to show.
//!
//! ```
//! use tallow_core::{Purpose, Stream};
//! let mut a = Stream::new(7, Purpose::Augment, 3, 12_345);
//! let mut b = Stream::new(7, Purpose::Augment, 3, 12_345);
//! assert_eq!(a.below(32), b.below(32)); // the same key gives the same numbers, whoever asks, whenever
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

pub mod digest;
pub mod duration;
pub mod files;
pub mod foreign;
#[cfg(feature = "keys")]
pub mod keys;
pub mod memory;
pub mod nearest;
pub mod path_text;
pub mod progress;
pub mod rng;
pub mod shown;
pub mod stop;
pub mod temporary;
#[cfg(feature = "terminal")]
pub mod terminal;

pub use duration::{duration, parse_duration};
pub use files::FileError;
pub use foreign::Foreign;
pub use nearest::{did_you_mean, nearest};
pub use path_text::{path_of, path_text};
pub use progress::{Bar, Progress, Silent, Unit};
pub use rng::{Purpose, Stream};
pub use shown::shown;
pub use stop::{StopFlag, StopSignal};
