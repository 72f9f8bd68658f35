//! Muon: a step along the momentum of a matrix whose singular values were all made nearly 1.
//!
//! ```text
//! orthogonalize(G):                                     G (rows, cols), as its transpose where there are fewer rows
//!     X = G / max(||G||, 1e-7)                          so that no singular value is above 1
//!     repeat ns_steps times:
//!         A = X^T X                                     of the lesser side
//!         X = X (3.4445 I - 4.7750 A + 2.0315 A^2)      which takes a singular value s to 3.4445 s - 4.7750 s^3 + 2.0315 s^5
//! ```
//!
//! Five iterations take singular values from 0.01 to 1 into about 0.7 to 1.2: near enough, and steeper at 0 than
//! coefficients that would end at 1. The products are those of 1x1 convolutions, the fastest here, and cut as those are:
//! by the shape alone.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len, for_each_chunk, map_in_order};
use crate::conv::{ConvShape, conv2d_forward, conv2d_weight_grad};
use crate::layout::transposed;
use crate::padding::Padding;
use crate::profile;

/// The coefficients of X, of A X and of A^2 X.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Gradients of a lesser norm than this are not made larger than they would be with it: those of 0 stay 0.
const MIN_NORM: f64 = 1e-7;

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
    let result = match rows > cols {
        true => iterate(matrix.to_vec(), cols, ns_steps),
        false => transposed(&iterate(transposed(matrix, rows, cols), rows, ns_steps), cols, rows),
    };
    matrix.copy_from_slice(&result);
}

/// The iterations on `x`, whose rows of `c` numbers are no fewer than that: X times the polynomial of X^T X. The rows are
/// pixels with `c` channels, X^T X the gradient of a 1x1 convolution's weights, and the other products that convolution.
fn iterate(mut x: Vec<f32>, c: usize, ns_steps: usize) -> Vec<f32> {
    let pixels = |n: usize| ConvShape {
        n,
        h: 1,
        w: 1,
        c_in: c,
        c_out: c,
        k_h: 1,
        k_w: 1,
        stride: 1,
        padding: Padding::Symmetric(0),
    };
    let (whole, square) = (pixels(x.len() / c.max(1)), pixels(c));
    let (mut gram, mut polynomial, mut next) = (vec![0.0; c * c], vec![0.0; c * c], vec![0.0; x.len()]);
    let [of_x, of_gram, of_square] = COEFFICIENTS;
    for _ in 0..ns_steps {
        conv2d_weight_grad(&whole, &x, &x, &mut gram);
        conv2d_forward(&square, &gram, &gram, None, &mut polynomial); // symmetric: times itself as weights
        for (i, (polynomial, gram)) in polynomial.chunks_exact_mut(c).zip(gram.chunks_exact(c)).enumerate() {
            for (polynomial, &gram) in polynomial.iter_mut().zip(gram) {
                *polynomial = of_gram * gram + of_square * *polynomial;
            }
            polynomial[i] += of_x;
        }
        conv2d_forward(&whole, &x, &polynomial, None, &mut next);
        std::mem::swap(&mut x, &mut next);
    }
    x
}

/// The Frobenius norm; squares are summed in f64.
fn norm(x: &[f32]) -> f64 {
    let pieces = map_in_order(x.len().div_ceil(CHUNK), |i| {
        let piece = &x[i * CHUNK..x.len().min((i + 1) * CHUNK)];
        piece.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
    });
    pieces.iter().sum::<f64>().sqrt()
}
