//! What every crate of Tallow shares, and nothing that only one of them needs.
//!
//! * [`rng`]: random streams that are a function of (seed, purpose, epoch, index), never shared state;
//! * [`files`]: files that are either whole or not there, also after a power cut;
//! * [`memory`]: large arrays that are used again;
//! * [`digest`]: SHA-256 as hexadecimal text;
//! * [`mod@duration`]: times as people say them;
//! * [`stop`]: a flag that Ctrl-C and SIGTERM raise and long work looks at;
//! * [`progress`]: what libraries report to while they work; a binary decides how it is drawn;
//! * [`mod@nearest`]: the name that was probably meant;
//! * `keys` (feature): a description of a document's keys, which checks and completes it;
//! * [`mod@shown`]: names from outside, made fit to be shown.
//!
//! ```
//! use tallow_core::{Purpose, Stream};
//! let mut a = Stream::new(7, Purpose::Augment, 3, 12_345);
//! let mut b = Stream::new(7, Purpose::Augment, 3, 12_345);
//! assert_eq!(a.below(32), b.below(32)); // the same key gives the same numbers, whoever asks, whenever
//! ```
#![forbid(unsafe_code)]

pub mod digest;
pub mod duration;
pub mod files;
#[cfg(feature = "keys")]
pub mod keys;
pub mod memory;
pub mod nearest;
pub mod progress;
pub mod rng;
pub mod shown;
pub mod stop;
#[cfg(feature = "terminal")]
pub mod terminal;

pub use duration::{duration, parse_duration};
pub use files::FileError;
pub use nearest::{did_you_mean, nearest};
pub use progress::{Bar, Progress, Silent, Unit};
pub use rng::{Purpose, Stream};
pub use shown::shown;
pub use stop::{StopFlag, StopSignal};
