//! The transforms, which mix the numbers of a tile, channel by channel.

use super::{ABSENT, N_PRODUCTS};
use crate::direct::element::Element;
use crate::norm_act::lanes::{at, at_mut, for_lanes, limited};
use crate::vectorise::vectorised;

vectorised! {
    /// `V = B^T d B` of the tiles that begin at `offsets` in the padded `x`; `v` is (16, tiles, c), with room for more.
    fn transform_input<E: Element>(x: &[E], offsets: &[u32], row: usize, c: usize, v: &mut [E]) {
        let plane = v.len() / N_PRODUCTS;
        for (tile, &offset) in offsets.iter().enumerate() {
            let (x, v) = (&x[offset as usize..], &mut v[tile * c..]);
            for_lanes!(c, i, N, input_lanes::<E, N>(&x[i..], row, c, &mut v[i..], plane));
        }
    }
}

// No closures and no `map` over arrays below: what is not inlined is not compiled for the instruction set.

#[inline(always)]
fn input_lanes<E: Element, const N: usize>(x: &[E], row: usize, c: usize, v: &mut [E], plane: usize) {
    let mut half = [[[0f32; N]; 4]; 4];
    for s in 0..4 {
        let (d0, d1): (&[E; N], &[E; N]) = (at(x, s * c), at(x, row + s * c));
        let (d2, d3): (&[E; N], &[E; N]) = (at(x, 2 * row + s * c), at(x, 3 * row + s * c));
        for i in 0..N {
            half[0][s][i] = d0[i].to_f32() - d2[i].to_f32();
            half[1][s][i] = d1[i].to_f32() + d2[i].to_f32();
            half[2][s][i] = d2[i].to_f32() - d1[i].to_f32();
            half[3][s][i] = d1[i].to_f32() - d3[i].to_f32();
        }
    }
    for r in 0..4 {
        let [d0, d1, d2, d3] = &half[r];
        let v0: &mut [E; N] = at_mut(v, 4 * r * plane);
        for i in 0..N {
            v0[i] = E::from_f32(d0[i] - d2[i]);
        }
        let v1: &mut [E; N] = at_mut(v, (4 * r + 1) * plane);
        for i in 0..N {
            v1[i] = E::from_f32(d1[i] + d2[i]);
        }
        let v2: &mut [E; N] = at_mut(v, (4 * r + 2) * plane);
        for i in 0..N {
            v2[i] = E::from_f32(d2[i] - d1[i]);
        }
        let v3: &mut [E; N] = at_mut(v, (4 * r + 3) * plane);
        for i in 0..N {
            v3[i] = E::from_f32(d1[i] - d3[i]);
        }
    }
}

/// What becomes of the output.
pub(super) struct Finish<'a, E> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) residual: Option<&'a [E]>,
    /// The least and the largest number that is written.
    pub(super) limits: Option<[f32; 2]>,
    /// Sums and sums of squares.
    pub(super) moments: Option<(&'a mut [f32], &'a mut [f32])>,
}

vectorised! {
    /// `y = A^T M A`, finished, of tiles whose pixels begin at `places` in `y`. `m` is (16, tiles, row), with room for
    /// more, and the first `c` numbers of a row are there.
    fn transform_output<E: Element>(
        m: &[E],
        row: usize,
        c: usize,
        places: &[[u32; 4]],
        finish: &mut Finish<'_, E>,
        y: &mut [E],
    ) {
        let plane = m.len() / N_PRODUCTS;
        for (tile, places) in places.iter().enumerate() {
            let m = &m[tile * row..];
            for_lanes!(c, i, N, output_lanes::<E, N>(&m[i..], plane, places, i, finish, y));
        }
    }
}

#[inline(always)]
fn output_lanes<E: Element, const N: usize>(
    m: &[E],
    plane: usize,
    places: &[u32; 4],
    channel: usize,
    finish: &mut Finish<'_, E>,
    y: &mut [E],
) {
    let mut half = [[[0f32; N]; 4]; 2];
    for s in 0..4 {
        let (m0, m1): (&[E; N], &[E; N]) = (at(m, s * plane), at(m, (4 + s) * plane));
        let (m2, m3): (&[E; N], &[E; N]) = (at(m, (8 + s) * plane), at(m, (12 + s) * plane));
        for i in 0..N {
            half[0][s][i] = m0[i].to_f32() + m1[i].to_f32() + m2[i].to_f32();
            half[1][s][i] = m1[i].to_f32() - m2[i].to_f32() - m3[i].to_f32();
        }
    }
    for (pixel, &place) in places.iter().enumerate() {
        if place == ABSENT {
            continue;
        }
        let [m0, m1, m2, m3] = &half[pixel / 2];
        let mut sums = [0f32; N];
        if pixel % 2 == 0 {
            for i in 0..N {
                sums[i] = m0[i] + m1[i] + m2[i];
            }
        } else {
            for i in 0..N {
                sums[i] = m1[i] - m2[i] - m3[i];
            }
        }
        finish_lanes(sums, channel, place as usize + channel, finish, y);
    }
}

