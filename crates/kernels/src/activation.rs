//! Elementwise activations and their gradients. All functions overwrite `y` or `dx`.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len};
use crate::direct::Element;
use crate::norm_act::After;
use crate::norm_act::lanes::{self, at, at_mut, for_lanes};
use crate::profile;
use crate::vectorise::vectorised;

/// Computes `y = max(x, 0)`; NaN stays NaN.
///
/// # Panics
/// If the lengths differ.
pub fn relu<E: Element>(x: &[E], y: &mut [E]) {
    let _span = profile::elements("relu", x.len());
    check_len("relu", "y", y.len(), x.len());
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| relu_piece(x, y));
}

/// Computes `dx = dy` where the output `y` of [`relu`] is above 0 or NaN, and 0 elsewhere. The gradient at 0 is 0, as
/// in PyTorch.
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

/// Computes `y = min(max(x, 0), 6)`; NaN stays NaN.
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// Howard et al., <https://arxiv.org/abs/1704.04861>.
pub fn relu6<E: Element>(x: &[E], y: &mut [E]) {
    curve("relu6", After::Relu6, x, y);
}

/// Computes `dx = dy` where the input `x` of [`relu6`] is between 0 and 6, and 0 elsewhere. At 0 and 6 it is 0, as in
/// PyTorch.
///
/// # Panics
/// If the lengths differ.
pub fn relu6_backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    curve_backward("relu6_backward", After::Relu6, x, dy, dx);
}

/// Computes `y = x * cdf(x)` with the cumulative normal distribution `cdf(x) = (1 + erf(x / sqrt 2)) / 2`. This is
/// the exact form, `torch.nn.GELU()`, not the approximation with tanh.
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>.
pub fn gelu<E: Element>(x: &[E], y: &mut [E]) {
    curve("gelu", After::Gelu, x, y);
}

/// Computes `dx = dy * (cdf(x) + x * pdf(x))`, the gradient of [`gelu`] at its input `x`.
///
/// # Panics
/// If the lengths differ.
pub fn gelu_backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    curve_backward("gelu_backward", After::Gelu, x, dy, dx);
}

/// Computes `y = x * sigmoid(x)`, also known as swish. Minus infinity gives NaN, as in PyTorch.
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// Hendrycks and Gimpel, <https://arxiv.org/abs/1606.08415>; Ramachandran et al., <https://arxiv.org/abs/1710.05941>.
pub fn silu<E: Element>(x: &[E], y: &mut [E]) {
    curve("silu", After::Silu, x, y);
}

/// Computes `dx = dy * sigmoid(x) * (1 + x * (1 - sigmoid(x)))`, the gradient of [`silu`] at its input `x`.
///
/// # Panics
/// If the lengths differ.
pub fn silu_backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    curve_backward("silu_backward", After::Silu, x, dy, dx);
}

/// Computes `y = x * relu6(x + 3) / 6`.
///
/// # Panics
/// If the lengths differ.
///
/// # Source
/// Howard et al., <https://arxiv.org/abs/1905.02244>.
pub fn hard_swish<E: Element>(x: &[E], y: &mut [E]) {
    curve("hard_swish", After::HardSwish, x, y);
}

/// Computes the gradient of [`hard_swish`] at its input `x`: `dx = dy * (x / 3 + 1 / 2)` between -3 and 3, 0 for
/// `x <= -3`, and `dy` for `x >= 3`, as in PyTorch.
///
/// # Panics
/// If the lengths differ.
pub fn hard_swish_backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E]) {
    curve_backward("hard_swish_backward", After::HardSwish, x, dy, dx);
}

fn curve<E: Element>(function: &'static str, after: After, x: &[E], y: &mut [E]) {
    let _span = profile::elements(function, x.len());
    check_len(function, "y", y.len(), x.len());
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| curve_piece(after, x, y));
}

fn curve_backward<E: Element>(function: &'static str, after: After, x: &[E], dy: &[E], dx: &mut [E]) {
    let _span = profile::elements(function, dx.len());
    check_len(function, "dy", dy.len(), x.len());
    check_len(function, "dx", dx.len(), x.len());
    let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
    dx.par_chunks_mut(CHUNK).zip(inputs).for_each(|(dx, (x, dy))| curve_backward_piece(after, x, dy, dx));
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
    fn curve_piece<E: Element>(after: After, x: &[E], y: &mut [E]) {
        match after {
            After::Relu6 => map(x, y, lanes::relu6),
            After::Gelu => map(x, y, lanes::gelu),
            After::Silu => map(x, y, lanes::silu),
            After::HardSwish => map(x, y, lanes::hard_swish),
            After::Nothing | After::Relu | After::ReluPool => unreachable!("{after:?} has no curve here"),
        }
    }
}

