//! Depthwise convolution: each channel has its own kernel, and channels do not mix.
//!
//! ```text
//! forward          y[oy, ox, c]  = sum over r, t of x[oy * stride + r - top, ox * stride + t - left, c] * w[c, r, t]
//! input gradient   dx[iy, ix, c] = sum of dy * w over the windows that contain the pixel
//! weight gradient  dw[c, r, t]   = sum over images, oy, ox of x * dy
//! ```
//!
//! There are few products per number that is read and written. So a vector holds channels of one pixel, a column is
//! loaded once for all pixels of a strip that see it, and the operations that follow run before the sums are written
//! or while they are in the cache. The forward pass and the input gradient are one loop: a line of a map gathers from
//! lines of another map ([`Gather`]).
//!
//! The loops for 3x3, 5x5 and 7x7 with stride 1 and 2 are in `direct`, for instruction sets with vectors; `plain` has
//! one for everything else. Work is divided into lines of the output. In bf16, maps are read and written as bf16;
//! weights, products and sums are f32.

mod folded;
mod forward;
mod gather;
mod input_grad;
pub(crate) mod plain;
mod weight_grad;

pub use folded::FoldedDepthwise;
pub use forward::{depthwise_forward, depthwise_forward_with_moments};
pub(crate) use gather::{ANY, Gather, LinesTask, SumsTask};
pub use input_grad::depthwise_input_grad;
pub use weight_grad::depthwise_weight_grad;

use crate::chunks::check_len;
use crate::padding::Padding;

/// The shape of a depthwise convolution: (n, h, w, c) maps in, (c, 1, k, k) weights, (n, h_out, w_out, c) maps out.
/// `c`, `k` and `stride` must be at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DepthwiseShape {
    /// Number of images.
    pub n: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Number of channels.
    pub c: usize,
    /// Height and width of the kernel.
    pub k: usize,
    /// Distance between neighbouring windows in pixels, in both directions.
    pub stride: usize,
    /// Zero padding around the input.
    pub padding: Padding,
}

impl DepthwiseShape {
    /// Returns the height of the output: `(h + zeros - k) / stride + 1`, rounded down; 0 if the kernel does not fit.
    pub fn h_out(&self) -> usize {
        self.padding.windows(self.h, self.k, self.stride).0
    }

    /// Returns the width of the output: `(w + zeros - k) / stride + 1`, rounded down; 0 if the kernel does not fit.
    pub fn w_out(&self) -> usize {
        self.padding.windows(self.w, self.k, self.stride).0
    }

    /// Returns the number of lines of zeros above the input, and of columns of zeros to its left.
    pub fn zeros_before(&self) -> [usize; 2] {
        [self.h, self.w].map(|len| self.padding.windows(len, self.k, self.stride).1)
    }

    /// Returns the number of elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Returns the number of elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.h_out() * self.w_out() * self.c
    }

    /// Returns the number of elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.c * self.k * self.k
    }

    /// Returns the forward pass as lines that gather from lines.
    pub(crate) fn gather(&self) -> Gather {
        Gather {
            n: self.n,
            c: self.c,
            k: self.k,
            stride: self.stride,
            before: self.zeros_before(),
            from: [self.h, self.w],
            to: [self.h_out(), self.w_out()],
            transposed: false,
        }
    }

    #[track_caller]
    fn check(&self, function: &str, x: (&str, usize), weight: (&str, usize), y: (&str, usize)) {
        let least = self.c.min(self.k).min(self.stride);
        assert!(least > 0, "{function}: channels, kernel and stride must be at least 1: {self:?}");
        check_len(function, x.0, x.1, self.x_len());
        check_len(function, weight.0, weight.1, self.weight_len());
        check_len(function, y.0, y.1, self.y_len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: DepthwiseShape =
        DepthwiseShape { n: 2, h: 7, w: 9, c: 3, k: 4, stride: 2, padding: Padding::Symmetric(1) };

    #[test]
    fn sizes() {
        assert_eq!((SHAPE.h_out(), SHAPE.w_out()), (3, 4));
        assert_eq!((SHAPE.x_len(), SHAPE.y_len(), SHAPE.weight_len()), (378, 72, 48));
        assert_eq!(DepthwiseShape { k: 10, ..SHAPE }.y_len(), 0);
        assert_eq!(DepthwiseShape { padding: Padding::Same, ..SHAPE }.h_out(), 4);
    }

    #[test]
    #[should_panic(expected = "depthwise_forward: weight has 3 elements, expected 48")]
    fn a_wrong_length_is_named() {
        depthwise_forward(&SHAPE, &[0f32; 378], &[0.0; 3], None, &mut [0.0; 72]);
    }

    #[test]
    #[should_panic(expected = "depthwise_forward: bias has 4 elements, expected 3")]
    fn a_wrong_bias_is_named() {
        depthwise_forward(&SHAPE, &[0f32; 378], &[0.0; 48], Some(&[0.0; 4]), &mut [0.0; 72]);
    }

    #[test]
    #[should_panic(expected = "stride must be at least 1")]
    fn stride_0_is_refused() {
        let shape = DepthwiseShape { stride: 0, k: 20, ..SHAPE };
        depthwise_input_grad(&shape, &[], &[0.0; 1200], &mut [0f32; 378]);
    }
}
