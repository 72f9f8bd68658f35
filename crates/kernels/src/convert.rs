//! Conversion of feature maps between element types, and elementwise operations on them.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len};
use crate::direct::Element;
use crate::profile;
use crate::vectorise::vectorised;

/// Overwrites `to` with `from`; the conversion is exact.
///
/// # Panics
/// If the lengths differ.
pub fn widen<E: Element>(from: &[E], to: &mut [f32]) {
    let _span = profile::elements("widen", to.len());
    check_len("widen", "to", to.len(), from.len());
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| widen_piece(from, to));
}

/// Overwrites `to` with `from`, rounded to the nearest value.
///
/// # Panics
/// If the lengths differ.
pub fn narrow<E: Element>(from: &[f32], to: &mut [E]) {
    let _span = profile::elements("narrow", to.len());
    check_len("narrow", "to", to.len(), from.len());
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| narrow_piece(from, to));
}

/// Overwrites `sum` with `a + b`.
///
/// # Panics
/// If the lengths differ.
pub fn add<E: Element>(a: &[E], b: &[E], sum: &mut [E]) {
    let _span = profile::elements("add", a.len());
    check_len("add", "b", b.len(), a.len());
    check_len("add", "sum", sum.len(), a.len());
    let operands = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    sum.par_chunks_mut(CHUNK).zip(operands).for_each(|(sum, (a, b))| add_piece(a, b, sum));
}

/// Overwrites `y` with `x * factor` where `mask` is not 0, and with 0 where `mask` is 0: dropout and its gradient.
///
/// # Panics
/// If the lengths differ.
pub fn masked<E: Element>(x: &[E], mask: &[u8], factor: f32, y: &mut [E]) {
    let _span = profile::elements("masked", x.len());
    check_len("masked", "mask", mask.len(), x.len());
    check_len("masked", "y", y.len(), x.len());
    let operands = x.par_chunks(CHUNK).zip(mask.par_chunks(CHUNK));
    y.par_chunks_mut(CHUNK).zip(operands).for_each(|(y, (x, mask))| masked_piece(x, mask, factor, y));
}

vectorised! {
    fn masked_piece<E: Element>(x: &[E], mask: &[u8], factor: f32, y: &mut [E]) {
        for ((y, x), &mask) in y.iter_mut().zip(x).zip(mask) {
            *y = E::from_f32(if mask == 0 { 0.0 } else { x.to_f32() * factor });
        }
    }
}

vectorised! {
    fn widen_piece<E: Element>(from: &[E], to: &mut [f32]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.to_f32();
        }
    }
}

vectorised! {
    fn narrow_piece<E: Element>(from: &[f32], to: &mut [E]) {
        for (to, from) in to.iter_mut().zip(from) {
            *to = E::from_f32(*from);
        }
    }
}

vectorised! {
    fn add_piece<E: Element>(a: &[E], b: &[E], sum: &mut [E]) {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum = E::from_f32(a.to_f32() + b.to_f32());
        }
    }
}
