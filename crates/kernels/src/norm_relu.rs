//! Batch norm, ReLU and 2x2 max pooling in one pass over memory, and back in two.
//!
//! ```text
//! z = scale * y + shift                    batch norm of the convolution's output y, per channel
//! a = max(z, 0)                            or the largest of each 2x2 window of that, and which it was
//!
//! g = da where a came from z > 0, else 0   the gradient of z, made again from y in both passes
//! first pass     sum of g,  sum of g * (y - mean)
//! second pass    dy = A * g + B * (y - mean) + C
//! ```
//!
//! With `s = inv_std`: A = gamma * s, B = -A * s^2 * (mean of g * (y - mean)), C = -A * (mean of g) where the statistics
//! are the batch's; B = C = 0 where they are constants. Source: Ioffe and Szegedy, <https://arxiv.org/abs/1502.03167>.

use rayon::prelude::*;

use crate::chunks::{check_len, rows_per_chunk};
use crate::direct::Element;
use crate::profile;
use crate::vectorise::vectorised;

/// Maps (n, h, w, c) that go through batch norm and ReLU, and through 2x2 max pooling with stride 2 where `pooled`:
/// then (n, h / 2, w / 2, c), rounded down, come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NormReluShape {
    /// Images.
    pub n: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Whether 2x2 max pooling follows.
    pub pooled: bool,
}

impl NormReluShape {
    /// Numbers that go in.
    pub fn y_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }

    /// Numbers that come out.
    pub fn a_len(&self) -> usize {
        if self.pooled { self.n * (self.h / 2) * (self.w / 2) * self.c } else { self.y_len() }
    }

    /// Entries of `winners`: one per number that comes out of the pooling, none without it.
    pub fn winners_len(&self) -> usize {
        if self.pooled { self.a_len() } else { 0 }
    }

    /// How the work is cut: rows of maps in the whole map and in the output, by lines of the image where it is pooled.
    fn pieces(&self) -> Pieces {
        match self.pooled {
            true => {
                let lines = (rows_per_chunk(self.w * self.c) * 2).min(self.h.max(1)).next_multiple_of(2);
                Pieces { y: lines * self.w * self.c, a: lines / 2 * (self.w / 2) * self.c }
            }
            false => {
                let len = rows_per_chunk(self.c) * self.c;
                Pieces { y: len, a: len }
            }
        }
    }

    /// Calls `work` with each piece: its numbers of `y`, `a` and `winners` begin and end here.
    fn ranges(&self) -> Vec<Range> {
        let (pieces, images) = (self.pieces(), if self.pooled { self.n } else { 1 });
        let (y_len, a_len) = (self.y_len() / images.max(1), self.a_len() / images.max(1));
        let mut ranges = Vec::new();
        for image in 0..images {
            for (i, y) in (0..y_len).step_by(pieces.y.max(1)).enumerate() {
                let a = (i * pieces.a).min(a_len);
                ranges.push(Range {
                    y: image * y_len + y..image * y_len + y_len.min(y + pieces.y),
                    a: image * a_len + a..image * a_len + a_len.min(a + pieces.a),
                });
            }
        }
        ranges
    }
}

struct Pieces {
    y: usize,
    a: usize,
}

/// Which numbers of the map, and of what comes out, belong together.
struct Range {
    y: std::ops::Range<usize>,
    a: std::ops::Range<usize>,
}

/// Cuts `slice` at the ends of `ranges`, which follow each other.
fn cut<T>(mut slice: &mut [T], ends: impl Iterator<Item = std::ops::Range<usize>>) -> Vec<&mut [T]> {
    ends.map(|range| {
        let (piece, rest) = std::mem::take(&mut slice).split_at_mut(range.len());
        slice = rest;
        piece
    })
    .collect()
}

