//! Reasons why a file cannot be decoded, worded for a person. They leave out the file's name, which the caller knows.

use super::Format;

/// Reason why bytes could not be decoded to a picture. The message is meant to follow the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The file is empty.
    #[error("an empty file")]
    Empty,
    /// The first bytes are not those of a picture.
    #[error("{what}, not a picture")]
    NotAnImage {
        /// Apparent content: "a web page (HTML)", "text", "nothing but zeros", …
        what: &'static str,
    },
    /// A picture of a known kind that is not supported.
    #[error("{what} cannot be read: convert it to JPEG or PNG")]
    Unsupported {
        /// Format according to the first bytes.
        format: Format,
        /// Usual name of the kind: "HEIC", "12-bit JPEG", …
        what: String,
    },
    /// The file ends before the picture does.
    #[error("ends early: the {} is cut short", .format.name())]
    Truncated {
        /// Format according to the first bytes.
        format: Format,
    },
    /// The data contradicts itself.
    #[error("damaged {}: {reason}", .format.name())]
    Damaged {
        /// Format according to the first bytes.
        format: Format,
        /// Problem, as far as the decoder can tell.
        reason: String,
    },
    /// The header claims more pixels than are decoded. Nothing has been allocated.
    #[error("too large: {width} x {height} pixels, expected at most {limit} pixels for this format")]
    TooLarge {
        /// Claimed width in pixels.
        width: usize,
        /// Claimed height in pixels.
        height: usize,
        /// Largest number of pixels of a picture of this kind. A side may also have at most 65,535 pixels.
        limit: u64,
    },
}
