//! Patches of feature maps as rows of a matrix, so that a convolution is a matrix product.
//!
//! Row (image, oy, ox) of the matrix is the patch under this output pixel, k_h * k_w * c floats. In (h, w, c) order
//! the k_w pixels of one line of a patch are consecutive floats, so a row is k_h copies:
//!
//! ```text
//! for ky in 0..k_h:  y = oy * stride + ky - top;  x = ox * stride - left
//!     row[ky] = map[y][x .. x + k_w]        with 0 for what lies outside the map
//! ```
//!
//! The full matrix never exists: callers ask for tiles of rows that fit in the cache.

use std::cell::Cell;
use std::ops::Range;

/// The patches of (n, h, w, c) maps that are the rows of the matrix.
///
/// Unlike in a convolution's shape, the paddings of the two directions may differ and may be negative, which
/// gradients need.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patches {
    pub(crate) n: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) c: usize,
    pub(crate) k_h: usize,
    pub(crate) k_w: usize,
    pub(crate) stride: usize,
    /// Lines of padding above the map; negative if the map is cropped.
    pub(crate) top: isize,
    /// Pixels of padding to the left of the map; negative if the map is cropped.
    pub(crate) left: isize,
    pub(crate) h_out: usize,
    pub(crate) w_out: usize,
}

/// The place of a patch, and the floats of its lines that are inside the map.
struct Place {
    image: usize,
    y: isize,
    /// The column of the map where `inside` begins.
    x: usize,
    inside: Range<usize>,
}

impl Patches {
    /// Returns the number of floats in one patch.
    pub(crate) fn patch_len(&self) -> usize {
        self.k_h * self.k_w * self.c
    }

    /// Returns the number of rows of the matrix: one for each output pixel of each image.
    pub(crate) fn n_rows(&self) -> usize {
        self.n * self.h_out * self.w_out
    }

    /// Returns the number of rows in a tile of about 256 KiB, which stays in the second-level cache together with the
    /// matrix that it is multiplied by. It is at least `min_rows` and at most 1024.
    pub(crate) fn rows_per_tile(&self, min_rows: usize) -> usize {
        ((1 << 16) / self.patch_len()).clamp(min_rows, 1024)
    }

    /// Returns whether the matrix is the map itself.
    fn is_map(&self) -> bool {
        (self.k_h, self.k_w, self.top, self.left) == (1, 1, 0, 0)
            && (self.h, self.w) == (self.h_out, self.w_out)
    }

    /// Calls `work` with these rows of the matrix, and returns its result.
    pub(crate) fn with_rows<R>(&self, map: &[f32], rows: Range<usize>, work: impl FnOnce(&[f32]) -> R) -> R {
        if self.is_map() {
            return work(&map[rows.start * self.c..rows.end * self.c]);
        }
        with_scratch(rows.len() * self.patch_len(), |matrix| {
            self.gather(map, rows, matrix);
            work(matrix)
        })
    }

    fn gather(&self, map: &[f32], rows: Range<usize>, matrix: &mut [f32]) {
        let line_len = self.k_w * self.c;
        for (row, patch) in rows.zip(matrix.chunks_exact_mut(self.patch_len())) {
            let place = self.place(row);
            for (ky, line) in patch.chunks_exact_mut(line_len).enumerate() {
                match self.start_of_line(&place, ky) {
                    Some(start) => {
                        line[..place.inside.start].fill(0.0);
                        line[place.inside.end..].fill(0.0);
                        line[place.inside.clone()].copy_from_slice(&map[start..start + place.inside.len()]);
                    }
                    None => line.fill(0.0),
                }
            }
        }
    }

