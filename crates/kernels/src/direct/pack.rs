//! Weights in the order in which the loops read them.

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, MIN_PIXELS};
use super::kernel::Kernels;
use super::winograd;

/// A convolution's weights, ready for use.
#[derive(Clone, Debug)]
pub(crate) struct PackedWeights<E> {
    /// (blocks, k_h, units, block, unit), or transformed: (16, blocks, c_in, block). Zeros where there are none.
    pub(super) numbers: Vec<E>,
    /// Whether they are those of `winograd`.
    pub(super) transformed: bool,
}

impl<E: Element> PackedWeights<E> {
    /// OIHW `weight` of a convolution with this stride, each output channel times its `scale` where there is one.
    pub(crate) fn new(
        kernels: &Kernels<E>,
        dims: [usize; 4],
        stride: usize,
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        let [_, c_in, k_h, k_w] = dims;
        let taps = Taps { weight, c_in, k: [k_h, k_w], first: [0, 0], step: [1, 1], swapped: false, scale };
        Self::pack(kernels, dims, stride, &taps)
    }

    /// The taps that an input gradient's geometry uses.
    pub(super) fn of_taps(kernels: &Kernels<E>, g: &Geometry, taps: &Taps<'_>) -> Self {
        Self::pack(kernels, [g.c_out, g.c_in, g.k_h, g.k_w], g.stride, taps)
    }

    /// The rows that a task's bands are multiples of, where they would be of `row_step`, and the pixels that it has at
    /// least.
    pub(super) fn cut(&self, row_step: usize) -> (usize, usize) {
        if self.transformed { (2, winograd::MIN_PIXELS) } else { (row_step, MIN_PIXELS) }
    }

    fn pack(kernels: &Kernels<E>, dims: [usize; 4], stride: usize, taps: &Taps<'_>) -> Self {
        let transformed = winograd::applies(kernels, dims, stride);
        let pack = if transformed { pack_transformed } else { pack_plain };
        Self { numbers: pack(kernels, dims, taps), transformed }
    }
}

/// Which taps of an OIHW weight a geometry uses: tap (r, s) of it is tap `first + step * (r, s)` of the weight.
pub(super) struct Taps<'a> {
    pub(super) weight: &'a [f32],
    /// The weight's own input channels.
    pub(super) c_in: usize,
    /// The weight's own size.
    pub(super) k: [usize; 2],
    pub(super) first: [usize; 2],
    /// May be negative: reversed taps.
    pub(super) step: [isize; 2],
    /// Whether the weight's input channels are the geometry's output channels.
    pub(super) swapped: bool,
    /// Per output channel of the geometry.
    pub(super) scale: Option<&'a [f32]>,
}

impl Taps<'_> {
    /// The numbers of output channel `o` and input channel `i` of the geometry begin here.
    fn plane(&self, o: usize, i: usize) -> usize {
        let (o, i) = if self.swapped { (i, o) } else { (o, i) };
        (o * self.c_in + i) * self.k[0] * self.k[1]
    }

    /// The factor of output channel `o` of the geometry.
    fn scale(&self, o: usize) -> f32 {
        self.scale.map_or(1.0, |scale| scale[o])
    }

    fn offset(&self, r: usize, s: usize) -> usize {
        let tap = |axis: usize, t: usize| self.first[axis].wrapping_add_signed(self.step[axis] * t as isize);
        tap(0, r) * self.k[1] + tap(1, s)
    }
}

fn pack_plain<E: Element>(
    kernels: &Kernels<E>,
    [c_out, c_in, k_h, k_w]: [usize; 4],
    taps: &Taps<'_>,
) -> Vec<E> {
    let (block, unit) = (kernels.block, kernels.unit);
    let run = k_w * c_in;
    let n_units = run.div_ceil(unit);
    let mut packed = vec![E::default(); kernels.n_blocks(c_out) * k_h * n_units * block * unit];
    packed.par_chunks_mut(k_h * n_units * block * unit).enumerate().for_each(|(b, packed)| {
        let outputs = b * block..c_out.min((b + 1) * block);
        // output channels innermost: what is written lies together, and what is read stays in L1 for the next taps
        for i in 0..c_in {
            for (r, s) in (0..k_h).flat_map(|r| (0..k_w).map(move |s| (r, s))) {
                let (j, offset) = (s * c_in + i, taps.offset(r, s));
                let at = (r * n_units + j / unit) * block * unit + j % unit;
                let packed = packed[at..].iter_mut().step_by(unit);
                for (o, packed) in outputs.clone().zip(packed) {
                    *packed = E::from_f32(taps.weight[taps.plane(o, i) + offset] * taps.scale(o));
                }
            }
        }
    });
    packed
}

/// Of 3x3 filters, each transformed.
fn pack_transformed<E: Element>(
    kernels: &Kernels<E>,
    [c_out, c_in, ..]: [usize; 4],
    taps: &Taps<'_>,
) -> Vec<E> {
    let (block, n_blocks) = (kernels.block, kernels.n_blocks(c_out));
    let offsets: [[usize; 3]; 3] = [0, 1, 2].map(|r| [0, 1, 2].map(|s| taps.offset(r, s)));
    let transformed: Vec<Vec<E>> = (0..n_blocks)
        .into_par_iter()
        .map(|b| {
            let mut packed = vec![E::default(); winograd::N_PRODUCTS * c_in * block];
            for i in 0..c_in {
                for (lane, o) in (b * block..c_out.min((b + 1) * block)).enumerate() {
                    let (plane, scale) = (taps.plane(o, i), taps.scale(o));
                    let filter = offsets.map(|line| line.map(|offset| taps.weight[plane + offset] * scale));
                    for (e, u) in winograd::weight_of(&filter).into_iter().enumerate() {
                        packed[(e * c_in + i) * block + lane] = E::from_f32(u);
                    }
                }
            }
            packed
        })
        .collect();
    let mut packed = vec![E::default(); winograd::N_PRODUCTS * n_blocks * c_in * block];
    packed.par_chunks_mut(c_in * block).enumerate().for_each(|(i, packed)| {
        let (e, b) = (i / n_blocks, i % n_blocks);
        packed.copy_from_slice(&transformed[b][e * c_in * block..][..c_in * block]);
    });
    packed
}
