//! Pooling over windows of (n, h, w, c) maps, each channel for itself.
//!
//! One image is one task. Windows are walked pixel by pixel with the channels innermost, so that what is compared or
//! added lies side by side.

mod avg;
mod max;

pub use avg::{avg_pool2d, avg_pool2d_backward};
pub use max::{max_pool2d, max_pool2d_backward};

use std::ops::Range;

use crate::chunks::check_len;
use crate::conv::n_windows;

/// The shape of a pooling: (n, h, w, c) maps, (n, h_out, w_out, c) maps out of it, rounded down (PyTorch's
/// `ceil_mode=False`). The window, the stride and `c` must be at least 1, the padding half the window at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images.
    pub n: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Height of the window.
    pub k_h: usize,
    /// Width of the window.
    pub k_w: usize,
    /// Pixels from one window to the next, in both directions.
    pub stride: usize,
    /// Lines and columns added on each of the four sides.
    pub padding: usize,
}

impl PoolShape {
    /// Height of the output: `(h + 2 padding - k_h) / stride + 1`, rounded down; 0 where the window does not fit.
    pub fn h_out(&self) -> usize {
        n_windows(self.h, self.k_h, self.stride, self.padding)
    }

    /// Width of the output: `(w + 2 padding - k_w) / stride + 1`, rounded down; 0 where the window does not fit.
    pub fn w_out(&self) -> usize {
        n_windows(self.w, self.k_w, self.stride, self.padding)
    }

    /// Elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.image_len()
    }

    /// Elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.pooled_len()
    }

    /// Elements of one image.
    fn image_len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Elements of what one image becomes.
    fn pooled_len(&self) -> usize {
        self.h_out() * self.w_out() * self.c
    }

    /// The pixels of the image, as offsets in its plane, that pixel `out` of its output sees, line by line.
    fn window(&self, out: usize) -> impl Iterator<Item = usize> + use<> {
        let (oy, ox, w) = (out / self.w_out(), out % self.w_out(), self.w);
        let columns = self.inside(ox, self.k_w, self.w);
        self.inside(oy, self.k_h, self.h).flat_map(move |y| columns.clone().map(move |x| y * w + x))
    }

    /// The part within 0..len of window `i`.
    fn inside(&self, i: usize, k: usize, len: usize) -> Range<usize> {
        let start = i * self.stride;
        start.saturating_sub(self.padding)..(start + k).saturating_sub(self.padding).min(len)
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
        assert_eq!(SHAPE.window(0).collect::<Vec<_>>(), [0, 1, 8, 9]);
        assert_eq!(SHAPE.window(5).collect::<Vec<_>>(), [9, 10, 11, 17, 18, 19, 25, 26, 27]);
        assert_eq!(SHAPE.window(11).collect::<Vec<_>>(), [29, 30, 31, 37, 38, 39]);
    }

    #[test]
    #[should_panic(expected = "avg_pool2d: the padding may be half the window at most")]
    fn a_window_in_the_padding_is_refused() {
        avg_pool2d(&PoolShape { padding: 2, ..SHAPE }, &[], &mut []);
    }

    #[test]
    #[should_panic(expected = "max_pool2d: argmax has 71 elements, expected 72")]
    fn a_wrong_length_is_named() {
        max_pool2d(&SHAPE, &[0.0; 240], &mut [0.0; 72], &mut [0; 71]);
    }
}