/// Overwrites `a` with ReLU of `y * scale + shift`, pooled where the shape says so, and `winners` with the place of
/// each window's largest number: 0 to 3, in reading order, the first one on ties.
///
/// # Shapes
/// `y` (n, h, w, c), `scale` and `shift` (c), `a` and `winners` as the shape says.
///
/// # Panics
/// If a length does not fit.
pub fn norm_relu<E: Element>(
    s: &NormReluShape,
    y: &[E],
    scale: &[f32],
    shift: &[f32],
    a: &mut [E],
    winners: &mut [u8],
) {
    let _span = profile::norm_relu("norm_relu", s);
    check_len("norm_relu", "y", y.len(), s.y_len());
    check_len("norm_relu", "scale", scale.len(), s.c);
    check_len("norm_relu", "shift", shift.len(), s.c);
    check_len("norm_relu", "a", a.len(), s.a_len());
    check_len("norm_relu", "winners", winners.len(), s.winners_len());
    let ranges = s.ranges();
    let a = cut(a, ranges.iter().map(|range| range.a.clone()));
    if s.pooled {
        let winners = cut(winners, ranges.iter().map(|range| range.a.clone()));
        ranges.par_iter().zip(a).zip(winners).for_each(|((range, a), winners)| {
            forward_pooled(&y[range.y.clone()], scale, shift, s.w, a, winners);
        });
    } else {
        ranges.par_iter().zip(a).for_each(|(range, a)| forward_plain(&y[range.y.clone()], scale, shift, a));
    }
}

/// Overwrites `dy` with the gradient of `y`, and `dgamma`, `dbeta` with those of batch norm's own parameters.
///
/// `frozen` means that mean and deviation are constants instead of `y`'s own.
///
/// # Shapes
/// `da` and `winners` as `a`, `y` and `dy` (n, h, w, c), the rest (c).
///
/// # Panics
/// If a length does not fit.
#[expect(clippy::too_many_arguments, reason = "three maps and what batch norm kept")]
pub fn norm_relu_backward<E: Element>(
    s: &NormReluShape,
    y: &[E],
    da: &[E],
    winners: &[u8],
    norm: &NormState<'_>,
    dy: &mut [E],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) {
    let _span = profile::norm_relu("norm_relu_backward", s);
    let c = s.c;
    for (what, actual, expected) in [
        ("y", y.len(), s.y_len()),
        ("da", da.len(), s.a_len()),
        ("winners", winners.len(), s.winners_len()),
        ("dy", dy.len(), s.y_len()),
        ("dgamma", dgamma.len(), c),
        ("dbeta", dbeta.len(), c),
        ("gamma", norm.gamma.len(), c),
        ("beta", norm.beta.len(), c),
        ("mean", norm.mean.len(), c),
        ("inv_std", norm.inv_std.len(), c),
    ] {
        check_len("norm_relu_backward", what, actual, expected);
    }
    let scale: Vec<f32> = norm.gamma.iter().zip(norm.inv_std).map(|(g, i)| g * i).collect();
    let shift: Vec<f32> = (0..c).map(|i| norm.beta[i] - norm.mean[i] * scale[i]).collect();
    let ranges = s.ranges();
    let winners = |range: &Range| if s.pooled { &winners[range.a.clone()] } else { winners };
    let sums: Vec<Vec<f32>> = ranges
        .par_iter()
        .map(|range| {
            let mut sums = vec![0.0; 2 * c];
            let (y, da, won) = (&y[range.y.clone()], &da[range.a.clone()], winners(range));
            add_up(y, da, won, &scale, &shift, norm.mean, s.w, &mut sums);
            sums
        })
        .collect();
    let count = (s.n * s.h * s.w) as f64;
    let mut coefficients = vec![0.0; 3 * c];
    for i in 0..c {
        let total = |at: usize| sums.iter().map(|sum| f64::from(sum[at])).sum::<f64>();
        let (sum_g, sum_gx) = (total(i), total(c + i));
        let (a, inv_std) = (f64::from(scale[i]), f64::from(norm.inv_std[i]));
        dbeta[i] = sum_g as f32;
        dgamma[i] = (sum_gx * inv_std) as f32;
        coefficients[i] = scale[i];
        if !norm.frozen {
            coefficients[c + i] = (-a * inv_std * inv_std * sum_gx / count) as f32;
            coefficients[2 * c + i] = (-a * sum_g / count) as f32;
        }
    }
    let dy = cut(dy, ranges.iter().map(|range| range.y.clone()));
    ranges.par_iter().zip(dy).for_each(|(range, dy)| {
        let (y, da, won) = (&y[range.y.clone()], &da[range.a.clone()], winners(range));
        apply(y, da, won, &scale, &shift, norm.mean, &coefficients, s.w, dy);
    });
}

