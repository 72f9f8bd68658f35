//! Pooling over windows of (n, h, w, c) maps, separately for each channel.
//!
//! One line of the output is one task. The loop goes through a window pixel by pixel with the channels innermost, so
//! that the numbers that are compared or added lie side by side.

mod avg;
mod max;

pub use avg::{avg_pool2d, avg_pool2d_backward};
pub(crate) use max::pool_2x2;
pub use max::{max_pool2d, max_pool2d_backward};

use std::ops::Range;

use crate::chunks::check_len;
use crate::padding::n_windows;

/// The shape of a pooling: (n, h, w, c) maps in, (n, h_out, w_out, c) maps out, rounded down (PyTorch's
/// `ceil_mode=False`). The window, the stride and `c` must be at least 1. The padding must be at most half the
/// window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Number of images.
    pub n: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Number of channels.
    pub c: usize,
    /// Height of the window.
    pub k_h: usize,
    /// Width of the window.
    pub k_w: usize,
    /// Distance between neighbouring windows in pixels, in both directions.
    pub stride: usize,
    /// Number of lines and columns added on each of the four sides.
    pub padding: usize,
}

impl PoolShape {
    /// Returns the height of the output: `(h + 2 padding - k_h) / stride + 1`, rounded down; 0 if the window does not
    /// fit.
    pub fn h_out(&self) -> usize {
        n_windows(self.h, self.k_h, self.stride, self.padding)
    }

    /// Returns the width of the output: `(w + 2 padding - k_w) / stride + 1`, rounded down; 0 if the window does not
    /// fit.
    pub fn w_out(&self) -> usize {
        n_windows(self.w, self.k_w, self.stride, self.padding)
    }

    /// Returns the number of elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.image_len()
    }

    /// Returns the number of elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.pooled_len()
    }

    /// Returns the number of elements of one input image.
    fn image_len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Returns the number of elements of one output image.
    fn pooled_len(&self) -> usize {
        self.h_out() * self.w_out() * self.c
    }

    /// Returns the pixels of window `i` (`k` pixels wide) that are inside `0..len`.
    fn inside(&self, i: usize, k: usize, len: usize) -> Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.padding)..(start + k).saturating_sub(self.padding).min(len)
    }

    /// Returns which of `n_windows` windows, of `k` pixels each, contain pixel `i`.
    fn seen_by(&self, i: usize, k: usize, n_windows: usize) -> Range<usize> {
        let at = i + self.padding;
        let first = (at + 1).saturating_sub(k).div_ceil(self.stride);
        first..(at / self.stride + 1).min(n_windows).max(first)
    }

    /// Panics if the place of a winner in its window does not fit into one byte.
    #[track_caller]
    fn check_window(&self, function: &str) {
        assert!(self.k_h * self.k_w <= 256, "{function}: a window has more than 256 pixels: {self:?}");
    }

    #[track_caller]
    fn check(&self, function: &str, x: (&str, usize), y: (&str, usize)) {
        let least = self.k_h.min(self.k_w);
        assert!(
            least > 0 && self.stride > 0 && self.c > 0,
            "{function}: window, stride and channels must be at least 1: {self:?}"
        );
        assert!(
            2 * self.padding <= least,
            "{function}: the padding may be half the window at most: {self:?}"
        );
        check_len(function, x.0, x.1, self.x_len());
        check_len(function, y.0, y.1, self.y_len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: PoolShape = PoolShape { n: 2, h: 5, w: 8, c: 3, k_h: 3, k_w: 3, stride: 2, padding: 1 };

    #[test]
    fn sizes() {
        assert_eq!((SHAPE.h_out(), SHAPE.w_out(), SHAPE.x_len(), SHAPE.y_len()), (3, 4, 240, 72));
        assert_eq!(PoolShape { padding: 0, h: 2, ..SHAPE }.y_len(), 0);
    }

    #[test]
    fn windows_are_cut_off_at_the_edges() {
        let windows = |i, k, len| SHAPE.inside(i, k, len);
        assert_eq!((windows(0, 3, 5), windows(1, 3, 5), windows(2, 3, 5)), (0..2, 1..4, 3..5));
        assert_eq!(
            (SHAPE.seen_by(0, 3, 3), SHAPE.seen_by(1, 3, 3), SHAPE.seen_by(4, 3, 3)),
            (0..1, 0..2, 2..3)
        );
    }

    #[test]
    #[should_panic(expected = "avg_pool2d: the padding may be half the window at most")]
    fn a_window_in_the_padding_is_refused() {
        avg_pool2d::<f32>(&PoolShape { padding: 2, ..SHAPE }, &[], &mut []);
    }

    #[test]
    #[should_panic(expected = "max_pool2d: winners has 71 elements, expected 72")]
    fn a_wrong_length_is_named() {
        max_pool2d(&SHAPE, &[0.0; 240], &mut [0.0; 72], &mut [0; 71]);
    }
}
