//! Average pooling and its gradient.

use super::PoolShape;
use crate::chunks::for_each_chunk;
use crate::profile;

/// Overwrites `y` with the sum of each window divided by `k_h * k_w`: padding counts as zeros, as in PyTorch
/// (`count_include_pad=True`). With windows of h x w it is global average pooling.
///
/// # Shapes
/// `x` (n, h, w, c), `y` (n, h_out, w_out, c).
///
/// # Panics
/// If a length does not fit the shape, or the shape is not one (see [`PoolShape`]).
pub fn avg_pool2d(s: &PoolShape, x: &[f32], y: &mut [f32]) {
    let _span = profile::pool("avg_pool2d", s);
    s.check("avg_pool2d", ("x", x.len()), ("y", y.len()));
    let (image_len, pooled_len) = (s.image_len(), s.pooled_len().max(1));
    let scale = 1.0 / (s.k_h * s.k_w) as f32;
    for_each_chunk(y, pooled_len, |start, y| {
        let first = start / pooled_len * image_len;
        let x = &x[first..first + image_len];
        for (out, y) in y.chunks_exact_mut(s.c).enumerate() {
            y.fill(0.0);
            for pixel in s.window(out) {
                for (y, &x) in y.iter_mut().zip(&x[pixel * s.c..(pixel + 1) * s.c]) {
                    *y += x;
                }
            }
            y.iter_mut().for_each(|y| *y *= scale);
        }
    });
}

/// Overwrites `dx`: each element of `dy`, divided by `k_h * k_w`, goes to every pixel of its window.
///
/// # Shapes
/// `dy` (n, h_out, w_out, c), `dx` (n, h, w, c).
///
/// # Panics
/// If a length does not fit the shape, or the shape is not one (see [`PoolShape`]).
pub fn avg_pool2d_backward(s: &PoolShape, dy: &[f32], dx: &mut [f32]) {
    let _span = profile::pool("avg_pool2d_backward", s);
    s.check("avg_pool2d_backward", ("dx", dx.len()), ("dy", dy.len()));
    let (image_len, pooled_len) = (s.image_len().max(1), s.pooled_len());
    let scale = 1.0 / (s.k_h * s.k_w) as f32;
    for_each_chunk(dx, image_len, |start, dx| {
        dx.fill(0.0);
        let first = start / image_len * pooled_len;
        for (out, dy) in dy[first..first + pooled_len].chunks_exact(s.c).enumerate() {
            for pixel in s.window(out) {
                for (dx, &dy) in dx[pixel * s.c..(pixel + 1) * s.c].iter_mut().zip(dy) {
                    *dx += dy * scale;
                }
            }
        }
    });
}
