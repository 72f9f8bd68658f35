//! The passes without pooling: each output number depends on the input number at the same place.

use super::After;
use super::lanes::{
    Channels, Coefficients, Sums, at, at_mut, for_lanes, gelu, gelu_slope, hard_swish, hard_swish_slope,
    relu, relu6, relu6_gradient, silu, silu_slope,
};
use crate::direct::Element;
use crate::vectorise::vectorised;

vectorised! {
    /// Computes the forward pass. `residual` is empty if there is none.
    fn forward<E: Element>(y: &[E], scale: &[f32], shift: &[f32], residual: &[E], after: After, a: &mut [E]) {
        match (after, residual.is_empty()) {
            (After::Nothing, true) => map(y, scale, shift, a, |z| z),
            (After::Nothing, false) => map_with(y, scale, shift, residual, a, |z| z),
            (After::Relu | After::ReluPool, true) => map(y, scale, shift, a, relu),
            (After::Relu | After::ReluPool, false) => map_with(y, scale, shift, residual, a, relu),
            (After::Relu6, _) => map(y, scale, shift, a, relu6),
            (After::Gelu, _) => map(y, scale, shift, a, gelu),
            (After::Silu, _) => map(y, scale, shift, a, silu),
            (After::HardSwish, _) => map(y, scale, shift, a, hard_swish),
        }
    }
}

#[inline(always)]
pub(super) fn map<E: Element>(y: &[E], scale: &[f32], shift: &[f32], a: &mut [E], f: impl Fn(f32) -> f32) {
    let c = scale.len();
    for (y, a) in y.chunks_exact(c).zip(a.chunks_exact_mut(c)) {
        for_lanes!(c, i, N, {
            let (channels, y, a) =
                (Channels::<N>::at(scale, shift, i), at::<E, N>(y, i), at_mut::<E, N>(a, i));
            for j in 0..N {
                a[j] = E::from_f32(f(channels.z(y[j].to_f32(), j)));
            }
        });
    }
}

#[inline(always)]
fn map_with<E: Element>(
    y: &[E],
    scale: &[f32],
    shift: &[f32],
    residual: &[E],
    a: &mut [E],
    f: impl Fn(f32) -> f32,
) {
    let c = scale.len();
    for ((y, residual), a) in y.chunks_exact(c).zip(residual.chunks_exact(c)).zip(a.chunks_exact_mut(c)) {
        for_lanes!(c, i, N, {
            let (channels, y, a) =
                (Channels::<N>::at(scale, shift, i), at::<E, N>(y, i), at_mut::<E, N>(a, i));
            let residual = at::<E, N>(residual, i);
            for j in 0..N {
                a[j] = E::from_f32(f(channels.z(y[j].to_f32(), j) + residual[j].to_f32()));
            }
        });
    }
}

vectorised! {
    /// Adds the sums of g and of g * (y - mean) to `sums` (2, c). Here g depends only on `y` and `da`.
    fn add_up<E: Element>(
        y: &[E], da: &[E], scale: &[f32], shift: &[f32], mean: &[f32], after: After, sums: &mut [f32],
    ) {
        let c = mean.len();
        let (of_g, of_gx) = sums.split_at_mut(c);
        let with_relu = after == After::Relu;
        for (y, da) in y.chunks_exact(c).zip(da.chunks_exact(c)) {
            for_lanes!(c, i, N, {
                let (y, da) = (at::<E, N>(y, i), at::<E, N>(da, i));
                let (channels, mut sums) = (Channels::<N>::at(scale, shift, i), Sums::<N>::at(mean, of_g, of_gx, i));
                for j in 0..N {
                    let g = if with_relu { channels.relu_gradient(y[j].to_f32(), da[j].to_f32(), j) } else { da[j].to_f32() };
                    sums.add(g, y[j].to_f32(), j);
                }
            });
        }
    }
}

vectorised! {
    /// Adds up like [`add_up`] and keeps g, for a ReLU after a residual. Its mask is in the output `a`.
    fn keep_masked<E: Element>(y: &[E], a: &[E], da: &[E], mean: &[f32], g: &mut [E], sums: &mut [f32]) {
        let c = mean.len();
        let (of_g, of_gx) = sums.split_at_mut(c);
        let maps = y.chunks_exact(c).zip(a.chunks_exact(c)).zip(da.chunks_exact(c)).zip(g.chunks_exact_mut(c));
        for (((y, a), da), g) in maps {
            for_lanes!(c, i, N, {
                let (y, a, da, g) = (at::<E, N>(y, i), at::<E, N>(a, i), at::<E, N>(da, i), at_mut::<E, N>(g, i));
                let mut sums = Sums::<N>::at(mean, of_g, of_gx, i);
                for j in 0..N {
                    let masked = if a[j].to_f32() <= 0.0 { 0.0 } else { da[j].to_f32() };
                    g[j] = E::from_f32(masked);
                    sums.add(masked, y[j].to_f32(), j);
                }
            });
        }
    }
}

