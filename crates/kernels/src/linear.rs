//! The fully connected layer and its gradients. The weight is (f_out, f_in), as in PyTorch.

use crate::chunks::{check_len, for_each_chunk};
use crate::gemm::{Matrix, Store, begin_with, multiply};
use crate::layout::transposed;
use crate::profile;

/// Number of rows of a result that one task computes.
const ROWS_PER_TASK: usize = 32;

#[track_caller]
fn check(function: &str, features: (usize, usize), lengths: [(&str, usize, usize); 3]) {
    let (f_in, f_out) = features;
    assert!(f_in > 0 && f_out > 0, "{function}: {f_in} features to {f_out}, expected at least 1 each");
    for (what, actual, expected) in lengths {
        check_len(function, what, actual, expected);
    }
}

/// Overwrites `y` with `x * weight^T + bias`, as `torch.nn.functional.linear`.
///
/// The bits of a row of `y` do not depend on the number of rows.
///
/// # Shapes
/// `x` (n, f_in), `weight` (f_out, f_in), `bias` (f_out), `y` (n, f_out).
///
/// # Panics
/// If a length does not fit, or there are no features.
pub fn linear_forward(
    n: usize,
    f_in: usize,
    f_out: usize,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let _span = profile::linear("linear_forward", n, f_in, f_out);
    let lengths =
        [("x", x.len(), n * f_in), ("weight", weight.len(), f_out * f_in), ("y", y.len(), n * f_out)];
    check("linear_forward", (f_in, f_out), lengths);
    if let Some(bias) = bias {
        check_len("linear_forward", "bias", bias.len(), f_out);
    }
    let packed = transposed(weight, f_out, f_in); // packed once: otherwise each task's product would pack it again
    let packed = Matrix::row_major(&packed, f_in, f_out);
    for_each_chunk(y, ROWS_PER_TASK * f_out, |start, y| {
        let (first, rows) = (start / f_out, y.len() / f_out);
        let x = &x[first * f_in..(first + rows) * f_in];
        if rows == 1 {
            // the product of a single row sums in another order than that of several rows, so the row is doubled
            let mut pair = vec![0.0; 2 * f_out];
            let store = begin_with(bias, &mut pair);
            multiply(&mut pair, store, Matrix::row_major(&x.repeat(2), 2, f_in), packed);
            y.copy_from_slice(&pair[..f_out]);
            return;
        }
        let store = begin_with(bias, y);
        multiply(y, store, Matrix::row_major(x, rows, f_in), packed);
    });
}

/// Overwrites `dx` with the gradient of the input: `dy * weight`.
///
/// # Shapes
/// `dy` (n, f_out), `weight` (f_out, f_in), `dx` (n, f_in).
///
/// # Panics
/// If a length does not fit, or there are no features.
pub fn linear_input_grad(n: usize, f_in: usize, f_out: usize, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let _span = profile::linear("linear_input_grad", n, f_in, f_out);
    let lengths =
        [("dy", dy.len(), n * f_out), ("weight", weight.len(), f_out * f_in), ("dx", dx.len(), n * f_in)];
    check("linear_input_grad", (f_in, f_out), lengths);
    let weight = Matrix::row_major(weight, f_out, f_in);
    for_each_chunk(dx, ROWS_PER_TASK * f_in, |start, dx| {
        let (first, rows) = (start / f_in, dx.len() / f_in);
        let dy = Matrix::row_major(&dy[first * f_out..(first + rows) * f_out], rows, f_out);
        multiply(dx, Store::Overwrite, dy, weight);
    });
}

/// Overwrites `dweight` with the gradient of the weight: `dy^T * x`.
///
/// # Shapes
/// `x` (n, f_in), `dy` (n, f_out), `dweight` (f_out, f_in).
///
/// # Panics
/// If a length does not fit, or there are no features.
pub fn linear_weight_grad(n: usize, f_in: usize, f_out: usize, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let _span = profile::linear("linear_weight_grad", n, f_in, f_out);
    let lengths =
        [("x", x.len(), n * f_in), ("dy", dy.len(), n * f_out), ("dweight", dweight.len(), f_out * f_in)];
    check("linear_weight_grad", (f_in, f_out), lengths);
    let (x, dy) = (Matrix::row_major(x, n, f_in), Matrix::row_major(dy, n, f_out));
    for_each_chunk(dweight, ROWS_PER_TASK * f_in, |start, dweight| {
        let (first, rows) = (start / f_in, dweight.len() / f_in);
        multiply(dweight, Store::Overwrite, dy.columns(first..first + rows).transposed(), x);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others() {
        let (n, f_in, f_out) = (65, 515, 7);
        let numbers =
            |len: usize, k: usize| (0..len).map(|i| ((i * k % 1009) as f32 - 504.0) / 77.0).collect();
        let (x, weight): (Vec<f32>, Vec<f32>) = (numbers(n * f_in, 31), numbers(f_out * f_in, 17));
        let bias: Vec<f32> = numbers(f_out, 5);
        let forward = |x: &[f32]| {
            let mut y = vec![0.0; x.len() / f_in * f_out];
            linear_forward(x.len() / f_in, f_in, f_out, x, &weight, Some(&bias), &mut y);
            y
        };
        let all = forward(&x);
        for n_together in [1, 2, 3, 33] {
            let pieces: Vec<f32> = x.chunks(n_together * f_in).flat_map(forward).collect();
            assert_eq!(pieces, all, "{n_together} rows at a time");
        }
    }
}
