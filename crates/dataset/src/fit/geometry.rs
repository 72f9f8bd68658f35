//! Positions of the pixels of a fitted picture: sizes and offsets, rounded as in torchvision, timm and Pillow.

use std::ops::Range;

use super::{Fit, Preprocess};

/// How one side (rows or columns) is resized, cropped and placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Side {
    /// Pixels of the picture along this side.
    pub(super) from: usize,
    /// Pixels of the whole resized side.
    resized: usize,
    /// First visible pixel of the resized side.
    start: usize,
    /// Number of visible pixels.
    pub(super) shown: usize,
    /// Position of the first visible pixel in the output.
    pub(super) place: usize,
}

/// A part of a side, in pixels of the original picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) start: f64,
    pub(super) len: f64,
}

impl Span {
    /// Returns the same part in coordinates that begin `by` pixels later.
    pub(super) fn shifted(self, by: usize) -> Self {
        Self { start: self.start - by as f64, ..self }
    }
}

impl From<&Range<usize>> for Span {
    fn from(range: &Range<usize>) -> Self {
        Self { start: range.start as f64, len: range.len() as f64 }
    }
}

impl Side {
    /// Returns whether every pixel stays unchanged.
    pub(super) fn is_whole(&self) -> bool {
        self.from == self.resized && self.resized == self.shown
    }

    fn scale(&self) -> f64 {
        self.from as f64 / self.resized as f64
    }

    /// Returns the visible part.
    pub(super) fn span(&self) -> Span {
        if self.shown == self.resized {
            return Span { start: 0.0, len: self.from as f64 }; // avoids the rounding of the division
        }
        Span { start: self.start as f64 * self.scale(), len: self.shown as f64 * self.scale() }
    }

    /// Returns the pixels that contribute to the visible part. The widest filter reaches two pixels beyond it, measured
    /// in the coarser of the two resolutions; one pixel is added.
    pub(super) fn needed(&self) -> Range<usize> {
        let (Span { start, len }, reach) = (self.span(), 2.0 * self.scale().max(1.0) + 1.0);
        let end = ((start + len + reach).ceil() as usize).min(self.from);
        (start - reach).max(0.0) as usize..end
    }
}

/// Returns how the rows and the columns of a picture of size `from` are fitted.
pub(super) fn sides(preprocess: &Preprocess, from: [usize; 2]) -> [Side; 2] {
    let target = preprocess.size_px;
    let resized = match preprocess.fit {
        Fit::Squash => target,
        Fit::Crop => around(from, target.map(|side| (side as f64 / preprocess.crop_fraction) as usize)),
        Fit::Pad => within(from, target),
    };
    std::array::from_fn(|axis| {
        let (resized, target) = (resized[axis], target[axis]);
        let start = half(resized.saturating_sub(target));
        let place = half(target.saturating_sub(resized));
        Side { from: from[axis], resized, start, shown: resized.min(target), place }
    })
}

/// Returns the smallest size with the aspect ratio of `from` that covers `least`.
///
/// A square `least` is handled like torchvision's `Resize(side)`: rounded down. Any other size is handled like timm's
/// `ResizeKeepRatio`: rounded to the nearest integer.
fn around(from: [usize; 2], least: [usize; 2]) -> [usize; 2] {
    if least[0] == least[1] {
        let shorter = from[0].min(from[1]) as u64;
        return from.map(|side| (least[0] as u64 * side as u64 / shorter) as usize);
    }
    let ratio = (from[0] as f64 / least[0] as f64).min(from[1] as f64 / least[1] as f64);
    let resized = |axis: usize| ((from[axis] as f64 / ratio).round_ties_even() as usize).max(least[axis]);
    [resized(0), resized(1)]
}

/// Returns the largest size with the aspect ratio of `from` that fits into `most`; no side is 0. Equals Pillow's
/// `ImageOps.contain`.
fn within(from: [usize; 2], most: [usize; 2]) -> [usize; 2] {
    let ratio = |[height, width]: [usize; 2]| width as f64 / height as f64;
    let side = |ratio: f64, other: usize| ((ratio * other as f64).round_ties_even() as usize).max(1);
    let ([height, width], [most_height, most_width]) = (from, most);
    if ratio(from) > ratio(most) {
        [side(height as f64 / width as f64, most_width).min(most_height), most_width]
    } else {
        [most_height, side(width as f64 / height as f64, most_height).min(most_width)]
    }
}

/// Returns half of `n`, with ties rounded to even: Python's `round(n / 2)`, the offset of `CenterCrop`.
fn half(n: usize) -> usize {
    n / 2 + usize::from(n % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Interpolation;

    fn resized(fit: Fit, size_px: [usize; 2], crop_fraction: f64, from: [usize; 2]) -> [(usize, usize); 2] {
        let preprocess = Preprocess { size_px, fit, crop_fraction, interpolation: Interpolation::Bilinear };
        sides(&preprocess, from).map(|side| (side.resized, side.start.max(side.place)))
    }

    #[test]
    fn halves_go_to_the_even_side() {
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(half), [0, 0, 1, 2, 2, 2, 3, 4]);
    }

    #[test]
    fn a_crop_covers_the_input() {
        assert_eq!(resized(Fit::Crop, [224, 224], 0.875, [375, 500]), [(256, 16), (341, 58)]);
        assert_eq!(resized(Fit::Crop, [224, 224], 0.8, [500, 333]), [(420, 98), (280, 28)]);
        assert_eq!(resized(Fit::Crop, [224, 224], 1.0, [300, 224]), [(300, 38), (224, 0)]);
        assert_eq!(resized(Fit::Crop, [100, 200], 1.0, [50, 50]), [(200, 50), (200, 0)]);
    }

    #[test]
    fn padding_keeps_the_proportions_and_a_pixel() {
        assert_eq!(resized(Fit::Pad, [224, 224], 0.875, [375, 500]), [(168, 28), (224, 0)]);
        assert_eq!(resized(Fit::Pad, [20, 30], 1.0, [7, 7]), [(20, 0), (20, 5)]);
        assert_eq!(resized(Fit::Pad, [20, 30], 1.0, [1, 4000]), [(1, 10), (30, 0)]);
    }

    #[test]
    fn what_is_needed_is_little_more_than_what_is_seen() {
        let preprocess = Preprocess {
            size_px: [10, 10],
            fit: Fit::Crop,
            crop_fraction: 1.0,
            interpolation: Interpolation::Bilinear,
        };
        let [rows, columns] = sides(&preprocess, [20, 100]);
        assert_eq!((rows.needed(), columns.needed()), (0..20, 35..65));
        assert_eq!(columns.span(), Span { start: 40.0, len: 20.0 });
    }
}
