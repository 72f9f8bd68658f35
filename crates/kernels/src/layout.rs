//! Layouts of weights for matrix products. Each call repacks the weights, so the caller's weights stay in PyTorch's
//! order.

use crate::chunks::{for_each_chunk, rows_per_chunk};
use crate::transpose::transpose;

/// Returns the (cols, rows) transpose of a (rows, cols) matrix.
pub(crate) fn transposed(matrix: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    debug_assert_eq!(matrix.len(), rows * cols);
    let mut out = vec![0.0; matrix.len()];
    for_each_chunk(&mut out, (rows_per_chunk(rows) * rows).max(1), |start, out| {
        let (first_col, n_cols) = (start / rows, out.len() / rows);
        transpose(&matrix[first_col..], cols, out, rows, [rows, n_cols]);
    });
    out
}

/// Returns (c_out, c_in, n_taps) weights as (c_out, n_taps, c_in), the order of the numbers in a patch of a map.
pub(crate) fn taps_outermost(weight: &[f32], c_in: usize, n_taps: usize) -> Vec<f32> {
    let mut out = vec![0.0; weight.len()];
    for_each_filter(&mut out, c_in * n_taps, weight, |from, to| {
        for tap in 0..n_taps {
            for i in 0..c_in {
                to[tap * c_in + i] = from[i * n_taps + tap];
            }
        }
    });
    out
}

/// Overwrites `out` with the inverse of [`taps_outermost`].
pub(crate) fn taps_innermost(weight: &[f32], c_in: usize, n_taps: usize, out: &mut [f32]) {
    for_each_filter(out, c_in * n_taps, weight, |from, to| {
        for i in 0..c_in {
            for tap in 0..n_taps {
                to[i * n_taps + tap] = from[tap * c_in + i];
            }
        }
    });
}

/// Calls `rearrange(from, to)` for each output channel's filter of `len` weights.
fn for_each_filter(
    out: &mut [f32],
    len: usize,
    weight: &[f32],
    rearrange: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    debug_assert_eq!(out.len(), weight.len());
    for_each_chunk(out, (rows_per_chunk(len) * len).max(1), |start, out| {
        for (to, from) in out.chunks_exact_mut(len).zip(weight[start..].chunks_exact(len)) {
            rearrange(from, to);
        }
    });
}

/// Returns the weights that compute the gradient of a convolution's input from that of its output where both strides
/// are 1: (c_out, n_taps, c_in) weights as (n_taps, c_out, c_in) with the taps in reverse order.
pub(crate) fn reversed_taps(weight: &[f32], c_in: usize, n_taps: usize) -> Vec<f32> {
    let c_out = weight.len() / (c_in * n_taps);
    let mut out = vec![0.0; weight.len()];
    for_each_chunk(&mut out, rows_per_chunk(c_in) * c_in, |start, out| {
        for (row, to) in (start / c_in..).zip(out.chunks_exact_mut(c_in)) {
            let (tap, o) = (n_taps - 1 - row / c_out, row % c_out);
            to.copy_from_slice(&weight[(o * n_taps + tap) * c_in..][..c_in]);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(len: usize) -> Vec<f32> {
        (0..len).map(|i| i as f32).collect()
    }

    #[test]
    fn transposition_swaps_the_indices_at_any_size() {
        for (rows, cols) in [(1, 1), (2, 3), (16, 16), (17, 33), (1, 40), (40, 1), (300, 200)] {
            let matrix = numbered(rows * cols);
            let t = transposed(&matrix, rows, cols);
            for row in 0..rows {
                for col in 0..cols {
                    assert_eq!(t[col * rows + row], matrix[row * cols + col], "{rows} x {cols}");
                }
            }
        }
    }

    #[test]
    fn taps_move_out_and_back() {
        let (c_out, c_in, n_taps) = (40, 60, 15); // more than one chunk
        let weight = numbered(c_out * c_in * n_taps);
        let moved = taps_outermost(&weight, c_in, n_taps);
        assert_eq!(moved[(3 * n_taps + 5) * c_in + 7], weight[(3 * c_in + 7) * n_taps + 5]);
        let mut back = vec![0.0; weight.len()];
        taps_innermost(&moved, c_in, n_taps, &mut back);
        assert_eq!(back, weight);
        let reversed = reversed_taps(&moved, c_in, n_taps);
        assert_eq!(reversed[((14 - 5) * c_out + 3) * c_in + 7], weight[(3 * c_in + 7) * n_taps + 5]);
    }
}
