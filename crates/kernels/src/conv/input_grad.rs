//! The gradient of a convolution with respect to its input.

use super::{ConvShape, multiply_patches, rounded};
use crate::chunks::for_each_chunk;
use crate::direct::{self, Element, Kernels, Pass};
use crate::gemm::{Matrix, Store, multiply};
use crate::im2col::{Patches, with_scratch};
use crate::isa::isa;
use crate::layout::{reversed_taps, taps_outermost};
use crate::profile;

/// Overwrites `dx` with the gradient of the input, computed from the gradient `dy` of the output.
///
/// # Shapes
/// `dy` (n, h_out, w_out, c_out), `weight` (c_out, c_in, k_h, k_w), `dx` (n, h, w, c_in).
///
/// # Panics
/// If a length does not fit the shape.
pub fn conv2d_input_grad<E: Element>(s: &ConvShape, dy: &[E], weight: &[f32], dx: &mut [E]) {
    let _span = profile::conv("conv2d_input_grad", s, Pass::InputGrad.method_name::<E>(s));
    s.check("conv2d_input_grad", ("dx", dx.len()), ("weight", weight.len()), ("dy", dy.len()));
    match Kernels::of(isa()) {
        Some(kernels) if s.y_len() > 0 => direct::input_grad(&kernels, s, dy, weight, dx),
        _ => E::edit_as_f32(dx, |dx| by_patches(s, &E::as_f32(dy), &rounded::<E>(weight), dx)),
    }
}

fn by_patches(s: &ConvShape, dy: &[f32], weight: &[f32], dx: &mut [f32]) {
    let filters = taps_outermost(weight, s.c_in, s.k_h * s.k_w);
    match s.stride {
        // each pixel of the input depends on the k_h x k_w windows around it, so this is a convolution again
        1 => {
            let packed = reversed_taps(&filters, s.c_in, s.k_h * s.k_w);
            multiply_patches(&patches_of_dy(s), dy, &packed, None, dx);
        }
        // as a convolution, most products would be with the zeros between the windows
        _ => scatter(s, dy, &filters, dx),
    }
}

/// Returns the patches of the output's gradient under the input's pixels, for stride 1. Pixel (y, x) was seen by the
/// windows from (y + top - k_h + 1, x + left - k_w + 1) on.
fn patches_of_dy(s: &ConvShape) -> Patches {
    let [top, left] = s.zeros_before();
    Patches {
        n: s.n,
        h: s.h_out(),
        w: s.w_out(),
        c: s.c_out,
        k_h: s.k_h,
        k_w: s.k_w,
        stride: 1,
        top: s.k_h as isize - 1 - top as isize,
        left: s.k_w as isize - 1 - left as isize,
        h_out: s.h,
        w_out: s.w,
    }
}

/// Computes the gradients of the patches, `dy * filters`, and adds them to the pixels of the patches. One task is one
/// image, because windows overlap.
fn scatter(s: &ConvShape, dy: &[f32], filters: &[f32], dx: &mut [f32]) {
    let image = Patches { n: 1, ..s.patches() };
    let (n_rows, patch_len) = (image.n_rows(), image.patch_len());
    let filters = Matrix::row_major(filters, s.c_out, patch_len);
    let (image_len, tile) = ((s.h * s.w * s.c_in).max(1), image.rows_per_tile(64));
    for_each_chunk(dx, image_len, |start, dx| {
        dx.fill(0.0);
        let first = start / image_len * n_rows;
        for row in (0..n_rows).step_by(tile) {
            let rows = row..(row + tile).min(n_rows);
            let dy = &dy[(first + rows.start) * s.c_out..(first + rows.end) * s.c_out];
            with_scratch(rows.len() * patch_len, |patches| {
                multiply(patches, Store::Overwrite, Matrix::row_major(dy, rows.len(), s.c_out), filters);
                image.scatter_add(patches, rows, dx);
            });
        }
    });
}
