//! The gradient of a depthwise convolution's input.

use super::DepthwiseShape;
use super::gather::{ANY, Gather, Inputs, gather};
use crate::direct::Element;
use crate::layout::transposed;
use crate::profile;

/// Overwrites `dx` with the gradient of [`depthwise_forward`](super::depthwise_forward)'s input.
///
/// # Shapes
/// `dy` (n, h_out, w_out, c), `weight` (c, 1, k, k), `dx` (n, h, w, c).
///
/// # Panics
/// If a length does not fit the shape.
pub fn depthwise_input_grad<E: Element>(s: &DepthwiseShape, dy: &[E], weight: &[f32], dx: &mut [E]) {
    let _span = profile::depthwise("depthwise_input_grad", s);
    s.check("depthwise_input_grad", ("dx", dx.len()), ("weight", weight.len()), ("dy", dy.len()));
    let weight = transposed(weight, s.c, s.k * s.k);
    let forward = s.gather();
    let g = Gather { from: forward.to, to: forward.from, transposed: true, ..forward };
    gather(&Inputs { g, from: dy, weight: &weight, bias: None, limits: ANY }, dx, |_| ());
}
