//! JPEG: what `zune-jpeg` decodes of the lean copy that [`super::jpeg_stream`] makes, as RGB.
//!
//! Four colours are converted here: files are written with the inks inverted, as Adobe does, so that light is light.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::budget::MAX_SIDE_PX;
use super::jpeg_stream::{Colours, Stream, damaged, read_header, read_picture, truncated};
use super::{DecodeError, Header};

pub(super) fn header(bytes: &[u8]) -> Result<Header, DecodeError> {
    header_of(&read_header(bytes)?)
}

fn header_of(stream: &Stream) -> Result<Header, DecodeError> {
    let frame = stream.frame()?;
    let pixels = frame.n_components().max(3) as u64;
    let coefficients = if frame.is_progressive { frame.coefficient_bytes_per_px() } else { 0 };
    Ok(Header {
        height: frame.height,
        width: frame.width,
        orientation: stream.orientation(),
        bytes_per_px: pixels + coefficients,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let stream = read_picture(bytes)?;
    let colours = stream.colours()?;
    // Where the decoder takes the components for what they are not, they are asked for as they are stored.
    let out = match colours {
        Colours::Grey | Colours::YCbCr => ColorSpace::RGB,
        Colours::Rgb => ColorSpace::YCbCr,
        Colours::Cmyk | Colours::Ycck => ColorSpace::CMYK,
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(MAX_SIDE_PX)
        .set_max_height(MAX_SIDE_PX)
        .jpeg_set_out_colorspace(out);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&stream.lean), options);
    let failed = |e: zune_jpeg::errors::DecodeErrors| {
        if stream.has_end() { damaged(format!("data is missing or wrong ({e})")) } else { truncated() }
    };
    let samples = decoder.decode().map_err(failed)?;
    Ok(match colours {
        Colours::Cmyk => four_to_rgb(samples, |cmy| cmy),
        Colours::Ycck => four_to_rgb(samples, |ycc| rgb(ycc).map(|light| 255 - light)),
        _ => samples,
    })
}

/// Four components to RGB in the same memory; `light` makes of the first three how much of each light the inks leave.
fn four_to_rgb(mut samples: Vec<u8>, light: impl Fn([u8; 3]) -> [u8; 3]) -> Vec<u8> {
    let n_px = samples.len() / 4;
    for i in 0..n_px {
        let (a, b, c, key) = (samples[4 * i], samples[4 * i + 1], samples[4 * i + 2], samples[4 * i + 3]);
        let rgb = light([a, b, c]).map(|light| ((u32::from(light) * u32::from(key) + 127) / 255) as u8);
        samples[3 * i..3 * i + 3].copy_from_slice(&rgb);
    }
    samples.truncate(3 * n_px);
    samples
}

/// JFIF's conversion, in fixed point.
fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y) << 16, i32::from(cb) - 128, i32::from(cr) - 128);
    let byte = |value: i32| ((value + (1 << 15)) >> 16).clamp(0, 255) as u8;
    [byte(y + 91_881 * cr), byte(y - 22_554 * cb - 46_802 * cr), byte(y + 116_130 * cb)]
}
