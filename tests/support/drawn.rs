//! Pictures drawn by tests: PNGs of odd sizes, with one hue per class, in class folders.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;

use tallow_core::{Purpose, Stream};

use super::support::Sandbox;

/// Class folders of [`photos`] and their numbers of pictures.
pub(crate) const CLASSES: [(&str, u64); 3] = [("cat", 14), ("dog", 13), ("owl", 12)];

/// A network of a few thousand parameters at the size of the drawn pictures.
pub(crate) const TINY_RUN: &str = "--offline --batch-size 8 --set model.widths=[4,4,8,8] --set model.dropout=[0.1,0.1] \
     --set model.dense=8 --set model.input_px=[24,32]";

/// Encodes a picture as a PNG of 8-bit RGB.
pub(crate) fn png(height: u32, width: u32, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    bytes
}

/// Draws picture `i` of class `class`: the hue of its class, brighter towards the bottom, with noise. No other picture has
/// the same size.
pub(crate) fn picture(class: usize, i: u64) -> Vec<u8> {
    brightened(class, i, 0)
}

/// Draws the same picture with each level higher by `more`.
pub(crate) fn brightened(class: usize, i: u64, more: u8) -> Vec<u8> {
    let mut noise = Stream::new(class as u64, Purpose::Test, 0, i);
    let (height, width) = (25 + 2 * i as u32, 45 - i as u32);
    let value = |y: u32, channel: usize, noise: &mut Stream| {
        let hue = if channel == class { 140 } else { 30 };
        hue + more + (y * 60 / height) as u8 + noise.next_u32() as u8 % 40
    };
    let rows = (0..height).flat_map(|y| (0..width).flat_map(move |_| [(y, 0), (y, 1), (y, 2)]));
    let pixels: Vec<u8> = rows.map(|(y, channel)| value(y, channel, &mut noise)).collect();
    png(height, width, &pixels)
}

/// Draws `n` pictures of each class into a folder of its name under `root`.
pub(crate) fn draw(sandbox: &Sandbox, root: &str, classes: &[(&str, u64)]) {
    for (class, (name, n)) in classes.iter().enumerate() {
        for i in 0..*n {
            sandbox.write(&format!("{root}/{name}/{i:02}.png"), picture(class % 3, i));
        }
    }
}

/// Creates a sandbox with [`CLASSES`] in the folder `photos`.
pub(crate) fn photos() -> Sandbox {
    let sandbox = Sandbox::new();
    draw(&sandbox, "photos", &CLASSES);
    sandbox
}

/// Cuts a file in half.
pub(crate) fn cut(sandbox: &Sandbox, name: &str) {
    let bytes = sandbox.read(name);
    fs::write(sandbox.path(name), &bytes[..bytes.len() / 2]).unwrap();
}
