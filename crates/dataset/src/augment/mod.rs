//! Changes to training images that keep their class: what a recipe may ask for, and whether it can be done.
//!
//! `draw` says what is done to one image, `transform` does it: in bytes where flip, crop and cutout are all, else in f32
//! with one sampling for all that moves pixels (`warp`) and colours after it (`jitter`). What is done to an image is a
//! pure function of (seed, epoch, the image's index in its set): it does not depend on batches, threads or what was
//! drawn before. The vertical axis is never flipped. What mixes images of a batch is in `mix`.

mod draw;
mod jitter;
mod transform;
mod warp;

use serde::{Deserialize, Serialize};

pub use self::jitter::Jitter;
pub use self::transform::Transform;
pub use self::warp::Warp;
use crate::Error;

/// Beyond it an image could shrink to a point.
const MAX_ZOOM: f64 = 0.9;

/// A factor of 11 leaves two colours; more is a mistake.
const MAX_JITTER: f64 = 10.0;

/// No part of an image is 100 times as wide as high and of use.
const MAX_RATIO: f64 = 100.0;

/// What is done to training images; the default is nothing. A table of the recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Whether images are mirrored left to right.
    pub flip: Flip,
    /// Images are padded by this much on every side, and a crop of the old size is taken at a random place; 0: none.
    /// As torchvision's `RandomCrop(size, padding)`.
    pub crop_padding_px: usize,
    /// What is seen beyond the image: in the padding, and where the image was turned, zoomed or shifted.
    pub crop_fill: CropFill,
    /// Side of a square, centred on a random pixel, that is set to the mean; it may reach beyond the border. 0: none.
    /// DeVries and Taylor, <https://arxiv.org/abs/1708.04552>.
    pub cutout_px: usize,
    /// A part of the image, enlarged to its whole size; `None`: the image.
    pub random_resized_crop: Option<RandomResizedCrop>,
    /// The image is turned about its centre by an angle in +- this, in degrees.
    pub rotation_deg: f64,
    /// The image is enlarged about its centre by a factor in 1 +- this.
    pub zoom: f64,
    /// The image is shifted by up to this share of its height and width, in either direction.
    pub shift: f64,
    /// Values are multiplied by a factor in 1 +- this (0 at least). As torchvision's `ColorJitter`, but always in the
    /// order brightness, contrast, saturation.
    pub brightness: f64,
    /// Differences to the image's mean grey are multiplied by a factor in 1 +- this (0 at least).
    pub contrast: f64,
    /// Differences to each pixel's grey are multiplied by a factor in 1 +- this (0 at least).
    pub saturation: f64,
    /// The probability that a rectangle of 2 to 33 % of the image, 0.3 to 3.3 times as high as wide, is set to the
    /// mean. As torchvision's `RandomErasing`. Zhong et al., <https://arxiv.org/abs/1708.04896>.
    pub random_erasing: f64,
}

/// Which part of an image is enlarged to its whole size. As torchvision's `RandomResizedCrop`, whose default this is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// The least and the largest share of the image's area.
    pub scale: [f64; 2],
    /// The least and the largest width / height.
    pub ratio: [f64; 2],
}

impl Default for RandomResizedCrop {
    fn default() -> Self {
        Self { scale: [0.08, 1.0], ratio: [3.0 / 4.0, 4.0 / 3.0] }
    }
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
    /// Whether this can be done, and to images of `height` x `width`.
    ///
    /// # Errors
    /// If the padding is as wide as the image (a crop could miss it, and a reflection has no more to show), cutout is
    /// larger than the image, or a number is out of its range, which the message names.
    pub fn validate(&self, height: usize, width: usize) -> Result<(), Error> {
        let shorter = height.min(width);
        let padding = ("crop_padding_px", self.crop_padding_px, shorter.saturating_sub(1));
        for (field, value, limit) in [padding, ("cutout_px", self.cutout_px, shorter)] {
            if value > limit {
                let reason = format!("at most {limit} is expected for images of {height} x {width} pixels");
                return Err(Error::Augment { field, value: value.to_string(), reason });
            }
        }
        self.random_resized_crop.map_or(Ok(()), |crop| crop.validate())?;
        for (field, value, limit) in [
            ("rotation_deg", self.rotation_deg, 180.0),
            ("zoom", self.zoom, MAX_ZOOM),
            ("shift", self.shift, 1.0),
            ("brightness", self.brightness, MAX_JITTER),
            ("contrast", self.contrast, MAX_JITTER),
            ("saturation", self.saturation, MAX_JITTER),
            ("random_erasing", self.random_erasing, 1.0),
        ] {
            if !(0.0..=limit).contains(&value) {
                let reason = format!("0 to {limit} is expected");
                return Err(Error::Augment { field, value: value.to_string(), reason });
            }
        }
        Ok(())
    }
}

impl RandomResizedCrop {
    fn validate(&self) -> Result<(), Error> {
        for (field, [low, high], limit) in [
            ("random_resized_crop.scale", self.scale, 1.0),
            ("random_resized_crop.ratio", self.ratio, MAX_RATIO),
        ] {
            if !(low > 0.0 && low <= high && high <= limit) {
                let reason = format!("a smaller and a larger number above 0 and up to {limit} are expected");
                return Err(Error::Augment { field, value: format!("[{low}, {high}]"), reason });
            }
        }
        Ok(())
    }
}
