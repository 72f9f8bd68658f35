//! Weights in the order in which the loops read them.

use std::ops::Range;

use rayon::prelude::*;

use super::element::Element;
use super::geometry::{Geometry, MIN_PIXELS};
use super::kernel::Kernels;
use super::method::{Method, Pass};
use super::scratch::Reused;
use super::winograd::{Scheme, transform_weights};
use crate::conv::ConvShape;
use crate::transpose::transpose;

/// The weights of a convolution, prepared for the loops.
#[derive(Clone, Debug)]
pub(crate) struct PackedWeights<E> {
    pub(super) numbers: Numbers<E>,
}

#[derive(Clone, Debug)]
pub(super) enum Numbers<E> {
    /// (blocks, k_h, units, block, unit). Places without a weight are 0.
    Plain(Reused<E>),
    /// Transformed 3x3 filters: (products, blocks, c_in, block). Places without a weight are 0.
    Transformed(Scheme, Reused<f32>),
}

impl<E: Element> PackedWeights<E> {
    /// Packs the OIHW `weight` of a convolution of this shape, each output channel times its `scale` if given. The
    /// result serves any number of images.
    pub(crate) fn new(kernels: &Kernels<E>, s: &ConvShape, weight: &[f32], scale: Option<&[f32]>) -> Self {
        let (c_in, k_h, k_w) = (s.c_in, s.k_h, s.k_w);
        let taps = Taps { weight, c_in, k: [k_h, k_w], first: [0, 0], step: [1, 1], swapped: false, scale };
        Self::pack(kernels, &Geometry::of(s), &taps)
    }

    /// Packs the taps that an input gradient's geometry uses.
    pub(super) fn of_taps(kernels: &Kernels<E>, g: &Geometry, taps: &Taps<'_>) -> Self {
        Self::pack(kernels, g, taps)
    }

    /// Returns the step of rows for a task's bands and the least number of pixels of a task. `row_step` is the step
    /// for weights that are not transformed.
    pub(super) fn cut(&self, row_step: usize) -> (usize, usize) {
        match &self.numbers {
            Numbers::Plain(_) => (row_step, MIN_PIXELS),
            Numbers::Transformed(scheme, _) => (scheme.out(), scheme.min_pixels()),
        }
    }

    /// Returns the number of weights, as the loops read them.
    pub(super) fn len(&self) -> usize {
        match &self.numbers {
            Numbers::Plain(numbers) => numbers.as_slice().len(),
            Numbers::Transformed(_, numbers) => numbers.as_slice().len(),
        }
    }

    /// Returns whether a convolution of this shape needs the weights in this form.
    pub(crate) fn suits(&self, kernels: &Kernels<E>, s: &ConvShape) -> bool {
        let method = Method::of(kernels, Pass::Forward, &Geometry::of(s));
        method
            == match self.numbers {
                Numbers::Plain(_) => Method::Direct,
                Numbers::Transformed(scheme, _) => Method::Winograd(scheme),
            }
    }

    /// Returns the weights of the direct loop.
    ///
    /// # Panics
    /// If they are transformed. Those of 1x1 convolutions never are.
    pub(super) fn plain(&self) -> &[E] {
        match &self.numbers {
            Numbers::Plain(numbers) => numbers.as_slice(),
            Numbers::Transformed(..) => panic!("transformed weights, expected those of the direct loop"),
        }
    }

    fn pack(kernels: &Kernels<E>, g: &Geometry, taps: &Taps<'_>) -> Self {
        let dims = [g.c_out, g.c_in, g.k_h, g.k_w];
        let numbers = match Method::of(kernels, Pass::Forward, g) {
            Method::Direct => Numbers::Plain(pack_plain(kernels, dims, taps)),
            Method::Winograd(scheme) => {
                Numbers::Transformed(scheme, pack_transformed::<E>(&(kernels.wide)(), scheme, dims, taps))
            }
        };
        Self { numbers }
    }
}

/// The taps of an OIHW weight that a geometry uses: its tap (r, s) is tap `first + step * (r, s)` of the weight.
pub(crate) struct Taps<'a> {
    pub(super) weight: &'a [f32],
    /// Input channels of the weight itself.
    pub(super) c_in: usize,
    /// Kernel height and width of the weight itself.
    pub(super) k: [usize; 2],
    pub(super) first: [usize; 2],
    /// Negative for reversed taps.
    pub(super) step: [isize; 2],
    /// Whether the weight's input channels are the geometry's output channels.
    pub(super) swapped: bool,
    /// One factor per output channel of the geometry.
    pub(super) scale: Option<&'a [f32]>,
}

impl Taps<'_> {
    /// Returns where the numbers of output channel `o` and input channel `i` of the geometry begin.
    #[inline(always)]
    pub(super) fn plane(&self, o: usize, i: usize) -> usize {
        let (o, i) = if self.swapped { (i, o) } else { (o, i) };
        (o * self.c_in + i) * self.k[0] * self.k[1]
    }

    /// Returns the factor of output channel `o` of the geometry.
    #[inline(always)]
    pub(super) fn scale(&self, o: usize) -> f32 {
        self.scale.map_or(1.0, |scale| scale[o])
    }

    fn offset(&self, r: usize, s: usize) -> usize {
        let tap = |axis: usize, t: usize| self.first[axis].wrapping_add_signed(self.step[axis] * t as isize);
        tap(0, r) * self.k[1] + tap(1, s)
    }

    /// Returns the offsets of nine taps, row by row.
    pub(super) fn offsets_3x3(&self) -> [usize; 9] {
        std::array::from_fn(|tap| self.offset(tap / 3, tap % 3))
    }
}