vectorised! {
    /// Adds up like [`add_up`] and keeps g, for ReLU6 and for curves, whose slopes are expensive to compute.
    fn keep_gradient<E: Element>(
        y: &[E], da: &[E], scale: &[f32], shift: &[f32], mean: &[f32], after: After, g: &mut [E], sums: &mut [f32],
    ) {
        match after {
            After::Relu6 => keep(y, da, scale, shift, mean, g, sums, relu6_gradient),
            After::Silu => keep(y, da, scale, shift, mean, g, sums, |z, da| da * silu_slope(z)),
            After::HardSwish => keep(y, da, scale, shift, mean, g, sums, |z, da| da * hard_swish_slope(z)),
            _ => keep(y, da, scale, shift, mean, g, sums, |z, da| da * gelu_slope(z)),
        }
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the body of the function above")]
fn keep<E: Element>(
    y: &[E],
    da: &[E],
    scale: &[f32],
    shift: &[f32],
    mean: &[f32],
    g: &mut [E],
    sums: &mut [f32],
    gradient: impl Fn(f32, f32) -> f32,
) {
    let c = mean.len();
    let (of_g, of_gx) = sums.split_at_mut(c);
    for ((y, da), g) in y.chunks_exact(c).zip(da.chunks_exact(c)).zip(g.chunks_exact_mut(c)) {
        for_lanes!(c, i, N, {
            let (y, da, g) = (at::<E, N>(y, i), at::<E, N>(da, i), at_mut::<E, N>(g, i));
            let channels = Channels::<N>::at(scale, shift, i);
            let mut sums = Sums::<N>::at(mean, of_g, of_gx, i);
            let mut product = [0.0; N];
            for j in 0..N {
                product[j] = gradient(channels.z(y[j].to_f32(), j), da[j].to_f32());
            }
            for j in 0..N {
                g[j] = E::from_f32(product[j]);
                sums.add(product[j], y[j].to_f32(), j);
            }
        });
    }
}

vectorised! {
    /// Computes `dy = A * g + B * (y - mean) + C` with the coefficients (3, c). Here g depends only on `y` and `da`.
    fn apply<E: Element>(
        y: &[E], da: &[E], scale: &[f32], shift: &[f32], mean: &[f32], coefficients: &[f32], after: After,
        dy: &mut [E],
    ) {
        let c = mean.len();
        let with_relu = after == After::Relu;
        for ((y, da), dy) in y.chunks_exact(c).zip(da.chunks_exact(c)).zip(dy.chunks_exact_mut(c)) {
            for_lanes!(c, i, N, {
                let (y, da, dy) = (at::<E, N>(y, i), at::<E, N>(da, i), at_mut::<E, N>(dy, i));
                let (channels, by) = (Channels::<N>::at(scale, shift, i), Coefficients::<N>::at(coefficients, mean, i));
                for j in 0..N {
                    let g = if with_relu { channels.relu_gradient(y[j].to_f32(), da[j].to_f32(), j) } else { da[j].to_f32() };
                    dy[j] = E::from_f32(by.dy(g, y[j].to_f32(), j));
                }
            });
        }
    }
}

vectorised! {
    /// Computes `dy` like [`apply`], in place: `dy` holds g before.
    fn apply_kept<E: Element>(y: &[E], mean: &[f32], coefficients: &[f32], dy: &mut [E]) {
        let c = mean.len();
        for (y, dy) in y.chunks_exact(c).zip(dy.chunks_exact_mut(c)) {
            for_lanes!(c, i, N, {
                let (y, dy) = (at::<E, N>(y, i), at_mut::<E, N>(dy, i));
                let by = Coefficients::<N>::at(coefficients, mean, i);
                for j in 0..N {
                    dy[j] = E::from_f32(by.dy(dy[j].to_f32(), y[j].to_f32(), j));
                }
            });
        }
    }
}
