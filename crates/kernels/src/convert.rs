//! Feature maps from one type of element to another.

use rayon::prelude::*;

use crate::chunks::{CHUNK, check_len};
use crate::direct::Element;
use crate::profile;

/// Overwrites `to` with `from`, widened exactly or rounded to the nearest.
///
/// # Panics
/// If the lengths differ.
pub fn convert<A: Element, B: Element>(from: &[A], to: &mut [B]) {
    let _span = profile::elements("convert", from.len());
    check_len("convert", "to", to.len(), from.len());
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| {
        for (to, from) in to.iter_mut().zip(from) {
            *to = B::from_f32(from.to_f32());
        }
    });
}
