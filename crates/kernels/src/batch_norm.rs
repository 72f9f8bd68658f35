//! Batch normalisation over the rows of a (rows, c) matrix, as separate operations that a layer combines.
//!
//! ```text
//! training    mean, var = batch_norm_stats(x);  inv_std = 1 / sqrt(var + eps)
//! inference   mean, var = running averages
//! both        scale = gamma * inv_std;  shift = beta - mean * scale;  y = scale_shift(x, scale, shift)
//! ```
//!
//! The layer keeps the running averages, `eps` and momentum. Source: Ioffe and Szegedy,
//! <https://arxiv.org/abs/1502.03167>.

use crate::chunks::{check_len, check_rows, for_each_chunk, rows_per_chunk};
use crate::profile;
use crate::reduce::row_sums;

/// Overwrites `mean` and `var` with the mean and the biased variance (divided by the number of rows) of each channel.
///
/// Takes two passes. The second pass sums the deviations from the mean of the first pass and corrects that mean's
/// rounding error (Chan, Golub and LeVeque, "Algorithms for computing the sample variance", 1983). This avoids
/// cancellation where the mean is large compared with the standard deviation. Sums over blocks of rows are f64.
/// Without rows, the mean and the variance are NaN.
///
/// # Shapes
/// `x` (…, c), `mean` (c), `var` (c).
///
/// # Panics
/// If a length does not fit, or there are no channels.
pub fn batch_norm_stats(x: &[f32], c: usize, mean: &mut [f32], var: &mut [f32]) {
    let _span = profile::channels("batch_norm_stats", x.len(), c);
    check_rows("batch_norm_stats", x, c);
    check_len("batch_norm_stats", "mean", mean.len(), c);
    check_len("batch_norm_stats", "var", var.len(), c);
    let n_rows = x.len() / c;
    let sums = row_sums(n_rows, c, c, |row, sum| {
        for (sum, &x) in sum.iter_mut().zip(&x[row * c..(row + 1) * c]) {
            *sum += x;
        }
    });
    for (mean, sum) in mean.iter_mut().zip(sums) {
        *mean = (sum / n_rows as f64) as f32;
    }
    let moments = row_sums(n_rows, c, 2 * c, |row, block| {
        let (sum, squares) = block.split_at_mut(c);
        let (x, mean, squares) = (&x[row * c..(row + 1) * c], &mean[..c], &mut squares[..c]);
        for i in 0..c {
            let deviation = x[i] - mean[i];
            sum[i] += deviation;
            squares[i] += deviation * deviation;
        }
    });
    for i in 0..c {
        let correction = moments[i] / n_rows as f64; // of the first pass's rounding error
        mean[i] = (f64::from(mean[i]) + correction) as f32;
        let variance = moments[c + i] / n_rows as f64 - correction * correction;
        var[i] = if variance < 0.0 { 0.0 } else { variance as f32 }; // NaN stays NaN
    }
}

/// Overwrites `y` with `x * scale + shift`, channel by channel.
///
/// # Shapes
/// `x` and `y` (…, c), `scale` and `shift` (c).
///
/// # Panics
/// If a length does not fit, or there are no channels.
pub fn scale_shift(x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
    let _span = profile::channels("scale_shift", x.len(), scale.len());
    let c = scale.len();
    check_rows("scale_shift", x, c);
    check_len("scale_shift", "shift", shift.len(), c);
    check_len("scale_shift", "y", y.len(), x.len());
    for_each_chunk(y, rows_per_chunk(c) * c, |start, y| {
        for (y, x) in y.chunks_exact_mut(c).zip(x[start..].chunks_exact(c)) {
            let (y, x, scale, shift) = (&mut y[..c], &x[..c], &scale[..c], &shift[..c]);
            for i in 0..c {
                y[i] = x[i] * scale[i] + shift[i];
            }
        }
    });
}

