//! The transforms of maps, which mix the numbers of a tile, channel by channel. The transforms of filters are in
//! `weights`.

use super::ABSENT;
use super::scheme::{F2, F4, Scheme, Transforms};
use crate::direct::element::Element;
use crate::norm_act::lanes::{at, at_mut, for_lanes, limited};
use crate::vectorise::vectorised;

vectorised! {
    /// Computes `V = B^T d B` of the tiles that begin at `offsets` in the padded `x`, with `row` numbers in a row.
    /// `v` is (products, tiles, `v_row`), with a distance of `plane` between products.
    fn transform_input<E: Element>(
        scheme: Scheme,
        x: &[E],
        offsets: &[u32],
        row: usize,
        c: usize,
        v: &mut [f32],
        v_row: usize,
        plane: usize,
    ) {
        for (tile, &offset) in offsets.iter().enumerate() {
            let (x, v) = (&x[offset as usize..], &mut v[tile * v_row..]);
            match scheme {
                Scheme::F2 => {
                    for_lanes!(c, i, N, input_lanes::<E, F2, 4, 2, N>(&x[i..], row, c, &mut v[i..], plane));
                }
                Scheme::F4 => {
                    for_lanes!(c, i, N, input_lanes::<E, F4, 6, 4, N>(&x[i..], row, c, &mut v[i..], plane));
                }
            }
        }
    }
}

// No closures and no `map` over arrays below: a function that is not inlined is not compiled for the instruction set.

#[inline(always)]
fn input_lanes<E: Element, S: Transforms<T, M>, const T: usize, const M: usize, const N: usize>(
    x: &[E],
    row: usize,
    c: usize,
    v: &mut [f32],
    plane: usize,
) {
    let mut half = [[[0f32; N]; T]; T];
    for s in 0..T {
        let mut d = [[0f32; N]; T];
        for r in 0..T {
            let x: &[E; N] = at(x, r * row + s * c);
            for i in 0..N {
                d[r][i] = x[i].to_f32();
            }
        }
        let column = S::input(&d);
        for r in 0..T {
            half[r][s] = column[r];
        }
    }
    for r in 0..T {
        let line = S::input(&half[r]);
        for s in 0..T {
            *at_mut(v, (r * T + s) * plane) = line[s];
        }
    }
}

/// The operations on the output.
pub(super) struct Finish<'a, E> {
    pub(super) bias: Option<&'a [f32]>,
    pub(super) residual: Option<&'a [E]>,
    /// The lower and the upper limit of the numbers that are written.
    pub(super) limits: Option<[f32; 2]>,
    /// Sums and sums of squares per channel.
    pub(super) moments: Option<(&'a mut [f32], &'a mut [f32])>,
}

vectorised! {
    /// Computes `y = A^T M A` and the operations of `finish` for tiles whose pixels begin at `places` in `y`. `m` is
    /// (products, tiles, `m_row`), with a distance of `plane` between products. Only the first `c` numbers of a row
    /// are used.
    fn transform_output<E: Element>(
        scheme: Scheme,
        m: &[f32],
        m_row: usize,
        plane: usize,
        c: usize,
        places: &[u32],
        finish: &mut Finish<'_, E>,
        y: &mut [E],
    ) {
        for (tile, places) in places.chunks_exact(scheme.out().pow(2)).enumerate() {
            let m = &m[tile * m_row..];
            match scheme {
                Scheme::F2 => {
                    for_lanes!(c, i, N, output_lanes::<E, F2, 4, 2, N>(&m[i..], plane, places, i, finish, y));
                }
                Scheme::F4 => {
                    for_lanes!(c, i, N, output_lanes::<E, F4, 6, 4, N>(&m[i..], plane, places, i, finish, y));
                }
            }
        }
    }
}

#[inline(always)]
fn output_lanes<E: Element, S: Transforms<T, M>, const T: usize, const M: usize, const N: usize>(
    m: &[f32],
    plane: usize,
    places: &[u32],
    channel: usize,
    finish: &mut Finish<'_, E>,
    y: &mut [E],
) {
    let mut half = [[[0f32; N]; T]; M];
    for s in 0..T {
        let mut column = [[0f32; N]; T];
        for r in 0..T {
            column[r] = *at(m, (r * T + s) * plane);
        }
        let column = S::output(&column);
        for r in 0..M {
            half[r][s] = column[r];
        }
    }
    for r in 0..M {
        let line = S::output(&half[r]);
        for s in 0..M {
            let place = places[r * M + s];
            if place != ABSENT {
                finish_lanes(line[s], channel, place as usize + channel, finish, y);
            }
        }
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
    /// Computes `D = A dy A^T` of tiles whose pixels begin at `places` in `dy`, which begins with the block's first
    /// channel. `d` is (products, tiles, `block`), with a distance of `plane` between products, and 0 beyond the
    /// first `n_channels` of a block.
    fn transform_gradient<E: Element>(
        scheme: Scheme,
        dy: &[E],
        block: usize,
        n_channels: usize,
        places: &[u32],
        d: &mut [f32],
        plane: usize,
    ) {
        if n_channels < block {
            d.fill(0.0);
        }
        for (tile, places) in places.chunks_exact(scheme.out().pow(2)).enumerate() {
            let d = &mut d[tile * block..];
            match scheme {
                Scheme::F2 => {
                    for_lanes!(n_channels, i, N, gradient_lanes::<E, F2, 4, 2, N>(dy, places, i, &mut d[i..], plane));
                }
                Scheme::F4 => {
                    for_lanes!(n_channels, i, N, gradient_lanes::<E, F4, 6, 4, N>(dy, places, i, &mut d[i..], plane));
                }
            }
        }
    }
}

#[inline(always)]
fn gradient_lanes<E: Element, S: Transforms<T, M>, const T: usize, const M: usize, const N: usize>(
    dy: &[E],
    places: &[u32],
    channel: usize,
    d: &mut [f32],
    plane: usize,
) {
    let mut half = [[[0f32; N]; M]; T];
    for s in 0..M {
        let mut column = [[0f32; N]; M];
        for r in 0..M {
            let place = places[r * M + s];
            if place != ABSENT {
                let dy: &[E; N] = at(dy, place as usize + channel);
                for i in 0..N {
                    column[r][i] = dy[i].to_f32();
                }
            }
        }
        let column = S::gradient(&column);
        for r in 0..T {
            half[r][s] = column[r];
        }
    }
    for r in 0..T {
        let line = S::gradient(&half[r]);
        for s in 0..T {
            *at_mut(d, (r * T + s) * plane) = line[s];
        }
    }
}
