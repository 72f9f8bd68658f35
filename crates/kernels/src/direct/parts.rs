//! Division of a convolution by output channels as well, where its weights are larger than its maps.
//!
//! In a division by pixels alone, each task reads all weights. With few pixels and many channels, most of the time would go into
//! bringing the weights from L3 or from memory, again for each task; and there may be fewer tasks than threads. So a task here
//! computes a part of the channels, for more pixels. It writes them side by side; [`join`] puts the parts together.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::{Geometry, MIN_TASKS, Task};

/// Numbers of parts to choose from.
const N_PARTS: [usize; 3] = [2, 4, 8];

/// Least number of blocks of channels in a part: each part reads the input again, and pads or transforms it.
const MIN_BLOCKS: usize = 2;

/// Largest number of elements of the input of a task: it stays in L2, or nearly.
const MAX_INPUT: usize = 1 << 18;

/// Numbers that a division by channels must save, as a share of those that a task by pixels reads.
const LEAST_GAIN: f64 = 0.2;

/// Tasks by pixels, and parts of the output channels, as ranges of blocks. Each task has all parts.
#[derive(Debug, PartialEq)]
pub(super) struct Division {
    pub(super) tasks: Vec<Task>,
    pub(super) parts: Vec<Range<usize>>,
}

impl Division {
    /// Divides `n` images of `g`, whose `n_blocks` blocks have `n_weights` weights together. `by_pixels` are the tasks that would
    /// have all channels. The result depends on the shape alone.
    pub(super) fn new(
        n: usize,
        g: &Geometry,
        (n_blocks, n_weights): (usize, usize),
        by_pixels: Vec<Task>,
    ) -> Self {
        let (input, output) = (n * g.h * g.w * g.c_in, n * g.h_out * g.w_out * g.c_out);
        // numbers that a thread reads and writes, with some threads; joining moves the output once more
        let cost = |n_tasks: usize, n_parts: usize| {
            let joined = if n_parts > 1 { 2 * output } else { 0 };
            let all = n_parts * input + n_tasks * n_weights + joined;
            all as f64 / (n_tasks * n_parts).min(MIN_TASKS) as f64
        };
        let images = n.div_ceil(input.div_ceil(MAX_INPUT).clamp(1, n.max(1))).max(1);
        let n_tasks = n.div_ceil(images);
        let best = N_PARTS
            .into_iter()
            .filter(|n_parts| n_blocks >= n_parts * MIN_BLOCKS)
            .min_by(|&a, &b| cost(n_tasks, a).total_cmp(&cost(n_tasks, b)));
        let least = (1.0 - LEAST_GAIN) * cost(by_pixels.len().max(1), 1);
        match best.filter(|&n_parts| cost(n_tasks, n_parts) < least) {
            None => Self::by_pixels(by_pixels, n_blocks),
            Some(n_parts) => {
                let of = |len: usize, step: usize| {
                    (0..len).step_by(step).map(move |first| first..len.min(first + step))
                };
                let tasks = of(n, images).map(|images| Task { images, rows: 0..g.h_out }).collect();
                Self { tasks, parts: of(n_blocks, n_blocks.div_ceil(n_parts)).collect() }
            }
        }
    }

    /// Divides by pixels alone: each of `tasks` has all `n_blocks` blocks.
    pub(super) fn by_pixels(tasks: Vec<Task>, n_blocks: usize) -> Self {
        Self { tasks, parts: std::iter::once(0..n_blocks).collect() }
    }

    /// Whether each task has all channels.
    pub(super) fn is_by_pixels(&self) -> bool {
        self.parts.len() == 1
    }
}

/// Overwrites `y`, pixels of `c` channels, with the parts in `apart`: for each task of a number of pixels, its parts one after the
/// other, each with the `channels` of its part.
pub(super) fn join<E: Copy + Send + Sync>(
    apart: &[E],
    pixels: &[usize],
    channels: &[Range<usize>],
    c: usize,
    y: &mut [E],
) {
    let (mut from, mut to) = (apart, y);
    for n in pixels {
        let (parts, rest) = from.split_at(n * c);
        let (whole, after) = to.split_at_mut(n * c);
        (from, to) = (rest, after);
        let chunk = crate::chunks::rows_per_chunk(c);
        whole.par_chunks_mut(chunk * c).enumerate().for_each(|(i, rows)| {
            for (row, y) in rows.chunks_exact_mut(c).enumerate() {
                let pixel = i * chunk + row;
                for channels in channels {
                    let part = &parts[n * channels.start..n * channels.end];
                    y[channels.clone()].copy_from_slice(&part[pixel * channels.len()..][..channels.len()]);
                }
            }
        });
    }
}

/// The reverse of [`join`] for one task and one part: copies `channels` of all pixels of `whole`, of `c` channels, to `part`.
pub(super) fn take<E: Copy>(whole: &[E], c: usize, channels: &Range<usize>, part: &mut [E]) {
    for (whole, part) in whole.chunks_exact(c).zip(part.chunks_exact_mut(channels.len())) {
        part.copy_from_slice(&whole[channels.clone()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::ConvShape;
    use crate::direct::geometry::{MIN_PIXELS, tasks};
    use crate::padding::Padding;

    fn division(n: usize, side: usize, c_in: usize, c_out: usize, k: usize) -> (usize, usize) {
        let padding = Padding::Symmetric(k / 2);
        let s = ConvShape { n, h: side, w: side, c_in, c_out, k_h: k, k_w: k, stride: 1, padding };
        let g = Geometry::of(&s);
        let by_pixels = tasks(n, &g, 1, MIN_PIXELS);
        let d = Division::new(n, &g, (c_out.div_ceil(32), c_in * c_out * k * k), by_pixels);
        (d.tasks.len(), d.parts.len())
    }

    #[test]
    fn large_weights_of_small_maps_are_divided() {
        assert_eq!(division(16, 4, 512, 2048, 1), (1, 4));
        assert_eq!(division(64, 2, 512, 512, 3), (1, 4));
        assert_eq!(division(1, 7, 512, 2048, 1), (1, 4), "one picture, too");
        // weights that are small beside the maps, or few channels
        assert_eq!(division(16, 32, 64, 256, 1).1, 1);
        assert_eq!(division(16, 8, 256, 1024, 1).1, 1);
        assert_eq!(division(128, 32, 3, 32, 3).1, 1);
        assert_eq!(division(1, 4, 512, 32, 1).1, 1);
        assert_eq!(division(0, 4, 512, 512, 1).0, 0);
    }

    #[test]
    fn parts_are_joined_as_they_were_taken() {
        let whole: Vec<f32> = (0..7 * 5).map(|i| i as f32).collect();
        let channels = [0..2, 2..5];
        let (pixels, mut apart, mut first) = ([4, 3], Vec::new(), 0);
        for n in pixels {
            for channels in &channels {
                let mut part = vec![0.0; n * channels.len()];
                take(&whole[first * 5..(first + n) * 5], 5, channels, &mut part);
                apart.extend(part);
            }
            first += n;
        }
        let mut joined = vec![0.0; whole.len()];
        join(&apart, &pixels, &channels, 5, &mut joined);
        assert_eq!(joined, whole);
    }
}
