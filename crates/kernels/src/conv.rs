//! Two-dimensional convolution. It runs the direct loop (see `direct`) if the instruction set has one, otherwise the
//! matrix of patches (see `im2col`) times the weights, in tiles of rows. For bf16 without a direct loop, everything
//! is converted to f32: correct but slow.
//!
//! By patches:
//!
//! ```text
//! forward          y  = patches(x) * W        W repacked to (k_h * k_w * c_in, c_out)
//! input gradient   dx = patches(dy) * W'      stride 1: W' has its taps reversed, c_in and c_out swapped
//!                  dx = scatter(dy * W)       other strides
//! weight gradient  dW = sum over tiles of patches(x)^T * dy
//! ```

mod folded;
mod input_grad;
mod weight_grad;

pub use folded::{FoldedConv, FoldedEpilogue};
pub use input_grad::conv2d_input_grad;
pub use weight_grad::conv2d_weight_grad;

use crate::chunks::{check_len, for_each_chunk};
use crate::direct::{self, Element, Epilogue, Input, Kernels, Moments, PackedWeights, Pass};
use crate::gemm::{Matrix, begin_with, multiply};
use crate::im2col::Patches;
use crate::isa::isa;
use crate::layout::{taps_outermost, transposed};
use crate::padding::Padding;
use crate::profile;
use crate::reduce::channel_moments;

/// The shape of a convolution: (n, h, w, c_in) maps in, (c_out, c_in, k_h, k_w) weights, (n, h_out, w_out, c_out)
/// maps out. Everything except `n`, `h`, `w` and `padding` must be at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Number of images.
    pub n: usize,
    /// Height of the input.
    pub h: usize,
    /// Width of the input.
    pub w: usize,
    /// Number of input channels.
    pub c_in: usize,
    /// Number of output channels.
    pub c_out: usize,
    /// Height of the kernel.
    pub k_h: usize,
    /// Width of the kernel.
    pub k_w: usize,
    /// Distance between neighbouring windows in pixels, in both directions.
    pub stride: usize,
    /// Zero padding around the input.
    pub padding: Padding,
}

impl ConvShape {
    /// Returns the height of the output: `(h + zeros - k_h) / stride + 1`, rounded down; 0 if the kernel does not
    /// fit.
    pub fn h_out(&self) -> usize {
        self.padding.windows(self.h, self.k_h, self.stride).0
    }

    /// Returns the width of the output: `(w + zeros - k_w) / stride + 1`, rounded down; 0 if the kernel does not fit.
    pub fn w_out(&self) -> usize {
        self.padding.windows(self.w, self.k_w, self.stride).0
    }

    /// Returns the number of lines of zeros above the input, and of columns of zeros to its left.
    pub fn zeros_before(&self) -> [usize; 2] {
        [(self.h, self.k_h), (self.w, self.k_w)].map(|(len, k)| self.padding.windows(len, k, self.stride).1)
    }

    /// Returns the number of elements of the input.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c_in
    }

    /// Returns the number of elements of the output.
    pub fn y_len(&self) -> usize {
        self.n * self.h_out() * self.w_out() * self.c_out
    }

    /// Returns the number of elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.c_out * self.c_in * self.k_h * self.k_w
    }

    /// Returns the patches of the input under the output's pixels.
    fn patches(&self) -> Patches {
        let [top, left] = self.zeros_before();
        Patches {
            n: self.n,
            h: self.h,
            w: self.w,
            c: self.c_in,
            k_h: self.k_h,
            k_w: self.k_w,
            stride: self.stride,
            top: top as isize,
            left: left as isize,
            h_out: self.h_out(),
            w_out: self.w_out(),
        }
    }

    #[track_caller]
    fn check(&self, function: &str, x: (&str, usize), weight: (&str, usize), y: (&str, usize)) {
        let least = [self.c_in, self.c_out, self.k_h, self.k_w, self.stride].into_iter().min();
        assert!(least > Some(0), "{function}: channels, kernel and stride must be at least 1: {self:?}");
        check_len(function, x.0, x.1, self.x_len());
        check_len(function, weight.0, weight.1, self.weight_len());
        check_len(function, y.0, y.1, self.y_len());
    }
}

/// Overwrites `y` with `conv2d(x, weight) + bias`, a cross-correlation as in `torch.nn.functional.conv2d`.
///
/// The factors of the products are of type `E`. Sums are f32 and rounded once to `E`.
///
/// # Shapes
/// `x` (n, h, w, c_in), `weight` (c_out, c_in, k_h, k_w), `bias` (c_out), `y` (n, h_out, w_out, c_out).
///
/// # Panics
/// If a length does not fit the shape.
pub fn conv2d_forward<E: Element>(s: &ConvShape, x: &[E], weight: &[f32], bias: Option<&[f32]>, y: &mut [E]) {
    let _span = profile::conv("conv2d_forward", s, Pass::Forward.method_name::<E>(s));
    check_forward("conv2d_forward", s, x, weight, bias, y);
    match Kernels::of(isa()) {
        Some(kernels) if s.y_len() > 0 => {
            direct::forward(
                &kernels,
                s,
                Input::Map(x),
                &pack(&kernels, s, weight),
                &Epilogue::bias(bias),
                y,
                false,
            );
        }
        _ => E::edit_as_f32(y, |y| forward_by_patches(s, &E::as_f32(x), &rounded::<E>(weight), bias, y)),
    }
}

