//! Filters into their 16 products' factors, and the factors' gradients back into filters: once per step, 16 output
//! channels at a time.

use super::N_PRODUCTS;
use crate::direct::element::Element;
use crate::direct::pack::Taps;
use crate::vectorise::vectorised;

/// Output channels that are transformed together; divides every instruction set's block.
const LANES: usize = 16;

vectorised! {
    /// `U = G w G^T` of the filters of a block of output channels from `first` to `end`. `planes` are 16 of (c_in,
    /// `block`): zeros where there are no channels.
    fn transform_weights<E: Element>(
        taps: &Taps<'_>,
        first: usize,
        end: usize,
        block: usize,
        planes: &mut [&mut [E]],
    ) {
        let offsets = taps.offsets_3x3();
        for lane in (0..block).step_by(LANES) {
            let n = end.saturating_sub(first + lane).min(LANES);
            for i in 0..planes[0].len() / block {
                let mut w = [[0.0; LANES]; 9];
                for l in 0..n {
                    let o = first + lane + l;
                    let (filter, scale) = (&taps.weight[taps.plane(o, i)..], taps.scale(o));
                    for t in 0..9 {
                        w[t][l] = filter[offsets[t]] * scale;
                    }
                }
                let u = weights_of(&w);
                for e in 0..N_PRODUCTS {
                    let out = &mut planes[e][i * block + lane..][..LANES];
                    for l in 0..LANES {
                        out[l] = E::from_f32(u[e][l]);
                    }
                }
            }
        }
    }
}

vectorised! {
    /// `dw = G^T dU G` of a block: `sums` is (16, c_in, `block`), `dweight` (output channels, c_in, 3, 3) of as many
    /// channels of the block as there are.
    fn unpack<E: Element>(sums: &[E], c_in: usize, block: usize, dweight: &mut [f32]) {
        let n_channels = dweight.len() / (9 * c_in);
        for lane in (0..n_channels).step_by(LANES) {
            let n = (n_channels - lane).min(LANES);
            for i in 0..c_in {
                let mut du = [[0.0; LANES]; N_PRODUCTS];
                for e in 0..N_PRODUCTS {
                    let sums = &sums[(e * c_in + i) * block + lane..][..LANES];
                    for l in 0..LANES {
                        du[e][l] = sums[l].to_f32();
                    }
                }
                let dw = weight_gradients_of(&du);
                for l in 0..n {
                    let filter = &mut dweight[((lane + l) * c_in + i) * 9..][..9];
                    for t in 0..9 {
                        filter[t] = dw[t][l];
                    }
                }
            }
        }
    }
}

// No closures and no `map` over arrays below: what is not inlined is not compiled for the instruction set.

/// `U = G w G^T` of `N` filters, row by row.
#[inline(always)]
pub(super) fn weights_of<const N: usize>(w: &[[f32; N]; 9]) -> [[f32; N]; N_PRODUCTS] {
    let mut half = [[[0f32; N]; 3]; 4];
    for s in 0..3 {
        let (a, b, c) = (&w[s], &w[3 + s], &w[6 + s]);
        for l in 0..N {
            half[0][s][l] = a[l];
            half[1][s][l] = 0.5 * (a[l] + b[l] + c[l]);
            half[2][s][l] = 0.5 * (a[l] - b[l] + c[l]);
            half[3][s][l] = c[l];
        }
    }
    let mut u = [[0f32; N]; N_PRODUCTS];
    for r in 0..4 {
        let [a, b, c] = &half[r];
        for l in 0..N {
            u[4 * r][l] = a[l];
            u[4 * r + 1][l] = 0.5 * (a[l] + b[l] + c[l]);
            u[4 * r + 2][l] = 0.5 * (a[l] - b[l] + c[l]);
            u[4 * r + 3][l] = c[l];
        }
    }
    u
}

/// `dw = G^T dU G` of `N` filters, row by row; its transpose in every sense.
#[inline(always)]
pub(super) fn weight_gradients_of<const N: usize>(du: &[[f32; N]; N_PRODUCTS]) -> [[f32; N]; 9] {
    let mut half = [[[0f32; N]; 4]; 3];
    for s in 0..4 {
        let (a, b, c, d) = (&du[s], &du[4 + s], &du[8 + s], &du[12 + s]);
        for l in 0..N {
            half[0][s][l] = a[l] + 0.5 * (b[l] + c[l]);
            half[1][s][l] = 0.5 * (b[l] - c[l]);
            half[2][s][l] = 0.5 * (b[l] + c[l]) + d[l];
        }
    }
    let mut dw = [[0f32; N]; 9];
    for r in 0..3 {
        let [a, b, c, d] = &half[r];
        for l in 0..N {
            dw[3 * r][l] = a[l] + 0.5 * (b[l] + c[l]);
            dw[3 * r + 1][l] = 0.5 * (b[l] - c[l]);
            dw[3 * r + 2][l] = 0.5 * (b[l] + c[l]) + d[l];
        }
    }
    dw
}

#[cfg(test)]
mod tests {
    use tallow_core::{Purpose, Stream};

    use super::*;

    /// <U(w), dU> = <w, dw>
    #[test]
    fn the_gradient_is_the_transpose() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let w: [[f32; 1]; 9] = std::array::from_fn(|_| [stream.uniform_f32(-1.0, 1.0)]);
        let du: [[f32; 1]; N_PRODUCTS] = std::array::from_fn(|_| [stream.uniform_f32(-1.0, 1.0)]);
        let dot = |a: &[[f32; 1]], b: &[[f32; 1]]| a.iter().zip(b).map(|(a, b)| a[0] * b[0]).sum::<f32>();
        let (left, right) = (dot(&weights_of(&w), &du), dot(&w, &weight_gradients_of(&du)));
        assert!((left - right).abs() < 1e-5, "{left} {right}");
    }
}
