//! Images for people: which images of a set to show, how they look after augmentation, and PNG files of them.
//!
//! Where the files are written, and what is drawn around the images, is left to callers.

use std::borrow::Cow;
use std::sync::Arc;

use tallow_core::{Purpose, Stream};

use crate::normalization::Normalization;
use crate::pipeline::{Pipeline, Scratch};
use crate::source::Picture;
use crate::{Error, ImageSet, TrainLoader, stratified_subset};

/// Stream key for the choice of classes; the other keys of this purpose are class numbers.
const WHICH_CLASSES: u64 = u64::MAX;

/// Chooses `n` of `indices` to look at, or all if there are fewer, sorted by class. The class counts are as equal as
/// possible. If there are more than `n` classes, `n` random classes are chosen first. The choice is a function of the
/// seed.
///
/// # Errors
/// If an index has no image.
pub fn images_to_show(set: &ImageSet, indices: &[u32], n: usize, seed: u64) -> Result<Vec<u32>, Error> {
    let mut classes: Vec<u32> = (0..set.class_names().len() as u32).collect();
    if classes.len() > n {
        Stream::new(seed, Purpose::Subset, 0, WHICH_CLASSES).shuffle(&mut classes);
        classes.truncate(n);
    }
    let label = |i: &u32| set.labels().get(*i as usize);
    let of_classes = |i: &&u32| label(i).is_none_or(|label| classes.contains(label));
    let indices: Vec<u32> = indices.iter().filter(of_classes).copied().collect();
    if indices.is_empty() {
        return Ok(indices);
    }
    let mut shown = stratified_subset(set.labels(), &indices, n.min(indices.len()), seed)?;
    shown.sort_by_key(|&i| set.label(i as usize)); // stable: by index within a class
    Ok(shown)
}

/// Returns image `i` as a network trained with `cfg` sees it in `epoch`. Areas that cutout removes have the mean
/// colour.
///
/// # Errors
/// If the image cannot be read, or does not fit the augmentation.
///
/// # Panics
/// If there is no such image, as for a slice.
pub fn as_seen(
    set: &Arc<ImageSet>,
    i: u32,
    cfg: &TrainLoader,
    epoch: u64,
) -> Result<Picture<'static>, Error> {
    let TrainLoader { augment, normalization, preprocess, seed, .. } = cfg;
    let pipeline = Pipeline::new(Arc::clone(set), *preprocess, *normalization)?;
    let ([rows, columns], [height, width, channels]) = (pipeline.augmented_px(), pipeline.shape());
    augment.validate(rows, columns)?;
    let transform = augment.draw(*seed, epoch, i, rows, columns);
    let mut values = vec![0.0; height * width * channels];
    pipeline.write(i as usize, &transform, &mut Scratch::default(), &mut values)?;
    Ok(denormalized(&values, [height, width, channels], normalization))
}

/// Returns normalised values (height, width, channels) as the bytes that they come from.
pub fn denormalized(values: &[f32], shape: [usize; 3], normalization: &Normalization) -> Picture<'static> {
    let [height, width, channels] = shape;
    let byte = |(i, value): (usize, &f32)| {
        let channel = i % channels;
        let share = value * normalization.std[channel] + normalization.mean[channel];
        (255.0 * share).round().clamp(0.0, 255.0) as u8
    };
    let pixels = values.iter().enumerate().map(byte).collect();
    Picture { height, width, channels, pixels: Cow::Owned(pixels) }
}

/// Encodes `picture` (1 to 3 channels) as a PNG file. If a side is longer than `max_side_px`, the picture is shrunk to
/// that size first: each pixel becomes the mean of the pixels that it covers. One channel becomes grey. Of two
/// channels, the missing third becomes 0.
///
/// # Errors
/// If the picture has no pixels.
pub fn to_png(picture: &Picture<'_>, max_side_px: usize) -> Result<Vec<u8>, Error> {
    let (pixels, [height, width, channels]) = shrunk(&picture.pixels, picture.shape(), max_side_px);
    let (color, pixels) = match channels {
        1 => (png::ColorType::Grayscale, pixels),
        3 => (png::ColorType::Rgb, pixels),
        _ => (png::ColorType::Rgb, pixels.chunks_exact(channels).flat_map(|p| [p[0], p[1], 0]).collect()),
    };
    let failed = |e: png::EncodingError| Error::Images(format!("{height} x {width} pixels as PNG: {e}"));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(color);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&pixels).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

