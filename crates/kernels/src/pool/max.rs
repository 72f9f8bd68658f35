//! Max pooling and its gradient.

use std::hint::select_unpredictable;

use rayon::prelude::*;

use super::PoolShape;
use crate::chunks::{check_len, for_each_chunk};
use crate::profile;

/// Overwrites `y` with the largest number of each window, and `argmax` with where it is: the offset `y * w + x` in
/// the image's plane.
///
/// As `torch.nn.functional.max_pool2d`: padding never wins; of equal numbers the first one in reading order does; a
/// NaN wins, of several the last one.
///
/// # Shapes
/// `x` (n, h, w, c), `y` and `argmax` (n, h_out, w_out, c).
///
/// # Panics
/// If a length does not fit the shape, or the shape is not one (see [`PoolShape`]), or the image has more than
/// `u32::MAX` pixels.
pub fn max_pool2d(s: &PoolShape, x: &[f32], y: &mut [f32], argmax: &mut [u32]) {
    let _span = profile::pool("max_pool2d", s);
    s.check("max_pool2d", ("x", x.len()), ("y", y.len()));
    check_len("max_pool2d", "argmax", argmax.len(), s.y_len());
    assert!(u32::try_from(s.h * s.w).is_ok(), "max_pool2d: an image has more than u32::MAX pixels: {s:?}");
    if y.is_empty() {
        return;
    }
    let outputs = y.par_chunks_mut(s.pooled_len()).zip(argmax.par_chunks_mut(s.pooled_len()));
    outputs.zip(x.par_chunks(s.image_len())).for_each(|((y, argmax), x)| {
        let pixels = y.chunks_exact_mut(s.c).zip(argmax.chunks_exact_mut(s.c));
        for (out, (y, argmax)) in pixels.enumerate() {
            y.fill(f32::NEG_INFINITY);
            argmax.fill(s.window(out).next().map_or(0, |first| first as u32));
            for pixel in s.window(out) {
                take_larger(&x[pixel * s.c..(pixel + 1) * s.c], pixel as u32, y, argmax);
            }
        }
    });
}

/// Puts what is larger in `x` into `y`, and `pixel` into `argmax` there.
///
/// An `if` would become a branch around the stores, which keeps the loop from being vectorised.
fn take_larger(x: &[f32], pixel: u32, y: &mut [f32], argmax: &mut [u32]) {
    for ((y, argmax), &x) in y.iter_mut().zip(argmax).zip(x) {
        let wins = (x > *y) | x.is_nan();
        *y = select_unpredictable(wins, x, *y);
        *argmax = select_unpredictable(wins, pixel, *argmax);
    }
}

/// Overwrites `dx`: each element of `dy` goes to the pixel that won its window; where windows overlap they add up.
///
/// # Shapes
/// `dy` and `argmax` (n, h_out, w_out, c), `dx` (n, h, w, c).
///
/// # Panics
/// If a length does not fit the shape, or the shape is not one (see [`PoolShape`]), or `argmax` is not that of a
/// [`max_pool2d`] of this shape.
pub fn max_pool2d_backward(s: &PoolShape, dy: &[f32], argmax: &[u32], dx: &mut [f32]) {
    let _span = profile::pool("max_pool2d_backward", s);
    s.check("max_pool2d_backward", ("dx", dx.len()), ("dy", dy.len()));
    check_len("max_pool2d_backward", "argmax", argmax.len(), s.y_len());
    let (image_len, pooled_len) = (s.image_len().max(1), s.pooled_len());
    for_each_chunk(dx, image_len, |start, dx| {
        dx.fill(0.0);
        let first = start / image_len * pooled_len;
        let pixels = first..first + pooled_len;
        let pixels = argmax[pixels.clone()].chunks_exact(s.c).zip(dy[pixels].chunks_exact(s.c));
        for (argmax, dy) in pixels {
            for (channel, (&winner, &dy)) in argmax.iter().zip(dy).enumerate() {
                dx[winner as usize * s.c + channel] += dy;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of 1 x 3 over one line of 7 pixels.
    const LINE: PoolShape = PoolShape { n: 1, h: 1, w: 7, c: 1, k_h: 1, k_w: 3, stride: 2, padding: 0 };

    fn pool(x: [f32; 7]) -> ([f32; 3], [u32; 3]) {
        let (mut y, mut argmax) = ([0.0; 3], [9; 3]);
        max_pool2d(&LINE, &x, &mut y, &mut argmax);
        (y, argmax)
    }

    #[test]
    fn of_equal_numbers_the_first_wins() {
        assert_eq!(pool([1., 1., 0., 0., 2., 2., 2.]), ([1., 2., 2.], [0, 4, 4]));
        assert_eq!(pool([f32::NEG_INFINITY; 7]), ([f32::NEG_INFINITY; 3], [0, 2, 4]));
    }

    #[test]
    fn a_nan_wins() {
        let (y, argmax) = pool([5., f32::NAN, 1., 0., f32::NAN, f32::NAN, 7.]);
        assert!(y.iter().all(|y| y.is_nan()));
        assert_eq!(argmax, [1, 4, 5]);
    }

    #[test]
    fn overlapping_windows_add_their_gradients() {
        let mut dx = [9.0; 7];
        max_pool2d_backward(&LINE, &[1.0, 2.0, 4.0], &[2, 2, 6], &mut dx);
        assert_eq!(dx, [0., 0., 3., 0., 0., 0., 4.]);
    }
}
