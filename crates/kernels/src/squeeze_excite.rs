//! Squeeze and excite: scales each channel of an image by a gate, which is computed from the means of all channels.
//!
//! ```text
//! squeeze    s = means over the image's pixels       avg_pool2d with a window as large as the map
//! excite     gate = sigmoid(W2 * act(W1 * s))        two small linear layers
//! scale      y = x * gate                            here, with the gate functions
//! ```
//!
//! Source: Hu et al., <https://arxiv.org/abs/1709.01507>. The hard sigmoid is from Howard et al.,
//! <https://arxiv.org/abs/1905.02244>.

use rayon::prelude::*;

use crate::chunks::{check_len, rows_per_chunk};
use crate::direct::Element;
use crate::math::sigmoid_f32;
use crate::norm_act::lanes::{at, at_mut, for_lanes, relu6, relu6_gradient};
use crate::profile;
use crate::vectorise::vectorised;

/// Overwrites `y` with `x` times the gates: each of `n` images of `hw` pixels has one gate per channel.
///
/// # Shapes
/// `x` and `y` (n, hw, c), `gate` (n, c).
///
/// # Panics
/// If a length does not fit.
pub fn scale_channels<E: Element>(n: usize, hw: usize, c: usize, x: &[E], gate: &[f32], y: &mut [E]) {
    let _span = profile::channels("scale_channels", x.len(), c);
    check_len("scale_channels", "x", x.len(), n * hw * c);
    check_len("scale_channels", "gate", gate.len(), n * c);
    check_len("scale_channels", "y", y.len(), x.len());
    if y.is_empty() {
        return;
    }
    let piece = rows_per_chunk(c) * c;
    let images = x.par_chunks(hw * c).zip(gate.par_chunks(c));
    y.par_chunks_mut(hw * c).zip(images).for_each(|(y, (x, gate))| {
        y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| scale_piece(x, gate, y));
    });
}

/// Overwrites `dx` with `dy * gate`, and `dgate` with the sums of `dy * x` over the pixels of each image: the gradients of
/// [`scale_channels`].
///
/// Sums within a chunk of pixels are f32, sums over the chunks f64.
///
/// # Shapes
/// `x`, `dy` and `dx` (n, hw, c), `gate` and `dgate` (n, c).
///
/// # Panics
/// If a length does not fit.
#[expect(clippy::too_many_arguments, reason = "three sizes, and one slice each")]
pub fn scale_channels_backward<E: Element>(
    n: usize,
    hw: usize,
    c: usize,
    x: &[E],
    gate: &[f32],
    dy: &[E],
    dx: &mut [E],
    dgate: &mut [f32],
) {
    let _span = profile::channels("scale_channels_backward", x.len(), c);
    check_len("scale_channels_backward", "x", x.len(), n * hw * c);
    check_len("scale_channels_backward", "gate", gate.len(), n * c);
    check_len("scale_channels_backward", "dy", dy.len(), x.len());
    check_len("scale_channels_backward", "dx", dx.len(), x.len());
    check_len("scale_channels_backward", "dgate", dgate.len(), gate.len());
    dgate.fill(0.0);
    if dx.is_empty() {
        return;
    }
    let piece = rows_per_chunk(c) * c;
    let images = x.par_chunks(hw * c).zip(dy.par_chunks(hw * c)).zip(gate.par_chunks(c));
    let gradients = dx.par_chunks_mut(hw * c).zip(dgate.par_chunks_mut(c));
    gradients.zip(images).for_each(|((dx, dgate), ((x, dy), gate))| {
        let pieces = x.par_chunks(piece).zip(dy.par_chunks(piece));
        let add_up = |(dx, (x, dy)): (&mut [E], (&[E], &[E]))| {
            let mut sums = vec![0.0; c];
            backward_piece(x, gate, dy, dx, &mut sums);
            sums
        };
        let parts: Vec<Vec<f32>> = dx.par_chunks_mut(piece).zip(pieces).map(add_up).collect();
        for (i, dgate) in dgate.iter_mut().enumerate() {
            *dgate = parts.iter().map(|sums| f64::from(sums[i])).sum::<f64>() as f32;
        }
    });
}

/// Computes `y = 1 / (1 + e^-x)`.
///
/// # Panics
/// If the lengths differ.
pub fn sigmoid(x: &[f32], y: &mut [f32]) {
    let _span = profile::elements("sigmoid", x.len());
    check_len("sigmoid", "y", y.len(), x.len());
    sigmoid_piece(x, y);
}