/// Runs [`conv2d_forward`] and returns the moments of each channel of `y`, from which the statistics of batch norm
/// follow.
///
/// The moments are of the sums before they are rounded to `E`, or of `y` if there is no direct loop. Sums over some
/// images are f32, sums over those f64.
///
/// # Panics
/// If a length does not fit the shape.
pub fn conv2d_forward_with_moments<E: Element>(
    s: &ConvShape,
    x: &[E],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [E],
) -> Moments {
    let _span = profile::conv("conv2d_forward_with_moments", s, Pass::Forward.method_name::<E>(s));
    check_forward("conv2d_forward_with_moments", s, x, weight, bias, y);
    let count = s.n * s.h_out() * s.w_out();
    let moments = Kernels::of(isa()).filter(|_| count > 0).and_then(|kernels| {
        direct::forward(
            &kernels,
            s,
            Input::Map(x),
            &pack(&kernels, s, weight),
            &Epilogue::bias(bias),
            y,
            true,
        )
    });
    if let Some(moments) = moments {
        return moments;
    }
    conv2d_forward(s, x, weight, bias, y);
    channel_moments(y, s.c_out)
}

fn pack<E: Element>(kernels: &Kernels<E>, s: &ConvShape, weight: &[f32]) -> PackedWeights<E> {
    PackedWeights::new(kernels, s, weight, None)
}

/// Rounds the weights to `E`, as in the products.
fn rounded<E: Element>(weight: &[f32]) -> Vec<f32> {
    weight.iter().map(|&w| E::from_f32(w).to_f32()).collect()
}

fn check_forward<E>(function: &str, s: &ConvShape, x: &[E], weight: &[f32], bias: Option<&[f32]>, y: &[E]) {
    s.check(function, ("x", x.len()), ("weight", weight.len()), ("y", y.len()));
    if let Some(bias) = bias {
        check_len(function, "bias", bias.len(), s.c_out);
    }
}

fn forward_by_patches(s: &ConvShape, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let patches = s.patches();
    let filters = taps_outermost(weight, s.c_in, s.k_h * s.k_w);
    let packed = transposed(&filters, s.c_out, patches.patch_len());
    multiply_patches(&patches, x, &packed, bias, y);
}

/// Computes `y = patches(x) * packed + bias`, tile by tile; `packed` is (patch, c_out).
fn multiply_patches(patches: &Patches, x: &[f32], packed: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let patch_len = patches.patch_len();
    let c_out = packed.len() / patch_len;
    let packed = Matrix::row_major(packed, patch_len, c_out);
    for_each_chunk(y, patches.rows_per_tile(64) * c_out, |start, y| {
        let rows = start / c_out..(start + y.len()) / c_out;
        let store = begin_with(bias, y);
        patches.with_rows(x, rows.clone(), |tile| {
            multiply(y, store, Matrix::row_major(tile, rows.len(), patch_len), packed);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: ConvShape = ConvShape {
        n: 2,
        h: 7,
        w: 9,
        c_in: 3,
        c_out: 5,
        k_h: 3,
        k_w: 4,
        stride: 2,
        padding: Padding::Symmetric(1),
    };

    #[test]
    fn sizes() {
        assert_eq!((SHAPE.h_out(), SHAPE.w_out()), (4, 4));
        assert_eq!((SHAPE.x_len(), SHAPE.y_len(), SHAPE.weight_len()), (378, 160, 180));
        let too_large = ConvShape { k_h: 10, ..SHAPE };
        assert_eq!((too_large.h_out(), too_large.y_len()), (0, 0));
        let just_fits = ConvShape { k_h: 9, ..SHAPE };
        assert_eq!(just_fits.h_out(), 1);
    }

    #[test]
    #[should_panic(expected = "conv2d_forward: weight has 3 elements, expected 180")]
    fn a_wrong_length_is_named() {
        conv2d_forward(&SHAPE, &[0f32; 378], &[0.0; 3], None, &mut [0.0; 160]);
    }

    #[test]
    #[should_panic(expected = "conv2d_forward: bias has 4 elements, expected 5")]
    fn a_wrong_bias_is_named() {
        conv2d_forward(&SHAPE, &[0f32; 378], &[0.0; 180], Some(&[0.0; 4]), &mut [0.0; 160]);
    }

    #[test]
    #[should_panic(expected = "stride must be at least 1")]
    fn stride_0_is_refused() {
        let shape = ConvShape { stride: 0, k_h: 20, k_w: 20, ..SHAPE };
        conv2d_forward(&shape, &[0f32; 378], &[0.0; 6000], None, &mut []);
    }
}
