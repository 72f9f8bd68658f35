//! Layer normalisation of each row of a (rows, c) matrix by the row's own mean and standard deviation. A row is a
//! pixel or a token.
//!
//! ```text
//! x_hat = (x - mean) * inv_std     inv_std = 1 / sqrt(var + eps), with the biased variance
//! y     = x_hat * gamma + beta
//!
//! g  = dy * gamma
//! dx = inv_std * (g - mean of g - x_hat * mean of (g * x_hat))       means over the row
//! dgamma = sum of dy * x_hat,  dbeta = sum of dy                     sums over the rows
//! ```
//!
//! Each sum reads the row again from L1. Sums are f32, in one partial sum per vector lane; the number of lanes is the
//! same for every instruction set. Source: Ba et al., <https://arxiv.org/abs/1607.06450>.

use rayon::prelude::*;

use crate::chunks::{check_len, check_rows, rows_per_chunk};
use crate::direct::Element;
use crate::norm_act::lanes::{LANES, at, at_mut, for_lanes, total};
use crate::profile;
use crate::vectorise::vectorised;

/// Overwrites `y` with the normalised rows of `x`, and `mean` and `inv_std` with the statistics of each row for the
/// backward pass. The same as `torch.nn.functional.layer_norm` over the last dimension.
///
/// # Shapes
/// `x` and `y` (…, c), `gamma` and `beta` (c), `mean` and `inv_std` (…).
///
/// # Panics
/// If a length does not fit, or there are no channels.
pub fn layer_norm<E: Element>(
    eps: f32,
    x: &[E],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [E],
    mean: &mut [f32],
    inv_std: &mut [f32],
) {
    let c = gamma.len();
    let _span = profile::channels("layer_norm", x.len(), c);
    check_rows("layer_norm", x, c);
    check_len("layer_norm", "beta", beta.len(), c);
    check_len("layer_norm", "y", y.len(), x.len());
    check_len("layer_norm", "mean", mean.len(), x.len() / c);
    check_len("layer_norm", "inv_std", inv_std.len(), x.len() / c);
    let n_rows = rows_per_chunk(c);
    let outputs = mean.par_chunks_mut(n_rows).zip(inv_std.par_chunks_mut(n_rows));
    let maps = y.par_chunks_mut(n_rows * c).zip(x.par_chunks(n_rows * c));
    maps.zip(outputs).for_each(|((y, x), (mean, inv_std))| {
        forward_piece(eps, x, gamma, beta, y, mean, inv_std);
    });
}

/// The values that the backward pass of [`layer_norm`] needs.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormState<'a, E> {
    /// The input.
    pub x: &'a [E],
    /// The mean of each row.
    pub mean: &'a [f32],
    /// `1 / sqrt(var + eps)` of each row.
    pub inv_std: &'a [f32],
    /// Factors of the normalised numbers, one per channel.
    pub gamma: &'a [f32],
}

/// Overwrites `dx`, `dgamma` and `dbeta` with the gradients of [`layer_norm`].
///
/// Sums within a chunk of rows are f32, sums over the chunks f64.
///
/// # Shapes
/// `dy` and `dx` (…, c), `dgamma` and `dbeta` (c).
///
/// # Panics
/// If a length does not fit, or there are no channels.
pub fn layer_norm_backward<E: Element>(
    saved: &LayerNormState<'_, E>,
    dy: &[E],
    dx: &mut [E],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let LayerNormState { x, mean, inv_std, gamma } = *saved;
    let c = gamma.len();
    let _span = profile::channels("layer_norm_backward", x.len(), c);
    check_rows("layer_norm_backward", x, c);
    for (what, actual, expected) in [
        ("dy", dy.len(), x.len()),
        ("dx", dx.len(), x.len()),
        ("mean", mean.len(), x.len() / c),
        ("inv_std", inv_std.len(), x.len() / c),
        ("dgamma", dgamma.len(), c),
        ("dbeta", dbeta.len(), c),
    ] {
        check_len("layer_norm_backward", what, actual, expected);
    }
    let n_rows = rows_per_chunk(c);
    let add_up = |(i, dx): (usize, &mut [E])| {
        let mut sums = vec![0.0; 2 * c];
        let (rows, numbers) =
            (i * n_rows..i * n_rows + dx.len() / c, i * n_rows * c..i * n_rows * c + dx.len());
        let (mean, inv_std) = (&mean[rows.clone()], &inv_std[rows]);
        backward_piece(&x[numbers.clone()], mean, inv_std, gamma, &dy[numbers], dx, &mut sums);
        sums
    };
    let parts: Vec<Vec<f32>> = dx.par_chunks_mut(n_rows * c).enumerate().map(add_up).collect();
    let total = |at: usize| parts.iter().map(|sums| f64::from(sums[at])).sum::<f64>() as f32;
    for i in 0..c {
        dgamma[i] = total(i);
        dbeta[i] = total(c + i);
    }
}

