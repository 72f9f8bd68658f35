//! Operations of the passes on a few channels at a time, in registers.

use crate::math::{normal_cdf_and_pdf, sigmoid_f32};

/// Number of channels computed at a time; remaining channels are computed one by one. Each loop of this fixed length
/// becomes one vector operation. A loop over all channels would be unrolled so far that 32 channels would run in its
/// scalar remainder.
pub(crate) const LANES: usize = 16;

/// Runs `$call` with `$n` = 16 and `$i` at every 16th channel. Then runs it with `$n` = 8 if 8 channels are left, and
/// with `$n` = 1 at each remaining channel.
macro_rules! for_lanes {
    ($c:expr, $i:ident, $n:ident, $call:expr) => {
        let mut $i = 0;
        while $i + $crate::norm_act::lanes::LANES <= $c {
            const $n: usize = $crate::norm_act::lanes::LANES;
            $call;
            $i += $n;
        }
        if $i + $crate::norm_act::lanes::LANES / 2 <= $c {
            const $n: usize = $crate::norm_act::lanes::LANES / 2;
            $call;
            $i += $n;
        }
        while $i < $c {
            const $n: usize = 1;
            $call;
            $i += 1;
        }
    };
}

pub(crate) use for_lanes;

/// Returns `N` numbers from `i` on.
#[inline(always)]
pub(crate) fn at<T, const N: usize>(slice: &[T], i: usize) -> &[T; N] {
    slice[i..].first_chunk().expect("channels are counted before")
}

#[inline(always)]
pub(crate) fn at_mut<T, const N: usize>(slice: &mut [T], i: usize) -> &mut [T; N] {
    slice[i..].first_chunk_mut().expect("channels are counted before")
}

/// Returns the sum of partial sums: adds the upper half to the lower half until one sum is left.
#[inline(always)]
pub(crate) fn total(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            sums[j] += sums[j + half];
        }
        half /= 2;
    }
    sums[0]
}

/// Returns `max(z, 0)`; NaN stays NaN.
#[inline(always)]
pub(crate) fn relu(z: f32) -> f32 {
    if z <= 0.0 { 0.0 } else { z }
}

/// Limits `z` to the range from `low` to `high`; NaN stays NaN.
#[inline(always)]
pub(crate) fn limited(z: f32, [low, high]: [f32; 2]) -> f32 {
    let z = if z <= low { low } else { z };
    if z >= high { high } else { z }
}

#[inline(always)]
pub(crate) fn relu6(z: f32) -> f32 {
    limited(z, [0.0, 6.0])
}

/// Returns the gradient of `z`, given the gradient `da` of `relu6(z)`.
#[inline(always)]
pub(crate) fn relu6_gradient(z: f32, da: f32) -> f32 {
    if z <= 0.0 || z >= 6.0 { 0.0 } else { da }
}

#[inline(always)]
pub(crate) fn gelu(z: f32) -> f32 {
    z * normal_cdf_and_pdf(z).0
}

#[inline(always)]
pub(crate) fn gelu_slope(z: f32) -> f32 {
    let (cdf, pdf) = normal_cdf_and_pdf(z);
    cdf + z * pdf
}

#[inline(always)]
pub(crate) fn silu(z: f32) -> f32 {
    z * sigmoid_f32(z)
}

#[inline(always)]
pub(crate) fn silu_slope(z: f32) -> f32 {
    let sigmoid = sigmoid_f32(z);
    sigmoid * (1.0 + z * (1.0 - sigmoid))
}

#[inline(always)]
pub(crate) fn hard_swish(z: f32) -> f32 {
    z * relu6(z + 3.0) * (1.0 / 6.0)
}

#[inline(always)]
pub(crate) fn hard_swish_slope(z: f32) -> f32 {
    let between = z * (1.0 / 3.0) + 0.5;
    let below = if z <= -3.0 { 0.0 } else { between };
    if z >= 3.0 { 1.0 } else { below }
}

/// Scale and shift of `N` channels: `z = scale * y + shift`.
pub(super) struct Channels<'a, const N: usize> {
    scale: &'a [f32; N],
    shift: &'a [f32; N],
}

impl<'a, const N: usize> Channels<'a, N> {
    #[inline(always)]
    pub(super) fn at(scale: &'a [f32], shift: &'a [f32], i: usize) -> Self {
        Self { scale: at(scale, i), shift: at(shift, i) }
    }

    #[inline(always)]
    pub(super) fn z(&self, y: f32, i: usize) -> f32 {
        y * self.scale[i] + self.shift[i]
    }

    /// Returns the gradient of z, given the gradient `da` of its ReLU.
    #[inline(always)]
    pub(super) fn relu_gradient(&self, y: f32, da: f32, i: usize) -> f32 {
        if self.z(y, i) <= 0.0 { 0.0 } else { da }
    }
}

/// The coefficients of the last pass: `dy = A * g + B * (y - mean) + C`.
pub(super) struct Coefficients<'a, const N: usize> {
    a: &'a [f32; N],
    b: &'a [f32; N],
    c: &'a [f32; N],
    mean: &'a [f32; N],
}

impl<'a, const N: usize> Coefficients<'a, N> {
    /// `coefficients` is (3, c).
    #[inline(always)]
    pub(super) fn at(coefficients: &'a [f32], mean: &'a [f32], i: usize) -> Self {
        let c = mean.len();
        let all = [0, c, 2 * c].map(|start| at(coefficients, start + i));
        Self { a: all[0], b: all[1], c: all[2], mean: at(mean, i) }
    }

    #[inline(always)]
    pub(super) fn dy(&self, g: f32, y: f32, i: usize) -> f32 {
        self.a[i] * g + self.b[i] * (y - self.mean[i]) + self.c[i]
    }
}

/// Sums of g and of g * (y - mean). The gradients of batch norm's gamma and beta follow from them.
pub(super) struct Sums<'a, const N: usize> {
    pub(super) mean: &'a [f32; N],
    pub(super) of_g: &'a mut [f32; N],
    pub(super) of_gx: &'a mut [f32; N],
}

impl<'a, const N: usize> Sums<'a, N> {
    #[inline(always)]
    pub(super) fn at(mean: &'a [f32], of_g: &'a mut [f32], of_gx: &'a mut [f32], i: usize) -> Self {
        Self { mean: at(mean, i), of_g: at_mut(of_g, i), of_gx: at_mut(of_gx, i) }
    }

    #[inline(always)]
    pub(super) fn add(&mut self, g: f32, y: f32, i: usize) {
        self.of_g[i] += g;
        self.of_gx[i] += g * (y - self.mean[i]);
    }
}