/// Number of input channels packed together: the numbers read and written stay in L1.
const INPUTS_AT_ONCE: usize = 16;

/// Number of blocks packed together if channels are swapped. Such weights are read across their rows, so at least a
/// few cache lines are read from each row.
const SWAPPED_AT_ONCE: usize = 4;

fn pack_plain<E: Element>(
    kernels: &Kernels<E>,
    [c_out, c_in, k_h, k_w]: [usize; 4],
    taps: &Taps<'_>,
) -> Reused<E> {
    let (block, unit) = (kernels.block, kernels.unit);
    let line_len = (k_w * c_in).div_ceil(unit) * block * unit;
    let mut packed = Reused::new(kernels.n_blocks(c_out) * k_h * line_len);
    let has_gaps = c_out % block != 0 || k_w * c_in % unit != 0;
    let n_at_once = if taps.swapped { SWAPPED_AT_ONCE } else { 1 };
    if taps.k == [1, 1] && unit == 1 && taps.scale.is_none() {
        packed.as_mut_slice().par_chunks_mut(n_at_once * line_len).enumerate().for_each(|(group, packed)| {
            let outputs = group * n_at_once * block..c_out.min((group + 1) * n_at_once * block);
            E::edit_as_f32(packed, |packed| pack_pointwise(taps, outputs, c_in, block, packed));
        });
        return packed;
    }
    packed.as_mut_slice().par_chunks_mut(n_at_once * k_h * line_len).enumerate().for_each(
        |(group, packed)| {
            if has_gaps {
                packed.fill(E::default());
            }
            for first in (0..c_in).step_by(INPUTS_AT_ONCE) {
                let inputs = first..c_in.min(first + INPUTS_AT_ONCE);
                for (i, line) in packed.chunks_exact_mut(line_len).enumerate() {
                    let (b, r) = (group * n_at_once + i / k_h, i % k_h);
                    let outputs = b * block..c_out.min((b + 1) * block);
                    for s in 0..k_w {
                        let place = Place { j: s * c_in, offset: taps.offset(r, s), block, unit };
                        pack_tile(taps, &place, outputs.clone(), inputs.clone(), line);
                    }
                }
            }
        },
    );
    packed
}

/// Packs 1x1 filters for the output channels of some blocks; `packed` is (blocks, c_in, block).
fn pack_pointwise(taps: &Taps<'_>, outputs: Range<usize>, c_in: usize, block: usize, packed: &mut [f32]) {
    if !outputs.len().is_multiple_of(block) {
        packed.fill(0.0);
    }
    let weight = &taps.weight[taps.plane(outputs.start, 0)..];
    if taps.swapped {
        for (i, weight) in weight.chunks(taps.c_in).enumerate() {
            for (b, weight) in weight[..outputs.len()].chunks(block).enumerate() {
                packed[(b * c_in + i) * block..][..weight.len()].copy_from_slice(weight);
            }
        }
    } else {
        let filters = weight[..outputs.len() * c_in].chunks(block * c_in);
        for (packed, filters) in packed.chunks_exact_mut(c_in * block).zip(filters) {
            transpose(filters, c_in, packed, block, [filters.len() / c_in, c_in]);
        }
    }
}

/// Source and destination of one tap's numbers.
struct Place {
    /// The index of the tap's first number under the kernel's row.
    j: usize,
    /// The offset of the tap in its plane.
    offset: usize,
    block: usize,
    unit: usize,
}

/// Packs one tap of some input channels, for the output channels of a block; `line` is (units, block, unit).
fn pack_tile<E: Element>(
    taps: &Taps<'_>,
    place: &Place,
    outputs: Range<usize>,
    inputs: Range<usize>,
    line: &mut [E],
) {
    let shift = place.unit.trailing_zeros(); // the unit is 1 or 2
    let at = |i: usize, lane: usize| {
        let j = place.j + i;
        (((j >> shift) * place.block + lane) << shift) + (j & (place.unit - 1))
    };
    let number = |o: usize, i: usize| taps.weight[taps.plane(o, i) + place.offset];
    // the inner loop goes along numbers that lie together in the weight
    if taps.swapped {
        for i in inputs {
            for (lane, o) in outputs.clone().enumerate() {
                line[at(i, lane)] = E::from_f32(number(o, i) * taps.scale(o));
            }
        }
    } else {
        for (lane, o) in outputs.enumerate() {
            let scale = taps.scale(o);
            for i in inputs.clone() {
                line[at(i, lane)] = E::from_f32(number(o, i) * scale);
            }
        }
    }
}

/// Packs 3x3 filters, each rounded to `E` and transformed.
fn pack_transformed<E: Element>(
    kernels: &Kernels<f32>,
    scheme: Scheme,
    [c_out, c_in, ..]: [usize; 4],
    taps: &Taps<'_>,
) -> Reused<f32> {
    let (block, n_blocks) = (kernels.block, kernels.n_blocks(c_out));
    let mut packed = Reused::new(scheme.n_products() * n_blocks * c_in * block);
    let mut blocks: Vec<Vec<&mut [f32]>> = (0..n_blocks).map(|_| Vec::new()).collect();
    for (i, plane) in packed.as_mut_slice().chunks_exact_mut(c_in * block).enumerate() {
        blocks[i % n_blocks].push(plane);
    }
    blocks.par_iter_mut().enumerate().for_each(|(b, planes)| {
        transform_weights::<E>(scheme, taps, b * block, c_out.min((b + 1) * block), block, planes);
    });
    packed
}
