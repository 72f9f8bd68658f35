//! Winograd's F(2x2, 3x3): 3x3 convolutions with stride 1 in 16 products per 2x2 pixels, where the direct loop takes 36.
//!
//! ```text
//! for each task, some tiles of 2x2 output pixels at a time:
//!     V[e] = B^T d B          16 numbers e per tile and input channel, of the 4x4 pixels d that it sees
//!     M[e] = V[e] * U[e]      16 matrix products; U = G w G^T, made once
//!     y = A^T M A             with bias, residual, limits and moments on the way
//! ```
//!
//! The input gradient is the same with the taps reversed. The weight gradient is the transpose of all that: `dU[e] =
//! V[e]^T * D[e]` with `D = A dy A^T`, summed over tiles, and `dw = G^T dU G` at the end. The products are done by the
//! loops of `kernel`.
//!
//! In f32 only: the matrices are of 0, 1 and 1/2, so the result is as exact as that of the direct loop but for a small
//! factor; numbers rounded to bf16 between the transforms would not be.
//!
//! Source: Lavin and Gray 2015, <https://arxiv.org/abs/1509.09308>

mod forward;
mod transform;
mod weight_grad;
mod weights;

pub(super) use forward::run_task;
pub(super) use weight_grad::add_task;
pub(super) use weights::{transform_weights, unpack};

use super::element::Element;
use super::geometry::{Geometry, Task};
use super::kernel::Kernels;

/// Products per tile, input channel and output channel.
pub(super) const N_PRODUCTS: usize = 16;

/// Whether convolutions of this size, and their input gradients, are done this way: where the products that are saved,
/// about `c_in * c_out`, outweigh the transforms, about `c_in + c_out`.
pub(super) fn applies<E>(kernels: &Kernels<E>, dims: [usize; 4], stride: usize) -> bool {
    let [c_out, c_in, ..] = dims;
    is_possible(kernels, dims, stride) && c_in * c_out >= 24 * (c_in + c_out)
}

/// The same for weight gradients, where the direct loop is less fast.
pub(super) fn applies_to_weight_grad<E>(kernels: &Kernels<E>, dims: [usize; 4], stride: usize) -> bool {
    let [c_out, c_in, ..] = dims;
    is_possible(kernels, dims, stride) && c_in * c_out >= 12 * (c_in + c_out)
}

fn is_possible<E>(kernels: &Kernels<E>, [_, _, k_h, k_w]: [usize; 4], stride: usize) -> bool {
    kernels.has_winograd && [k_h, k_w, stride] == [3, 3, 1]
}

/// Tiles that are transformed together: enough for long products, few enough for V, M and D to stay in the caches. A
/// multiple of the rows of every instruction set's product tiles.
const TILES_AT_ONCE: usize = 96;

/// Output pixels that a task has at least, where there are so many.
pub(super) const MIN_PIXELS: usize = 4 * TILES_AT_ONCE;

/// Bytes that the sums of a group of the weight gradient's blocks may have: they are read and written once per
/// [`TILES_AT_ONCE`], so that L3 will do, and a second group would want V again.
pub(super) const GROUP_BYTES: usize = 4 << 20;

/// Where a pixel would be that there is not.
const ABSENT: u32 = u32::MAX;

/// The tiles of a task.
struct Tiles {
    /// Where each one's 4x4 pixels begin in the padded input.
    inputs: Vec<u32>,
    /// Where its 2x2 pixels begin in the task's output, or [`ABSENT`] beyond the last row or column.
    outputs: Vec<[u32; 4]>,
    /// The task and its map with even rows and columns, which decide the padded input.
    g: Geometry,
    task: Task,
}

impl Tiles {
    /// `offsets` are those of the task's output pixels.
    fn new(g: &Geometry, task: &Task, offsets: &[u32]) -> Self {
        let (n_rows, n_columns) = (task.rows.len(), g.w_out);
        let even =
            Geometry { h_out: g.h_out.next_multiple_of(2), w_out: n_columns.next_multiple_of(2), ..*g };
        let rows = task.rows.start..task.rows.start + n_rows.next_multiple_of(2);
        let (padded_h, padded_w) = (even.padded_h(rows.len()), even.padded_w());
        let n_tiles = task.images.len() * rows.len() / 2 * even.w_out / 2;
        let (mut inputs, mut outputs) = (Vec::with_capacity(n_tiles), Vec::with_capacity(n_tiles));
        for image in 0..task.images.len() {
            let pixel = |y: usize, x: usize| {
                let exists = y < n_rows && x < n_columns;
                if exists { offsets[(image * n_rows + y) * n_columns + x] } else { ABSENT }
            };
            for y in (0..n_rows).step_by(2) {
                for x in (0..n_columns).step_by(2) {
                    inputs.push((((image * padded_h + y) * padded_w + x) * g.c_in) as u32);
                    outputs.push([pixel(y, x), pixel(y, x + 1), pixel(y + 1, x), pixel(y + 1, x + 1)]);
                }
            }
        }
        Self { inputs, outputs, g: even, task: Task { images: task.images.clone(), rows } }
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

/// 0, `distance`, 2 `distance`, …: where the rows of a matrix begin.
fn row_offsets(distance: usize) -> Vec<u32> {
    (0..TILES_AT_ONCE).map(|i| (i * distance) as u32).collect()
}