vectorised! {
    fn curve_backward_piece<E: Element>(after: After, x: &[E], dy: &[E], dx: &mut [E]) {
        match after {
            After::Relu6 => map_backward(x, dy, dx, lanes::relu6_gradient),
            After::Gelu => map_backward(x, dy, dx, |x, dy| dy * lanes::gelu_slope(x)),
            After::Silu => map_backward(x, dy, dx, |x, dy| dy * lanes::silu_slope(x)),
            After::HardSwish => map_backward(x, dy, dx, |x, dy| dy * lanes::hard_swish_slope(x)),
            After::Nothing | After::Relu | After::ReluPool => unreachable!("{after:?} has no curve here"),
        }
    }
}

vectorised! {
    /// Overwrites `y` with its activation, on the calling thread, right after that thread has written `y`.
    fn curve_in_place<E: Element>(after: After, y: &mut [E]) {
        match after {
            After::Gelu => map_in_place(y, lanes::gelu),
            After::Silu => map_in_place(y, lanes::silu),
            After::HardSwish => map_in_place(y, lanes::hard_swish),
            _ => unreachable!("{after:?} is not a curve"),
        }
    }
}

#[inline(always)]
fn map<E: Element>(x: &[E], y: &mut [E], f: impl Fn(f32) -> f32) {
    for_lanes!(x.len(), i, N, {
        let (x, y) = (at::<E, N>(x, i), at_mut::<E, N>(y, i));
        for j in 0..N {
            y[j] = E::from_f32(f(x[j].to_f32()));
        }
    });
}

#[inline(always)]
fn map_backward<E: Element>(x: &[E], dy: &[E], dx: &mut [E], gradient: impl Fn(f32, f32) -> f32) {
    for_lanes!(x.len(), i, N, {
        let (x, dy, dx) = (at::<E, N>(x, i), at::<E, N>(dy, i), at_mut::<E, N>(dx, i));
        for j in 0..N {
            dx[j] = E::from_f32(gradient(x[j].to_f32(), dy[j].to_f32()));
        }
    });
}

#[inline(always)]
fn map_in_place<E: Element>(y: &mut [E], f: impl Fn(f32) -> f32) {
    for_lanes!(y.len(), i, N, {
        let y = at_mut::<E, N>(y, i);
        for j in 0..N {
            y[j] = E::from_f32(f(y[j].to_f32()));
        }
    });
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
    fn relu6_at_its_ends() {
        let x = [-1.0, 0.0, 0.5, 6.0, 7.0, f32::NAN, f32::INFINITY, 5.5];
        let (mut y, mut dx) = ([9.0; 8], [9.0; 8]);
        relu6(&x, &mut y);
        assert_eq!(y[..5], [0.0, 0.0, 0.5, 6.0, 6.0]);
        assert_eq!((y[6], y[7]), (6.0, 5.5));
        assert!(y[5].is_nan());
        relu6_backward(&x, &[2.0; 8], &mut dx);
        assert_eq!(dx, [0.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 2.0]);
    }

    #[test]
    fn swishes_far_from_0_and_at_their_ends() {
        let (mut y, mut dx) = ([9.0; 5], [9.0; 5]);
        silu(&[100.0, -200.0, 0.0, f32::NAN, 1.0], &mut y);
        assert_eq!(y[..3], [100.0, 0.0, 0.0]);
        assert!(y[3].is_nan());
        silu_backward(&[100.0, -200.0, 0.0, f32::NAN, 1.0], &[2.0; 5], &mut dx);
        assert_eq!(dx[..3], [2.0, 0.0, 1.0]);
        assert!(dx[3].is_nan());
        hard_swish(&[-3.0, -4.0, 3.0, f32::NAN, 9.0], &mut y);
        assert_eq!((y[..3].to_vec(), y[4]), (vec![0.0, 0.0, 3.0], 9.0));
        assert!(y[3].is_nan());
        hard_swish_backward(&[-3.0, -4.0, 3.0, 0.0, 9.0], &[2.0; 5], &mut dx);
        assert_eq!(dx, [0.0, 0.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "relu_backward: dy has 3 elements, expected 2")]
    fn a_wrong_length_is_named() {
        relu_backward(&[0.0; 2], &[0.0; 3], &mut [0.0; 2]);
    }
}