    /// Adds each float of these rows of the matrix to the float of `map` that it was copied from.
    pub(crate) fn scatter_add(&self, matrix: &[f32], rows: Range<usize>, map: &mut [f32]) {
        let line_len = self.k_w * self.c;
        for (row, patch) in rows.zip(matrix.chunks_exact(self.patch_len())) {
            let place = self.place(row);
            for (ky, line) in patch.chunks_exact(line_len).enumerate() {
                if let Some(start) = self.start_of_line(&place, ky) {
                    let seen = &mut map[start..start + place.inside.len()];
                    for (seen, &line) in seen.iter_mut().zip(&line[place.inside.clone()]) {
                        *seen += line;
                    }
                }
            }
        }
    }

    fn place(&self, row: usize) -> Place {
        let (line, ox) = (row / self.w_out, row % self.w_out);
        let (image, oy) = (line / self.h_out, line % self.h_out);
        let x = (ox * self.stride) as isize - self.left;
        let first = (-x).clamp(0, self.k_w as isize);
        let end = (self.w as isize - x).clamp(first, self.k_w as isize);
        Place {
            image,
            y: (oy * self.stride) as isize - self.top,
            x: (x + first).max(0) as usize,
            inside: first as usize * self.c..end as usize * self.c,
        }
    }

    /// Returns where the map's part of line `ky` begins, or `None` if the line is outside the map.
    fn start_of_line(&self, place: &Place, ky: usize) -> Option<usize> {
        let y = usize::try_from(place.y + ky as isize).ok().filter(|&y| y < self.h)?;
        (!place.inside.is_empty()).then(|| ((place.image * self.h + y) * self.w + place.x) * self.c)
    }
}

/// Lends `work` a buffer of `len` floats, which the thread keeps for the next call. The floats have arbitrary values.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = SCRATCH.take();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = work(&mut buffer[..len]);
    SCRATCH.set(buffer);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One 2 x 3 image with 2 channels: pixel p holds 10 p and 10 p + 1.
    static MAP: [f32; 12] = [0., 1., 10., 11., 20., 21., 30., 31., 40., 41., 50., 51.];
    const PATCHES: Patches =
        Patches { n: 1, h: 2, w: 3, c: 2, k_h: 2, k_w: 2, stride: 1, top: 1, left: 0, h_out: 2, w_out: 3 };

    #[test]
    fn rows_are_patches_with_zeros_outside() {
        PATCHES.with_rows(&MAP, 2..4, |matrix| {
            assert_eq!(matrix[..8], [0., 0., 0., 0., 20., 21., 0., 0.]); // above the map, and right of it
            assert_eq!(matrix[8..], [0., 1., 10., 11., 30., 31., 40., 41.]);
        });
    }

    #[test]
    fn a_pixel_gets_back_what_was_copied_from_it() {
        let mut back = [0.0; 12];
        PATCHES.with_rows(&MAP, 0..6, |matrix| PATCHES.scatter_add(matrix, 0..6, &mut back));
        // number of windows that see a pixel: two rows of output pixels (the last line: one) times two columns (the
        // first: one)
        let times_seen = [2.0, 4.0, 4.0, 1.0, 2.0, 2.0];
        for (i, (&back, &x)) in back.iter().zip(&MAP).enumerate() {
            assert_eq!(back, x * times_seen[i / 2], "float {i}");
        }
    }

    #[test]
    fn windows_wholly_outside_are_zero() {
        let far = Patches { left: 5, ..PATCHES };
        far.with_rows(&MAP, 0..3, |matrix| assert!(matrix.iter().all(|&x| x == 0.0)));
        let right = Patches { left: -7, ..PATCHES };
        right.with_rows(&MAP, 0..3, |matrix| assert!(matrix.iter().all(|&x| x == 0.0)));
    }

    #[test]
    fn a_map_is_its_own_matrix_only_if_every_pixel_is_its_own_patch() {
        let same = Patches { k_h: 1, k_w: 1, top: 0, ..PATCHES };
        same.with_rows(&MAP, 1..3, |matrix| assert_eq!(matrix.as_ptr(), MAP[2..].as_ptr()));
        let padded = Patches { top: 1, ..same };
        padded.with_rows(&MAP, 3..4, |matrix| assert_eq!(matrix, &MAP[..2]));
    }
}
