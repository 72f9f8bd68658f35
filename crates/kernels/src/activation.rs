//! Activations, element by element. `y` and the gradients are overwritten.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len};
use crate::direct::Element;
use crate::norm_act::lanes::{self, at, at_mut, for_lanes};
use crate::profile;
use crate::vectorise::vectorised;

/// `y = max(x, 0)`; a NaN stays a NaN.
///
/// # Panics
/// If the lengths differ.
pub fn relu<E: Element>(x: &[E], y: &mut [E]) {
    let _span = profile::elements("relu", x.len());
    check_len("relu", "y", y.len(), x.len());
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| relu_piece(x, y));
}

/// `dx = dy` where the output `y` of [`relu`] is above 0 (or NaN), else 0: at 0 the gradient is 0, as in PyTorch.
///
/// # Panics
/// If the lengths differ.
pub fn relu_backward<E: Element>(y: &[E], dy: &[E], dx: &mut [E]) {
    let _span = profile::elements("relu_backward", dx.len());
    check_len("relu_backward", "dy", dy.len(), y.len());
    check_len("relu_backward", "dx", dx.len(), y.len());
    let inputs = y.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
    dx.par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, (y, dy))| relu_backward_piece(y, dy, dx));
}

/// `y = x * cdf(x)`, with the cumulative normal distribution `cdf(x) = (1 + erf(x / sqrt 2)) / 2`: the exact form,
/// `torch.nn.GELU()`, not the one with tanh.
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>.
pub fn gelu<E: Element>(x: &[E], y: &mut [E]) {
    let _span = profile::elements("gelu", x.len());
    check_len("gelu", "y", y.len(), x.len());
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| gelu_piece(x, y));
}

/// `dx = dy * (cdf(x) + x * pdf(x))`, the gradient of [`gelu`] at its input `x`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    let _span = profile::elements("gelu_backward", dx.len());
    check_len("gelu_backward", "dy", dy.len(), x.len());
    check_len("gelu_backward", "dx", dx.len(), x.len());
    let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
    dx.par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, (x, dy))| gelu_backward_piece(x, dy, dx));
}

vectorised! {
    fn relu_piece<E: Element>(x: &[E], y: &mut [E]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = E::from_f32(lanes::relu(x.to_f32()));
        }
    }
}

vectorised! {
    fn relu_backward_piece<E: Element>(y: &[E], dy: &[E], dx: &mut [E]) {
        for ((dx, &dy), &y) in dx.iter_mut().zip(dy).zip(y) {
            *dx = if y.to_f32() <= 0.0 { E::default() } else { dy };
        }
    }
}

vectorised! {
    fn gelu_piece<E: Element>(x: &[E], y: &mut [E]) {
        for_lanes!(x.len(), i, N, {
            let (x, y) = (at::<E, N>(x, i), at_mut::<E, N>(y, i));
            for j in 0..N {
                y[j] = E::from_f32(lanes::gelu(x[j].to_f32()));
            }
        });
    }
}

vectorised! {
    fn gelu_backward_piece<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
        for_lanes!(x.len(), i, N, {
            let (x, dy, dx) = (at::<E, N>(x, i), at::<E, N>(dy, i), at_mut::<E, N>(dx, i));
            for j in 0..N {
                dx[j] = E::from_f32(dy[j].to_f32() * lanes::gelu_slope(x[j].to_f32()));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_at_0_and_at_nan() {
        let x = [-1.0, -0.0, 0.0, 2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let (mut y, mut dx) = ([9.0; 7], [9.0; 7]);
        relu(&x, &mut y);
        assert_eq!(y[..4], [0.0, 0.0, 0.0, 2.0]);
        assert_eq!((y[5], y[6]), (f32::INFINITY, 0.0));
        assert!(y[4].is_nan());
        assert!(y.iter().all(|y| y.is_nan() || y.is_sign_positive()), "-0 in {y:?}");
        relu_backward(&y, &[3.0; 7], &mut dx);
        assert_eq!(dx, [0.0, 0.0, 0.0, 3.0, 3.0, 3.0, 0.0]);
        relu_backward(&[1.0; 7], &x, &mut dx);
        assert!(dx[4].is_nan());
    }

    #[test]
    fn gelu_far_from_0() {
        let (mut y, mut dx) = ([9.0; 4], [9.0; 4]);
        gelu(&[20.0, -20.0, 0.0, f32::NAN], &mut y);
        assert_eq!(y[..3], [20.0, 0.0, 0.0]);
        assert!(y[3].is_nan());
        gelu_backward(&[20.0, -20.0, 0.0, f32::NAN], &[2.0; 4], &mut dx);
        assert_eq!(dx[..3], [2.0, 0.0, 1.0]);
        assert!(dx[3].is_nan());
    }

    #[test]
    #[should_panic(expected = "relu_backward: dy has 3 elements, expected 2")]
    fn a_wrong_length_is_named() {
        relu_backward(&[0.0; 2], &[0.0; 3], &mut [0.0; 2]);
    }
}
