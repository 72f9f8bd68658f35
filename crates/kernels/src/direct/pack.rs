//! Weights in the order in which the direct loop reads them.

use rayon::prelude::*;

use super::element::Element;
use super::geometry::Geometry;
use super::kernel::Kernels;

/// (blocks, k_h, units, block, unit), zeros where there are none.
#[derive(Clone, Debug)]
pub(crate) struct PackedWeights<E>(pub(super) Vec<E>);

impl<E: Element> PackedWeights<E> {
    /// OIHW `weight`, each output channel times its `scale` where there is one.
    pub(crate) fn new(
        kernels: &Kernels<E>,
        [c_out, c_in, k_h, k_w]: [usize; 4],
        weight: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        let taps = Taps { weight, c_in, k: [k_h, k_w], first: [0, 0], step: [1, 1], swapped: false, scale };
        Self(pack(kernels, c_out, c_in, [k_h, k_w], &taps))
    }

    /// The taps that an input gradient's geometry uses.
    pub(super) fn of_taps(kernels: &Kernels<E>, g: &Geometry, taps: &Taps<'_>) -> Self {
        Self(pack(kernels, g.c_out, g.c_in, [g.k_h, g.k_w], taps))
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

    fn offset(&self, r: usize, s: usize) -> usize {
        let tap = |axis: usize, t: usize| self.first[axis].wrapping_add_signed(self.step[axis] * t as isize);
        tap(0, r) * self.k[1] + tap(1, s)
    }
}

fn pack<E: Element>(
    kernels: &Kernels<E>,
    c_out: usize,
    c_in: usize,
    [k_h, k_w]: [usize; 2],
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
                    let scale = taps.scale.map_or(1.0, |scale| scale[o]);
                    *packed = E::from_f32(taps.weight[taps.plane(o, i) + offset] * scale);
                }
            }
        }
    });
    packed
}
