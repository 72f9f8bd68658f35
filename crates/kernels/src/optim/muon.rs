//! Muon: a step along the momentum of a matrix whose singular values were all made nearly 1.
//!
//! ```text
//! orthogonalize(G):                                     G (rows, cols), as its transpose where there are more rows
//!     X = G / max(||G||, 1e-7)                          so that no singular value is above 1
//!     repeat ns_steps times:
//!         A = X X^T                                     of the lesser side
//!         X = (3.4445 I - 4.7750 A + 2.0315 A^2) X      which takes a singular value s to 3.4445 s - 4.7750 s^3 + 2.0315 s^5
//! ```
//!
//! Five iterations take singular values from 0.01 to 1 into about 0.7 to 1.2: near enough, and steeper at 0 than
//! coefficients that would end at 1. Products are cut into tasks by rows, whose number depends on the shape alone.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len, for_each_chunk, map_in_order};
use crate::gemm::{Matrix, Store, multiply};
use crate::layout::transposed;
use crate::profile;

/// The coefficients of X, of A X and of A^2 X.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Gradients of a lesser norm than this are not made larger than they would be with it: those of 0 stay 0.
const MIN_NORM: f64 = 1e-7;

/// Rows of a result that one task computes.
const ROWS_PER_TASK: usize = 32;

/// Settings of [`muon_step`], named as those of `torch.optim.Muon` where it has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonConfig {
    /// Learning rate.
    pub lr: f64,
    /// The share of the buffer that stays at each step; without a buffer it has no meaning.
    pub momentum: f64,
    /// Whether the step looks ahead along the buffer; without a buffer it has no meaning.
    pub nesterov: bool,
    /// Iterations of [`orthogonalize`].
    pub ns_steps: usize,
    /// Whether the matrix is brought to the norm `sqrt(rows)` before each step: a mean norm of 1 per row, which is a
    /// filter.
    pub filter_norm: bool,
    /// In each step the matrix shrinks by the share `lr * weight_decay`.
    pub weight_decay: f64,
}

/// One step of Muon on a matrix of `rows` rows; the filters of a convolution are rows of (c_out, c_in * k_h * k_w).
///
/// ```text
/// buffer = momentum * buffer + g                 (it begins as 0)
/// d = buffer                                     (Nesterov: g + momentum * buffer; without a buffer: g)
/// p = p * sqrt(rows) / ||p||                     (with filter_norm)
/// p = p - lr * weight_decay * p - lr * sqrt(max(1, rows / cols)) * orthogonalize(d)
/// ```
///
/// Without `filter_norm` it is `torch.optim.Muon` with its own way to adjust the rate, but for two things: the
/// iteration is in f32, where that is in bf16; and the buffer is a sum, where that is a mean, `1 - momentum` of this,
/// which leaves the direction the same. Norms are Frobenius norms.
///
/// # Panics
/// If the lengths differ, or are no whole rows.
///
/// # Source
/// Jordan, <https://kellerjordan.github.io/posts/muon/>; `filter_norm` is his in
/// <https://github.com/KellerJordan/cifar10-airbench>.
pub fn muon_step(
    p: &mut [f32],
    g: &[f32],
    momentum_buffer: Option<&mut [f32]>,
    rows: usize,
    cfg: &MuonConfig,
) {
    let _span = profile::parameters("muon_step");
    check_len("muon_step", "g", g.len(), p.len());
    if p.is_empty() {
        return;
    }
    let cols = check_matrix("muon_step", "p", p.len(), rows);
    let direction = momentum_buffer.map(|buffer| look_ahead(g, buffer, cfg));
    let mut update = direction.unwrap_or_else(|| g.to_vec());
    orthogonalize_in_place(&mut update, rows, cols, cfg.ns_steps);
    let scale = match cfg.filter_norm {
        true => (rows as f64).sqrt() / norm(p).max(f64::from(f32::MIN_POSITIVE)),
        false => 1.0,
    };
    let kept = (scale * (1.0 - cfg.lr * cfg.weight_decay)) as f32;
    let step_size = (cfg.lr * (rows as f64 / cols as f64).max(1.0).sqrt()) as f32;
    p.par_chunks_mut(CHUNK).zip(update.par_chunks(CHUNK)).for_each(|(p, update)| {
        for (p, &update) in p.iter_mut().zip(update) {
            *p = kept * *p - step_size * update;
        }
    });
}