/// What batch norm keeps for its backward pass, per channel.
#[derive(Clone, Copy, Debug)]
pub struct NormState<'a> {
    /// What the normalised numbers are multiplied by.
    pub gamma: &'a [f32],
    /// What is added to them.
    pub beta: &'a [f32],
    /// The mean that was subtracted.
    pub mean: &'a [f32],
    /// `1 / sqrt(var + eps)`.
    pub inv_std: &'a [f32],
    /// Whether mean and deviation are constants: the running ones, not the batch's.
    pub frozen: bool,
}

/// Channels that are computed at a time; the rest one by one. Loops of this fixed length become one vector each: a loop
/// over all channels would be unrolled so far that 32 of them are a rest.
const LANES: usize = 16;

/// Calls `$call` with `$i` at every 16th channel and `$n` = 16, then at each channel of the rest with `$n` = 1.
macro_rules! for_lanes {
    ($c:expr, $i:ident, $n:ident, $call:expr) => {
        let mut $i = 0;
        while $i + LANES <= $c {
            const $n: usize = LANES;
            $call;
            $i += LANES;
        }
        while $i < $c {
            const $n: usize = 1;
            $call;
            $i += 1;
        }
    };
}

/// `N` numbers from `i` on.
#[inline(always)]
fn at<T, const N: usize>(slice: &[T], i: usize) -> &[T; N] {
    slice[i..].first_chunk().expect("channels are counted before")
}

#[inline(always)]
fn at_mut<T, const N: usize>(slice: &mut [T], i: usize) -> &mut [T; N] {
    slice[i..].first_chunk_mut().expect("channels are counted before")
}

/// What is known of `N` channels.
struct Channels<'a, const N: usize> {
    scale: &'a [f32; N],
    shift: &'a [f32; N],
}

impl<'a, const N: usize> Channels<'a, N> {
    #[inline(always)]
    fn at(scale: &'a [f32], shift: &'a [f32], i: usize) -> Self {
        Self { scale: at(scale, i), shift: at(shift, i) }
    }

    #[inline(always)]
    fn z<E: Element>(&self, y: E, i: usize) -> f32 {
        y.to_f32() * self.scale[i] + self.shift[i]
    }

    /// The gradient of z, where `da` is that of what came out of it.
    #[inline(always)]
    fn gradient<E: Element>(&self, y: E, da: E, i: usize) -> f32 {
        if self.z(y, i) <= 0.0 { 0.0 } else { da.to_f32() }
    }
}

#[inline(always)]
fn relu_lanes<E: Element, const N: usize>(channels: &Channels<'_, N>, y: &[E; N], a: &mut [E; N]) {
    for i in 0..N {
        let z = channels.z(y[i], i);
        a[i] = E::from_f32(if z <= 0.0 { 0.0 } else { z }); // a NaN stays one
    }
}

#[inline(always)]
fn pool_lanes<E: Element, const N: usize>(
    channels: &Channels<'_, N>,
    window: [&[E; N]; 4],
    a: &mut [E; N],
    winners: &mut [u8; N],
) {
    let mut largest = [0.0; N];
    let mut winner = [0u32; N];
    for i in 0..N {
        largest[i] = channels.z(window[0][i], i);
    }
    for place in 1..4 {
        for i in 0..N {
            let z = channels.z(window[place][i], i);
            let wins = z > largest[i] || z.is_nan();
            largest[i] = if wins { z } else { largest[i] };
            winner[i] = if wins { place as u32 } else { winner[i] };
        }
    }
    for i in 0..N {
        a[i] = E::from_f32(if largest[i] <= 0.0 { 0.0 } else { largest[i] });
        winners[i] = winner[i] as u8;
    }
}