/// Overwrites `dx`, `dgamma` and `dbeta` with the gradients of batch norm in training. There `mean` and `inv_std` are
/// the statistics of `x`, so they depend on `x`:
///
/// ```text
/// x_hat = (x - mean) * inv_std      dbeta = sum dy      dgamma = sum dy * x_hat
/// dx = gamma * inv_std * (dy - dbeta / rows - x_hat * dgamma / rows)
/// ```
///
/// Without `dx`, only the sums are computed. They accumulate in f64 over blocks of rows.
///
/// # Shapes
/// `x`, `dy` and `dx` (…, c), all others (c).
///
/// # Panics
/// If a length does not fit, or there are no channels.
#[expect(
    clippy::too_many_arguments,
    reason = "one slice each: nothing here belongs together more than the rest"
)]
pub fn batch_norm_backward(
    x: &[f32],
    dy: &[f32],
    mean: &[f32],
    inv_std: &[f32],
    gamma: &[f32],
    dx: Option<&mut [f32]>,
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let _span = profile::channels("batch_norm_backward", x.len(), gamma.len());
    let c = gamma.len();
    parameter_grads("batch_norm_backward", x, dy, [mean, inv_std, gamma], [dgamma, dbeta]);
    let Some(dx) = dx else { return };
    check_len("batch_norm_backward", "dx", dx.len(), x.len());
    // dx = of_dy * dy + of_x * (x - mean) + shift
    let n_rows = (x.len() / c) as f32;
    let of_dy: Vec<f32> = (0..c).map(|i| gamma[i] * inv_std[i]).collect();
    let of_x: Vec<f32> = (0..c).map(|i| -of_dy[i] * inv_std[i] * dgamma[i] / n_rows).collect();
    let shift: Vec<f32> = (0..c).map(|i| -of_dy[i] * dbeta[i] / n_rows).collect();
    for_each_chunk(dx, rows_per_chunk(c) * c, |start, dx| {
        let rows = x[start..].chunks_exact(c).zip(dy[start..].chunks_exact(c));
        for (dx, (x, dy)) in dx.chunks_exact_mut(c).zip(rows) {
            let (dx, x, dy, mean) = (&mut dx[..c], &x[..c], &dy[..c], &mean[..c]);
            let (of_dy, of_x, shift) = (&of_dy[..c], &of_x[..c], &shift[..c]);
            for i in 0..c {
                dx[i] = of_dy[i] * dy[i] + of_x[i] * (x[i] - mean[i]) + shift[i];
            }
        }
    });
}

/// Computes the gradients like [`batch_norm_backward`], for frozen statistics, which do not depend on `x`:
/// `dx = gamma * inv_std * dy`.
///
/// # Shapes
/// `x`, `dy` and `dx` (…, c), all others (c).
///
/// # Panics
/// If a length does not fit, or there are no channels.
#[expect(clippy::too_many_arguments, reason = "the same as batch_norm_backward")]
pub fn batch_norm_backward_frozen(
    x: &[f32],
    dy: &[f32],
    mean: &[f32],
    inv_std: &[f32],
    gamma: &[f32],
    dx: Option<&mut [f32]>,
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let _span = profile::channels("batch_norm_backward_frozen", x.len(), gamma.len());
    parameter_grads("batch_norm_backward_frozen", x, dy, [mean, inv_std, gamma], [dgamma, dbeta]);
    let Some(dx) = dx else { return };
    let scale: Vec<f32> = gamma.iter().zip(inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
    scale_shift(dy, &scale, &vec![0.0; scale.len()], dx);
}

/// Computes `dbeta = sum dy` and `dgamma = sum dy * (x - mean) * inv_std`.
fn parameter_grads(
    function: &str,
    x: &[f32],
    dy: &[f32],
    [mean, inv_std, gamma]: [&[f32]; 3],
    [dgamma, dbeta]: [&mut [f32]; 2],
) {
    let c = gamma.len();
    check_rows(function, x, c);
    check_len(function, "dy", dy.len(), x.len());
    let vectors =
        [("mean", mean.len()), ("inv_std", inv_std.len()), ("dgamma", dgamma.len()), ("dbeta", dbeta.len())];
    for (what, len) in vectors {
        check_len(function, what, len, c);
    }
    let sums = row_sums(x.len() / c, c, 2 * c, |row, block| {
        let (of_dy, of_product) = block.split_at_mut(c);
        let (x, dy) = (&x[row * c..(row + 1) * c], &dy[row * c..(row + 1) * c]);
        let (of_product, mean) = (&mut of_product[..c], &mean[..c]);
        for i in 0..c {
            of_dy[i] += dy[i];
            of_product[i] += dy[i] * (x[i] - mean[i]);
        }
    });
    for i in 0..c {
        dbeta[i] = sums[i] as f32;
        dgamma[i] = (sums[c + i] * f64::from(inv_std[i])) as f32;
    }
}
