//! Enlarging or shrinking of normalised images, for networks that want larger images than a data set has.
//!
//! The interpolation is bilinear, like `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` without
//! antialiasing. The centre of pixel `i` of `n` lies at `(i + 0.5) / n`. Beyond the centres of the outermost pixels,
//! the outermost pixel is repeated.

/// Position of an output pixel between two input pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Between {
    first: usize,
    second: usize,
    /// Weight of the second pixel.
    share: f32,
}

/// Returns the positions of `to` output pixels among `from` input pixels.
fn positions(from: usize, to: usize) -> Vec<Between> {
    let scale = from as f32 / to as f32;
    let position = |i: usize| {
        let at = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (at as usize).min(from - 1);
        Between { first, second: (first + 1).min(from - 1), share: at - first as f32 }
    };
    (0..to).map(position).collect()
}

/// Resizes images from one size to another.
#[derive(Clone, Debug)]
pub(crate) struct Resize {
    rows: Vec<Between>,
    columns: Vec<Between>,
    /// Columns of the input.
    width: usize,
    channels: usize,
}

impl Resize {
    /// Creates a resizer from the size `from` to the size `to`, (rows, columns); no side is 0.
    pub(crate) fn new(from: [usize; 2], to: [usize; 2], channels: usize) -> Self {
        Self { rows: positions(from[0], to[0]), columns: positions(from[1], to[1]), width: from[1], channels }
    }

    /// Returns rows and columns of the output.
    pub(crate) fn size(&self) -> [usize; 2] {
        [self.rows.len(), self.columns.len()]
    }

    /// Overwrites `out` with the resized `image`, both HWC. `line` is working memory.
    ///
    /// # Panics
    /// If a length does not fit the sizes.
    pub(crate) fn apply(&self, image: &[f32], line: &mut Vec<f32>, out: &mut [f32]) {
        let (c, line_len) = (self.channels, self.width * self.channels);
        line.resize(line_len, 0.0);
        for (row, out) in self.rows.iter().zip(out.chunks_exact_mut(self.columns.len() * c)) {
            let (first, second) = (&image[row.first * line_len..], &image[row.second * line_len..]);
            for ((mixed, a), b) in line.iter_mut().zip(first).zip(second) {
                *mixed = a + (b - a) * row.share;
            }
            for (column, out) in self.columns.iter().zip(out.chunks_exact_mut(c)) {
                let (first, second) = (&line[column.first * c..], &line[column.second * c..]);
                for ((out, a), b) in out.iter_mut().zip(first).zip(second) {
                    *out = a + (b - a) * column.share;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(image: &[f32], from: [usize; 2], to: [usize; 2], channels: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; to[0] * to[1] * channels];
        Resize::new(from, to, channels).apply(image, &mut Vec::new(), &mut out);
        out
    }

    /// `F.interpolate(torch.arange(6.).reshape(1, 1, 2, 3), size=(3, 5), mode="bilinear", align_corners=False)`
    #[test]
    fn it_is_pytorchs() {
        let expected = [
            0.0, 0.4, 1.0, 1.6, 2.0, //
            1.5, 1.9, 2.5, 3.1, 3.5, //
            3.0, 3.4, 4.0, 4.6, 5.0,
        ];
        let actual = resized(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [2, 3], [3, 5], 1);
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 1e-6, "{actual:?}");
        }
    }

    #[test]
    fn channels_stay_apart_and_smaller_is_possible() {
        let image: Vec<f32> = (0..4 * 6).flat_map(|i| [i as f32, -(i as f32)]).collect();
        let small = resized(&image, [4, 6], [2, 3], 2);
        assert_eq!(small[..4], [3.5, -3.5, 5.5, -5.5]);
        assert!(small.chunks(2).all(|pixel| pixel[0] == -pixel[1]));
        assert_eq!(resized(&image, [4, 6], [4, 6], 2), image);
    }
}
