//! The shapes of the direct kernels, and the division of their work into tasks.

use std::ops::Range;

use crate::conv::ConvShape;

/// A correlation: `y[oy, ox, o] = sum of x[oy * stride + r - top, ox * stride + s - left, i] * w[o, i, r, s]`.
///
/// More general than [`ConvShape`]: the offsets may differ and may be negative (the input is cropped), and the
/// output's size is free. Numbers outside the input are 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) c_in: usize,
    pub(super) h_out: usize,
    pub(super) w_out: usize,
    pub(super) c_out: usize,
    pub(super) k_h: usize,
    pub(super) k_w: usize,
    pub(super) stride: usize,
    pub(super) top: isize,
    pub(super) left: isize,
}

impl Geometry {
    pub(super) fn of(s: &ConvShape) -> Self {
        let [top, left] = s.zeros_before();
        Self {
            h: s.h,
            w: s.w,
            c_in: s.c_in,
            h_out: s.h_out(),
            w_out: s.w_out(),
            c_out: s.c_out,
            k_h: s.k_h,
            k_w: s.k_w,
            stride: s.stride,
            top: top as isize,
            left: left as isize,
        }
    }

    /// Returns the number of elements under one row of the kernel.
    pub(super) fn run(&self) -> usize {
        self.k_w * self.c_in
    }

    /// Returns the number of columns of the padded input.
    pub(super) fn padded_w(&self) -> usize {
        (self.w_out - 1) * self.stride + self.k_w
    }

    /// Returns the number of rows of the padded input under `n_rows` output rows.
    pub(super) fn padded_h(&self, n_rows: usize) -> usize {
        (n_rows - 1) * self.stride + self.k_h
    }

    /// Returns whether all windows of `task` lie inside the input, so that no padded copy is needed.
    pub(super) fn sees_only_the_input(&self, task: &Task) -> bool {
        self.top == 0
            && self.left == 0
            && (task.rows.end - 1) * self.stride + self.k_h <= self.h
            && (self.w_out - 1) * self.stride + self.k_w <= self.w
    }

    /// Returns the number of elements of the padded input under a task's windows.
    pub(super) fn padded_len(&self, n_images: usize, n_rows: usize) -> usize {
        n_images * self.padded_h(n_rows) * self.padded_w() * self.c_in
    }
}

/// A piece of work: all rows of some images, or some rows of one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Task {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

/// Least number of output pixels in a task of the direct loop, if there are enough: they fill whole tiles.
pub(super) const MIN_PIXELS: usize = 192;

/// Where fewer pixels are better, a task has at least the least number of pixels divided by this.
const FEWER: usize = 3;

/// Least number of tasks, as long as each then has its share of [`MIN_PIXELS`].
pub(super) const MIN_TASKS: usize = 4;

/// Largest number of elements of a task's padded input, and of everything that a task of a 1x1 convolution reads and
/// writes: it stays in L2 beside the weights.
const MAX_SCRATCH: usize = 1 << 17;

/// Divides `n` images of `g` into tasks of about `min_pixels` pixels or more: for small images, see
/// [`images_per_task`]; large ones are cut into bands of a multiple of `row_step` rows. The result depends on the shape
/// alone.
pub(super) fn tasks(n: usize, g: &Geometry, row_step: usize, min_pixels: usize) -> Vec<Task> {
    // A 1x1 convolution makes so few products for each number that its time goes into memory: each block of channels goes
    // over the input, the output and the residual again.
    let is_pointwise = g.k_h * g.k_w == 1;
    let beside = |n_pixels: usize| match is_pointwise && n_pixels > min_pixels {
        true => 2 * n_pixels * g.c_out,
        false => 0,
    };
    let rows_that_fit = |rows: usize| g.padded_len(1, rows) + beside(rows * g.w_out) <= MAX_SCRATCH;
    if rows_that_fit(g.h_out) || g.h_out <= row_step {
        let fit = if is_pointwise { MAX_SCRATCH / g.padded_len(1, g.h_out) } else { usize::MAX };
        let per_task = images_per_task(n, g.h_out * g.w_out, min_pixels, fit);
        let images = (0..n).step_by(per_task).map(|first| first..n.min(first + per_task));
        return images.map(|images| Task { images, rows: 0..g.h_out }).collect();
    }
    let fewest_pixels = if is_pointwise { min_pixels / FEWER } else { min_pixels };
    let mut band = row_step;
    while band < g.h_out && (rows_that_fit(band + row_step) || band * g.w_out < fewest_pixels) {
        band += row_step;
    }
    let band = g.h_out.div_ceil(g.h_out.div_ceil(band)).next_multiple_of(row_step); // about equal
    let bands = (0..g.h_out).step_by(band).map(|first| first..g.h_out.min(first + band));
    (0..n).flat_map(|i| bands.clone().map(move |rows| Task { images: i..i + 1, rows })).collect()
}

