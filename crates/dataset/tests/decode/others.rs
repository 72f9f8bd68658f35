//! PNG, BMP, GIF, TIFF and WebP: depths, palettes, transparency, canvases, and files that must be refused.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::{tiff::TiffEncoder, webp::WebPEncoder};
use image::{ExtendedColorType, ImageEncoder as _};
use png::{BitDepth, ColorType, Encoder, Info};
use tallow_dataset::decode::{DecodeError, MAX_PIXELS, decode, probe};

use super::{at, decoded, refusal};

/// Returns a PNG, 2 pixels wide and 1 high.
fn png(colour: ColorType, depth: BitDepth, data: &[u8], more: impl FnOnce(&mut Info<'static>)) -> Vec<u8> {
    let mut info = Info::with_size(2, 1);
    (info.color_type, info.bit_depth) = (colour, depth);
    more(&mut info);
    let mut bytes = Vec::new();
    let mut writer = Encoder::with_info(&mut bytes, info).unwrap().write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

fn pixels(bytes: &[u8]) -> [[u8; 3]; 2] {
    let image = decoded(bytes);
    assert_eq!((image.height, image.width), (1, 2));
    [at(&image, 0, 0), at(&image, 0, 1)]
}

/// Returns the position of the chunk with this name, and its number of data bytes.
fn chunk(png: &[u8], name: &[u8; 4]) -> (usize, usize) {
    let at = png.windows(4).position(|window| window == name).unwrap();
    (at - 4, u32::from_be_bytes(png[at - 4..at].try_into().unwrap()) as usize)
}

#[test]
fn depths_and_palettes_of_png_are_scaled_and_looked_up() {
    let sixteen = png(ColorType::Grayscale, BitDepth::Sixteen, &[0x0f, 0xff, 0x80, 0x7f], |_| {});
    assert_eq!(pixels(&sixteen), [[16; 3], [128; 3]]); // 4095 / 257 = 15.9, 32895 / 257 = 128.0
    let two_bits = png(ColorType::Grayscale, BitDepth::Two, &[0b0110_0000], |_| {});
    assert_eq!(pixels(&two_bits), [[85; 3], [170; 3]]);
    let palette = |info: &mut Info<'static>| {
        info.palette = Some(Cow::Borrowed(&[200, 40, 40, 255, 0, 255]));
        info.trns = Some(Cow::Borrowed(&[255, 0]));
    };
    let cut_out = png(ColorType::Indexed, BitDepth::One, &[0b0100_0000], palette);
    assert_eq!(pixels(&cut_out), [[200, 40, 40], [255; 3]]);
}

#[test]
fn transparency_shows_white_and_never_the_hidden_colour() {
    let rgba = [255, 0, 255, 0, 230, 210, 50, 115];
    let expected = [[255; 3], [244, 235, 163]]; // 230 * 115 / 255 + 140 = 243.7, …
    assert_eq!(pixels(&png(ColorType::Rgba, BitDepth::Eight, &rgba, |_| {})), expected);
    let mut webp = Vec::new();
    WebPEncoder::new_lossless(&mut webp).write_image(&rgba, 2, 1, ExtendedColorType::Rgba8).unwrap();
    assert_eq!(pixels(&webp), expected);
    let wide: Vec<u8> = rgba.iter().flat_map(|&value| [value, value]).collect();
    assert_eq!(pixels(&png(ColorType::Rgba, BitDepth::Sixteen, &wide, |_| {})), expected);
    let grey = png(ColorType::GrayscaleAlpha, BitDepth::Eight, &[9, 0, 90, 255], |_| {});
    assert_eq!(pixels(&grey), [[255; 3], [90; 3]]);
}

#[test]
fn exif_turns_a_png() {
    let exif: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0";
    let turned = |info: &mut Info<'static>| info.exif_metadata = Some(Cow::Borrowed(exif));
    let image = decoded(&png(ColorType::Grayscale, BitDepth::Eight, &[10, 20], turned));
    assert_eq!((image.height, image.width), (2, 1));
    assert_eq!((at(&image, 0, 0), at(&image, 1, 0)), ([20; 3], [10; 3]));
}

#[test]
fn checksums_count_for_data_and_not_for_text() {
    let good = png(ColorType::Grayscale, BitDepth::Eight, &[10, 20], |_| {});
    let (data, n_bytes) = chunk(&good, b"IDAT");
    let text = [&9_u32.to_be_bytes()[..], b"tEXtTitle\0Cat", &[1, 2, 3, 4]].concat();
    let with_text = [&good[..data], &text, &good[data..]].concat();
    assert_eq!(pixels(&with_text), [[10; 3], [20; 3]]);
    let mut damaged = good.clone();
    damaged[data + 8 + n_bytes] ^= 1;
    assert!(refusal(&damaged).starts_with("damaged PNG: "), "{}", refusal(&damaged));
    for n_bytes in 8..good.len() - 16 {
        assert_eq!(refusal(&good[..n_bytes]), "ends early: the PNG is cut short", "{n_bytes} bytes");
    }
}

#[test]
fn a_claim_is_refused_by_its_size() {
    let claim = |width, height| {
        let mut bytes = Vec::new();
        let mut writer = Encoder::new(&mut bytes, width, height).write_header().unwrap();
        writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c]).unwrap();
        drop(writer);
        bytes
    };
    let refused = DecodeError::TooLarge { width: 60_000, height: 60_000, limit: MAX_PIXELS };
    assert_eq!(decode(&claim(60_000, 60_000)).unwrap_err(), refused);
    assert_eq!(probe(&claim(60_000, 60_000)).unwrap_err(), refused);
    let message = "too large: 60000 x 60000 pixels, expected at most 200000000 pixels for this format";
    assert_eq!(refused.to_string(), message);
    assert!(matches!(decode(&claim(1, 65_536)).unwrap_err(), DecodeError::TooLarge { .. }));
}

