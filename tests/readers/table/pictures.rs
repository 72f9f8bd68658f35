//! The reader of pictures: the format by the first bytes, headers, orientation, transparency, pixels, and the fit to a size.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbaImage};
use tallow_dataset::decode::{Image, decode, probe};
use tallow_dataset::{Fit, Fitter, Interpolation, Preprocess};

#[path = "../../../crates/dataset/tests/decode/jpeg.rs"]
mod jpeg;

use jpeg::Jpeg;

/// A larger picture is only probed. It may take several seconds and 640 MB, as it should: a server has a limit of its own.
const MAX_PX: usize = 1 << 22;

/// Sizes to fit to: less and more than the pictures have, and extreme.
const SIZES_PX: [[usize; 2]; 3] = [[7, 5], [1, 1], [3, 97]];

pub(super) fn picture(bytes: &[u8]) -> bool {
    let probed = probe(bytes);
    if probed.as_ref().is_ok_and(|probe| probe.height.saturating_mul(probe.width) > MAX_PX) {
        return false;
    }
    let Ok(decoded) = decode(bytes) else { return false };
    let probed = probed.expect("the header of a picture that can be decoded");
    let image = &decoded.image;
    assert_eq!(
        (probed.height, probed.width, probed.format),
        (image.height, image.width, decoded.format),
        "the header says something else"
    );
    assert_eq!(image.pixels.len(), 3 * image.height * image.width);
    fit(image);
    true
}

fn fit(image: &Image) {
    let fits = [(Fit::Squash, Interpolation::Bilinear), (Fit::Crop, Interpolation::Bicubic)];
    for (size_px, (fit, interpolation)) in SIZES_PX.iter().zip(fits.iter().cycle()) {
        let preprocess =
            Preprocess { size_px: *size_px, fit: *fit, crop_fraction: 0.875, interpolation: *interpolation };
        let mut out = vec![0; 3 * size_px[0] * size_px[1]];
        let mut fitter = Fitter::new(preprocess).expect("usual settings");
        fitter.apply(&image.pixels, [image.height, image.width, 3], &mut out).expect("a picture");
    }
    let preprocess = Preprocess {
        size_px: [5, 9],
        fit: Fit::Pad,
        crop_fraction: 1.0,
        interpolation: Interpolation::Linear,
    };
    let mut fitter = Fitter::new(preprocess).expect("usual settings");
    fitter.apply(&image.pixels, [image.height, image.width, 3], &mut [0; 3 * 5 * 9]).expect("a picture");
}

/// Encodes a picture as a PNG of 8-bit RGB.
pub(super) fn png(height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels)).expect("a PNG in memory");
    bytes
}

pub(super) fn pictures() -> Vec<Vec<u8>> {
    let mut inputs = vec![png(5, 3, &[90; 45])];
    let pixels = (0..7 * 6 * 4).map(|i| (i * 37 % 256) as u8).collect();
    let rgba = RgbaImage::from_raw(7, 6, pixels).expect("pixels of this size");
    let rgba = DynamicImage::ImageRgba8(rgba);
    let deep: [DynamicImage; 2] = [rgba.to_rgba16().into(), rgba.to_luma16().into()];
    for (picture, format) in [
        (&rgba, ImageFormat::Bmp),
        (&rgba, ImageFormat::Gif),
        (&rgba, ImageFormat::Tiff),
        (&rgba, ImageFormat::WebP),
        (&deep[0], ImageFormat::Tiff),
        (&deep[1], ImageFormat::Tiff),
    ] {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).expect("a picture in memory");
        inputs.push(bytes.into_inner());
    }
    inputs.extend([(png::ColorType::Indexed, 2), (png::ColorType::GrayscaleAlpha, 16)].map(rare_png));
    inputs.extend(jpegs());
    inputs
}

/// Returns a PNG of 4 x 2 pixels with this colour type and depth, and with an orientation that turns it.
fn rare_png((colour, depth): (png::ColorType, u8)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut info = png::Info::with_size(4, 2);
    info.exif_metadata = Some(std::borrow::Cow::Owned(EXIF[6..].to_vec()));
    let mut encoder = png::Encoder::with_info(&mut bytes, info).expect("a PNG in memory");
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::from_u8(depth).expect("a depth"));
    if colour == png::ColorType::Indexed {
        encoder.set_palette(vec![0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255]);
        encoder.set_trns(vec![0, 128, 255, 255]);
    }
    let n_bytes = 2 * (4 * colour.samples() * usize::from(depth)).div_ceil(8);
    let pixels: Vec<u8> = (0..n_bytes).map(|i| (i * 59) as u8).collect();
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).expect("a PNG in memory");
    bytes
}

/// EXIF with the orientation 6.
const EXIF: &[u8] = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

fn jpegs() -> Vec<Vec<u8>> {
    const SAMPLED: &[(u8, usize, usize)] = &[(1, 2, 2), (2, 1, 1), (3, 1, 1)];
    const FOUR: &[(u8, usize, usize)] = &[(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 1, 1)];
    const ADOBE: &[u8] = b"Adobe\0\x64\0\0\0\0\x02";
    vec![
        jpeg(&SAMPLED[..1], &[&[0]], &[], 0),
        jpeg(SAMPLED, &[&[0, 1, 2]], &[(0xe1, EXIF)], 1),
        jpeg(SAMPLED, &[&[0], &[1], &[2]], &[], 0),
        jpeg(FOUR, &[&[0, 1, 2, 3]], &[(0xee, ADOBE)], 0),
    ]
}

/// Returns a JPEG of 13 x 27 pixels.
fn jpeg(
    components: &[(u8, usize, usize)],
    scans: &[&[usize]],
    segments: &[(u8, &[u8])],
    restart_interval: usize,
) -> Vec<u8> {
    let value = |component, row, column| (40 * component + 50 * row + 30 * column) as u8;
    Jpeg { height: 13, width: 27, components, scans, restart_interval, segments, value: &value }.bytes()
}
