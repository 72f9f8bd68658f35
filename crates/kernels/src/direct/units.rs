//! The pixels that the weight gradient sums over, grouped in units: a copy of the input under their windows in the
//! layout of the loop, and their gradients.

use super::element::Element;
use super::geometry::{Geometry, Task};
use super::scratch;
use crate::vectorise::vectorised;

/// Extra distance between the pixels of a 1x1 convolution: with a power of two as distance they would compete for the
/// same places in L1.
const SKEW: usize = 16;

/// The partner of a pixel in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Partner {
    /// No partner: each pixel is a unit.
    None,
    /// The next pixel of the row.
    Column,
    /// The same pixel of the next image.
    Image,
}

/// The units of a task.
pub(super) struct Units<'a> {
    g: &'a Geometry,
    task: &'a Task,
    partner: Partner,
    /// For a 1x1 convolution without padding: the distance of its pixels in the copy, which is made pixel by pixel.
    skewed: Option<usize>,
    /// Number of units in a row of the output, and number of such rows.
    per_row: usize,
    n_rows: usize,
    /// Number of elements of a row of the padded input, and of one of its images.
    pub(super) row: usize,
    image_len: usize,
    /// Length of the copy, and the number of elements that the last pair reads beyond its end, times 0.
    pub(super) len: usize,
    pub(super) reach: usize,
}

impl<'a> Units<'a> {
    /// Returns the units of a task, with `unit` pixels each: 1 or 2.
    pub(super) fn new(g: &'a Geometry, task: &'a Task, unit: usize) -> Self {
        let n_images = task.images.len();
        let partner = match (unit, g.w_out % 2, n_images % 2) {
            (1, ..) => Partner::None,
            (_, 1, 0) => Partner::Image,
            _ => Partner::Column,
        };
        let is_pixelwise = partner == Partner::None && g.k_h * g.k_w == 1 && g.sees_only_the_input(task);
        let per_row = if partner == Partner::Column { g.w_out.div_ceil(2) } else { g.w_out };
        let n_rows = task.rows.len() * if partner == Partner::Image { n_images / 2 } else { n_images };
        let row = g.padded_w() * g.c_in;
        let image_len = g.padded_h(task.rows.len()) * row;
        let skewed = is_pixelwise.then_some(g.c_in + SKEW);
        let len = skewed.map_or(n_images * image_len, |distance| n_rows * per_row * distance);
        let reach = if partner == Partner::Column { g.stride * g.c_in } else { 0 };
        Self { g, task, partner, skewed, per_row, n_rows, row, image_len, len, reach }
    }

    /// Returns the number of pixels in a unit.
    fn pixels(&self) -> usize {
        if self.partner == Partner::None { 1 } else { 2 }
    }

    /// Returns the number of units.
    pub(super) fn n(&self) -> usize {
        self.n_rows * self.per_row
    }

    /// Returns where each unit's window begins in the copy, counted in units.
    pub(super) fn offsets(&self) -> Vec<u32> {
        if let Some(distance) = self.skewed {
            return (0..self.n()).map(|unit| (unit * distance) as u32).collect();
        }
        let pixels = if self.partner == Partner::Column { 2 } else { 1 };
        let rows = self.task.rows.len();
        let row_start = |i: usize| i / rows * self.image_len + i % rows * self.g.stride * self.row;
        let step = pixels * self.g.stride * self.g.c_in;
        let row = |i: usize| (0..self.per_row).map(move |unit| (row_start(i) + unit * step) as u32);
        (0..self.n_rows).flat_map(row).collect()
    }

    /// Copies the part of `x` under the task's windows into `padded` (`len + reach` long). If units are pairs, copies
    /// it from there into `pairs`. Returns the copy that the offsets refer to.
    pub(super) fn copy<'b, E: Element>(&self, x: &[E], padded: &'b mut [E], pairs: &'b mut [E]) -> &'b [E] {
        if let Some(distance) = self.skewed {
            self.copy_pixels(x, distance, padded);
            return padded;
        }
        scratch::pad(x, self.g, self.task, &mut padded[..self.len]);
        padded[self.len..].fill(E::default());
        match self.partner {
            Partner::None => padded,
            Partner::Column => {
                interleave(&padded[..self.len], &padded[self.reach..], pairs);
                pairs
            }
            Partner::Image => {
                let images = padded.chunks_exact(2 * self.image_len);
                for (images, pairs) in images.zip(pairs.chunks_exact_mut(2 * self.image_len)) {
                    let (own, next) = images.split_at(self.image_len);
                    interleave(own, next, pairs);
                }
                &pairs[..self.len]
            }
        }
    }

    fn copy_pixels<E: Element>(&self, x: &[E], distance: usize, out: &mut [E]) {
        let (g, task) = (self.g, self.task);
        let mut out = out.chunks_exact_mut(distance);
        for image in task.images.clone() {
            for oy in task.rows.clone() {
                let line = &x[(image * g.h + oy * g.stride) * g.w * g.c_in..][..g.w * g.c_in];
                for (pixel, out) in line.chunks_exact(g.c_in).step_by(g.stride).take(g.w_out).zip(&mut out) {
                    out[..g.c_in].copy_from_slice(pixel);
                }
            }
        }
    }