/// Returns a bitmap, 2 pixels wide and 1 high, with 32 bits per pixel. With `has_masks` it has the longer header, which
/// defines the alpha bits; otherwise the shorter one.
fn bmp(pixels: [[u8; 4]; 2], has_masks: bool) -> Vec<u8> {
    let header_bytes = if has_masks { 108 } else { 40_u32 };
    let mut bytes = b"BM".to_vec();
    let words = [14 + header_bytes + 8, 0, 14 + header_bytes, header_bytes, 2, 1, 1 | 32 << 16];
    bytes.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
    let compression = if has_masks { 3 } else { 0 };
    let masks = [0x00ff_0000, 0x0000_ff00, 0x0000_00ff, 0xff00_0000];
    let rest = [compression, 8, 0, 0, 0, 0].into_iter().chain(masks);
    bytes.extend(rest.flat_map(|word: u32| word.to_le_bytes()));
    bytes.resize(14 + header_bytes as usize, 0);
    bytes.extend(pixels.as_flattened());
    bytes
}

#[test]
fn the_fourth_byte_of_a_bitmap_is_alpha_only_where_it_is_used() {
    let (clear, opaque) = ([[40, 50, 200, 0], [1, 2, 3, 0]], [[40, 50, 200, 0], [1, 2, 3, 255]]);
    assert_eq!(pixels(&bmp(clear, false)), [[200, 50, 40], [3, 2, 1]]);
    assert_eq!(pixels(&bmp(clear, true)), [[200, 50, 40], [3, 2, 1]]);
    assert_eq!(pixels(&bmp(opaque, true)), [[255; 3], [3, 2, 1]]);
}

/// A frame of a GIF may have pixels where its canvas has none.
#[test]
fn a_canvas_without_pixels_is_refused() {
    for (size, says) in [(b"\x03\0\0\0", "3 x 0 pixels"), (b"\0\0\x02\0", "0 x 2 pixels")] {
        let gif =
            [&b"GIF89a"[..], size, b"\x80\0\0\xc8\x28\x28\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;"]
                .concat();
        assert_eq!(refusal(&gif), format!("damaged GIF: it has {says}"));
        assert!(probe(&gif).is_err());
    }
}

#[test]
fn a_gif_is_its_first_frame_on_the_whole_canvas() {
    let gif = b"GIF89a\x03\0\x02\0\x80\0\0\xc8\x28\x28\0\0\0,\x02\0\x01\0\x01\0\x01\0\0\x02\x02\x44\x01\0;";
    let image = decoded(gif);
    assert_eq!((image.height, image.width), (2, 3));
    let shown: Vec<_> = (0..6).map(|i| at(&image, i / 3, i % 3)).collect();
    assert_eq!(shown, [[255; 3], [255; 3], [255; 3], [255; 3], [255; 3], [200, 40, 40]]);
}

#[test]
fn tiff_is_read_and_scaled() {
    let mut tiff = Cursor::new(Vec::new());
    let samples: Vec<u8> = [4095_u16, 32_895].iter().flat_map(|value| value.to_ne_bytes()).collect();
    TiffEncoder::new(&mut tiff).write_image(&samples, 2, 1, ExtendedColorType::L16).unwrap();
    assert_eq!(pixels(tiff.get_ref()), [[16; 3], [128; 3]]);
}

#[test]
fn a_webp_that_ends_early_is_refused() {
    let samples: Vec<u8> = (0..3 * 40 * 30).map(|i| (i * i % 251) as u8).collect();
    let mut webp = Vec::new();
    WebPEncoder::new_lossless(&mut webp).write_image(&samples, 40, 30, ExtendedColorType::Rgb8).unwrap();
    assert_eq!(decoded(&webp).pixels, samples);
    for n_bytes in (30..webp.len() - 1).step_by(7) {
        assert_eq!(refusal(&webp[..n_bytes]), "ends early: the WebP is cut short", "{n_bytes} bytes");
    }
}
