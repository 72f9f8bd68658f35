//! Mixup and cutmix: mixes the images of a batch in pairs, and gives the share of each of the two classes in the
//! result.
//!
//! Equals timm's `Mixup` in its mode `batch`: one share for the whole batch, and image i of n is mixed with image
//! n-1-i. The changes of a batch are a pure function of (seed, epoch, the batch's number). They depend neither on the
//! thread nor on the order of preparation. The loss over two classes is left to the training.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use tallow_core::{Purpose, Stream};

use crate::Error;

/// Allowed values of alpha, besides 0. In this range, shares can be distinguished from 0 and 1 and from 1/2.
const ALPHAS: std::ops::RangeInclusive<f64> = 0.001..=1000.0;

/// Settings of mixing the images of a batch; nothing by default. A table of the recipe.
///
/// If both are set, a coin toss decides for each batch which of them is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mix {
    /// Alpha of mixup. The share is drawn from Beta(alpha, alpha); 0: no mixup. Zhang et al.,
    /// <https://arxiv.org/abs/1710.09412>.
    pub mixup_alpha: f64,
    /// Alpha of cutmix. The share is drawn from Beta(alpha, alpha); 0: no cutmix. Yun et al.,
    /// <https://arxiv.org/abs/1905.04899>.
    pub cutmix_alpha: f64,
}

/// Mixing of one batch, drawn by [`Mix::draw`].
#[derive(Clone, Debug, PartialEq)]
pub enum Blend {
    /// Image = `share` * image + (1 - `share`) * partner.
    Mixup {
        /// Share of the image itself, in [0, 1].
        share: f32,
    },
    /// A rectangle of the image is replaced by the same rectangle of its partner.
    Cutmix {
        /// Rows of the rectangle.
        rows: Range<usize>,
        /// Columns of the rectangle.
        columns: Range<usize>,
    },
}

/// Classes of a mixed batch and their share.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixed {
    /// Class of each image's partner.
    pub targets: Vec<u32>,
    /// Share of each image's own class, in [0, 1]. The partner's class has the rest.
    pub share: f32,
}

impl Mix {
    /// Returns whether nothing is mixed.
    pub fn is_none(&self) -> bool {
        self.mixup_alpha == 0.0 && self.cutmix_alpha == 0.0
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// If an alpha is neither 0 nor in [0.001, 1000].
    pub fn validate(&self) -> Result<(), Error> {
        for (field, value) in [("mixup_alpha", self.mixup_alpha), ("cutmix_alpha", self.cutmix_alpha)] {
            if value != 0.0 && !ALPHAS.contains(&value) {
                let reason = format!("expected 0, or {} to {}", ALPHAS.start(), ALPHAS.end());
                return Err(Error::Mix { field, value, reason });
            }
        }
        Ok(())
    }

    /// Returns the mixing in `epoch` of the batch with this number, of images of `height` x `width` pixels; `None` if
    /// nothing is mixed.
    ///
    /// The coin is always drawn first, used or not.
    pub fn draw(&self, seed: u64, epoch: u64, batch: u64, height: usize, width: usize) -> Option<Blend> {
        let mut random = Stream::new(seed, Purpose::Mix, epoch, batch);
        let coin = random.coin();
        let cutmix = self.cutmix_alpha > 0.0 && (coin || self.mixup_alpha == 0.0);
        let alpha = if cutmix { self.cutmix_alpha } else { self.mixup_alpha };
        if alpha == 0.0 {
            return None;
        }
        let share = beta(&mut random, alpha);
        if !cutmix {
            return Some(Blend::Mixup { share: share as f32 });
        }
        let mut side = |length: usize| {
            let half = (length as f64 * (1.0 - share).sqrt()) as usize / 2;
            let centre = random.below(length as u32) as usize;
            centre.saturating_sub(half)..(centre + half).min(length)
        };
        Some(Blend::Cutmix { rows: side(height), columns: side(width) })
    }
}

impl Blend {
    /// Mixes `images` (NHWC, `height` x `width` x `channels`, one for each of `targets`) in place.
    ///
    /// In a batch of odd size, the middle image is its own partner and stays unchanged. The share of cutmix is the
    /// exact share of the area that stays.
    ///
    /// # Panics
    /// If a length does not fit the shape.
    pub fn apply(&self, images: &mut [f32], [height, width, channels]: [usize; 3], targets: &[u32]) -> Mixed {
        let (n, image_len) = (targets.len(), height * width * channels);
        assert_eq!(images.len(), n * image_len, "Blend::apply: images");
        let (first, second) = images.split_at_mut(n / 2 * image_len);
        let partners = second.chunks_exact_mut(image_len).rev();
        for (image, partner) in first.chunks_exact_mut(image_len).zip(partners) {
            match self {
                Self::Mixup { share } => mixup(*share, image, partner),
                Self::Cutmix { rows, columns } => {
                    for row in rows.clone() {
                        let at = |column| (row * width + column) * channels;
                        let line = at(columns.start)..at(columns.end);
                        image[line.clone()].swap_with_slice(&mut partner[line]);
                    }
                }
            }
        }
        let share = match self {
            Self::Mixup { share } => *share,
            Self::Cutmix { rows, columns } => {
                let (area, cut) = (height * width, rows.len() * columns.len());
                ((area - cut) as f64 / area as f64) as f32
            }
        };
        Mixed { targets: targets.iter().rev().copied().collect(), share }
    }
}

fn mixup(share: f32, image: &mut [f32], partner: &mut [f32]) {
    for (a, b) in image.iter_mut().zip(partner) {
        (*a, *b) = (share * *a + (1.0 - share) * *b, share * *b + (1.0 - share) * *a);
    }
}

/// Draws a number from Beta(`alpha`, `alpha`): the first of two numbers from Gamma(`alpha`), divided by their sum.
/// Computed with logarithms, because for a small alpha both numbers may be too small for an f64.
fn beta(random: &mut Stream, alpha: f64) -> f64 {
    let (first, second) = (log_gamma_variate(random, alpha), log_gamma_variate(random, alpha));
    1.0 / (1.0 + libm::exp(second - first))
}

/// Draws the logarithm of a number from Gamma(`alpha`, 1) by Marsaglia and Tsang,
/// <https://doi.org/10.1145/358407.358414>. For alpha below 1, uses their section 6: Gamma(alpha) = Gamma(alpha + 1) *
/// U^(1 / alpha).
fn log_gamma_variate(random: &mut Stream, alpha: f64) -> f64 {
    if alpha < 1.0 {
        let log = libm::log(unit_f64(random)) / alpha;
        return log + log_gamma_variate(random, alpha + 1.0);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = f64::from(random.normal_f32());
        let root = 1.0 + c * x;
        let v = root * root * root;
        let log_u = libm::log(unit_f64(random));
        if v > 0.0 && log_u < 0.5 * x * x + d - d * v + d * libm::log(v) {
            return libm::log(d * v);
        }
    }
}

/// Draws a number in (0, 1], a multiple of 2^-53.
fn unit_f64(random: &mut Stream) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64
}
