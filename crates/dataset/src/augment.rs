//! Changes to training images that keep their class: horizontal flip, shifted crop, cutout.
//!
//! What is done to an image is a pure function of (seed, epoch, the image's index in its set): it does not depend on
//! batches, threads or what was drawn before. The vertical axis is never flipped.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tallow_core::{Purpose, Stream};

use crate::Error;

/// What is done to training images; the default is nothing. A table of the recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Whether images are mirrored left to right.
    pub flip: Flip,
    /// Images are padded by this much on every side, and a crop of the old size is taken at a random place; 0: none.
    /// As torchvision's `RandomCrop(size, padding)`.
    pub crop_padding_px: usize,
    /// What the padding shows.
    pub crop_fill: CropFill,
    /// Side of a square, centred on a random pixel, that is set to the mean; it may reach beyond the border. 0: none.
    /// DeVries and Taylor, <https://arxiv.org/abs/1708.04552>.
    pub cutout_px: usize,
}

/// Whether images are mirrored left to right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flip {
    /// Never.
    #[default]
    None,
    /// Each image in each epoch with probability 1/2.
    Random,
    /// In the first epoch each image with probability 1/2, then every image changes sides from epoch to epoch, so
    /// that two epochs show every image both ways. Jordan, <https://arxiv.org/abs/2404.00498>, section 3.6.
    Alternate,
}

/// What the padding of a crop shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropFill {
    /// Black: the byte 0, before normalisation.
    #[default]
    Zero,
    /// The image, reflected at its border; the border's own pixels are not repeated.
    Reflect,
}

impl Augment {
    /// Whether this fits images of `height` x `width`.
    ///
    /// # Errors
    /// If the padding is as wide as the image (a crop could miss it, and a reflection has no more to show), or cutout
    /// is larger than the image.
    pub fn validate(&self, height: usize, width: usize) -> Result<(), Error> {
        let shorter = height.min(width);
        let refuse = |field, value: usize, limit| {
            let reason = format!("at most {limit} is expected for images of {height} x {width} pixels");
            Err(Error::Augment { field, value: value.to_string(), reason })
        };
        if self.crop_padding_px >= shorter {
            return refuse("crop_padding_px", self.crop_padding_px, shorter - 1);
        }
        if self.cutout_px > shorter {
            return refuse("cutout_px", self.cutout_px, shorter);
        }
        Ok(())
    }

    /// What is done in `epoch` to the image with this `index`, of `height` x `width` pixels.
    ///
    /// The coin of the flip comes first, whether used or not, so that images are cropped at the same places with and
    /// without flips.
    ///
    /// # Panics
    /// If this does not fit the images (see [`validate`](Self::validate)).
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
        Transform { flip, shift, fill: self.crop_fill, cutout }
    }
}

/// What is done to one image: drawn by [`Augment::draw`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// Mirror left to right, after the crop.
    pub flip: bool,
    /// Rows and columns by which the crop lies below and right of the image's place.
    pub shift: (isize, isize),
    /// What the crop shows beyond the image.
    pub fill: CropFill,
    /// Rows and columns, after crop and flip, that are set to 0 (the mean).
    pub cutout: Option<(Range<usize>, Range<usize>)>,
}

impl Transform {
    /// The transform that changes nothing.
    pub const IDENTITY: Self = Self { flip: false, shift: (0, 0), fill: CropFill::Zero, cutout: None };

    /// Transforms and normalises `image` (HWC, `height` x `width` x `channels`) into `out` (the same shape).
    ///
    /// `table[channel][byte]` is the normalised value of a byte (see
    /// [`Normalization::table`](crate::Normalization::table)).
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn apply(
        &self,
        image: &[u8],
        [height, width, channels]: [usize; 3],
        table: &[[f32; 256]; 3],
        out: &mut [f32],
    ) {
        assert_eq!(image.len(), height * width * channels, "Transform::apply: image");
        assert_eq!(out.len(), image.len(), "Transform::apply: out");
        for (row, out_row) in out.chunks_exact_mut(width * channels).enumerate() {
            let from_row = self.source(row as isize + self.shift.0, height);
            for (column, out_pixel) in out_row.chunks_exact_mut(channels).enumerate() {
                let unflipped = if self.flip { width - 1 - column } else { column };
                let from_column = self.source(unflipped as isize + self.shift.1, width);
                let pixel = from_row.zip(from_column).map(|(r, c)| &image[(r * width + c) * channels..]);
                for (channel, value) in out_pixel.iter_mut().enumerate() {
                    *value = table[channel][pixel.map_or(0, |pixel| usize::from(pixel[channel]))];
                }
            }
        }
        if let Some((rows, columns)) = &self.cutout {
            for row in rows.clone() {
                out[(row * width + columns.start) * channels..(row * width + columns.end) * channels]
                    .fill(0.0);
            }
        }
    }

    /// Where in the image the place `at` of the padded image comes from, along a side of `length`.
    fn source(&self, at: isize, length: usize) -> Option<usize> {
        let last = length as isize - 1;
        match self.fill {
            _ if (0..=last).contains(&at) => Some(at as usize),
            CropFill::Zero => None,
            CropFill::Reflect if at < 0 => Some(-at as usize),
            CropFill::Reflect => Some((2 * last - at) as usize),
        }
    }
}
