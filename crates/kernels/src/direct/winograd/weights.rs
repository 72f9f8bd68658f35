//! The transform of filters into factors of the products, and of the factors' gradients back into gradients of the
//! filters. Runs once per step, on 16 output channels at a time.

use super::scheme::{F2, F4, Scheme, Transforms};
use crate::direct::element::Element;
use crate::direct::pack::Taps;
use crate::vectorise::vectorised;

/// Number of output channels transformed together. It divides every instruction set's block.
const LANES: usize = 16;

vectorised! {
    /// Computes `U = G w G^T` for the filters of a block of output channels from `first` to `end`, with taps rounded
    /// to `E`. `planes` has one (c_in, `block`) plane per product, with zeros for channels that do not exist.
    fn transform_weights<E: Element>(
        scheme: Scheme,
        taps: &Taps<'_>,
        first: usize,
        end: usize,
        block: usize,
        planes: &mut [&mut [f32]],
    ) {
        let offsets = taps.offsets_3x3();
        for lane in (0..block).step_by(LANES) {
            let n = end.saturating_sub(first + lane).min(LANES);
            for i in 0..planes[0].len() / block {
                let mut w = [[[0.0; LANES]; 3]; 3];
                for l in 0..n {
                    let o = first + lane + l;
                    let (filter, scale) = (&taps.weight[taps.plane(o, i)..], taps.scale(o));
                    for t in 0..9 {
                        w[t / 3][t % 3][l] = E::from_f32(filter[offsets[t]] * scale).to_f32();
                    }
                }
                let at = i * block + lane;
                match scheme {
                    Scheme::F2 => write_factors::<F2, 4, 2>(&w, planes, at),
                    Scheme::F4 => write_factors::<F4, 6, 4>(&w, planes, at),
                }
            }
        }
    }
}

vectorised! {
    /// Computes `dw = G^T dU G` of a block. `sums` is (products, c_in, `block`). `dweight` is
    /// (output channels, c_in, 3, 3) for the channels of the block that exist.
    fn unpack<E: Element>(scheme: Scheme, sums: &[E], c_in: usize, block: usize, dweight: &mut [f32]) {
        let n_channels = dweight.len() / (9 * c_in);
        for lane in (0..n_channels).step_by(LANES) {
            let n = (n_channels - lane).min(LANES);
            for i in 0..c_in {
                let (sums, plane) = (&sums[i * block + lane..], c_in * block);
                let dw = match scheme {
                    Scheme::F2 => read_factors::<E, F2, 4, 2>(sums, plane),
                    Scheme::F4 => read_factors::<E, F4, 6, 4>(sums, plane),
                };
                for l in 0..n {
                    let filter = &mut dweight[((lane + l) * c_in + i) * 9..][..9];
                    for t in 0..9 {
                        filter[t] = dw[t / 3][t % 3][l];
                    }
                }
            }
        }
    }
}

// No closures and no `map` over arrays below: a function that is not inlined is not compiled for the instruction set.

/// Writes `U = G w G^T`, row by row, at `at` in each plane.
#[inline(always)]
fn write_factors<S: Transforms<T, M>, const T: usize, const M: usize>(
    w: &[[[f32; LANES]; 3]; 3],
    planes: &mut [&mut [f32]],
    at: usize,
) {
    let mut half = [[[0f32; LANES]; 3]; T];
    for s in 0..3 {
        let column = S::taps(&[w[0][s], w[1][s], w[2][s]]);
        for r in 0..T {
            half[r][s] = column[r];
        }
    }
    for r in 0..T {
        let line = S::taps(&half[r]);
        for s in 0..T {
            planes[r * T + s][at..][..LANES].copy_from_slice(&line[s]);
        }
    }
}

/// Returns `dw = G^T dU G`. `sums` begins with the first plane's numbers; the planes are `plane` apart.
#[inline(always)]
fn read_factors<E: Element, S: Transforms<T, M>, const T: usize, const M: usize>(
    sums: &[E],
    plane: usize,
) -> [[[f32; LANES]; 3]; 3] {
    let mut half = [[[0f32; LANES]; T]; 3];
    for s in 0..T {
        let mut column = [[0f32; LANES]; T];
        for r in 0..T {
            let sums = &sums[(r * T + s) * plane..][..LANES];
            for l in 0..LANES {
                column[r][l] = sums[l].to_f32();
            }
        }
        let column = S::taps_gradient(&column);
        for r in 0..3 {
            half[r][s] = column[r];
        }
    }
    let mut dw = [[[0f32; LANES]; 3]; 3];
    for r in 0..3 {
        dw[r] = S::taps_gradient(&half[r]);
    }
    dw
}
