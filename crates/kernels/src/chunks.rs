//! Division of work into pieces: by its size, never by the number of threads, so that the bits of a result do not
//! depend on which thread computed which part. The module also has the length checks at the start of each kernel.

use rayon::prelude::*;

/// Number of elements in one piece of elementwise work: 64 KiB of f32. Handing a piece to a thread costs little
/// against it.
pub(crate) const CHUNK: usize = 1 << 14;

/// Returns the number of rows of `c` elements in one piece of work on a (rows, c) matrix.
pub(crate) fn rows_per_chunk(c: usize) -> usize {
    (CHUNK / c).max(1)
}

/// Calls `work(start, piece)` for each piece of `chunk` elements of `out`, in parallel. The calling thread does the
/// work itself if there is only one piece.
pub(crate) fn for_each_chunk(out: &mut [f32], chunk: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if out.len() <= chunk {
        if !out.is_empty() {
            work(0, out);
        }
    } else {
        out.par_chunks_mut(chunk).enumerate().for_each(|(i, piece)| work(i * chunk, piece));
    }
}

/// Returns `work(0)`, …, `work(n - 1)` in this order, computed in parallel. The calling thread computes a single item
/// itself.
pub(crate) fn map_in_order<T: Send>(n: usize, work: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
    match n {
        0 | 1 => (0..n).map(work).collect(),
        _ => (0..n).into_par_iter().map(work).collect(),
    }
}

/// Cuts `slice` into consecutive pieces of these lengths.
pub(crate) fn cut<T>(mut slice: &mut [T], lens: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    lens.map(|len| {
        let (piece, rest) = std::mem::take(&mut slice).split_at_mut(len);
        slice = rest;
        piece
    })
    .collect()
}

/// Panics unless a slice has the expected length.
#[track_caller]
pub(crate) fn check_len(function: &str, what: &str, actual: usize, expected: usize) {
    assert!(actual == expected, "{function}: {what} has {actual} elements, expected {expected}");
}

/// Panics unless `x` consists of whole rows of `c` channels.
#[track_caller]
pub(crate) fn check_rows<E>(function: &str, x: &[E], c: usize) {
    assert!(c > 0, "{function}: 0 channels, expected at least 1");
    let len = x.len();
    assert!(
        len.is_multiple_of(c),
        "{function}: x has {len} elements, expected a multiple of the {c} channels"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_once() {
        for len in [0, 1, 9, 10, 11, 35] {
            let mut out = vec![0.0; len];
            for_each_chunk(&mut out, 10, |start, piece| {
                for (i, x) in piece.iter_mut().enumerate() {
                    *x += (start + i) as f32;
                }
            });
            assert_eq!(out, (0..len).map(|i| i as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn results_come_in_order() {
        for n in [0, 1, 2, 100] {
            assert_eq!(map_in_order(n, |i| i * i), (0..n).map(|i| i * i).collect::<Vec<_>>());
        }
    }
}