/// Computes `dx = dy * y * (1 - y)`, the gradient of [`sigmoid`] from its output `y`.
///
/// # Panics
/// If the lengths differ.
pub fn sigmoid_backward(y: &[f32], dy: &[f32], dx: &mut [f32]) {
    let _span = profile::elements("sigmoid_backward", dx.len());
    check_len("sigmoid_backward", "dy", dy.len(), y.len());
    check_len("sigmoid_backward", "dx", dx.len(), y.len());
    for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
        *dx = dy * (y * (1.0 - y));
    }
}

/// Computes `y = relu6(x + 3) / 6`.
///
/// # Panics
/// If the lengths differ.
pub fn hard_sigmoid(x: &[f32], y: &mut [f32]) {
    let _span = profile::elements("hard_sigmoid", x.len());
    check_len("hard_sigmoid", "y", y.len(), x.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y = relu6(x + 3.0) * (1.0 / 6.0);
    }
}

/// Computes `dx = dy / 6` where the input `x` of [`hard_sigmoid`] is between -3 and 3, and 0 elsewhere. At -3 and 3
/// it is 0, as in PyTorch.
///
/// # Panics
/// If the lengths differ.
pub fn hard_sigmoid_backward(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let _span = profile::elements("hard_sigmoid_backward", dx.len());
    check_len("hard_sigmoid_backward", "dy", dy.len(), x.len());
    check_len("hard_sigmoid_backward", "dx", dx.len(), x.len());
    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
        *dx = relu6_gradient(x + 3.0, dy * (1.0 / 6.0));
    }
}

vectorised! {
    /// Runs on one thread, because gates are few.
    fn sigmoid_piece<E: Element>(x: &[E], y: &mut [E]) {
        for_lanes!(x.len(), i, N, {
            let (x, y) = (at::<E, N>(x, i), at_mut::<E, N>(y, i));
            for j in 0..N {
                y[j] = E::from_f32(sigmoid_f32(x[j].to_f32()));
            }
        });
    }
}

vectorised! {
    fn scale_piece<E: Element>(x: &[E], gate: &[f32], y: &mut [E]) {
        let c = gate.len();
        for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
            for_lanes!(c, i, N, {
                let (x, gate, y) = (at::<E, N>(x, i), at::<f32, N>(gate, i), at_mut::<E, N>(y, i));
                for j in 0..N {
                    y[j] = E::from_f32(x[j].to_f32() * gate[j]);
                }
            });
        }
    }
}

vectorised! {
    /// Computes `dx = dy * gate` and adds `dy * x` to `sums`.
    fn backward_piece<E: Element>(x: &[E], gate: &[f32], dy: &[E], dx: &mut [E], sums: &mut [f32]) {
        let c = gate.len();
        for ((dx, dy), x) in dx.chunks_exact_mut(c).zip(dy.chunks_exact(c)).zip(x.chunks_exact(c)) {
            for_lanes!(c, i, N, {
                let (x, dy, dx) = (at::<E, N>(x, i), at::<E, N>(dy, i), at_mut::<E, N>(dx, i));
                let (gate, sums) = (at::<f32, N>(gate, i), at_mut::<f32, N>(sums, i));
                for j in 0..N {
                    sums[j] += dy[j].to_f32() * x[j].to_f32();
                    dx[j] = E::from_f32(dy[j].to_f32() * gate[j]);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_at_their_ends() {
        let x = [-4.0, -3.0, 0.0, 3.0, 4.0, f32::NAN];
        let (mut y, mut dx) = ([9.0; 6], [9.0; 6]);
        hard_sigmoid(&x, &mut y);
        assert_eq!(y[..5], [0.0, 0.0, 0.5, 1.0, 1.0]);
        assert!(y[5].is_nan());
        hard_sigmoid_backward(&x, &[6.0; 6], &mut dx);
        assert_eq!(dx[..5], [0.0, 0.0, 1.0, 0.0, 0.0]);
        sigmoid(&[0.0, 200.0, -200.0, f32::NAN, 0.0, 0.0], &mut y);
        assert_eq!(y[..3], [0.5, 1.0, 0.0]);
        assert!(y[3].is_nan());
        sigmoid_backward(&y, &[4.0; 6], &mut dx);
        assert_eq!(dx[..3], [1.0, 0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "scale_channels: gate has 3 elements, expected 6")]
    fn a_wrong_length_is_named() {
        scale_channels(2, 2, 3, &[0.0; 12], &[0.0; 3], &mut [0f32; 12]);
    }
}
