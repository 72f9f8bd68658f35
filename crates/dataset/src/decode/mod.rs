//! Decodes users' photographs: from a file's bytes to the picture that a person sees.
//!
//! The first bytes determine the format ([`Format`]). The size that the header claims is checked before anything is
//! allocated, and large pictures wait for their turn (`budget`). JPEG and PNG have their own readers (`jpeg`, `png`);
//! the `image` crate decodes the other formats (`by_image`). The caller decides which files belong to a set and what to
//! do about bad ones.

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

/// A picture as a person sees it: 8-bit sRGB, upright, with transparency over a white background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// Pixels, (height, width, 3), in the order red, green, blue.
    pub pixels: Vec<u8>,
}

/// A decoded picture and facts about its file.
///
/// While this value lives, a large picture counts against [`BUDGET_BYTES`]. So shrink the picture, then drop this
/// value. A caller that keeps several large pictures and decodes another may wait forever for memory that it holds
/// itself.
#[derive(Debug)]
pub struct Decoded {
    /// The picture.
    pub image: Image,
    /// Format of the file.
    pub format: Format,
    /// Whether the file's EXIF orientation was applied, so that the picture is rotated or mirrored.
    pub is_turned: bool,
    _permit: Permit,
}

/// Properties of a picture according to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Format of the file.
    pub format: Format,
    /// Height of the upright picture, in pixels.
    pub height: usize,
    /// Width of the upright picture, in pixels.
    pub width: usize,
}

/// A header, with the sizes as stored, before the orientation is applied.
struct Header {
    height: usize,
    width: usize,
    orientation: Orientation,
    /// Peak memory of decoding, in bytes per pixel.
    bytes_per_px: u64,
}

/// Decodes a file of any [`Format`] that is supported ([`Format::is_read`]).
///
/// - The EXIF orientation is applied. An unreadable orientation is ignored.
/// - **Transparency is shown over white**: `round(c * a / 255 + 255 * (1 - a / 255))`, so a wholly transparent pixel
///   never shows its hidden colour.
/// - 16 bits become 8 as `round(value / 257)`. Colour profiles and gamma are ignored, as frameworks do.
/// - Of an animation, the first frame is decoded, on the whole canvas. Of several pages, the first page is decoded, and
///   of an MPO the first picture.
/// - Decoding is strict: a file that is cut short or damaged is an error, and is never filled with grey.
/// - A picture may have at most [`MAX_PIXELS`] pixels, [`MAX_SIDE_PX`] pixels a side, and [`BUDGET_BYTES`] of memory.
///   Large pictures wait until the memory is free (see [`Decoded`]); small ones never wait.
///
/// The same bytes give the same bits on every run and thread.
///
/// # Errors
/// The reason why the file cannot be decoded, without the file's name. A panic of the decoder is an error, too.
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

/// Returns format and upright size from the header alone. The data are neither decoded nor checked.
///
/// # Errors
/// Like [`decode`], as far as the header shows them.
pub fn probe(bytes: &[u8]) -> Result<Probe, DecodeError> {
    let format = read_format(bytes)?;
    guarded(format, || {
        let header = header(bytes, format)?;
        budget::check(header.height, header.width, header.worst_bytes_per_px())?;
        let (height, width) = header.upright();
        Ok(Probe { format, height, width })
    })
}

/// Returns the format if it is one that is decoded.
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
    let header = match format {
        Format::Jpeg => jpeg::header(bytes),
        Format::Png => png::header(bytes),
        _ => by_image::header(bytes, format),
    }?;
    if header.height == 0 || header.width == 0 {
        let reason = format!("it has {} x {} pixels", header.width, header.height);
        return Err(DecodeError::Damaged { format, reason });
    }
    Ok(header)
}

impl Header {
    /// Returns height and width of the upright picture.
    fn upright(&self) -> (usize, usize) {
        if self.orientation.swaps_sides() { (self.width, self.height) } else { (self.height, self.width) }
    }

    /// Returns the peak memory of decoding or of applying the orientation, whichever is larger, in bytes per pixel.
    fn worst_bytes_per_px(&self) -> u64 {
        let turning = if self.orientation.swaps_sides() { 6 } else { 3 };
        self.bytes_per_px.max(turning)
    }
}

/// Runs `work` and turns a panic of the decoder into an error, so that it costs only one picture.
fn guarded<T>(format: Format, work: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    // Everything that a panic leaves behind is dropped here, apart from the budget; and the permits return their bytes
    // to the budget.
    catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|_| Err(failed(format)))
}

fn failed(format: Format) -> DecodeError {
    DecodeError::Damaged { format, reason: "the decoder failed".to_owned() }
}