/// Returns the image and its shape, shrunk so that no side is longer than `max_side_px`.
fn shrunk(image: &[u8], shape: [usize; 3], max_side_px: usize) -> (Vec<u8>, [usize; 3]) {
    let [height, width, channels] = shape;
    let longer = height.max(width);
    if longer <= max_side_px {
        return (image.to_vec(), shape);
    }
    let side = |length: usize| (length * max_side_px / longer).max(1);
    let small = [side(height), side(width)];
    let covered = |i: usize, from: usize, to: usize| i * from / to..((i + 1) * from).div_ceil(to);
    let mut out = Vec::with_capacity(small[0] * small[1] * channels);
    for row in 0..small[0] {
        for column in 0..small[1] {
            let (rows, columns) = (covered(row, height, small[0]), covered(column, width, small[1]));
            let n = rows.len() * columns.len();
            for channel in 0..channels {
                let at = |r: usize, c: usize| usize::from(image[(r * width + c) * channels + channel]);
                let sum: usize = rows.clone().map(|r| columns.clone().map(|c| at(r, c)).sum::<usize>()).sum();
                out.push(((sum + n / 2) / n) as u8);
            }
        }
    }
    (out, [small[0], small[1], channels])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::{Augment, Flip, Mix, Normalization};

    /// A set of one-pixel images with these labels.
    fn set(labels: &[u32], n_classes: usize) -> ImageSet {
        let names = (0..n_classes).map(|i| format!("class {i}").into()).collect();
        ImageSet::new(1, 1, 1, vec![0; labels.len()], labels.to_vec(), names).unwrap()
    }

    fn labels_shown(set: &ImageSet, n: usize, seed: u64) -> Vec<u32> {
        let all: Vec<u32> = (0..set.len() as u32).collect();
        images_to_show(set, &all, n, seed).unwrap().iter().map(|&i| set.label(i as usize)).collect()
    }

    #[test]
    fn few_classes_are_all_there_and_many_are_drawn() {
        let ten = set(&(0..100).map(|i| i * 7 % 10).collect::<Vec<_>>(), 10);
        let shown = labels_shown(&ten, 25, 3);
        assert!(shown.is_sorted() && shown.len() == 25);
        for class in 0..10 {
            let n = shown.iter().filter(|&&label| label == class).count();
            assert!((2..=3).contains(&n), "{shown:?}");
        }
        let many = set(&(0..400).map(|i| i % 200).collect::<Vec<_>>(), 200);
        let mut shown = labels_shown(&many, 25, 3);
        assert_ne!(shown, labels_shown(&many, 25, 4));
        assert_eq!(shown, labels_shown(&many, 25, 3));
        assert!(shown.iter().any(|&label| label > 100), "{shown:?}");
        shown.dedup();
        assert_eq!(shown.len(), 25);
    }

    #[test]
    fn fewer_images_than_asked_for_are_all_shown() {
        let three = set(&[2, 0, 1], 3);
        assert_eq!(images_to_show(&three, &[0, 1, 2], 25, 0).unwrap(), [1, 2, 0]);
        assert_eq!(images_to_show(&three, &[0, 2], 25, 0).unwrap(), [2, 0]);
        assert_eq!(images_to_show(&three, &[], 25, 0).unwrap(), [0; 0]);
        assert!(images_to_show(&three, &[3], 25, 0).is_err());
    }

    #[test]
    fn pixels_come_back_from_the_normalised_values() {
        let image: Vec<u8> = (0..2 * 3 * 3).map(|i| (i * 14) as u8).collect();
        let names = ["thing"].map(crate::Foreign::from).into();
        let set = Arc::new(ImageSet::new(2, 3, 3, image.clone(), vec![0], names).unwrap());
        let cfg = |augment: Augment| TrainLoader {
            batch_size: 1,
            drop_last: false,
            augment,
            mix: Mix::default(),
            normalization: Normalization::CIFAR10,
            preprocess: None,
            seed: 1,
            share: None,
        };
        let seen =
            |augment: Augment, epoch| as_seen(&set, 0, &cfg(augment), epoch).unwrap().pixels.into_owned();
        assert_eq!(seen(Augment::default(), 0), image);
        let alternate = Augment { flip: Flip::Alternate, ..Augment::default() };
        let mut sides = [seen(alternate.clone(), 0)[..3].to_vec(), seen(alternate, 1)[..3].to_vec()];
        sides.sort();
        assert_eq!(sides, [image[..3].to_vec(), image[6..9].to_vec()]);
        let cut = seen(Augment { cutout_px: 2, ..Augment::default() }, 0);
        assert!(cut.chunks(3).any(|pixel| pixel == [125, 123, 114]), "the mean of CIFAR-10: {cut:?}");
    }

    fn png(
        pixels: &[u8],
        [height, width, channels]: [usize; 3],
        max_side_px: usize,
    ) -> Result<Vec<u8>, Error> {
        to_png(&Picture { height, width, channels, pixels: pixels.into() }, max_side_px)
    }

    /// Shape, colour and pixels of a PNG file.
    fn decoded(file: &[u8]) -> ([u32; 2], png::ColorType, Vec<u8>) {
        let mut reader = png::Decoder::new(Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        ([info.height, info.width], info.color_type, pixels)
    }

    #[test]
    fn a_small_image_is_its_pixels() {
        let image: Vec<u8> = (0..2 * 3 * 3).collect();
        let color = png(&image, [2, 3, 3], 96).unwrap();
        assert_eq!(decoded(&color), ([2, 3], png::ColorType::Rgb, image));
        let grey = png(&[7, 9], [1, 2, 1], 96).unwrap();
        assert_eq!(decoded(&grey), ([1, 2], png::ColorType::Grayscale, vec![7, 9]));
        let two = png(&[7, 9], [1, 1, 2], 96).unwrap();
        assert_eq!(decoded(&two), ([1, 1], png::ColorType::Rgb, vec![7, 9, 0]));
        assert!(png(&[], [0, 2, 3], 96).is_err());
    }

    #[test]
    fn a_large_image_is_shrunk_to_means() {
        let image = [0, 2, 100, 104, 4, 6, 100, 104].map(|v| v as u8);
        assert_eq!(decoded(&png(&image, [2, 4, 1], 2).unwrap()).2, [3, 102]);
        let wide: Vec<u8> = vec![200; 1000 * 3];
        let (size, _, pixels) = decoded(&png(&wide, [1, 1000, 3], 96).unwrap());
        assert_eq!(size, [1, 96]);
        assert!(pixels.iter().all(|&v| v == 200));
        assert_eq!(shrunk(&[1, 2, 4], [1, 3, 1], 2).0, [2, 3]); // the middle pixel lies in both halves
    }
}
