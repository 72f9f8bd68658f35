//! Muon: a step along the momentum of a matrix after all its singular values are brought near 1.
//!
//! ```text
//! orthogonalize(G):                                     G (rows, cols); transposed if rows <= cols
//!     X = G / max(||G||, 1e-7)                          so no singular value is above 1
//!     repeat ns_steps times:
//!         A = X^T X                                     (n, n) with n = min(rows, cols)
//!         X = X (3.4445 I - 4.7750 A + 2.0315 A^2)      maps a singular value s to 3.4445 s - 4.7750 s^3 + 2.0315 s^5
//! ```
//!
//! Five iterations map singular values from 0.01 to 1 into about 0.7 to 1.2. This is near enough to 1, and these
//! coefficients are steeper at 0 than coefficients that converge to 1. The products run as 1x1 convolutions, the
//! fastest kernels here. Like those, they are divided by the shape alone.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len, for_each_chunk, map_in_order};
use crate::conv::{ConvShape, conv2d_forward, conv2d_weight_grad};
use crate::layout::transposed;
use crate::padding::Padding;
use crate::profile;

/// The coefficients of X, X A and X A^2.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.7750, 2.0315];

/// Smallest divisor in the normalisation of a gradient: a gradient with a smaller norm is divided by this, and a zero
/// gradient stays 0.
const MIN_NORM: f64 = 1e-7;

/// Settings of [`muon_step`], with the names of `torch.optim.Muon` where it has the setting.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuonConfig {
    /// Learning rate.
    pub lr: f64,
    /// Share of the buffer that is kept at each step. Ignored without a buffer.
    pub momentum: f64,
    /// Whether to use Nesterov momentum. Ignored without a buffer.
    pub nesterov: bool,
    /// Number of iterations of [`orthogonalize`].
    pub ns_steps: usize,
    /// Whether to scale the matrix to the norm `sqrt(rows)` before each step. A row is a filter, and the root mean
    /// square of the rows' norms is then 1.
    pub filter_norm: bool,
    /// Weight decay: each step shrinks the matrix by the share `lr * weight_decay`.
    pub weight_decay: f64,
}

/// Performs one step of Muon on a matrix of `rows` rows. The weight of a convolution is the matrix
/// (c_out, c_in * k_h * k_w).
///
/// ```text
/// buffer = momentum * buffer + g                 (initially 0)
/// d = buffer                                     (Nesterov: g + momentum * buffer; without a buffer: g)
/// p = p * sqrt(rows) / ||p||                     (with filter_norm)
/// p = p - lr * weight_decay * p - lr * sqrt(max(1, rows / cols)) * orthogonalize(d)
/// ```
///
/// Without `filter_norm`, the step is that of `torch.optim.Muon` with its original adjustment of the learning rate,
/// with two differences. The iteration is in f32, in PyTorch in bf16. The buffer is a sum, in PyTorch a mean, which
/// is `1 - momentum` times that sum; the direction is the same. Norms are Frobenius norms.
///
/// # Panics
/// If the lengths differ, or are not a multiple of `rows`.
///
/// # Source
/// Jordan, <https://kellerjordan.github.io/posts/muon/>. `filter_norm` is from his
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

/// Adds the gradient to the buffer and returns the direction of the step.
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

/// Returns the matrix with the singular vectors of `matrix` and singular values near 1. Runs `ns_steps` Newton-Schulz
/// iterations of the fifth order, in f32.
///
/// # Shapes
/// `matrix` and the result: (rows, any number).
///
/// # Panics
/// If `rows` is 0 or the length of `matrix` is not a multiple of `rows`.
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

/// Checks that the matrix has whole rows, and returns its number of columns.
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

/// Runs the iterations on `x` (at least `c` rows, `c`): X times the polynomial of X^T X. The rows are the pixels of a
/// map with `c` channels. X^T X is the weight gradient of a 1x1 convolution, and the other products are 1x1
/// convolutions.
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
        conv2d_forward(&square, &gram, &gram, None, &mut polynomial); // symmetric, so it serves as its own weights
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

/// Returns the Frobenius norm; squares are summed in f64.
fn norm(x: &[f32]) -> f64 {
    let pieces = map_in_order(x.len().div_ceil(CHUNK), |i| {
        let piece = &x[i * CHUNK..x.len().min((i + 1) * CHUNK)];
        piece.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
    });
    pieces.iter().sum::<f64>().sqrt()
}
