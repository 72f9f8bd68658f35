//! The forward pass of a depthwise convolution.

use super::DepthwiseShape;
use super::gather::{ANY, Inputs, gather};
use crate::chunks::check_len;
use crate::direct::{Element, Moments};
use crate::layout::transposed;
use crate::profile;
use crate::reduce::{add_moments, total_moments};

/// Overwrites `y` with `conv2d(x, weight, groups = c) + bias`, as `torch.nn.functional.conv2d`: each channel has its
/// own kernel.
///
/// Products and sums are f32, rounded once to `E`.
///
/// # Shapes
/// `x` (n, h, w, c), `weight` (c, 1, k, k), `bias` (c), `y` (n, h_out, w_out, c).
///
/// # Panics
/// If a length does not fit the shape.
pub fn depthwise_forward<E: Element>(
    s: &DepthwiseShape,
    x: &[E],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [E],
) {
    let _span = profile::depthwise("depthwise_forward", s);
    check("depthwise_forward", s, x, weight, bias, y);
    let weight = transposed(weight, s.c, s.k * s.k);
    let inputs = Inputs { g: s.gather(), from: x, weight: &weight, bias, limits: ANY };
    gather(&inputs, y, |_| ());
}

/// Runs [`depthwise_forward`] and returns the moments of each channel of `y` as written. Sums over some lines are
/// f32, sums over those f64.
///
/// # Panics
/// If a length does not fit the shape.
pub fn depthwise_forward_with_moments<E: Element>(
    s: &DepthwiseShape,
    x: &[E],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [E],
) -> Moments {
    let _span = profile::depthwise("depthwise_forward_with_moments", s);
    check("depthwise_forward_with_moments", s, x, weight, bias, y);
    let weight = transposed(weight, s.c, s.k * s.k);
    let inputs = Inputs { g: s.gather(), from: x, weight: &weight, bias, limits: ANY };
    let parts = gather(&inputs, y, |y| {
        let mut sums = vec![0.0; 2 * s.c];
        add_moments(y, &mut sums);
        sums
    });
    total_moments(&parts, y.len() / s.c, s.c)
}

fn check<E>(function: &str, s: &DepthwiseShape, x: &[E], weight: &[f32], bias: Option<&[f32]>, y: &[E]) {
    s.check(function, ("x", x.len()), ("weight", weight.len()), ("y", y.len()));
    if let Some(bias) = bias {
        check_len(function, "bias", bias.len(), s.c);
    }
}
