//! The embedded sample: 200 training and 100 test images of each class of CIFAR-10.
//!
//! Each part is a PNG picture with one row of images per class, in the official order (see `assets/sample`). `cargo
//! xtask make-sample` makes the parts.

use std::io::Cursor;
use std::sync::Arc;

use tallow_core::Foreign;

use crate::cifar::CIFAR10_CLASSES;
use crate::{Dataset, Error, ImageSet, Normalization};

/// Rows and columns of an image.
const SIDE_PX: usize = 32;

static TRAIN_PNG: &[u8] = include_bytes!("../../../assets/sample/train.png");
static TEST_PNG: &[u8] = include_bytes!("../../../assets/sample/test.png");

/// Loads the sample: 2,000 training and 1,000 test images, sorted by class.
///
/// The sample has the normalization of the whole of CIFAR-10, so that a model trained on one can be tested on the
/// other.
///
/// # Errors
/// If the embedded sample is damaged.
pub fn load_sample() -> Result<Dataset, Error> {
    let train = decode("train.png", TRAIN_PNG, 200)?;
    let test = decode("test.png", TEST_PNG, 100)?;
    let dataset = Dataset::new("sample", train, test, Normalization::CIFAR10);
    Ok(Dataset { about: Some("3,000 images of CIFAR-10"), ..dataset })
}

/// Returns the images of a PNG picture that shows `n_per_class` images of each class, one row per class.
fn decode(part: &'static str, png: &[u8], n_per_class: usize) -> Result<ImageSet, Error> {
    let damaged = |reason: String| Error::Sample { part, reason };
    let n_classes = CIFAR10_CLASSES.len();
    let mut reader = png::Decoder::new(Cursor::new(png)).read_info().map_err(|e| damaged(e.to_string()))?;
    let (width, height) = (n_per_class * SIDE_PX, n_classes * SIDE_PX);
    let info = reader.info();
    let found = (info.width as usize, info.height as usize, info.color_type, info.bit_depth);
    if found != (width, height, png::ColorType::Rgb, png::BitDepth::Eight) {
        return Err(damaged(format!("expected {width} x {height} pixels, 8-bit RGB; found {found:?}")));
    }
    let mut atlas = vec![0; width * height * 3];
    reader.next_frame(&mut atlas).map_err(|e| damaged(e.to_string()))?;
    let mut pixels = Vec::with_capacity(atlas.len());
    let mut labels = Vec::with_capacity(n_classes * n_per_class);
    for (class, band) in atlas.chunks_exact(SIDE_PX * width * 3).enumerate() {
        for image in 0..n_per_class {
            for row in band.chunks_exact(width * 3) {
                pixels.extend_from_slice(&row[image * SIDE_PX * 3..][..SIDE_PX * 3]);
            }
            labels.push(class as u32);
        }
    }
    let class_names: Arc<[Foreign]> = CIFAR10_CLASSES.iter().map(|&name| name.into()).collect();
    ImageSet::new(SIDE_PX, SIDE_PX, 3, pixels, labels, class_names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_the_one_that_was_made() {
        let data = load_sample().unwrap();
        assert_eq!((data.train.len(), data.test.len()), (2_000, 1_000));
        assert_eq!(data.train.class_counts(), [200; 10]);
        assert_eq!(data.test.class_counts(), [100; 10]);
        assert_eq!(data.digest, DIGEST);
        // the first frog is the first record of CIFAR-10
        let frog = data.train.read(6 * 200).unwrap().pixels;
        assert_eq!(frog[..3], [59, 62, 63]);
        assert_eq!(frog[31 * 3..][..3], [148, 124, 103]);
        assert_eq!(frog[31 * 32 * 3..][..3], [177, 144, 116]);
    }
    /// Compared with the whole of CIFAR-10 by `tests/full_cifar10.rs`.
    const DIGEST: &str = "104fc31ae016ad176a1b6d808eb9de4dd80847a970ffb0f9ebd59009284958fb";

    #[test]
    fn damage_is_told() {
        let mut cut = TEST_PNG.to_vec();
        cut.truncate(1_000_000);
        assert!(decode("test.png", &cut, 100).unwrap_err().to_string().contains("test.png"));
        let message = decode("train.png", TEST_PNG, 200).unwrap_err().to_string();
        assert!(message.contains("6400 x 320 pixels") && message.contains("3200"), "{message}");
    }
}
