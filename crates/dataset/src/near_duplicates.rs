//! Detection of near-duplicates: images that are the same photograph.
//!
//! [`descriptors`] are short vectors. The dot product of two descriptors measures how similar the images are as a
//! whole. An exact nearest-neighbour search over them, which is left to the caller, gives candidates.
//! [`Detail::distance`] then judges each candidate by its fine detail, which a different photograph of the same thing
//! does not share.

use crate::source::Picture;
use crate::{Error, ImageSet};

/// Largest [`Detail::distance`] at which two images count as the same photograph.
///
/// On CIFAR-10 this finds 360 of the 10,000 test images among the training images. The published list (B. Barz, J.
/// Denzler, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates", arXiv 1902.00423) has 286, found by
/// inspecting neighbours in a network's features. 203 of these are found; the missed images differ by more than a shift
/// and a tint. The 157 found images that are not on the list were inspected pair by pair. 16 to 20 pairs show two
/// photographs, most of them ships on the horizon and silhouettes of aeroplanes. The other pairs show the same
/// photograph, some mirrored or without colour. So about 95 of 100 found images are near-duplicates.
pub const MAX_DUPLICATE_DISTANCE: f32 = 0.30;

/// Smallest similarity of candidates: the dot product of their descriptors.
pub const MIN_CANDIDATE_SIMILARITY: f32 = 0.7;

/// Rows and columns of a descriptor.
const DESCRIPTOR_SIDE: usize = 8;
/// Rows and columns of the shrunken images in which details are compared.
const SIDE: usize = 32;
/// Largest shift of one image against the other, in pixels of the 32 x 32 image.
const MAX_SHIFT: usize = 4;
/// Rows and columns of the compared window: the middle of one image, which stays within the other image at every shift.
const WINDOW: usize = SIDE - 2 * MAX_SHIFT;
/// Largest distance, in pixels along rows and columns, between a pixel and the pixels of its local mean.
const REACH: usize = 2;

/// Returns the length of the descriptor of an image with `channels` channels.
pub fn descriptor_len(channels: usize) -> usize {
    DESCRIPTOR_SIDE * DESCRIPTOR_SIDE * channels
}

/// Returns the descriptors of the images `range` of `set`, mirrored or unchanged, as rows of Euclidean length 1. A row
/// holds the means over 8 x 8 fields, minus the mean of each channel. So neither brightness nor contrast nor tint
/// affects it. An image of one colour gives a row of zeros.
///
/// # Shapes
/// Result: (n, [`descriptor_len`]).
///
/// # Errors
/// If an image cannot be read.
///
/// # Panics
/// If `range` reaches beyond the set.
pub fn descriptors(set: &ImageSet, range: std::ops::Range<usize>, mirrored: bool) -> Result<Vec<f32>, Error> {
    let channels = set.channels();
    let mut rows = Vec::with_capacity(range.len() * descriptor_len(channels));
    for i in range {
        let mut row = match set.facts(i) {
            Some(facts) => of_fields(&facts.fields, mirrored),
            None => shrunk(&set.read(i)?, DESCRIPTOR_SIDE, mirrored),
        };
        for channel in 0..channels {
            let values = row.iter_mut().skip(channel).step_by(channels);
            let mean = values.map(|value| *value).sum::<f32>() / (DESCRIPTOR_SIDE * DESCRIPTOR_SIDE) as f32;
            row.iter_mut().skip(channel).step_by(channels).for_each(|value| *value -= mean);
        }
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        rows.extend(row.iter().map(|value| value / norm.max(f32::MIN_POSITIVE)));
    }
    Ok(rows)
}

/// Returns the rounded means over 8 x 8 fields of a picture. A scan stores them for [`descriptors`].
#[cfg(feature = "files")]
pub(crate) fn fields(picture: &Picture<'_>) -> Vec<u8> {
    shrunk(picture, DESCRIPTOR_SIDE, false).into_iter().map(|mean| mean.round() as u8).collect()
}

