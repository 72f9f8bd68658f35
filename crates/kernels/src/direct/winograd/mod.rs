//! Winograd's F(4x4, 3x3) and F(2x2, 3x3): 3x3 convolutions with stride 1 in 36 products per 4x4 pixels, or 16 per 2x2, where the
//! direct loop takes 144 and 36.
//!
//! ```text
//! for each task, some tiles of output pixels at a time:
//!     V[e] = B^T d B          36 (16) numbers e per tile and input channel, of the pixels d that it sees
//!     M[e] = V[e] * U[e]      as many matrix products; U = G w G^T, made once
//!     y = A^T M A             with bias, residual, limits and moments on the way
//! ```
//!
//! The input gradient is the same with the taps reversed. The weight gradient is the transpose of all that: `dU[e] =
//! V[e]^T * D[e]` with `D = A dy A^T`, summed over tiles, and `dw = G^T dU G` at the end. The products are done by the
//! loops of `kernel`.
//!
//! All between the maps is f32, whatever the maps are of: rounded to bf16, V would have the error of the map again, enlarged by the
//! transforms. And fewer products in f32 are quicker than more in bf16, which processors multiply one and a half to two times as fast.
//!
//! Which convolutions are done this way is decided in `method`. Source: Lavin and Gray 2015, <https://arxiv.org/abs/1509.09308>

mod forward;
mod scheme;
mod transform;
mod weight_grad;
mod weights;

pub(super) use forward::run_task;
pub(super) use scheme::Scheme;
pub(super) use weight_grad::add_task;
pub(super) use weights::{transform_weights, unpack};

use super::element::Element;
use super::geometry::{Geometry, Task};

/// Bytes that the sums of a group of the weight gradient's blocks may have: they are read and written once per
/// [`Scheme::tiles_at_once`], so that L3 will do, and a second group would want V again.
pub(super) const GROUP_BYTES: usize = 4 << 20;

/// Numbers between the planes of V, M and D, and between the rows of V and M: at a distance of a power of two they would fight
/// for places in L1.
const SKEW: usize = 16;

/// Where a pixel would be that there is not.
const ABSENT: u32 = u32::MAX;

impl Scheme {
    /// Tiles that are transformed together, with vectors of so many lanes: enough for long products, few enough for V, M and D to
    /// stay in the caches. A multiple of the rows of every instruction set's product tiles.
    fn tiles_at_once(self, lanes: usize) -> usize {
        match self {
            Self::F2 => 96,
            Self::F4 => 384 / lanes,
        }
    }

    /// Output pixels that a task has at least, where there are so many: 192 tiles, or 96 of the larger ones, which are some groups
    /// of those that are transformed together.
    pub(super) fn min_pixels(self) -> usize {
        match self {
            Self::F2 => 192 * 4,
            Self::F4 => 96 * 16,
        }
    }
}

/// 0, `distance`, 2 `distance`, …: where the `n` rows of a matrix begin.
fn row_offsets(n: usize, distance: usize) -> Vec<u32> {
    (0..n).map(|i| (i * distance) as u32).collect()
}

/// The tiles of a task.
struct Tiles {
    scheme: Scheme,
    /// How many are transformed together.
    at_once: usize,
    /// Where what each one sees begins in the padded input.
    inputs: Vec<u32>,
    /// Where the pixels of each one begin in the task's output, row by row, or [`ABSENT`] beyond the last row or column.
    outputs: Vec<u32>,
    /// The task and its map with rows and columns for whole tiles, which decide the padded input.
    g: Geometry,
    task: Task,
}

impl Tiles {
    /// `offsets` are those of the task's output pixels.
    fn new(scheme: Scheme, lanes: usize, g: &Geometry, task: &Task, offsets: &[u32]) -> Self {
        let at_once = scheme.tiles_at_once(lanes);
        let (n_rows, n_columns, out) = (task.rows.len(), g.w_out, scheme.out());
        let whole =
            Geometry { h_out: g.h_out.next_multiple_of(out), w_out: n_columns.next_multiple_of(out), ..*g };
        let rows = task.rows.start..task.rows.start + n_rows.next_multiple_of(out);
        let (padded_h, padded_w) = (whole.padded_h(rows.len()), whole.padded_w());
        let n_tiles = task.images.len() * (rows.len() / out) * (whole.w_out / out);
        let mut inputs = Vec::with_capacity(n_tiles);
        let mut outputs = Vec::with_capacity(n_tiles * out * out);
        for image in 0..task.images.len() {
            for y in (0..n_rows).step_by(out) {
                for x in (0..n_columns).step_by(out) {
                    inputs.push((((image * padded_h + y) * padded_w + x) * g.c_in) as u32);
                    for (y, x) in (y..y + out).flat_map(|y| (x..x + out).map(move |x| (y, x))) {
                        let exists = y < n_rows && x < n_columns;
                        outputs.push(if exists {
                            offsets[(image * n_rows + y) * n_columns + x]
                        } else {
                            ABSENT
                        });
                    }
                }
            }
        }
        Self { scheme, at_once, inputs, outputs, g: whole, task: Task { images: task.images.clone(), rows } }
    }

    /// Some tiles at a time: where they begin in the padded input, and their output's pixels.
    fn groups(&self) -> impl Iterator<Item = (&[u32], &[u32])> {
        let pixels = self.at_once * self.scheme.out().pow(2);
        self.inputs.chunks(self.at_once).zip(self.outputs.chunks(pixels))
    }

    /// Numbers from one plane of V, M or D to the next, where a tile has `row` in each.
    fn plane_len(&self, row: usize) -> usize {
        self.at_once * row + SKEW
    }

    /// Numbers of the padded input.
    fn padded_len(&self) -> usize {
        self.g.padded_len(self.task.images.len(), self.task.rows.len())
    }

    /// Numbers of a row of it.
    fn row(&self) -> usize {
        self.g.padded_w() * self.g.c_in
    }

    /// Copies it from `x`.
    fn pad<E: Element>(&self, x: &[E], padded: &mut [E]) {
        super::scratch::pad(x, &self.g, &self.task, padded);
    }
}
