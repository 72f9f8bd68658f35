//! Zero padding of a map below and to the right, for operations that work on the map itself, not on its windows.
//! Convolutions do not need it: they pad their input themselves.

use rayon::prelude::*;

use crate::chunks::check_len;
use crate::direct::Element;
use crate::profile;

/// Overwrites `y` (n, h + bottom, w + right, c) with `x` (n, h, w, c) and zeros: `torch.nn.functional.pad` of the last two sides.
///
/// # Panics
/// If a length does not fit.
pub fn zero_pad<E: Element>([n, h, w, c]: [usize; 4], [bottom, right]: [usize; 2], x: &[E], y: &mut [E]) {
    let _span = profile::channels("zero_pad", y.len(), c);
    check_len("zero_pad", "x", x.len(), n * h * w * c);
    check_len("zero_pad", "y", y.len(), n * (h + bottom) * (w + right) * c);
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut((w + right) * c).enumerate().for_each(|(i, y)| {
        let (image, row) = (i / (h + bottom), i % (h + bottom));
        let line = if row < h { &x[(image * h + row) * w * c..][..w * c] } else { &[] };
        y[..line.len()].copy_from_slice(line);
        y[line.len()..].fill(E::default());
    });
}

/// Overwrites `dx` (n, h, w, c) with its part of `dy` (n, h + bottom, w + right, c): the gradient of [`zero_pad`].
///
/// # Panics
/// If a length does not fit.
pub fn zero_pad_backward<E: Element>(
    [n, h, w, c]: [usize; 4],
    [bottom, right]: [usize; 2],
    dy: &[E],
    dx: &mut [E],
) {
    let _span = profile::channels("zero_pad_backward", dx.len(), c);
    check_len("zero_pad_backward", "dx", dx.len(), n * h * w * c);
    check_len("zero_pad_backward", "dy", dy.len(), n * (h + bottom) * (w + right) * c);
    if dx.is_empty() {
        return;
    }
    dx.par_chunks_mut(w * c).enumerate().for_each(|(i, dx)| {
        let line = (i / h * (h + bottom) + i % h) * (w + right) * c;
        dx.copy_from_slice(&dy[line..][..w * c]);
    });
}