/// Adds the gradient to the buffer; returns the direction of the step.
fn look_ahead(g: &[f32], buffer: &mut [f32], cfg: &MuonConfig) -> Vec<f32> {
    check_len("muon_step", "momentum_buffer", buffer.len(), g.len());
    let momentum = cfg.momentum as f32;
    let (of_g, of_buffer) = if cfg.nesterov { (1.0, momentum) } else { (0.0, 1.0) };
    let mut direction = vec![0.0; g.len()];
    let chunks = direction.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK)).zip(buffer.par_chunks_mut(CHUNK));
    chunks.for_each(|((direction, g), buffer)| {
        for ((direction, &g), buffer) in direction.iter_mut().zip(g).zip(buffer) {
            *buffer = momentum * *buffer + g;
            *direction = of_g * g + of_buffer * *buffer;
        }
    });
    direction
}

/// The matrix with the singular vectors of `matrix` and singular values near 1, by `ns_steps` Newton-Schulz iterations
/// of the fifth order, in f32.
///
/// # Shapes
/// `matrix` and the result (rows, any number).
///
/// # Panics
/// If `matrix` is no matrix of `rows` rows.
///
/// # Source
/// <https://kellerjordan.github.io/posts/muon/>.
pub fn orthogonalize(matrix: &[f32], rows: usize, ns_steps: usize) -> Vec<f32> {
    let _span = profile::parameters("orthogonalize");
    let cols = check_matrix("orthogonalize", "matrix", matrix.len(), rows);
    let mut out = matrix.to_vec();
    orthogonalize_in_place(&mut out, rows, cols, ns_steps);
    out
}

/// The number of columns of a matrix.
#[track_caller]
fn check_matrix(function: &str, what: &str, len: usize, rows: usize) -> usize {
    let is_matrix = rows > 0 && len.is_multiple_of(rows);
    assert!(is_matrix, "{function}: {what} has {len} elements, expected a multiple of the {rows} rows");
    len / rows
}

fn orthogonalize_in_place(matrix: &mut [f32], rows: usize, cols: usize, ns_steps: usize) {
    let scale = (1.0 / norm(matrix).max(MIN_NORM)) as f32;
    for_each_chunk(matrix, CHUNK, |_, piece| piece.iter_mut().for_each(|x| *x *= scale));
    if rows <= cols {
        iterate(matrix, rows, cols, ns_steps);
    } else {
        let mut wide = transposed(matrix, rows, cols);
        iterate(&mut wide, cols, rows, ns_steps);
        matrix.copy_from_slice(&transposed(&wide, cols, rows));
    }
}

/// The iterations on `x` (r, c), which has no more rows than columns.
fn iterate(x: &mut [f32], r: usize, c: usize, ns_steps: usize) {
    let (mut gram, mut polynomial, mut before) = (vec![0.0; r * r], vec![0.0; r * r], vec![0.0; x.len()]);
    for _ in 0..ns_steps {
        let whole = Matrix::row_major(x, r, c);
        product(&mut gram, r, x, c, whole.transposed());
        product(&mut polynomial, r, &gram, r, Matrix::row_major(&gram, r, r));
        let [of_x, of_gram, of_square] = COEFFICIENTS;
        for (i, (polynomial, gram)) in polynomial.chunks_exact_mut(r).zip(gram.chunks_exact(r)).enumerate() {
            for (polynomial, &gram) in polynomial.iter_mut().zip(gram) {
                *polynomial = of_gram * gram + of_square * *polynomial;
            }
            polynomial[i] += of_x;
        }
        before.copy_from_slice(x);
        product(x, c, &polynomial, r, Matrix::row_major(&before, r, c));
    }
}

/// `dst = lhs * rhs`, where rows of `dst` have `n` elements and those of `lhs` `k`.
fn product(dst: &mut [f32], n: usize, lhs: &[f32], k: usize, rhs: Matrix) {
    for_each_chunk(dst, ROWS_PER_TASK * n, |start, dst| {
        let (first, rows) = (start / n, dst.len() / n);
        let lhs = Matrix::row_major(&lhs[first * k..(first + rows) * k], rows, k);
        multiply(dst, Store::Overwrite, lhs, rhs);
    });
}

/// The Frobenius norm; squares are summed in f64.
fn norm(x: &[f32]) -> f64 {
    let pieces = map_in_order(x.len().div_ceil(CHUNK), |i| {
        let piece = &x[i * CHUNK..x.len().min((i + 1) * CHUNK)];
        piece.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
    });
    pieces.iter().sum::<f64>().sqrt()
}