vectorised! {
    fn forward_piece<E: Element>(
        eps: f32, x: &[E], gamma: &[f32], beta: &[f32], y: &mut [E], mean: &mut [f32], inv_std: &mut [f32],
    ) {
        let c = gamma.len();
        let rows = x.chunks_exact(c).zip(y.chunks_exact_mut(c));
        for ((x, y), (mean, inv_std)) in rows.zip(mean.iter_mut().zip(inv_std)) {
            *mean = row_sum(x, |x| x) / c as f32;
            let centre = *mean;
            let variance = row_sum(x, |x| (x - centre) * (x - centre)) / c as f32;
            *inv_std = 1.0 / (variance + eps).sqrt();
            let factor = *inv_std;
            for_lanes!(c, i, N, {
                let (x, y) = (at::<E, N>(x, i), at_mut::<E, N>(y, i));
                let (gamma, beta) = (at::<f32, N>(gamma, i), at::<f32, N>(beta, i));
                for j in 0..N {
                    y[j] = E::from_f32((x[j].to_f32() - centre) * factor * gamma[j] + beta[j]);
                }
            });
        }
    }
}

vectorised! {
    /// `sums` (2, c) collects dgamma and dbeta.
    fn backward_piece<E: Element>(
        x: &[E], mean: &[f32], inv_std: &[f32], gamma: &[f32], dy: &[E], dx: &mut [E], sums: &mut [f32],
    ) {
        let c = gamma.len();
        let (of_gamma, of_beta) = sums.split_at_mut(c);
        let rows = x.chunks_exact(c).zip(dy.chunks_exact(c)).zip(dx.chunks_exact_mut(c));
        for (((x, dy), dx), (&mean, &inv_std)) in rows.zip(mean.iter().zip(inv_std)) {
            let (mut of_g, mut of_gx) = ([0.0; LANES], [0.0; LANES]);
            for_lanes!(c, i, N, {
                let (x, dy, gamma) = (at::<E, N>(x, i), at::<E, N>(dy, i), at::<f32, N>(gamma, i));
                let (of_gamma, of_beta) = (at_mut::<f32, N>(of_gamma, i), at_mut::<f32, N>(of_beta, i));
                for j in 0..N {
                    let (dy, x_hat) = (dy[j].to_f32(), (x[j].to_f32() - mean) * inv_std);
                    of_gamma[j] += dy * x_hat;
                    of_beta[j] += dy;
                    of_g[j] += dy * gamma[j];
                    of_gx[j] += dy * gamma[j] * x_hat;
                }
            });
            let (mean_g, mean_gx) = (total(of_g) / c as f32, total(of_gx) / c as f32);
            for_lanes!(c, i, N, {
                let (x, dy, gamma) = (at::<E, N>(x, i), at::<E, N>(dy, i), at::<f32, N>(gamma, i));
                let dx = at_mut::<E, N>(dx, i);
                for j in 0..N {
                    let x_hat = (x[j].to_f32() - mean) * inv_std;
                    dx[j] = E::from_f32(inv_std * (dy[j].to_f32() * gamma[j] - mean_g - x_hat * mean_gx));
                }
            });
        }
    }
}

#[inline(always)]
fn row_sum<E: Element>(x: &[E], term: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0; LANES];
    for_lanes!(x.len(), i, N, {
        let x = at::<E, N>(x, i);
        for j in 0..N {
            sums[j] += term(x[j].to_f32());
        }
    });
    total(sums)
}
