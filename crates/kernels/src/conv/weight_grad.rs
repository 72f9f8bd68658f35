//! The gradient of a convolution with respect to its weights.
//!
//! By patches, if the instruction set has no direct loop:
//!
//! ```text
//! for each chunk of rows, for each line ky of the kernel, in parallel:
//!     slab = 0                                                    (k_w * c_in, c_out)
//!     for each tile of rows in the chunk:  slab += patches(x, line ky)^T * dy
//! dW[ky] = the chunks' slabs, added in order
//! ```
//!
//! The work goes line by line of the kernel, so that a slab of the result stays in the cache for all tiles.

use super::ConvShape;
use crate::chunks::{for_each_chunk, map_in_order};
use crate::direct::{self, Element, Kernels, Pass};
use crate::gemm::{Matrix, Store, multiply};
use crate::im2col::Patches;
use crate::isa::isa;
use crate::layout::{taps_innermost, transposed};
use crate::profile;

/// Approximate number of tasks, if there is enough work.
const N_TASKS: usize = 24;

/// Largest total length of the chunks' sums: 64 MiB of f32.
const MAX_SUMS_LEN: usize = 1 << 24;

/// Overwrites `dweight` with the gradient of the weight, computed from the gradient `dy` of the output.
///
/// Sums over the pixels are f32, first within chunks of pixels, then over the chunks.
///
/// # Shapes
/// `x` (n, h, w, c_in), `dy` (n, h_out, w_out, c_out), `dweight` (c_out, c_in, k_h, k_w).
///
/// # Panics
/// If a length does not fit the shape.
pub fn conv2d_weight_grad<E: Element>(s: &ConvShape, x: &[E], dy: &[E], dweight: &mut [f32]) {
    let _span = profile::conv("conv2d_weight_grad", s, Pass::WeightGrad.method_name::<E>(s));
    s.check("conv2d_weight_grad", ("x", x.len()), ("dweight", dweight.len()), ("dy", dy.len()));
    match Kernels::of(isa()) {
        Some(kernels) if s.y_len() > 0 => direct::weight_grad(&kernels, s, x, dy, dweight),
        _ => by_patches(s, &E::as_f32(x), &E::as_f32(dy), dweight),
    }
}

fn by_patches(s: &ConvShape, x: &[f32], dy: &[f32], dweight: &mut [f32]) {
    let rows_per_chunk = rows_per_chunk(s);
    let n_chunks = s.patches().n_rows().div_ceil(rows_per_chunk);
    let slabs = map_in_order(n_chunks * s.k_h, |task| {
        let (chunk, ky) = (task / s.k_h, task % s.k_h);
        slab(s, x, dy, ky, chunk * rows_per_chunk..((chunk + 1) * rows_per_chunk))
    });
    let slab_len = s.k_w * s.c_in * s.c_out;
    let mut sum = vec![0.0; dweight.len()];
    for_each_chunk(&mut sum, slab_len, |start, sum| {
        for slab in slabs.iter().skip(start / slab_len).step_by(s.k_h) {
            for (sum, &slab) in sum.iter_mut().zip(slab) {
                *sum += slab;
            }
        }
    });
    let filters = transposed(&sum, s.k_h * s.k_w * s.c_in, s.c_out);
    taps_innermost(&filters, s.c_in, s.k_h * s.k_w, dweight);
}

/// Returns the patches under line `ky` of the kernel.
fn patches_of_line(s: &ConvShape, ky: usize) -> Patches {
    let patches = s.patches();
    Patches { k_h: 1, top: patches.top - ky as isize, ..patches }
}

fn rows_per_tile(s: &ConvShape) -> usize {
    patches_of_line(s, 0).rows_per_tile(128)
}

/// Returns a multiple of the tile's rows that gives about `N_TASKS` tasks, or fewer if their sums would be too long.
fn rows_per_chunk(s: &ConvShape) -> usize {
    let n_tiles = s.patches().n_rows().div_ceil(rows_per_tile(s));
    let max_chunks = (MAX_SUMS_LEN / s.weight_len()).clamp(1, N_TASKS.div_ceil(s.k_h));
    n_tiles.div_ceil(max_chunks).max(1) * rows_per_tile(s)
}

/// Returns the sum over `rows` (as far as they exist) for line `ky` of the kernel, (k_w * c_in, c_out).
fn slab(s: &ConvShape, x: &[f32], dy: &[f32], ky: usize, rows: std::ops::Range<usize>) -> Vec<f32> {
    let patches = patches_of_line(s, ky);
    let (tile, end) = (rows_per_tile(s), rows.end.min(patches.n_rows()));
    let mut slab = vec![0.0; patches.patch_len() * s.c_out];
    for start in (rows.start..end).step_by(tile) {
        let rows = start..(start + tile).min(end);
        let dy = Matrix::row_major(&dy[rows.start * s.c_out..rows.end * s.c_out], rows.len(), s.c_out);
        patches.with_rows(x, rows.clone(), |tile| {
            let tile = Matrix::row_major(tile, rows.len(), patches.patch_len());
            multiply(&mut slab, Store::Add, tile.transposed(), dy);
        });
    }
    slab
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::padding::Padding;

    #[test]
    fn large_weights_are_cut_into_fewer_chunks() {
        let n_chunks = |s: &ConvShape| s.patches().n_rows().div_ceil(rows_per_chunk(s));
        let small = ConvShape {
            n: 64,
            h: 32,
            w: 32,
            c_in: 64,
            c_out: 64,
            k_h: 3,
            k_w: 3,
            stride: 1,
            padding: Padding::Symmetric(1),
        };
        assert_eq!(n_chunks(&small), 8);
        let large = ConvShape { c_in: 1024, c_out: 1024, ..small };
        assert_eq!(n_chunks(&large), 1);
        assert_eq!(n_chunks(&ConvShape { n: 0, ..small }), 0);
    }
}