    /// Packs the gradients of some blocks of channels from `first` on as (blocks, units, block, unit), with zeros for
    /// missing partners and for channels beyond the last one.
    pub(super) fn pack_gradient<E: Element>(&self, dy: &[E], first: usize, block: usize, packed: &mut [E]) {
        if self.partner != Partner::None {
            let blocks = packed.chunks_exact_mut(self.n() * block * self.pixels());
            for (i, packed) in blocks.enumerate() {
                self.pack_block(dy, first + i * block, block, packed);
            }
            return;
        }
        let (g, task) = (self.g, self.task);
        let line_len = g.w_out * g.c_out;
        let lines =
            task.images.clone().flat_map(|image| task.rows.clone().map(move |oy| image * g.h_out + oy));
        for (i, line) in lines.enumerate() {
            let dy = &dy[line * line_len..][..line_len];
            pack_line(dy, g.c_out, first, block, self.n(), i * g.w_out, packed);
        }
    }

    /// Packs the gradients of pairs for `block` channels from `first` on as (units, block, 2).
    fn pack_block<E: Element>(&self, dy: &[E], first: usize, block: usize, packed: &mut [E]) {
        let (g, task) = (self.g, self.task);
        let n_channels = block.min(g.c_out - first);
        let line_len = g.w_out * g.c_out;
        let line = |image: usize, oy: usize| &dy[(image * g.h_out + oy) * line_len..][..line_len];
        let channels = first..first + n_channels;
        let step = if self.partner == Partner::Image { 2 } else { 1 };
        let mut units = packed.chunks_exact_mut(2 * block);
        for image in task.images.clone().step_by(step) {
            for oy in task.rows.clone() {
                let own = line(image, oy);
                if self.partner == Partner::Image {
                    let pixels = own.chunks_exact(g.c_out).zip(line(image + 1, oy).chunks_exact(g.c_out));
                    for ((pixel, next), out) in pixels.zip(&mut units) {
                        pack_unit(&pixel[channels.clone()], &next[channels.clone()], out);
                    }
                } else {
                    for (pixels, out) in own.chunks(2 * g.c_out).zip(&mut units) {
                        let (pixel, next) = pixels.split_at(g.c_out);
                        let next = next.get(channels.clone()).unwrap_or_default();
                        pack_unit(&pixel[channels.clone()], next, out);
                    }
                }
            }
        }
    }
}

/// Interleaves a pixel's gradients with its partner's gradients, or with zeros.
fn pack_unit<E: Element>(own: &[E], next: &[E], out: &mut [E]) {
    let (pairs, rest) = out.split_at_mut(2 * own.len());
    if next.is_empty() {
        for (pair, &a) in pairs.chunks_exact_mut(2).zip(own) {
            pair[0] = a;
            pair[1] = E::default();
        }
    } else {
        interleave(own, next, pairs);
    }
    rest.fill(E::default());
}

vectorised! {
    /// Packs the channels from `first` on of a line's pixels as (blocks, units, block), from unit `first_unit` on.
    fn pack_line<E: Element>(
        line: &[E],
        c_out: usize,
        first: usize,
        block: usize,
        n_units: usize,
        first_unit: usize,
        packed: &mut [E],
    ) {
        for (i, pixel) in line.chunks_exact(c_out).enumerate() {
            let unit = &mut packed[(first_unit + i) * block..];
            for (out, channels) in unit.chunks_mut(n_units * block).zip(pixel[first..].chunks(block)) {
                let (out, rest) = out[..block].split_at_mut(channels.len());
                if rest.is_empty() {
                    // a loop of vectors: a slice of unknown length would be copied by a call
                    for (out, channels) in out.as_chunks_mut::<8>().0.iter_mut().zip(channels.as_chunks::<8>().0) {
                        *out = *channels;
                    }
                } else {
                    out.copy_from_slice(channels);
                    rest.fill(E::default());
                }
            }
        }
    }
}

vectorised! {
    /// Writes `pairs = a0 b0 a1 b1 …`.
    fn interleave<E: Element>(a: &[E], b: &[E], pairs: &mut [E]) {
        let (pairs, rest) = pairs.as_chunks_mut::<32>();
        let n_whole = pairs.len();
        let whole = a.as_chunks::<16>().0.iter().zip(b.as_chunks::<16>().0);
        for (pairs, (a, b)) in pairs.iter_mut().zip(whole) {
            for i in 0..16 {
                pairs[2 * i] = a[i];
                pairs[2 * i + 1] = b[i];
            }
        }
        let left = a[16 * n_whole..].iter().zip(&b[16 * n_whole..]);
        for (pair, (&a, &b)) in rest.chunks_exact_mut(2).zip(left) {
            pair[0] = a;
            pair[1] = b;
        }
    }
}