#[inline(always)]
fn finish_lanes<E: Element, const N: usize>(
    mut sums: [f32; N],
    channel: usize,
    place: usize,
    finish: &mut Finish<'_, E>,
    y: &mut [E],
) {
    if let Some(bias) = finish.bias {
        let bias: &[f32; N] = at(bias, channel);
        for i in 0..N {
            sums[i] += bias[i];
        }
    }
    if let Some(residual) = finish.residual {
        let residual: &[E; N] = at(residual, place);
        for i in 0..N {
            sums[i] += residual[i].to_f32();
        }
    }
    if let Some(limits) = finish.limits {
        for i in 0..N {
            sums[i] = limited(sums[i], limits);
        }
    }
    let y: &mut [E; N] = at_mut(y, place);
    for i in 0..N {
        y[i] = E::from_f32(sums[i]);
    }
    if let Some((total, squares)) = &mut finish.moments {
        let (total, squares): (&mut [f32; N], &mut [f32; N]) =
            (at_mut(total, channel), at_mut(squares, channel));
        for i in 0..N {
            total[i] += sums[i];
            squares[i] += sums[i] * sums[i];
        }
    }
}

vectorised! {
    /// `D = A dy A^T` of tiles whose pixels begin at `places` in `dy`, which begins with the block's first channel; `d` is
    /// (16, tiles, block), with room for more, and 0 beyond `n_channels` of a block.
    fn transform_gradient<E: Element>(
        dy: &[E],
        block: usize,
        n_channels: usize,
        places: &[[u32; 4]],
        d: &mut [E],
    ) {
        let plane = d.len() / N_PRODUCTS;
        if n_channels < block {
            d.fill(E::default());
        }
        for (tile, places) in places.iter().enumerate() {
            let d = &mut d[tile * block..];
            for_lanes!(n_channels, i, N, gradient_lanes::<E, N>(dy, places, i, &mut d[i..], plane));
        }
    }
}

#[inline(always)]
fn gradient_lanes<E: Element, const N: usize>(
    dy: &[E],
    places: &[u32; 4],
    channel: usize,
    d: &mut [E],
    plane: usize,
) {
    let mut pixels = [[0f32; N]; 4];
    for k in 0..4 {
        if places[k] != ABSENT {
            let dy: &[E; N] = at(dy, places[k] as usize + channel);
            for i in 0..N {
                pixels[k][i] = dy[i].to_f32();
            }
        }
    }
    let mut half = [[[0f32; N]; 2]; 4];
    for s in 0..2 {
        for i in 0..N {
            let (upper, lower) = (pixels[s][i], pixels[2 + s][i]);
            half[0][s][i] = upper;
            half[1][s][i] = upper + lower;
            half[2][s][i] = upper - lower;
            half[3][s][i] = -lower;
        }
    }
    for r in 0..4 {
        let [left, right] = &half[r];
        let d0: &mut [E; N] = at_mut(d, 4 * r * plane);
        for i in 0..N {
            d0[i] = E::from_f32(left[i]);
        }
        let d1: &mut [E; N] = at_mut(d, (4 * r + 1) * plane);
        for i in 0..N {
            d1[i] = E::from_f32(left[i] + right[i]);
        }
        let d2: &mut [E; N] = at_mut(d, (4 * r + 2) * plane);
        for i in 0..N {
            d2[i] = E::from_f32(left[i] - right[i]);
        }
        let d3: &mut [E; N] = at_mut(d, (4 * r + 3) * plane);
        for i in 0..N {
            d3[i] = E::from_f32(-right[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use tallow_core::{Purpose, Stream};

    use super::super::weights::weights_of;
    use super::*;

    /// One tile of two channels, against nine products per pixel in f64.
    #[test]
    fn a_tile_is_a_convolution() {
        let mut stream = Stream::new(0, Purpose::Test, 0, 0);
        let mut random = |n: usize| (0..n).map(|_| stream.uniform_f32(-1.0, 1.0)).collect::<Vec<f32>>();
        let (x, w, bias) = (random(4 * 4), random(9), random(1));
        let filter: [[f32; 1]; 9] = std::array::from_fn(|t| [w[t]]);
        let mut v = [0.0; N_PRODUCTS];
        transform_input(&x, &[0], 4, 1, &mut v);
        let u = weights_of(&filter);
        let m: [f32; N_PRODUCTS] = std::array::from_fn(|e| u[e][0] * v[e]);
        let mut y = [f32::NAN; 4];
        let mut finish = Finish { bias: Some(&bias), residual: None, limits: None, moments: None };
        transform_output(&m, 1, 1, &[[0, 1, 2, 3]], &mut finish, &mut y);
        for (pixel, y) in y.iter().enumerate() {
            let mut expected = f64::from(bias[0]);
            for r in 0..3 {
                for s in 0..3 {
                    let x = x[(pixel / 2 + r) * 4 + pixel % 2 + s];
                    expected += f64::from(x) * f64::from(w[3 * r + s]);
                }
            }
            assert!((f64::from(*y) - expected).abs() < 1e-6, "pixel {pixel}: {y}, expected {expected}");
        }
    }

    /// <A^T M A, dy> = <M, D>
    #[test]
    fn the_gradients_transform_is_the_outputs_transpose() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let mut random = || -> [f32; N_PRODUCTS] { std::array::from_fn(|_| stream.uniform_f32(-1.0, 1.0)) };
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let (m, dy) = (random(), random());
        let (mut y, mut d) = ([0.0; 4], [0.0; N_PRODUCTS]);
        let mut finish = Finish { bias: None, residual: None, limits: None, moments: None };
        transform_output(&m, 1, 1, &[[0, 1, 2, 3]], &mut finish, &mut y);
        transform_gradient(&dy[..4], 1, 1, &[[0, 1, 2, 3]], &mut d);
        let (left, right) = (dot(&y, &dy[..4]), dot(&m, &d));
        assert!((left - right).abs() < 1e-5, "{left} {right}");
    }
}
