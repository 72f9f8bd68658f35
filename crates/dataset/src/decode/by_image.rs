//! Decodes WebP, GIF, BMP and TIFF with the `image` crate: the first frame or page, on the whole canvas.
//!
//! Two checks that the crate lacks are made here: whether a WebP's data are complete, and whether a BMP's fourth byte
//! is alpha.

use std::io::{Cursor, ErrorKind};

use image::codecs::{bmp::BmpDecoder, gif::GifDecoder, tiff::TiffDecoder, webp::WebPDecoder};
use image::error::{ImageError, UnsupportedErrorKind};
use image::{ColorType, ImageDecoder, Limits};

use super::budget::BUDGET_BYTES;
use super::orientation::Orientation;
use super::pixels::{push_rgb, rgba_to_rgb, to_8_bits};
use super::{DecodeError, Format, Header};

pub(super) fn header(bytes: &[u8], format: Format) -> Result<Header, DecodeError> {
    let mut decoder = decoder(bytes, format)?;
    let (width, height) = decoder.dimensions();
    // A wrong orientation must not cost the picture.
    let orientation = decoder.orientation().map_or(1, image::metadata::Orientation::to_exif);
    let samples = u64::from(decoder.color_type().bytes_per_pixel());
    // Memory besides samples and RGB: a WebP's canvas and frame; a TIFF's samples a second time; a GIF's frame.
    let working = match format {
        Format::WebP => 8,
        Format::Tiff => samples,
        _ => 4,
    };
    Ok(Header {
        height: height as usize,
        width: width as usize,
        orientation: Orientation::from_value(orientation.into()),
        bytes_per_px: samples + 3 + working,
    })
}

pub(super) fn decode(bytes: &[u8], format: Format) -> Result<Vec<u8>, DecodeError> {
    if format == Format::WebP && !is_whole_webp(bytes) {
        return Err(DecodeError::Truncated { format });
    }
    let mut decoder = decoder(bytes, format)?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(BUDGET_BYTES);
    decoder.set_limits(limits).map_err(|e| error(e, format))?;
    let colour = decoder.color_type();
    let n_bytes = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    if n_bytes as u64 > BUDGET_BYTES {
        return Err(DecodeError::Damaged { format, reason: "more samples than its header says".to_owned() });
    }
    let mut samples = vec![0; n_bytes];
    decoder.read_image(&mut samples).map_err(|e| error(e, format))?;
    if format == Format::Bmp
        && colour == ColorType::Rgba8
        && samples.iter().skip(3).step_by(4).all(|&a| a == 0)
    {
        samples.iter_mut().skip(3).step_by(4).for_each(|alpha| *alpha = u8::MAX); // padding, not alpha
    }
    to_rgb(samples, colour)
        .ok_or_else(|| unsupported(format, format!("{} of {colour:?} samples", format.name())))
}

fn to_rgb(samples: Vec<u8>, colour: ColorType) -> Option<Vec<u8>> {
    let n_channels = usize::from(colour.channel_count());
    let samples = match colour {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => samples,
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => narrowed(samples),
        _ => return None, // floating point, with an unknown range
    };
    Some(match n_channels {
        3 => samples,
        4 => rgba_to_rgb(samples),
        _ => {
            let mut rgb = Vec::with_capacity(3 * samples.len() / n_channels);
            push_rgb(&samples, n_channels, &mut rgb);
            rgb
        }
    })
}

/// Converts 16-bit samples in native byte order to 8 bits, in the same memory.
fn narrowed(mut samples: Vec<u8>) -> Vec<u8> {
    let n_samples = samples.len() / 2;
    for i in 0..n_samples {
        samples[i] = to_8_bits(u16::from_ne_bytes([samples[2 * i], samples[2 * i + 1]]));
    }
    samples.truncate(n_samples);
    samples
}

fn decoder<'a>(bytes: &'a [u8], format: Format) -> Result<Box<dyn ImageDecoder + 'a>, DecodeError> {
    let reader = Cursor::new(bytes);
    let decoder: Result<Box<dyn ImageDecoder + 'a>, ImageError> = match format {
        Format::WebP => WebPDecoder::new(reader).map(|d| Box::new(d) as _),
        Format::Gif => GifDecoder::new(reader).map(|d| Box::new(d) as _),
        Format::Bmp => BmpDecoder::new(reader).map(|d| Box::new(d) as _),
        _ => TiffDecoder::new(reader).map(|d| Box::new(d) as _),
    };
    decoder.map_err(|e| error(e, format))
}

/// Returns whether the first picture's chunk ends within the file. The decoder would continue with zeros where the data
/// end.
fn is_whole_webp(bytes: &[u8]) -> bool {
    let mut at = 12;
    while let Some((name, length)) = bytes.get(at..at + 8).and_then(|header| header.split_first_chunk::<4>())
    {
        let n_bytes = length.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        at += 8 + n_bytes;
        if matches!(name, b"VP8 " | b"VP8L" | b"ANMF") {
            return at <= bytes.len();
        }
        at += n_bytes % 2;
    }
    false
}

fn unsupported(format: Format, what: String) -> DecodeError {
    DecodeError::Unsupported { format, what }
}

fn error(error: ImageError, format: Format) -> DecodeError {
    match error {
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => DecodeError::Truncated { format },
        ImageError::Unsupported(e) => match e.kind() {
            UnsupportedErrorKind::GenericFeature(feature) => {
                unsupported(format, format!("{} of this kind ({feature})", format.name()))
            }
            _ => unsupported(format, format!("{} of this kind", format.name())),
        },
        e => DecodeError::Damaged { format, reason: e.to_string() },
    }
}
