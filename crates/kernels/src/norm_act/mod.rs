//! Batch norm fused with the operations around it: an activation, a residual before a ReLU, 2x2 max pooling after a
//! ReLU. Forward takes one pass over memory, backward two.
//!
//! ```text
//! z = scale * y + shift (+ residual)       batch norm of y, per channel
//! a = z, or an activation of z            or the largest max(z, 0) of each 2x2 window, and its place
//!
//! g = da * slope at z                      the gradient of z; 0 for numbers that did not win their window
//! first pass     sum of g,  sum of g * (y - mean)
//! second pass    dy = A * g + B * (y - mean) + C
//! ```
//!
//! With `s = inv_std`: `A = gamma * s`. For the statistics of the batch, `B = -A * s^2 * (mean of g * (y - mean))` and
//! `C = -A * (mean of g)`. For constant statistics, `B = C = 0`. Source: Ioffe and Szegedy,
//! <https://arxiv.org/abs/1502.03167>.
//!
//! For a plain ReLU, the second pass computes g from y again. For ReLU6 and for curves, whose slopes are expensive,
//! the first pass stores g in `dy`. For a ReLU after a residual it stores g in `dresidual`, because g is the
//! residual's gradient.

mod affine;
mod after;
pub(crate) mod lanes;
mod plain;
mod pooled;

pub(crate) use affine::norm_limited;
pub use affine::{Affine, norm_affine, norm_affine_backward};
pub use after::After;

use rayon::prelude::*;

use crate::chunks::{check_len, cut, rows_per_chunk};
use crate::direct::Element;
use crate::profile;

/// Shape of maps (n, h, w, c) that go through batch norm and the operation after it. The output has the same shape,
/// or (n, h / 2, w / 2, c), rounded down, with pooling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormActShape {
    /// Number of images.
    pub n: usize,
    /// Number of rows.
    pub h: usize,
    /// Number of columns.
    pub w: usize,
    /// Number of channels.
    pub c: usize,
    /// The operation after batch norm.
    pub after: After,
}

impl NormActShape {
    /// Returns the number of input elements.
    pub fn y_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Returns the number of output elements.
    pub fn a_len(&self) -> usize {
        if self.is_pooled() { self.n * (self.h / 2) * (self.w / 2) * self.c } else { self.y_len() }
    }

    /// Returns the length of `winners`: one entry per output of the pooling, 0 without pooling.
    pub fn winners_len(&self) -> usize {
        if self.is_pooled() { self.a_len() } else { 0 }
    }

    fn is_pooled(&self) -> bool {
        self.after == After::ReluPool
    }

    /// Returns the numbers of `y` and of `a` in one piece of work: rows of channels, or with pooling pairs of lines
    /// of an image.
    fn piece(&self) -> (usize, usize) {
        if !self.is_pooled() {
            let len = rows_per_chunk(self.c) * self.c;
            return (len, len);
        }
        let lines = (rows_per_chunk(self.w * self.c) * 2).min(self.h.max(1)).next_multiple_of(2);
        (lines * self.w * self.c, lines / 2 * (self.w / 2) * self.c)
    }

    /// Returns the pieces of work.
    fn ranges(&self) -> Vec<Range> {
        let ((y_piece, a_piece), images) = (self.piece(), if self.is_pooled() { self.n } else { 1 });
        let (y_len, a_len) = (self.y_len() / images.max(1), self.a_len() / images.max(1));
        let mut ranges = Vec::new();
        for image in 0..images {
            for (i, y) in (0..y_len).step_by(y_piece.max(1)).enumerate() {
                let a = (i * a_piece).min(a_len);
                ranges.push(Range {
                    y: image * y_len + y..image * y_len + y_len.min(y + y_piece),
                    a: image * a_len + a..image * a_len + a_len.min(a + a_piece),
                });
            }
        }
        ranges
    }
}

/// The elements of the map and of the output that belong to one piece of work.
struct Range {
    y: std::ops::Range<usize>,
    a: std::ops::Range<usize>,
}

