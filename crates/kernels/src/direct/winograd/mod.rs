//! Winograd's F(4x4, 3x3) and F(2x2, 3x3): 3x3 convolutions with stride 1 in 36 products per 4x4 pixels, or 16
//! products per 2x2 pixels. The direct loop takes 144 and 36.
//!
//! ```text
//! for each task, some tiles of output pixels at a time:
//!     V[e] = B^T d B          36 (16) numbers e per tile and input channel; d are the pixels under the tile's windows
//!     M[e] = V[e] * U[e]      36 (16) matrix products; U = G w G^T, computed once
//!     y = A^T M A             then bias, residual, limits and moments
//! ```
//!
//! The input gradient is the same with the taps reversed. The weight gradient is the transpose of these steps:
//! `dU[e] = V[e]^T * D[e]` with `D = A dy A^T`, summed over tiles, and `dw = G^T dU G` at the end. The loops of
//! `kernel` compute the products.
//!
//! Everything between the maps is f32, whatever the type of the maps. Rounded to bf16, V would have the rounding
//! error of the map a second time, enlarged by the transforms. And fewer products in f32 are faster than more
//! products in bf16, which processors multiply one and a half to two times as fast.
//!
//! `method` decides which convolutions use these schemes. Source: Lavin and Gray 2015,
//! <https://arxiv.org/abs/1509.09308>

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

/// Largest size in bytes of the sums of a group of blocks of the weight gradient. The sums are read and written once
/// per [`Scheme::tiles_at_once`], so they may stay in L3, and a second group would read V again.
pub(super) const GROUP_BYTES: usize = 4 << 20;

/// Extra distance between the planes of V, M and D, and between the rows of V and M: with a power of two as distance
/// they would compete for the same places in L1.
const SKEW: usize = 16;

/// Stands for the offset of a pixel that does not exist.
const ABSENT: u32 = u32::MAX;

impl Scheme {
    /// Returns the number of tiles transformed together, with vectors of `lanes` lanes: enough for long products, and
    /// few enough for V, M and D to stay in the caches. It is a multiple of the rows of every instruction set's
    /// product tiles.
    fn tiles_at_once(self, lanes: usize) -> usize {
        match self {
            Self::F2 => 96,
            Self::F4 => 384 / lanes,
        }
    }

    /// Returns the least number of output pixels of a task, if there are enough: 192 tiles, or 96 of the larger
    /// tiles, which are several groups of tiles that are transformed together.
    pub(super) fn min_pixels(self) -> usize {
        match self {
            Self::F2 => 192 * 4,
            Self::F4 => 96 * 16,
        }
    }
}

/// Returns where the `n` rows of a matrix begin: 0, `distance`, 2 `distance`, …
fn row_offsets(n: usize, distance: usize) -> Vec<u32> {
    (0..n).map(|i| (i * distance) as u32).collect()
}

/// The tiles of a task.
struct Tiles {
    scheme: Scheme,
    /// Number of tiles transformed together.
    at_once: usize,
    /// Start of each tile's input in the padded input.
    inputs: Vec<u32>,
    /// Start of each tile's pixels in the task's output, row by row; [`ABSENT`] beyond the last row or column.
    outputs: Vec<u32>,
    /// The geometry and the task with rows and columns extended to whole tiles. They determine the padded input.
    g: Geometry,
    task: Task,
}

impl Tiles {
    /// Lists the tiles of a task. `offsets` are the offsets of the task's output pixels.
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

    /// Returns the tiles in groups: where they begin in the padded input, and the offsets of their output pixels.
    fn groups(&self) -> impl Iterator<Item = (&[u32], &[u32])> {
        let pixels = self.at_once * self.scheme.out().pow(2);
        self.inputs.chunks(self.at_once).zip(self.outputs.chunks(pixels))
    }

    /// Returns the distance from one plane of V, M or D to the next, if a tile has `row` numbers in each.
    fn plane_len(&self, row: usize) -> usize {
        self.at_once * row + SKEW
    }

    /// Returns the number of elements of the padded input.
    fn padded_len(&self) -> usize {
        self.g.padded_len(self.task.images.len(), self.task.rows.len())
    }

    /// Returns the number of elements of a row of the padded input.
    fn row(&self) -> usize {
        self.g.padded_w() * self.g.c_in
    }

    /// Copies the padded input from `x`.
    fn pad<E: Element>(&self, x: &[E], padded: &mut [E]) {
        super::scratch::pad(x, &self.g, &self.task, padded);
    }
}