/// Returns the number of images per task for `n` images of `pixels` pixels. A task has about `min_pixels` pixels. It
/// has fewer, down to a third of them, if only so many images `fit` into the cache, if there would otherwise be fewer
/// than [`MIN_TASKS`] tasks, or if two threads then finish together.
pub(super) fn images_per_task(n: usize, pixels: usize, min_pixels: usize, fit: usize) -> usize {
    let (fewest, most) = ((min_pixels / FEWER).div_ceil(pixels), min_pixels.div_ceil(pixels));
    let most = n.div_ceil(MIN_TASKS).min(fit).clamp(fewest, most);
    let even = |n_tasks: usize| if n_tasks > 1 { n_tasks.next_multiple_of(2) } else { 1 };
    let n_tasks = (even(n.div_ceil(most))..=even(n.div_ceil(fewest))).step_by(2);
    let candidates = n_tasks.map(|n_tasks| n.div_ceil(n_tasks).max(1));
    // the longer of two threads' work; of those within a twentieth, the largest, as each task reads all weights
    let images_of_a_thread = |per_task: usize| n.div_ceil(per_task).div_ceil(2) * per_task;
    let least = candidates.clone().map(images_of_a_thread).min().unwrap_or(0);
    candidates.into_iter().find(|&per_task| 20 * images_of_a_thread(per_task) <= 21 * least).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::padding::Padding;

    fn square(size: usize, c: usize) -> Geometry {
        let s = ConvShape {
            n: 1,
            h: size,
            w: size,
            c_in: c,
            c_out: 8,
            k_h: 3,
            k_w: 3,
            stride: 1,
            padding: Padding::Symmetric(1),
        };
        Geometry::of(&s)
    }

    #[test]
    fn tasks_cover_every_row_of_every_image_once() {
        for (n, size, c, step) in
            [(1, 1, 1, 1), (130, 4, 256, 1), (3, 32, 32, 1), (2, 224, 64, 1), (2, 113, 64, 2)]
        {
            let g = square(size, c);
            let mut seen = vec![0; n * size];
            for task in tasks(n, &g, step, MIN_PIXELS) {
                assert!(task.rows.start % step == 0);
                for image in task.images {
                    task.rows.clone().for_each(|row| seen[image * size + row] += 1);
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{n} {size} {c}");
        }
    }

    #[test]
    fn small_maps_are_grouped_and_large_ones_cut() {
        assert_eq!(tasks(128, &square(4, 256), 1, MIN_PIXELS).len(), 12);
        assert_eq!(tasks(64, &square(2, 512), 1, MIN_PIXELS).len(), 4);
        assert_eq!(tasks(1, &square(1, 512), 1, MIN_PIXELS).len(), 1);
        assert_eq!(tasks(128, &square(32, 32), 1, MIN_PIXELS).len(), 128);
        assert!(tasks(1, &square(224, 64), 1, MIN_PIXELS).len() > 8);
    }

    /// Six tasks, five of 3 images and one of 1, would keep one of two threads waiting for a ninth of the time.
    #[test]
    fn two_threads_finish_together() {
        let per_task = |n, pixels, min_pixels| images_per_task(n, pixels, min_pixels, usize::MAX);
        assert_eq!(per_task(16, 8 * 8, MIN_PIXELS), 2);
        assert_eq!(per_task(16, 7 * 7, 1536), 8);
        assert_eq!(per_task(2000, 7 * 7, 1536), 32);
        assert_eq!(per_task(3, 8 * 8, MIN_PIXELS), 1);
        assert_eq!(per_task(3, 2 * 2, MIN_PIXELS), 3);
        assert_eq!(per_task(1, 8 * 8, MIN_PIXELS), 1);
        assert_eq!(per_task(0, 8 * 8, MIN_PIXELS), 1);
    }

    #[test]
    fn the_input_of_a_task_stays_in_the_cache() {
        assert_eq!(images_per_task(64, 4 * 4, MIN_PIXELS, 8), 8);
        assert_eq!(images_per_task(64, 4 * 4, MIN_PIXELS, 1), 4, "a third of the pixels at least");
        let g = Geometry { k_h: 1, k_w: 1, top: 0, left: 0, ..square(14, 1024) };
        let tasks = tasks(1, &g, 1, MIN_PIXELS);
        assert_eq!(tasks.iter().map(|task| task.rows.len()).collect::<Vec<_>>(), [7, 7]);
    }

    /// The bands are as large as the caches allow, and have enough pixels for whole tiles.
    #[test]
    fn everything_that_a_pointwise_task_touches_fits_into_the_cache() {
        let pointwise =
            |size, c_in, c_out| Geometry { c_out, k_h: 1, k_w: 1, top: 0, left: 0, ..square(size, c_in) };
        let rows_of_tasks = |g: &Geometry| tasks(1, g, 1, MIN_PIXELS)[0].rows.len();
        let g = pointwise(56, 64, 256);
        let n_rows = rows_of_tasks(&g);
        assert_eq!(n_rows, 4);
        assert!(n_rows * 56 >= MIN_PIXELS && n_rows * 56 * (64 + 2 * 256) <= MAX_SCRATCH);
        // bands have many pixels even so
        assert_eq!(rows_of_tasks(&pointwise(28, 128, 512)), 6);
        assert_eq!(rows_of_tasks(&pointwise(14, 256, 1024)), 7);
        assert_eq!(rows_of_tasks(&pointwise(7, 512, 2048)), 7);
    }
}