#[inline(always)]
fn sum_lanes<E: Element, const N: usize>(
    channels: &Channels<'_, N>,
    mean: &[f32; N],
    y: &[E; N],
    da: &[E; N],
    sum_g: &mut [f32; N],
    sum_gx: &mut [f32; N],
) {
    for i in 0..N {
        let g = channels.gradient(y[i], da[i], i);
        sum_g[i] += g;
        sum_gx[i] += g * (y[i].to_f32() - mean[i]);
    }
}

/// The number of each window that won.
#[inline(always)]
fn winner_lanes<E: Element, const N: usize>(window: [&[E; N]; 4], winners: &[u8; N]) -> [E; N] {
    let mut y = *window[0];
    for place in 1..4 {
        for i in 0..N {
            y[i] = if winners[i] == place as u8 { window[place][i] } else { y[i] };
        }
    }
    y
}

/// The three coefficients of the second pass.
struct Coefficients<'a, const N: usize> {
    a: &'a [f32; N],
    b: &'a [f32; N],
    c: &'a [f32; N],
    mean: &'a [f32; N],
}

impl<const N: usize> Coefficients<'_, N> {
    #[inline(always)]
    fn dy<E: Element>(&self, g: f32, y: E, i: usize) -> E {
        E::from_f32(self.a[i] * g + self.b[i] * (y.to_f32() - self.mean[i]) + self.c[i])
    }
}

#[inline(always)]
fn apply_lanes<E: Element, const N: usize>(
    channels: &Channels<'_, N>,
    coefficients: &Coefficients<'_, N>,
    y: &[E; N],
    da: &[E; N],
    dy: &mut [E; N],
) {
    for i in 0..N {
        dy[i] = coefficients.dy(channels.gradient(y[i], da[i], i), y[i], i);
    }
}

#[inline(always)]
fn unpool_lanes<E: Element, const N: usize>(
    channels: &Channels<'_, N>,
    coefficients: &Coefficients<'_, N>,
    (winners, place): (&[u8; N], u8),
    y: &[E; N],
    da: &[E; N],
    dy: &mut [E; N],
) {
    for i in 0..N {
        let g = channels.gradient(y[i], da[i], i);
        dy[i] = coefficients.dy(if winners[i] == place { g } else { 0.0 }, y[i], i);
    }
}

vectorised! {
    fn forward_plain<E: Element>(y: &[E], scale: &[f32], shift: &[f32], a: &mut [E]) {
        let c = scale.len();
        for (y, a) in y.chunks_exact(c).zip(a.chunks_exact_mut(c)) {
            for_lanes!(c, i, N, relu_lanes(&Channels::at(scale, shift, i), at::<E, N>(y, i), at_mut(a, i)));
        }
    }
}

vectorised! {
    /// Lines of `w` pixels, two by two; what does not fill a window is left out.
    fn forward_pooled<E: Element>(y: &[E], scale: &[f32], shift: &[f32], w: usize, a: &mut [E], winners: &mut [u8]) {
        let (c, w_out) = (scale.len(), w / 2);
        if w_out == 0 {
            return;
        }
        let lines = y.chunks_exact(2 * w * c).zip(a.chunks_exact_mut(w_out * c)).zip(winners.chunks_exact_mut(w_out * c));
        for ((y, a), winners) in lines {
            let (above, below) = y.split_at(w * c);
            let pixels = a.chunks_exact_mut(c).zip(winners.chunks_exact_mut(c));
            for ((a, won), (above, below)) in pixels.zip(above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c))) {
                for_lanes!(c, i, N, {
                    let window = [at::<E, N>(above, i), at(above, c + i), at(below, i), at(below, c + i)];
                    pool_lanes(&Channels::at(scale, shift, i), window, at_mut(a, i), at_mut(won, i));
                });
            }
        }
    }
}