/// Overwrites `a` with the batch norm `y * scale + shift`, plus `residual` if it is given, followed by the operation
/// `s.after`. With pooling, overwrites `winners` with the place of each window's largest number: 0 to 3 in reading
/// order, the first one on ties.
///
/// # Shapes
/// `y` and `residual` (n, h, w, c), `scale` and `shift` (c), `a` with [`a_len`](NormActShape::a_len) elements,
/// `winners` with [`winners_len`](NormActShape::winners_len).
///
/// # Panics
/// If a length does not fit, or if there is a residual before another operation than `Nothing` or `Relu`.
pub fn norm_act<E: Element>(
    s: &NormActShape,
    y: &[E],
    scale: &[f32],
    shift: &[f32],
    residual: Option<&[E]>,
    a: &mut [E],
    winners: &mut [u8],
) {
    let _span = profile::norm_act("norm_act", s);
    check_len("norm_act", "y", y.len(), s.y_len());
    check_len("norm_act", "scale", scale.len(), s.c);
    check_len("norm_act", "shift", shift.len(), s.c);
    check_len("norm_act", "a", a.len(), s.a_len());
    check_len("norm_act", "winners", winners.len(), s.winners_len());
    if let Some(residual) = residual {
        assert!(matches!(s.after, After::Nothing | After::Relu), "norm_act: a residual before {:?}", s.after);
        check_len("norm_act", "residual", residual.len(), s.y_len());
    }
    let ranges = s.ranges();
    let a = cut(a, ranges.iter().map(|range| range.a.len()));
    if s.is_pooled() {
        let winners = cut(winners, ranges.iter().map(|range| range.a.len()));
        ranges.par_iter().zip(a).zip(winners).for_each(|((range, a), winners)| {
            pooled::forward(&y[range.y.clone()], scale, shift, s.w, a, winners);
        });
    } else {
        ranges.par_iter().zip(a).for_each(|(range, a)| {
            let residual = residual.map_or(&[][..], |residual| &residual[range.y.clone()]);
            plain::forward(&y[range.y.clone()], scale, shift, residual, s.after, a);
        });
    }
}

/// The values that the backward pass needs from the forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a, E> {
    /// The input of the batch norm.
    pub y: &'a [E],
    /// The output, if a residual was added before a ReLU. Otherwise it is ignored.
    pub a: Option<&'a [E]>,
    /// The winners of the pooling; empty without pooling.
    pub winners: &'a [u8],
    /// The state of the batch norm.
    pub norm: NormState<'a>,
}

/// The values that batch norm keeps for its backward pass, per channel.
#[derive(Clone, Copy, Debug)]
pub struct NormState<'a> {
    /// Factor of the normalised numbers.
    pub gamma: &'a [f32],
    /// Offset of the normalised numbers.
    pub beta: &'a [f32],
    /// The mean that was subtracted.
    pub mean: &'a [f32],
    /// `1 / sqrt(var + eps)`.
    pub inv_std: &'a [f32],
    /// Whether mean and standard deviation are constants: the running statistics, not the batch's.
    pub frozen: bool,
}

/// Overwrites `dy` with the gradient of `y`, `dresidual` with that of a residual before a ReLU, and `dgamma` and
/// `dbeta` with those of batch norm's parameters.
///
/// `dresidual` is empty if no residual was added, or if no ReLU follows it: the gradient of such a residual is `da`.
///
/// # Shapes
/// `da` and `winners` like `a`; `y`, `dy` and `dresidual` (n, h, w, c); all others (c).
///
/// # Panics
/// If a length does not fit.
pub fn norm_act_backward<E: Element>(
    s: &NormActShape,
    saved: &Saved<'_, E>,
    da: &[E],
    dy: &mut [E],
    dresidual: &mut [E],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let _span = profile::norm_act("norm_act_backward", s);
    check_backward(s, saved, da, dy, dresidual, [dgamma, dbeta]);
    let Saved { y, a, winners, norm } = *saved;
    let (scale, shift) = norm.scale_and_shift();
    let ranges = s.ranges();
    let of = |range: &Range| {
        let won = if s.is_pooled() { &winners[range.a.clone()] } else { winners };
        (&y[range.y.clone()], &da[range.a.clone()], won)
    };
    // the buffer where the first pass stores g, if it stores g at all
    let kept: &mut [E] = if s.after.keeps_gradient() { &mut *dy } else { &mut *dresidual };
    let keeps = !kept.is_empty();
    let kept = cut(kept, ranges.iter().map(|range| if keeps { range.y.len() } else { 0 }));
    let sums: Vec<Vec<f32>> = ranges
        .par_iter()
        .zip(kept)
        .map(|(range, kept)| {
            let mut sums = vec![0.0; 2 * s.c];
            let (y, da, won) = of(range);
            match (s.after, a) {
                (After::ReluPool, _) => pooled::add_up(y, da, won, &scale, &shift, norm.mean, s.w, &mut sums),
                (after, _) if after.keeps_gradient() => {
                    plain::keep_gradient(y, da, &scale, &shift, norm.mean, after, kept, &mut sums);
                }
                (After::Relu, Some(a)) => {
                    plain::keep_masked(y, &a[range.a.clone()], da, norm.mean, kept, &mut sums);
                }
                _ => plain::add_up(y, da, &scale, &shift, norm.mean, s.after, &mut sums),
            }
            sums
        })
        .collect();
    let coefficients = norm.coefficients(s, &scale, &sums, dgamma, dbeta);
    let dresidual = &*dresidual;
    let dy = cut(dy, ranges.iter().map(|range| range.y.len()));
    ranges.par_iter().zip(dy).for_each(|(range, dy)| {
        let ((y, da, won), by) = (of(range), &coefficients[..]);
        match (s.after, a) {
            (After::ReluPool, _) => pooled::apply(y, da, won, &scale, &shift, norm.mean, by, s.w, dy),
            (after, _) if after.keeps_gradient() => plain::apply_kept(y, norm.mean, by, dy),
            (After::Relu, Some(_)) => {
                let g = &dresidual[range.y.clone()];
                plain::apply(y, g, &scale, &shift, norm.mean, by, After::Nothing, dy);
            }
            _ => plain::apply(y, da, &scale, &shift, norm.mean, by, s.after, dy),
        }
    });
}

