//! The gradient of a depthwise convolution's weights: sums over chunks of lines, added in order.

use super::gather::SumsTask;
use super::{DepthwiseShape, plain};
use crate::chunks::map_in_order;
use crate::direct::{Element, Kernels};
use crate::isa::isa;
use crate::profile;

/// Least number of elements of `dy` in a chunk. They stay in L2 together with the elements of `x`, and one f32 sum
/// does not get too many terms.
const CHUNK: usize = 1 << 15;

/// Least number of elements of `dy` in a chunk per sum, so that the sums cost little in comparison.
const PER_SUM: usize = 8;

/// Overwrites `dweight` with the gradient of [`depthwise_forward`](super::depthwise_forward)'s weight.
///
/// Products and sums over a chunk of lines are f32, sums over the chunks f64.
///
/// # Shapes
/// `x` (n, h, w, c), `dy` (n, h_out, w_out, c), `dweight` (c, 1, k, k).
///
/// # Panics
/// If a length does not fit the shape.
pub fn depthwise_weight_grad<E: Element>(s: &DepthwiseShape, x: &[E], dy: &[E], dweight: &mut [f32]) {
    let _span = profile::depthwise("depthwise_weight_grad", s);
    s.check("depthwise_weight_grad", ("x", x.len()), ("dweight", dweight.len()), ("dy", dy.len()));
    let (g, n_sums) = (s.gather(), dweight.len());
    let n_lines = if dy.is_empty() { 0 } else { g.n_lines() };
    let per_chunk = g.lines_of(CHUNK.max(PER_SUM * n_sums));
    let kernels = Kernels::<E>::of(isa()).filter(|kernels| kernels.serves(&g));
    let parts = map_in_order(n_lines.div_ceil(per_chunk), |chunk| {
        let mut sums = vec![0.0; n_sums];
        let lines = chunk * per_chunk..n_lines.min((chunk + 1) * per_chunk);
        let task = SumsTask { g: &g, x, dy, lines, sums: &mut sums };
        match &kernels {
            Some(kernels) => kernels.run_sums(task),
            None => plain::sums(task),
        }
        sums
    });
    let n_taps = s.k * s.k;
    for (channel, dweight) in dweight.chunks_exact_mut(n_taps).enumerate() {
        for (tap, dweight) in dweight.iter_mut().enumerate() {
            let at = tap * s.c + channel;
            *dweight = parts.iter().map(|sums| f64::from(sums[at])).sum::<f64>() as f32;
        }
    }
}
