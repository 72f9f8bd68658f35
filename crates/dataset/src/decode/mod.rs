//! Decoding of people's photographs: from a file's bytes to the picture that a person sees.
//!
//! What a file is, its first bytes say ([`Format`]). The header's claims are checked before anything is allocated, and large
//! pictures take turns (`budget`). JPEG and PNG have readers of their own (`jpeg`, `png`), the rest goes through the
//! `image` crate (`by_image`). Which files belong to a set, and what to do about bad ones, is left to the caller.

mod budget;
mod by_image;
mod error;
mod format;
mod jpeg;
mod jpeg_headers;
mod jpeg_stream;
mod orientation;
mod pixels;
mod png;

use std::panic::catch_unwind;

pub use budget::{BUDGET_BYTES, MAX_PIXELS, MAX_SIDE_PX};
pub use error::DecodeError;
pub use format::Format;

use budget::Permit;
use orientation::Orientation;

/// A picture as a person sees it: 8-bit sRGB, upright, on one background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// In pixels.
    pub height: usize,
    /// In pixels.
    pub width: usize,
    /// (height, width, 3): red, green, blue.
    pub pixels: Vec<u8>,
}

/// A decoded picture and what is known of its file.
///
/// While it lives, a large picture counts against what all of them may take: make it small, then let go of it. Whoever
/// keeps many and asks for more waits for himself.
#[derive(Debug)]
pub struct Decoded {
    /// The picture.
    pub image: Image,
    /// What the file is.
    pub format: Format,
    /// Whether the file's EXIF turned it.
    pub is_turned: bool,
    _permit: Permit,
}

/// What a picture's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What the file is.
    pub format: Format,
    /// Of the upright picture, in pixels.
    pub height: usize,
    /// Of the upright picture, in pixels.
    pub width: usize,
}

/// A header as it is stored.
struct Header {
    height: usize,
    width: usize,
    orientation: Orientation,
    /// Memory at the worst moment of decoding.
    bytes_per_px: u64,
}

/// Decodes a file of any [`Format`] that is read.
///
/// - Turned by its EXIF orientation; a broken note counts for nothing.
/// - **Transparency is shown over white**: `round(c * a / 255 + 255 * (1 - a / 255))`, so what is wholly transparent
///   never shows its hidden colour.
/// - 16 bits become 8 as `round(value / 257)`. Profiles and gamma are ignored, as frameworks do.
/// - Of what moves the first frame, on the whole canvas; of several pages the first; of an MPO the first picture.
/// - Strict: what is cut short or damaged is an error, never filled with grey.
/// - At most [`MAX_PIXELS`], [`MAX_SIDE_PX`] a side, and [`BUDGET_BYTES`] of memory. Large pictures wait until the
///   memory is free (see [`Decoded`]); small ones never wait.
///
/// The same bytes give the same bits on every run and thread.
///
/// # Errors
/// Why there is no picture, without the file's name. A decoder's panic is an error too.
pub fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let format = read_format(bytes)?;
    guarded(format, || {
        let header = header(bytes, format)?;
        let Header { height, width, orientation, .. } = header;
        let mut permit = budget::admit(height, width, header.worst_bytes_per_px())?;
        let pixels = match format {
            Format::Jpeg => jpeg::decode(bytes),
            Format::Png => png::decode(bytes),
            _ => by_image::decode(bytes, format),
        }?;
        if pixels.len() != 3 * height * width {
            return Err(failed(format));
        }
        let pixels = orientation.turn(pixels, height, width);
        permit.shrink_to(pixels.len() as u64);
        let (height, width) = header.upright();
        let is_turned = orientation != Orientation::UPRIGHT;
        Ok(Decoded { image: Image { height, width, pixels }, format, is_turned, _permit: permit })
    })
}

/// Format and upright size, from the header alone: data are neither decoded nor checked.
///
/// # Errors
/// As [`decode`], as far as a header tells.
pub fn probe(bytes: &[u8]) -> Result<Probe, DecodeError> {
    let format = read_format(bytes)?;
    guarded(format, || {
        let header = header(bytes, format)?;
        budget::check(header.height, header.width, header.worst_bytes_per_px())?;
        let (height, width) = header.upright();
        Ok(Probe { format, height, width })
    })
}

/// The format, if it is one that is read.
fn read_format(bytes: &[u8]) -> Result<Format, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    match Format::of(bytes) {
        None => Err(DecodeError::NotAnImage { what: format::other_content(bytes) }),
        Some(format) if format.is_read() => Ok(format),
        Some(format) => Err(DecodeError::Unsupported { format, what: format.name().to_owned() }),
    }
}

fn header(bytes: &[u8], format: Format) -> Result<Header, DecodeError> {
    match format {
        Format::Jpeg => jpeg::header(bytes),
        Format::Png => png::header(bytes),
        _ => by_image::header(bytes, format),
    }
}

impl Header {
    /// Height and width of the upright picture.
    fn upright(&self) -> (usize, usize) {
        if self.orientation.swaps_sides() { (self.width, self.height) } else { (self.height, self.width) }
    }

    /// Decoding or turning, whichever takes more.
    fn worst_bytes_per_px(&self) -> u64 {
        let turning = if self.orientation.swaps_sides() { 6 } else { 3 };
        self.bytes_per_px.max(turning)
    }
}

/// A decoder that panics costs one picture.
fn guarded<T>(format: Format, work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    // What a panic leaves behind is dropped here, or is the budget, whose permits return what they took.
    catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| Err(failed(format)))
}

fn failed(format: Format) -> DecodeError {
    DecodeError::Damaged { format, reason: "the decoder failed".to_owned() }
}