fn check_backward<E>(
    s: &NormActShape,
    saved: &Saved<'_, E>,
    da: &[E],
    dy: &[E],
    dresidual: &[E],
    [dgamma, dbeta]: [&[f32]; 2],
) {
    let (c, norm) = (s.c, &saved.norm);
    let masked = saved.a.filter(|_| s.after == After::Relu);
    for (what, actual, expected) in [
        ("y", saved.y.len(), s.y_len()),
        ("a", masked.map_or(s.a_len(), <[E]>::len), s.a_len()),
        ("da", da.len(), s.a_len()),
        ("winners", saved.winners.len(), s.winners_len()),
        ("dy", dy.len(), s.y_len()),
        ("dresidual", dresidual.len(), masked.map_or(0, |_| s.y_len())),
        ("dgamma", dgamma.len(), c),
        ("dbeta", dbeta.len(), c),
        ("gamma", norm.gamma.len(), c),
        ("beta", norm.beta.len(), c),
        ("mean", norm.mean.len(), c),
        ("inv_std", norm.inv_std.len(), c),
    ] {
        check_len("norm_act_backward", what, actual, expected);
    }
}

impl NormState<'_> {
    fn scale_and_shift(&self) -> (Vec<f32>, Vec<f32>) {
        let scale: Vec<f32> = self.gamma.iter().zip(self.inv_std).map(|(g, i)| g * i).collect();
        let shift = (0..scale.len()).map(|i| self.beta[i] - self.mean[i] * scale[i]).collect();
        (scale, shift)
    }

    /// Computes A, B and C of the second pass (3, c) and the parameters' gradients from the sums of the first pass's
    /// pieces.
    fn coefficients(
        &self,
        s: &NormActShape,
        scale: &[f32],
        sums: &[Vec<f32>],
        dgamma: &mut [f32],
        dbeta: &mut [f32],
    ) -> Vec<f32> {
        let (c, count) = (s.c, (s.n * s.h * s.w) as f64);
        let mut coefficients = vec![0.0; 3 * c];
        for i in 0..c {
            let total = |at: usize| sums.iter().map(|sum| f64::from(sum[at])).sum::<f64>();
            let (sum_g, sum_gx) = (total(i), total(c + i));
            let (a, inv_std) = (f64::from(scale[i]), f64::from(self.inv_std[i]));
            dbeta[i] = sum_g as f32;
            dgamma[i] = (sum_gx * inv_std) as f32;
            coefficients[i] = scale[i];
            if !self.frozen {
                coefficients[c + i] = (-a * inv_std * inv_std * sum_gx / count) as f32;
                coefficients[2 * c + i] = (-a * sum_g / count) as f32;
            }
        }
        coefficients
    }
}

#[cfg(test)]
mod tests;