vectorised! {
    /// Adds the sums of g and of g * (y - mean) to `sums` (2, c).
    fn add_up<E: Element>(
        y: &[E], da: &[E], winners: &[u8], scale: &[f32], shift: &[f32], mean: &[f32], w: usize, sums: &mut [f32],
    ) {
        let c = scale.len();
        let (sum_g, sum_gx) = sums.split_at_mut(c);
        if winners.is_empty() && y.len() == da.len() {
            for (y, da) in y.chunks_exact(c).zip(da.chunks_exact(c)) {
                for_lanes!(c, i, N, {
                    let channels = Channels::at(scale, shift, i);
                    sum_lanes(&channels, at(mean, i), at::<E, N>(y, i), at(da, i), at_mut(sum_g, i), at_mut(sum_gx, i));
                });
            }
            return;
        }
        let w_out = w / 2;
        if w_out == 0 {
            return;
        }
        for ((y, da), winners) in
            y.chunks_exact(2 * w * c).zip(da.chunks_exact(w_out * c)).zip(winners.chunks_exact(w_out * c))
        {
            let (above, below) = y.split_at(w * c);
            let pixels = da.chunks_exact(c).zip(winners.chunks_exact(c));
            for ((da, won), (above, below)) in pixels.zip(above.chunks_exact(2 * c).zip(below.chunks_exact(2 * c))) {
                for_lanes!(c, i, N, {
                    let window = [at::<E, N>(above, i), at(above, c + i), at(below, i), at(below, c + i)];
                    let y = winner_lanes(window, at(won, i));
                    let channels = Channels::at(scale, shift, i);
                    sum_lanes(&channels, at(mean, i), &y, at(da, i), at_mut(sum_g, i), at_mut(sum_gx, i));
                });
            }
        }
    }
}

vectorised! {
    /// `dy = A * g + B * (y - mean) + C` with the coefficients (3, c).
    fn apply<E: Element>(
        y: &[E], da: &[E], winners: &[u8], scale: &[f32], shift: &[f32], mean: &[f32], coefficients: &[f32], w: usize,
        dy: &mut [E],
    ) {
        let c = scale.len();
        let (a, rest) = coefficients.split_at(c);
        let (b, constant) = rest.split_at(c);
        if winners.is_empty() && y.len() == da.len() {
            for ((y, da), dy) in y.chunks_exact(c).zip(da.chunks_exact(c)).zip(dy.chunks_exact_mut(c)) {
                for_lanes!(c, i, N, {
                    let by = Coefficients { a: at(a, i), b: at(b, i), c: at(constant, i), mean: at(mean, i) };
                    apply_lanes(&Channels::at(scale, shift, i), &by, at::<E, N>(y, i), at(da, i), at_mut(dy, i));
                });
            }
            return;
        }
        let w_out = w / 2;
        for (line, (y, dy)) in y.chunks_exact(w * c).zip(dy.chunks_exact_mut(w * c)).enumerate() {
            for (column, (y, dy)) in y.chunks_exact(c).zip(dy.chunks_exact_mut(c)).enumerate() {
                let window = (line / 2 * w_out + column / 2) * c;
                let place = (line % 2 * 2 + column % 2) as u8;
                if column / 2 >= w_out || window + c > da.len() {
                    for i in 0..c {
                        dy[i] = E::from_f32(b[i] * (y[i].to_f32() - mean[i]) + constant[i]);
                    }
                    continue;
                }
                let (da, won) = (&da[window..window + c], &winners[window..window + c]);
                for_lanes!(c, i, N, {
                    let by = Coefficients { a: at(a, i), b: at(b, i), c: at(constant, i), mean: at(mean, i) };
                    let channels = Channels::at(scale, shift, i);
                    unpool_lanes(&channels, &by, (at(won, i), place), at::<E, N>(y, i), at(da, i), at_mut(dy, i));
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
