//! Average pooling and its gradient.

use rayon::prelude::*;

use super::PoolShape;
use crate::direct::Element;
use crate::norm_act::lanes::{at, at_mut, for_lanes};
use crate::profile;
use crate::vectorise::vectorised;

/// Overwrites `y` with the sum of each window divided by `k_h * k_w`. Padding counts as zeros, as in PyTorch
/// (`count_include_pad=True`). With windows of h x w this is global average pooling. Sums are f32.
///
/// # Shapes
/// `x` (n, h, w, c), `y` (n, h_out, w_out, c).
///
/// # Panics
/// If a length does not fit the shape, or the shape is invalid (see [`PoolShape`]).
pub fn avg_pool2d<E: Element>(s: &PoolShape, x: &[E], y: &mut [E]) {
    let _span = profile::pool("avg_pool2d", s);
    s.check("avg_pool2d", ("x", x.len()), ("y", y.len()));
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(s.w_out() * s.c).enumerate().for_each(|(i, y)| {
        let image = &x[i / s.h_out() * s.image_len()..][..s.image_len()];
        pool_line(s, image, i % s.h_out(), y);
    });
}

vectorised! {
    /// Computes line `oy` of the output for the image `x`.
    fn pool_line<E: Element>(s: &PoolShape, x: &[E], oy: usize, y: &mut [E]) {
        let scale = 1.0 / (s.k_h * s.k_w) as f32;
        for (ox, y) in y.chunks_exact_mut(s.c).enumerate() {
            for_lanes!(s.c, i, N, {
                let mut sum = [0.0; N];
                for row in s.inside(oy, s.k_h, s.h) {
                    for column in s.inside(ox, s.k_w, s.w) {
                        let x = at::<E, N>(x, (row * s.w + column) * s.c + i);
                        for j in 0..N {
                            sum[j] += x[j].to_f32();
                        }
                    }
                }
                let y = at_mut::<E, N>(y, i);
                for j in 0..N {
                    y[j] = E::from_f32(sum[j] * scale);
                }
            });
        }
    }
}

/// Overwrites `dx` with the gradient of [`avg_pool2d`]: each element of `dy`, divided by `k_h * k_w`, is added to
/// every pixel of its window.
///
/// # Shapes
/// `dy` (n, h_out, w_out, c), `dx` (n, h, w, c).
///
/// # Panics
/// If a length does not fit the shape, or the shape is invalid (see [`PoolShape`]).
pub fn avg_pool2d_backward<E: Element>(s: &PoolShape, dy: &[E], dx: &mut [E]) {
    let _span = profile::pool("avg_pool2d_backward", s);
    s.check("avg_pool2d_backward", ("dx", dx.len()), ("dy", dy.len()));
    if dx.is_empty() {
        return;
    }
    dx.par_chunks_mut(s.w * s.c).enumerate().for_each(|(i, dx)| {
        let image = i / s.h * s.pooled_len()..(i / s.h + 1) * s.pooled_len();
        spread_line(s, &dy[image], i % s.h, dx);
    });
}

vectorised! {
    /// Computes line `y` of the gradient of an image: each pixel sums over the windows that contain it.
    fn spread_line<E: Element>(s: &PoolShape, dy: &[E], y: usize, dx: &mut [E]) {
        let scale = 1.0 / (s.k_h * s.k_w) as f32;
        for (x, dx) in dx.chunks_exact_mut(s.c).enumerate() {
            for_lanes!(s.c, i, N, {
                let mut sum = [0.0; N];
                for oy in s.seen_by(y, s.k_h, s.h_out()) {
                    for ox in s.seen_by(x, s.k_w, s.w_out()) {
                        let dy = at::<E, N>(dy, (oy * s.w_out() + ox) * s.c + i);
                        for j in 0..N {
                            sum[j] += dy[j].to_f32() * scale;
                        }
                    }
                }
                let dx = at_mut::<E, N>(dx, i);
                for j in 0..N {
                    dx[j] = E::from_f32(sum[j]);
                }
            });
        }
    }
}