/// Converts the result of [`fields`] to f32, mirrored or unchanged, (8, 8, 3).
fn of_fields(fields: &[u8], mirrored: bool) -> Vec<f32> {
    let mut row: Vec<f32> = fields.iter().map(|&level| f32::from(level)).collect();
    if mirrored {
        for line in row.chunks_exact_mut(DESCRIPTOR_SIDE * 3) {
            let pixels: Vec<f32> = line.chunks_exact(3).rev().flatten().copied().collect();
            line.copy_from_slice(&pixels);
        }
    }
    row
}

/// The fine detail of an image: each of 32 x 32 pixels minus the mean of the 5 x 5 pixels around it, (h, w, c).
#[derive(Clone, Debug)]
pub struct Detail {
    channels: usize,
    values: Vec<f32>,
}

impl Detail {
    /// Computes the detail of `picture`, mirrored or unchanged.
    pub fn new(picture: &Picture<'_>, mirrored: bool) -> Self {
        let channels = picture.channels;
        let mut values = shrunk(picture, SIDE, mirrored);
        let means = means_around(&means_around(&values, channels), channels * SIDE);
        values.iter_mut().zip(means).for_each(|(value, mean)| *value -= mean);
        Self { channels, values }
    }

    /// Returns 1 - the highest correlation of this image's middle with `other`, over all shifts of up to 4 of 32
    /// pixels. The distance is 0 for the same detail and at most 2; it is 1 if one of the images has no detail. Neither
    /// brightness nor contrast affects it.
    ///
    /// # Panics
    /// If the images have different numbers of channels.
    pub fn distance(&self, other: &Self) -> f32 {
        assert_eq!(self.channels, other.channels, "details of images with different channels");
        let middle = [MAX_SHIFT; 2];
        let own = self.window(middle).map(|row| dot(row, row)).sum::<f32>();
        let mut best = f32::NEG_INFINITY;
        for top in 0..=2 * MAX_SHIFT {
            for left in 0..=2 * MAX_SHIFT {
                let (mut product, mut theirs) = (0.0, 0.0);
                for (a, b) in self.window(middle).zip(other.window([top, left])) {
                    product += dot(a, b);
                    theirs += dot(b, b);
                }
                let norm = (own * theirs).sqrt();
                best = best.max(if norm > 0.0 { product / norm } else { 0.0 });
            }
        }
        1.0 - best.min(1.0)
    }

    /// Returns the rows of the window that begins at this row and column.
    fn window(&self, [top, left]: [usize; 2]) -> impl Iterator<Item = &[f32]> {
        let row = move |y: usize| {
            &self.values[((top + y) * SIDE + left) * self.channels..][..WINDOW * self.channels]
        };
        (0..WINDOW).map(row)
    }
}

/// Returns the means of the picture over `side` x `side` fields, (side, side, c). If the picture is smaller, several
/// fields share a pixel.
fn shrunk(picture: &Picture<'_>, side: usize, mirrored: bool) -> Vec<f32> {
    let (pixels, [h, w, channels]) = (&picture.pixels, picture.shape());
    let field = |at: usize, size: usize| at * size / side..((at + 1) * size / side).max(at * size / side + 1);
    let mut means = Vec::with_capacity(side * side * channels);
    for y in 0..side {
        for x in 0..side {
            let (rows, columns) = (field(y, h), field(if mirrored { side - 1 - x } else { x }, w));
            let area = (rows.len() * columns.len()) as f32;
            for channel in 0..channels {
                let row_sum = |y: usize| -> u64 {
                    columns.clone().map(|x| u64::from(pixels[(y * w + x) * channels + channel])).sum()
                };
                means.push(rows.clone().map(row_sum).sum::<u64>() as f32 / area);
            }
        }
    }
    means
}

/// Returns the mean of each value and its neighbours up to [`REACH`] positions away, along a row or a column of
/// [`SIDE`] values. `stride` is the distance between neighbours in `values`. Beyond the edge, the value at the edge is
/// repeated.
fn means_around(values: &[f32], stride: usize) -> Vec<f32> {
    let mean = |i: usize| {
        let place = i / stride % SIDE;
        let first = i - place * stride;
        let around = place as isize - REACH as isize..=(place + REACH) as isize;
        let sum: f32 =
            around.map(|at| values[first + at.clamp(0, SIDE as isize - 1) as usize * stride]).sum();
        sum / (2 * REACH + 1) as f32
    };
    (0..values.len()).map(mean).collect()
}

