//! Draws the transform of an image from the random stream (seed, augment, epoch, index) alone.

use std::ops::Range;

use tallow_core::{Purpose, Stream};

use super::{Augment, Flip, Jitter, RandomResizedCrop, Transform, Warp};

// Positions in an image's stream at which the numbers of each change begin, counted in draws of 32 bits. They are fixed
// so that no change alters the numbers drawn for another change. Flip, crop and cutout come first, from 0 on. The
// meaning of a seed depends on these positions: never renumber them.
const RESIZED_CROP_AT: u64 = 1 << 10;
const ROTATION_AT: u64 = 2 << 10;
const ZOOM_AT: u64 = 3 << 10;
const SHIFT_AT: u64 = 4 << 10;
const BRIGHTNESS_AT: u64 = 5 << 10;
const CONTRAST_AT: u64 = 6 << 10;
const SATURATION_AT: u64 = 7 << 10;
const ERASING_AT: u64 = 8 << 10;

/// Number of attempts to draw a rectangle that fits, as in torchvision.
const N_TRIES: usize = 10;

/// Range of the erased share of the area, and range of height / width.
const ERASED_SCALE: [f64; 2] = [0.02, 0.33];
const ERASED_RATIO: [f64; 2] = [0.3, 3.3];

impl Augment {
    /// Returns the transform in `epoch` of the image with this `index`, of `height` x `width` pixels.
    ///
    /// The coin of the flip is always drawn first, used or not. So images are cropped at the same positions with and
    /// without flips. Every later change has its own position in the stream, for the same reason.
    ///
    /// # Panics
    /// If the settings do not fit the images (see [`validate`](Self::validate)).
    pub fn draw(&self, seed: u64, epoch: u64, index: u32, height: usize, width: usize) -> Transform {
        let stream = |epoch| Stream::new(seed, Purpose::Augment, epoch, u64::from(index));
        let mut random = stream(epoch);
        let coin = random.coin();
        let flip = match self.flip {
            Flip::None => false,
            Flip::Random => coin,
            Flip::Alternate => stream(0).coin() ^ (epoch % 2 == 1),
        };
        let padding = self.crop_padding_px;
        let mut offset = || random.below(2 * padding as u32 + 1) as isize - padding as isize;
        let shift = (offset(), offset());
        let centre = (random.below(height as u32) as usize, random.below(width as u32) as usize);
        let side = |centre: usize, length: usize| {
            let start = centre as isize - (self.cutout_px / 2) as isize;
            start.max(0) as usize..((start + self.cutout_px as isize) as usize).min(length)
        };
        let cutout = (self.cutout_px > 0).then(|| (side(centre.0, height), side(centre.1, width)));
        let at = |word| stream(epoch).starting_at(word);
        Transform {
            flip,
            shift,
            fill: self.crop_fill,
            cutout,
            warp: self.draw_warp(at, height, width),
            jitter: self.draw_jitter(at),
            erased: self.draw_erased(at(ERASING_AT), height, width),
        }
    }

    fn draw_warp(&self, at: impl Fn(u64) -> Stream, height: usize, width: usize) -> Option<Warp> {
        let moves = [self.rotation_deg, self.zoom, self.shift].iter().any(|&range| range != 0.0);
        (moves || self.random_resized_crop.is_some()).then(|| {
            let mut random = at(SHIFT_AT);
            let mut shift = |side: usize| uniform(&mut random, [-self.shift, self.shift]) * side as f64;
            Warp {
                part: self.random_resized_crop.map(|crop| crop.draw(at(RESIZED_CROP_AT), height, width)),
                rotation_deg: uniform(&mut at(ROTATION_AT), [-self.rotation_deg, self.rotation_deg]),
                zoom: uniform(&mut at(ZOOM_AT), [1.0 - self.zoom, 1.0 + self.zoom]),
                shift_px: (shift(height), shift(width)),
            }
        })
    }

    fn draw_jitter(&self, at: impl Fn(u64) -> Stream) -> Option<Jitter> {
        let factor = |word, range: f64| uniform(&mut at(word), [(1.0 - range).max(0.0), 1.0 + range]) as f32;
        let jitters = [self.brightness, self.contrast, self.saturation].iter().any(|&range| range != 0.0);
        jitters.then(|| Jitter {
            brightness: factor(BRIGHTNESS_AT, self.brightness),
            contrast: factor(CONTRAST_AT, self.contrast),
            saturation: factor(SATURATION_AT, self.saturation),
        })
    }

    /// Draws a rectangle that is smaller than the image in both directions; `None` if nothing is erased or no attempt
    /// fits.
    fn draw_erased(
        &self,
        mut random: Stream,
        height: usize,
        width: usize,
    ) -> Option<(Range<usize>, Range<usize>)> {
        if f64::from(random.unit_f32()) >= self.random_erasing {
            return None;
        }
        (0..N_TRIES).find_map(|_| {
            // In torchvision the ratio is height / width for erasing, and width / height for the resized crop.
            let [width_drawn, height_drawn] =
                rectangle(&mut random, (height * width) as f64, ERASED_SCALE, ERASED_RATIO)
                    .map(|s| s as usize);
            let fits = height_drawn < height && width_drawn < width;
            fits.then(|| place(&mut random, [height_drawn, width_drawn], [height, width]))
        })
    }
}

impl RandomResizedCrop {
    /// Draws rows and columns of a part of an image. If ten attempts do not fit, returns the largest centred part with
    /// the nearest allowed aspect ratio.
    fn draw(&self, mut random: Stream, height: usize, width: usize) -> (Range<usize>, Range<usize>) {
        for _ in 0..N_TRIES {
            let [h, w] = rectangle(&mut random, (height * width) as f64, self.scale, self.ratio);
            if (1.0..=height as f64).contains(&h) && (1.0..=width as f64).contains(&w) {
                return place(&mut random, [h as usize, w as usize], [height, width]);
            }
        }
        let ratio = (width as f64 / height as f64).clamp(self.ratio[0], self.ratio[1]);
        let h = height.min(((width as f64 / ratio).round_ties_even() as usize).max(1));
        let w = width.min(((height as f64 * ratio).round_ties_even() as usize).max(1));
        let (top, left) = ((height - h) / 2, (width - w) / 2);
        (top..top + h, left..left + w)
    }
}

/// Draws height and width, in whole pixels, of a rectangle. Its area is a share of `area` that is uniform in `scale`.
/// The logarithm of its width / height is uniform, with width / height in `ratio`.
fn rectangle(random: &mut Stream, area: f64, scale: [f64; 2], ratio: [f64; 2]) -> [f64; 2] {
    let area = area * uniform(random, scale);
    let ratio = libm::exp(uniform(random, ratio.map(libm::log)));
    [(area / ratio).sqrt().round_ties_even(), (area * ratio).sqrt().round_ties_even()]
}

/// Draws rows and columns of a rectangle of `size` at a random position within `within`.
fn place(random: &mut Stream, size: [usize; 2], within: [usize; 2]) -> (Range<usize>, Range<usize>) {
    let mut side = |axis: usize| {
        let start = random.below((within[axis] - size[axis] + 1) as u32) as usize;
        start..start + size[axis]
    };
    (side(0), side(1))
}

/// Draws a number in `[low, high)`; `low` if both are the same.
fn uniform(random: &mut Stream, [low, high]: [f64; 2]) -> f64 {
    low + (high - low) * f64::from(random.unit_f32())
}
