//! The fully connected layer and its gradients. Its weight is (f_out, f_in), as in PyTorch.

use crate::chunks::{check_len, for_each_chunk};
use crate::gemm::{Matrix, Store, begin_with, multiply};
use crate::layout::transposed;
use crate::profile;

/// Rows of a result that one task computes.
const ROWS_PER_TASK: usize = 32;

#[track_caller]
fn check(function: &str, features: (usize, usize), lengths: [(&str, usize, usize); 3]) {
    let (f_in, f_out) = features;
    assert!(f_in > 0 && f_out > 0, "{function}: {f_in} features to {f_out}, expected at least 1 each");
    for (what, actual, expected) in lengths {
        check_len(function, what, actual, expected);
    }
}

/// `y = x * weight^T + bias`, as `torch.nn.functional.linear`.
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
    let packed = transposed(weight, f_out, f_in); // once, where every task's product would do it again
    let packed = Matrix::row_major(&packed, f_in, f_out);
    for_each_chunk(y, ROWS_PER_TASK * f_out, |start, y| {
        let (first, rows) = (start / f_out, y.len() / f_out);
        let store = begin_with(bias, y);
        let x = Matrix::row_major(&x[first * f_in..(first + rows) * f_in], rows, f_in);
        multiply(y, store, x, packed);
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
