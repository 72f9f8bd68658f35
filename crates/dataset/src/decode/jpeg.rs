//! Decodes JPEG to RGB. `zune-jpeg` (in rare cases `jpeg-decoder`) decodes the lean copy that [`super::jpeg_stream`]
//! makes.
//!
//! Pictures with four components are converted to RGB here. Files store the inks inverted, as Adobe does, so that a large
//! value means much light.

use jpeg_decoder::ColorTransform;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::budget::MAX_SIDE_PX;
use super::jpeg_headers::{damaged, truncated};
use super::jpeg_stream::{Colours, read_header, read_picture};
use super::{DecodeError, Header};

pub(super) fn header(bytes: &[u8]) -> Result<Header, DecodeError> {
    let stream = read_header(bytes)?;
    let frame = stream.frame()?;
    Ok(Header {
        height: frame.height,
        width: frame.width,
        orientation: stream.orientation(),
        bytes_per_px: stream.bytes_per_px()?,
    })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let stream = read_picture(bytes)?;
    let colours = stream.colours()?;
    let samples = if stream.is_in_sequential_scans() || !stream.is_sampling_usual() {
        rare(&stream.lean, colours).map_err(|e| e.to_string())
    } else {
        usual(&stream.lean, colours).map_err(|e| e.to_string())
    };
    let failed =
        |e| if stream.has_end() { damaged(format!("data is missing or wrong ({e})")) } else { truncated() };
    let samples = samples.map_err(failed)?;
    Ok(match colours {
        Colours::Cmyk => four_to_rgb(samples, |cmy| cmy),
        Colours::Ycck => four_to_rgb(samples, |ycc| rgb(ycc).map(|light| 255 - light)),
        _ => samples,
    })
}

/// Decodes with `zune-jpeg`. Colours that it would convert wrongly are requested as they are stored.
fn usual(lean: &[u8], colours: Colours) -> Result<Vec<u8>, DecodeErrors> {
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
    JpegDecoder::new_with_options(ZCursor::new(lean), options).decode()
}

/// Decodes with `jpeg-decoder`, which takes twice the time. `zune-jpeg` 0.5.15 silently garbles sequential coding in
/// several scans, and refuses some sampling factors; `jpeg-decoder` handles both.
fn rare(lean: &[u8], colours: Colours) -> Result<Vec<u8>, jpeg_decoder::Error> {
    let mut decoder = jpeg_decoder::Decoder::new(lean);
    let (transform, inverted) = match colours {
        Colours::Grey | Colours::YCbCr => (ColorTransform::YCbCr, 0),
        Colours::Rgb => (ColorTransform::RGB, 0),
        Colours::Cmyk | Colours::Ycck => (ColorTransform::CMYK, 0xff), // restores the inversion that the decoder undoes
    };
    decoder.set_color_transform(transform);
    let mut samples = decoder.decode()?;
    samples.iter_mut().for_each(|sample| *sample ^= inverted);
    Ok(samples)
}

/// Converts four components to RGB in the same memory. `light` turns the first three components into the amounts of
/// red, green and blue light that the coloured inks leave; the fourth, black, scales them.
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

/// Converts YCbCr to RGB by JFIF's formulas, in fixed-point arithmetic.
fn rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y) << 16, i32::from(cb) - 128, i32::from(cr) - 128);
    let byte = |value: i32| ((value + (1 << 15)) >> 16).clamp(0, 255) as u8;
    [byte(y + 91_881 * cr), byte(y - 22_554 * cb - 46_802 * cr), byte(y + 116_130 * cb)]
}
