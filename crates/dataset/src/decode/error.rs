//! Why a file is no picture that can be used: reasons for a person, without the file's name, which the caller knows.

use super::Format;

/// Why bytes did not become a picture. The message is a reason to stand after a file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// There are no bytes.
    #[error("an empty file")]
    Empty,
    /// The first bytes are not those of a picture.
    #[error("{what}, not a picture")]
    NotAnImage {
        /// What it seems to be: "a web page (HTML)", "text", "nothing but zeros", …
        what: &'static str,
    },
    /// A picture of a known kind that is not read.
    #[error("{what} is not read: convert it to JPEG or PNG")]
    Unsupported {
        /// What the first bytes say.
        format: Format,
        /// The kind, as people call it: "HEIC", "12-bit JPEG", …
        what: String,
    },
    /// The file ends before the picture does.
    #[error("ends early: the {} is cut short", .format.name())]
    Truncated {
        /// What the first bytes say.
        format: Format,
    },
    /// The data contradicts itself.
    #[error("damaged {}: {reason}", .format.name())]
    Damaged {
        /// What the first bytes say.
        format: Format,
        /// What is wrong, as far as the decoder can tell.
        reason: String,
    },
    /// The header claims more pixels than are decoded. Nothing has been allocated.
    #[error("too large: {width} x {height} pixels, at most {limit} pixels of this kind are read")]
    TooLarge {
        /// The claimed width in pixels.
        width: usize,
        /// The claimed height in pixels.
        height: usize,
        /// How many pixels a picture of this kind may have; a side may have 65,535.
        limit: u64,
    },
}
