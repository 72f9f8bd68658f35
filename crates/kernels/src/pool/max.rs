//! Max pooling and its gradient.

use rayon::prelude::*;

use super::PoolShape;
use crate::chunks::check_len;
use crate::direct::Element;
use crate::norm_act::lanes::{at, at_mut, for_lanes};
use crate::profile;
use crate::vectorise::vectorised;

/// Overwrites `y` with the largest number of each window, and `winners` with its place in the window,
/// `row * k_w + column`. If `winners` is empty, the places are not stored.
///
/// The rules are those of `torch.nn.functional.max_pool2d`: padding never wins, the first of several equal numbers in
/// reading order wins, and NaN wins over numbers. The last of several NaNs wins.
///
/// # Shapes
/// `x` (n, h, w, c), `y` and `winners` (n, h_out, w_out, c).
///
/// # Panics
/// If a length does not fit the shape, the shape is invalid (see [`PoolShape`]), or a window has more than 256
/// pixels.
pub fn max_pool2d<E: Element>(s: &PoolShape, x: &[E], y: &mut [E], winners: &mut [u8]) {
    let _span = profile::pool("max_pool2d", s);
    s.check("max_pool2d", ("x", x.len()), ("y", y.len()));
    s.check_window("max_pool2d");
    let line = s.w_out() * s.c;
    if y.is_empty() {
        return;
    }
    let work = |i: usize, y: &mut [E], winners: &mut [u8]| {
        let image = &x[i / s.h_out() * s.image_len()..][..s.image_len()];
        pool_line(s, image, i % s.h_out(), y, winners);
    };
    if winners.is_empty() {
        y.par_chunks_mut(line).enumerate().for_each(|(i, y)| work(i, y, &mut []));
    } else {
        check_len("max_pool2d", "winners", winners.len(), s.y_len());
        let lines = y.par_chunks_mut(line).zip(winners.par_chunks_mut(line));
        lines.enumerate().for_each(|(i, (y, winners))| work(i, y, winners));
    }
}

/// Overwrites `y` with the 2x2 max pooling (stride 2) of `n` maps (h, w, c), on the calling thread.
pub(crate) fn pool_2x2<E: Element>(x: &[E], n: usize, h: usize, w: usize, c: usize, y: &mut [E]) {
    let s = PoolShape { n, h, w, c, k_h: 2, k_w: 2, stride: 2, padding: 0 };
    if s.pooled_len() > 0 {
        for (x, y) in x.chunks_exact(s.image_len()).zip(y.chunks_exact_mut(s.pooled_len())) {
            for (oy, y) in y.chunks_exact_mut(s.w_out() * c).enumerate() {
                pool_line(&s, x, oy, y, &mut []);
            }
        }
    }
}

vectorised! {
    /// Computes line `oy` of the output for the image `x`.
    fn pool_line<E: Element>(s: &PoolShape, x: &[E], oy: usize, y: &mut [E], winners: &mut [u8]) {
        let rows = s.inside(oy, s.k_h, s.h);
        for (ox, y) in y.chunks_exact_mut(s.c).enumerate() {
            let columns = s.inside(ox, s.k_w, s.w);
            let place = |row: usize, column: usize| {
                (row + s.padding - oy * s.stride) * s.k_w + column + s.padding - ox * s.stride
            };
            for_lanes!(s.c, i, N, {
                let mut largest = [f32::NEG_INFINITY; N];
                let mut winner = [place(rows.start, columns.start) as u32; N];
                for row in rows.clone() {
                    for column in columns.clone() {
                        let (x, place) = (at::<E, N>(x, (row * s.w + column) * s.c + i), place(row, column) as u32);
                        for j in 0..N {
                            let x = x[j].to_f32();
                            let wins = (x > largest[j]) | x.is_nan();
                            largest[j] = if wins { x } else { largest[j] };
                            winner[j] = if wins { place } else { winner[j] };
                        }
                    }
                }
                let y = at_mut::<E, N>(y, i);
                for j in 0..N {
                    y[j] = E::from_f32(largest[j]);
                }
                if !winners.is_empty() {
                    let winners = at_mut::<u8, N>(winners, ox * s.c + i);
                    for j in 0..N {
                        winners[j] = winner[j] as u8;
                    }
                }
            });
        }
    }
}

/// Overwrites `dx` with the gradient of [`max_pool2d`]: each element of `dy` goes to the pixel that won its window.
/// The elements of overlapping windows add up.
///
/// # Shapes
/// `dy` and `winners` (n, h_out, w_out, c), `dx` (n, h, w, c).
///
/// # Panics
/// The same as [`max_pool2d`].
pub fn max_pool2d_backward<E: Element>(s: &PoolShape, dy: &[E], winners: &[u8], dx: &mut [E]) {
    let _span = profile::pool("max_pool2d_backward", s);
    s.check("max_pool2d_backward", ("dx", dx.len()), ("dy", dy.len()));
    s.check_window("max_pool2d_backward");
    check_len("max_pool2d_backward", "winners", winners.len(), s.y_len());
    if dx.is_empty() {
        return;
    }
    if s.stride == s.k_h && s.stride == s.k_w && s.padding == 0 {
        let images = dx.par_chunks_mut(s.image_len()).enumerate();
        return images.for_each(|(i, dx)| {
            let image = i * s.pooled_len()..(i + 1) * s.pooled_len();
            scatter_image(s, &dy[image.clone()], &winners[image], dx);
        });
    }
    dx.par_chunks_mut(s.w * s.c).enumerate().for_each(|(i, dx)| {
        let image = i / s.h * s.pooled_len()..(i / s.h + 1) * s.pooled_len();
        unpool_line(s, &dy[image.clone()], &winners[image], i % s.h, dx);
    });
}

