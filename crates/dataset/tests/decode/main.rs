//! The most telling pictures from users' folders, rebuilt: each decodes to known pixels, or is refused with its reason.

mod jpeg;
mod jpegs;
mod others;

use tallow_dataset::decode::{DecodeError, Image, decode, probe};

/// Decodes a picture, and checks that its header alone gives the same format and size.
fn decoded(bytes: &[u8]) -> Image {
    let decoded = decode(bytes).unwrap();
    let probed = probe(bytes).unwrap();
    let image = decoded.image;
    assert_eq!((probed.format, probed.height, probed.width), (decoded.format, image.height, image.width));
    assert_eq!(image.pixels.len(), 3 * image.height * image.width);
    image
}

/// Returns the pixel at a row and column.
fn at(image: &Image, y: usize, x: usize) -> [u8; 3] {
    image.pixels.as_chunks().0[y * image.width + x]
}

/// Returns the message of the refusal.
fn refusal(bytes: &[u8]) -> String {
    decode(bytes).unwrap_err().to_string()
}

#[test]
fn what_is_no_picture_is_named() {
    assert_eq!(decode(b"").unwrap_err(), DecodeError::Empty);
    assert_eq!(refusal(b"<!DOCTYPE html>\n<title>Not found</title>"), "a web page (HTML), not a picture");
    assert_eq!(refusal(b"hello"), "text, not a picture");
    assert_eq!(refusal(&[0; 4096]), "nothing but zeros, not a picture");
}

#[test]
fn formats_that_are_not_read_are_named_with_the_remedy() {
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic\0\0\x01\0meta";
    assert_eq!(refusal(heic), "HEIC cannot be read: convert it to JPEG or PNG");
    let avif = b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf\0\0\x01\0meta";
    assert_eq!(refusal(avif), "AVIF cannot be read: convert it to JPEG or PNG");
    assert_eq!(refusal(b"\xff\x0a\xfa\x1f"), "JPEG XL cannot be read: convert it to JPEG or PNG");
    assert_eq!(probe(heic).unwrap_err(), decode(heic).unwrap_err());
}
