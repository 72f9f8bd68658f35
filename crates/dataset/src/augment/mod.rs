//! Augmentation: changes to training images that keep their class. This file defines the settings of a recipe and
//! checks them.
//!
//! `draw` draws the changes of one image, and `transform` applies them. Flip, crop and cutout alone are applied in
//! bytes. All other combinations are applied in f32: one sampling for everything that moves pixels (`warp`), then
//! colours (`jitter`). The changes of an image are a pure function of (seed, epoch, the image's index in its set). They
//! do not depend on batches, threads or earlier draws. Images are never flipped upside down. Mixing the images of a
//! batch is left to `mix`.

mod draw;
mod jitter;
mod transform;
mod warp;

use serde::{Deserialize, Serialize};

pub use self::jitter::Jitter;
pub use self::transform::Transform;
pub use self::warp::Warp;
use crate::Error;

/// Largest zoom range. At 1 or more an image could shrink to a point.
const MAX_ZOOM: f64 = 0.9;

/// Largest jitter range. A factor of 11 leaves two colours; larger values are a mistake.
const MAX_JITTER: f64 = 10.0;

/// Largest aspect ratio. A part that is more than 100 times as wide as high is of no use.
const MAX_RATIO: f64 = 100.0;

/// Augmentation of training images; nothing by default. A table of the recipe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augment {
    /// Whether images are mirrored left to right.
    pub flip: Flip,
    /// Padding on every side, in pixels, before a crop of the original size is taken at a random position; 0: no crop.
    /// Equals torchvision's `RandomCrop(size, padding)`.
    pub crop_padding_px: usize,
    /// Content beyond the image: in the padding, and where the image was rotated, zoomed or shifted.
    pub crop_fill: CropFill,
    /// Side, in pixels, of a square centred on a random pixel that is set to the mean. The square may reach beyond the
    /// border. 0: no cutout. DeVries and Taylor, <https://arxiv.org/abs/1708.04552>.
    pub cutout_px: usize,
    /// Random part of the image that is enlarged to the whole size; `None`: the whole image.
    pub random_resized_crop: Option<RandomResizedCrop>,
    /// The image is rotated about its centre by an angle in ± this value, in degrees.
    pub rotation_deg: f64,
    /// The image is enlarged about its centre by a factor in 1 ± this value.
    pub zoom: f64,
    /// The image is shifted by up to this share of its height and width, in either direction.
    pub shift: f64,
    /// Brightness: values are multiplied by a factor in 1 ± this value (at least 0). Equals torchvision's
    /// `ColorJitter`, but the order is always brightness, contrast, saturation.
    pub brightness: f64,
    /// Contrast: differences from the image's mean grey are multiplied by a factor in 1 ± this value (at least 0).
    pub contrast: f64,
    /// Saturation: differences from each pixel's grey are multiplied by a factor in 1 ± this value (at least 0).
    pub saturation: f64,
    /// Probability that a rectangle is set to the mean. The rectangle covers 2 to 33 % of the image and is 0.3 to 3.3
    /// times as high as wide. Equals torchvision's `RandomErasing`. Zhong et al., <https://arxiv.org/abs/1708.04896>.
    pub random_erasing: f64,
}

/// Random part of an image that is enlarged to the whole size. Equals torchvision's `RandomResizedCrop`, with the same
/// defaults.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RandomResizedCrop {
    /// Smallest and largest share of the image's area.
    pub scale: [f64; 2],
    /// Smallest and largest width / height.
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
    /// In the first epoch, each image with probability 1/2. After that, every image is mirrored in every other epoch,
    /// so that two consecutive epochs show every image both ways. Jordan, <https://arxiv.org/abs/2404.00498>, section
    /// 3.6.
    Alternate,
}

/// Content of the padding of a crop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropFill {
    /// Black: the byte 0, before normalisation.
    #[default]
    Zero,
    /// The image, reflected at its border. The border pixels themselves are not repeated.
    Reflect,
}

impl Augment {
    /// Checks the settings for images of `height` x `width` pixels.
    ///
    /// # Errors
    /// If the padding is as wide as the image (a crop could miss the image, and a reflection would run out of pixels),
    /// if cutout is larger than the image, or if a number is out of its range. The message names the range.
    pub fn validate(&self, height: usize, width: usize) -> Result<(), Error> {
        let shorter = height.min(width);
        let padding = ("crop_padding_px", self.crop_padding_px, shorter.saturating_sub(1));
        for (field, value, limit) in [padding, ("cutout_px", self.cutout_px, shorter)] {
            if value > limit {
                let reason = format!("expected at most {limit} for images of {height} x {width} pixels");
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
                let reason = format!("expected 0 to {limit}");
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
                let reason = format!("expected two numbers above 0 and up to {limit}, the smaller one first");
                return Err(Error::Augment { field, value: format!("[{low}, {high}]"), reason });
            }
        }
        Ok(())
    }
}