vectorised! {
    /// Computes the gradient of an image with windows that do not overlap: each window writes its own pixels.
    fn scatter_image<E: Element>(s: &PoolShape, dy: &[E], winners: &[u8], dx: &mut [E]) {
        let (c, w_out, line) = (s.c, s.w_out(), s.w * s.c);
        for (y, dx) in dx.chunks_exact_mut(line).enumerate() {
            let (oy, row) = (y / s.k_h, y % s.k_h);
            if oy >= s.h_out() {
                dx.fill(E::default());
                continue;
            }
            dx[w_out * s.k_w * c..].fill(E::default());
            let windows = dy[oy * w_out * c..].chunks_exact(c).zip(winners[oy * w_out * c..].chunks_exact(c));
            for (dx, (dy, winners)) in dx.chunks_exact_mut(s.k_w * c).zip(windows) {
                for (column, dx) in dx.chunks_exact_mut(c).enumerate() {
                    let place = (row * s.k_w + column) as u32;
                    for_lanes!(c, i, N, {
                        let (dy, winners) = (at::<E, N>(dy, i), at::<u8, N>(winners, i));
                        // in separate steps in f32: the compiler turns a choice between a load and 0 into branches
                        let mut given = [0.0; N];
                        for j in 0..N {
                            given[j] = dy[j].to_f32();
                        }
                        for j in 0..N {
                            given[j] = if u32::from(winners[j]) == place { given[j] } else { 0.0 };
                        }
                        let dx = at_mut::<E, N>(dx, i);
                        for j in 0..N {
                            dx[j] = E::from_f32(given[j]);
                        }
                    });
                }
            }
        }
    }
}

vectorised! {
    /// Computes line `y` of the gradient of an image: each pixel sums over the windows that contain it.
    fn unpool_line<E: Element>(s: &PoolShape, dy: &[E], winners: &[u8], y: usize, dx: &mut [E]) {
        let rows = s.seen_by(y, s.k_h, s.h_out());
        for (x, dx) in dx.chunks_exact_mut(s.c).enumerate() {
            let columns = s.seen_by(x, s.k_w, s.w_out());
            for_lanes!(s.c, i, N, {
                let mut sum = [0.0; N];
                for oy in rows.clone() {
                    for ox in columns.clone() {
                        let place = ((y + s.padding - oy * s.stride) * s.k_w + x + s.padding - ox * s.stride) as u32;
                        let start = (oy * s.w_out() + ox) * s.c + i;
                        let (dy, winners) = (at::<E, N>(dy, start), at::<u8, N>(winners, start));
                        // in separate steps in f32, as above
                        let mut given = [0.0; N];
                        for j in 0..N {
                            given[j] = dy[j].to_f32();
                        }
                        for j in 0..N {
                            given[j] = if u32::from(winners[j]) == place { given[j] } else { 0.0 };
                        }
                        for j in 0..N {
                            sum[j] += given[j];
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of 1 x 3 over one line of 7 pixels.
    const LINE: PoolShape = PoolShape { n: 1, h: 1, w: 7, c: 1, k_h: 1, k_w: 3, stride: 2, padding: 0 };

    fn pool(x: [f32; 7]) -> ([f32; 3], [u8; 3]) {
        let (mut y, mut winners) = ([0.0; 3], [9; 3]);
        max_pool2d(&LINE, &x, &mut y, &mut winners);
        (y, winners)
    }

    #[test]
    fn of_equal_numbers_the_first_wins() {
        assert_eq!(pool([1., 1., 0., 0., 2., 2., 2.]), ([1., 2., 2.], [0, 2, 0]));
        assert_eq!(pool([f32::NEG_INFINITY; 7]), ([f32::NEG_INFINITY; 3], [0, 0, 0]));
    }

    #[test]
    fn a_nan_wins() {
        let (y, winners) = pool([5., f32::NAN, 1., 0., f32::NAN, f32::NAN, 7.]);
        assert!(y.iter().all(|y| y.is_nan()));
        assert_eq!(winners, [1, 2, 1]);
    }

    #[test]
    fn overlapping_windows_add_their_gradients() {
        let mut dx = [9.0; 7];
        max_pool2d_backward(&LINE, &[1.0, 2.0, 4.0], &[2, 0, 2], &mut dx);
        assert_eq!(dx, [0., 0., 3., 0., 0., 0., 4.]);
    }

    #[test]
    fn a_window_in_the_padding_counts_its_places_from_outside() {
        let s = PoolShape { n: 1, h: 2, w: 2, c: 1, k_h: 3, k_w: 3, stride: 2, padding: 1 };
        let (mut y, mut winners) = ([0.0], [0]);
        max_pool2d(&s, &[1.0, 2.0, 4.0, 3.0], &mut y, &mut winners);
        assert_eq!((y, winners), ([4.0], [7]));
        let mut dx = [9.0; 4];
        max_pool2d_backward(&s, &[5.0], &winners, &mut dx);
        assert_eq!(dx, [0.0, 0.0, 5.0, 0.0]);
    }
}
