//! Activations, element by element. `y` and the gradients are overwritten.

use std::f32::consts::FRAC_1_SQRT_2;

use crate::chunks::{CHUNK, check_len, for_each_chunk};
use crate::math::{erf_f32, exp_f32};
use crate::profile;

/// `y = max(x, 0)`; a NaN stays a NaN.
///
/// # Panics
/// If the lengths differ.
pub fn relu(x: &[f32], y: &mut [f32]) {
    let _span = profile::elements("relu", x.len());
    check_len("relu", "y", y.len(), x.len());
    for_each_chunk(y, CHUNK, |start, y| {
        for (y, &x) in y.iter_mut().zip(&x[start..]) {
            *y = if x <= 0.0 { 0.0 } else { x };
        }
    });
}

/// `dx = dy` where the output `y` of [`relu`] is above 0 (or NaN), else 0: at 0 the gradient is 0, as in PyTorch.
///
/// # Panics
/// If the lengths differ.
pub fn relu_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let _span = profile::elements("relu_backward", dx.len());
    check_len("relu_backward", "dy", dy.len(), y.len());
    check_len("relu_backward", "dx", dx.len(), y.len());
    for_each_chunk(dx, CHUNK, |start, dx| {
        for ((dx, &dy), &y) in dx.iter_mut().zip(&dy[start..]).zip(&y[start..]) {
            *dx = if y <= 0.0 { 0.0 } else { dy };
        }
    });
}

/// `y = x * cdf(x)`, with the cumulative normal distribution `cdf(x) = (1 + erf(x / sqrt 2)) / 2`: the exact form,
/// `torch.nn.GELU()`, not the one with tanh.
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>.
pub fn gelu(x: &[f32], y: &mut [f32]) {
    let _span = profile::elements("gelu", x.len());
    check_len("gelu", "y", y.len(), x.len());
    for_each_chunk(y, CHUNK, |start, y| {
        for (y, &x) in y.iter_mut().zip(&x[start..]) {
            *y = x * normal_cdf(x);
        }
    });
}

/// `dx = dy * (cdf(x) + x * pdf(x))`, the gradient of [`gelu`] at its input `x`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let _span = profile::elements("gelu_backward", dx.len());
    check_len("gelu_backward", "dy", dy.len(), x.len());
    check_len("gelu_backward", "dx", dx.len(), x.len());
    for_each_chunk(dx, CHUNK, |start, dx| {
        for ((dx, &dy), &x) in dx.iter_mut().zip(&dy[start..]).zip(&x[start..]) {
            *dx = dy * (normal_cdf(x) + x * normal_pdf(x));
        }
    });
}

#[inline]
fn normal_cdf(x: f32) -> f32 {
    0.5 + 0.5 * erf_f32(x * FRAC_1_SQRT_2)
}

#[inline]
fn normal_pdf(x: f32) -> f32 {
    const FRAC_1_SQRT_2_PI: f32 = 0.398_942_3;
    FRAC_1_SQRT_2_PI * exp_f32(-0.5 * x * x)
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
