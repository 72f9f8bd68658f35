//! Joins the channels of several maps, and takes them apart again.
//!
//! A pixel of the joined map has the channels of that pixel of each part, one part after another. Each row of
//! channels is copied once.

use rayon::prelude::*;

use crate::chunks::{check_len, rows_per_chunk};
use crate::direct::Element;
use crate::norm_act::lanes::{at, at_mut, for_lanes};
use crate::profile;
use crate::vectorise::vectorised;

/// Overwrites `y` (rows, c) with the joined rows of `parts`. Each part is a matrix (rows, width) with its number of
/// channels `width`. The same as `torch.cat(parts, dim=1)`.
///
/// # Panics
/// If a length does not fit.
pub fn concat_channels<E: Element>(parts: &[(&[E], usize)], y: &mut [E]) {
    let c: usize = parts.iter().map(|(_, width)| width).sum();
    let _span = profile::channels("concat_channels", y.len(), c);
    assert!(parts.iter().all(|&(_, width)| width > 0), "concat_channels: a part has no channels");
    let rows = y.len().checked_div(c).unwrap_or(0);
    check_len("concat_channels", "y", y.len(), rows * c);
    for (part, width) in parts {
        check_len("concat_channels", "a part", part.len(), rows * width);
    }
    if y.is_empty() {
        return;
    }
    let n_rows = rows_per_chunk(c);
    y.par_chunks_mut(n_rows * c).enumerate().for_each(|(i, y)| join_from(parts, i * n_rows, y));
}

/// Overwrites `y` with the joined rows of `parts`, from the row `start` on.
pub(crate) fn join_from<E: Element>(parts: &[(&[E], usize)], start: usize, y: &mut [E]) {
    let c: usize = parts.iter().map(|(_, width)| width).sum();
    let mut first = 0;
    for (part, width) in parts {
        let part = part[start * width..].chunks_exact(*width);
        for (y, part) in y.chunks_exact_mut(c).zip(part) {
            y[first..first + width].copy_from_slice(part);
        }
        first += width;
    }
}

/// Overwrites `part` (rows, width) with the channels of `y` (rows, c) from `first` on, plus `other` if it is given,
/// which has the size of `part`. This is the gradient of a part of [`concat_channels`]; `other` is the gradient from
/// another use of that part.
///
/// # Panics
/// If a length does not fit.
pub fn take_channels<E: Element>(
    y: &[E],
    c: usize,
    first: usize,
    width: usize,
    other: Option<&[E]>,
    part: &mut [E],
) {
    let _span = profile::channels("take_channels", part.len(), width);
    assert!(width > 0 && first + width <= c, "take_channels: channels {first} to {} of {c}", first + width);
    check_len("take_channels", "y", y.len(), part.len() / width * c);
    check_len("take_channels", "part", part.len(), y.len() / c * width);
    check_len("take_channels", "other", other.map_or(part.len(), <[E]>::len), part.len());
    let n_rows = rows_per_chunk(c);
    part.par_chunks_mut(n_rows * width).enumerate().for_each(|(i, part)| {
        let numbers = i * n_rows * width..i * n_rows * width + part.len();
        let other = other.map_or(&[][..], |other| &other[numbers]);
        take_piece(&y[i * n_rows * c..], c, first, width, other, part);
    });
}

vectorised! {
    /// `other` is empty if nothing is to be added.
    fn take_piece<E: Element>(y: &[E], c: usize, first: usize, width: usize, other: &[E], part: &mut [E]) {
        let rows = y.chunks_exact(c).zip(part.chunks_exact_mut(width));
        if other.is_empty() {
            rows.for_each(|(y, part)| part.copy_from_slice(&y[first..first + width]));
            return;
        }
        for ((y, part), other) in rows.zip(other.chunks_exact(width)) {
            let y = &y[first..first + width];
            for_lanes!(width, i, N, {
                let (y, other, part) = (at::<E, N>(y, i), at::<E, N>(other, i), at_mut::<E, N>(part, i));
                for j in 0..N {
                    part[j] = E::from_f32(y[j].to_f32() + other[j].to_f32());
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "concat_channels: a part has 3 elements, expected 4")]
    fn a_wrong_part_is_named() {
        concat_channels(&[(&[0f32; 2][..], 1), (&[0.0; 3], 2)], &mut [0.0; 6]);
    }

    #[test]
    #[should_panic(expected = "take_channels: channels 2 to 4 of 3")]
    fn channels_that_are_not_there_are_refused() {
        take_channels(&[0f32; 6], 3, 2, 2, None, &mut [0.0; 4]);
    }
}