/// Returns the dot product. It adds up eight sums side by side, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A set of one image of `h` x `w` pixels with values `level(row, column, channel)`.
    fn image(h: usize, w: usize, channels: usize, level: impl Fn(usize, usize, usize) -> u8) -> ImageSet {
        let places = (0..h * w * channels).map(|i| (i / channels / w, i / channels % w, i % channels));
        let pixels = places.map(|(y, x, channel)| level(y, x, channel)).collect();
        ImageSet::new(h, w, channels, pixels, vec![0], ["thing"].map(crate::Foreign::from).into()).unwrap()
    }

    /// Pseudo-random levels.
    fn level(y: usize, x: usize, channel: usize) -> u8 {
        let mixed =
            (y as u32).wrapping_mul(2_654_435_761) ^ (x as u32).wrapping_mul(40_503_377) ^ channel as u32;
        ((mixed ^ mixed >> 13).wrapping_mul(1_274_126_177) >> 24) as u8
    }

    fn distance(a: &ImageSet, b: &ImageSet) -> f32 {
        let detail = |set: &ImageSet| Detail::new(&set.read(0).unwrap(), false);
        detail(a).distance(&detail(b))
    }

    #[test]
    fn a_descriptor_knows_neither_brightness_nor_contrast_nor_tint() {
        let half = |y, x, channel| level(y, x, channel) / 2;
        let plain = image(32, 32, 3, half);
        let tinted = image(32, 32, 3, |y, x, channel| half(y, x, channel) + 20 * channel as u8);
        let row = |set: &ImageSet, mirrored| descriptors(set, 0..1, mirrored).unwrap();
        assert_eq!(row(&plain, false).len(), descriptor_len(3));
        let similarity = |a: &[f32], b: &[f32]| dot(a, b);
        assert!((similarity(&row(&plain, false), &row(&plain, false)) - 1.0).abs() < 1e-5);
        assert!((similarity(&row(&plain, false), &row(&tinted, false)) - 1.0).abs() < 1e-5);
        let mirror = image(32, 32, 3, |y, x, channel| half(y, 31 - x, channel));
        assert_eq!(row(&plain, true), row(&mirror, false));
        assert!(similarity(&row(&plain, false), &row(&mirror, false)) < 0.5);
        assert!(row(&image(32, 32, 3, |_, _, _| 9), false).iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_shift_of_4_is_none_and_one_of_5_is_another_image() {
        let shifted = |dy, dx| image(32, 32, 1, move |y, x, channel| level(y + dy, x + dx, channel));
        let original = shifted(8, 8);
        for (dy, dx) in [(4, 4), (12, 4), (8, 12), (9, 7)] {
            assert!(distance(&original, &shifted(dy, dx)) < 0.02, "{dy} {dx}");
        }
        assert!(distance(&original, &shifted(13, 8)) > 0.5);
        assert!(distance(&original, &image(32, 32, 1, |y, x, c| 255 - level(y + 8, x + 8, c))) > 0.5);
    }

    /// Images of any size are compared in 32 x 32.
    #[test]
    fn images_of_other_sizes() {
        let wide = image(64, 96, 3, |y, x, channel| level(y / 2, x / 3, channel));
        assert!(distance(&wide, &image(32, 32, 3, level)) < 1e-4);
        let small = image(5, 3, 3, level);
        assert!(distance(&small, &small) < 1e-5);
        assert_eq!(descriptors(&small, 0..1, false).unwrap().len(), descriptor_len(3));
    }

    #[test]
    fn without_detail_there_is_nothing_to_compare() {
        let flat = image(32, 32, 3, |_, _, _| 200);
        assert_eq!((distance(&flat, &flat), distance(&flat, &image(32, 32, 3, level))), (1.0, 1.0));
    }
}
