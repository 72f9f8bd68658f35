//! The images that pretrained weights expect, as far as `config.json` or the architecture states them.

use std::borrow::Cow;

/// The preparation of the images that weights were trained on. Images must be prepared in the same way when the weights are used.
/// Unknown values are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PretrainedInput {
    /// Mean of red, green and blue, subtracted from values in 0..1.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of red, green and blue, a divisor after the mean is subtracted.
    pub std: Option<[f32; 3]>,
    /// Interpolation when images are resized, with the names of timm and Pillow, such as `bicubic`.
    pub interpolation: Option<Cow<'static, str>>,
    /// The part of the image's shorter side that the input shows, in (0, 1].
    pub crop_fraction: Option<f32>,
    /// Rows and columns of the input.
    pub input_px: Option<[usize; 2]>,
}

impl PretrainedInput {
    /// Returns squares of `px` pixels, resized bicubically and normalised by ImageNet's mean and standard deviation, as in timm.
    pub(crate) const fn imagenet(px: usize, crop_fraction: f32) -> Self {
        Self::bicubic([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], px, crop_fraction)
    }

    /// Returns squares of `px` pixels, resized bicubically and scaled to values from -1 to 1, as TensorFlow's networks expect.
    pub(crate) const fn inception(px: usize, crop_fraction: f32) -> Self {
        Self::bicubic([0.5; 3], [0.5; 3], px, crop_fraction)
    }

    const fn bicubic(mean: [f32; 3], std: [f32; 3], px: usize, crop_fraction: f32) -> Self {
        Self {
            mean: Some(mean),
            std: Some(std),
            interpolation: Some(Cow::Borrowed("bicubic")),
            crop_fraction: Some(crop_fraction),
            input_px: Some([px, px]),
        }
    }

    /// Fills unknown values of `self` with those of `other`. Mean and standard deviation belong together: if `self` has only one
    /// of them, both come from `other`.
    pub(crate) fn or(self, other: &Self) -> Self {
        let (mean, std) = match (self.mean, self.std) {
            (Some(mean), Some(std)) => (Some(mean), Some(std)),
            _ => (other.mean, other.std),
        };
        Self {
            mean,
            std,
            interpolation: self.interpolation.or_else(|| other.interpolation.clone()),
            crop_fraction: self.crop_fraction.or(other.crop_fraction),
            input_px: self.input_px.or(other.input_px),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_does_not_say_the_other_does() {
        let known = PretrainedInput::imagenet(224, 0.95);
        let own = PretrainedInput {
            mean: Some([0.5; 3]),
            crop_fraction: Some(0.875),
            interpolation: Some("bilinear".to_owned().into()),
            ..PretrainedInput::default()
        };
        let both = own.clone().or(&known);
        assert_eq!((both.mean, both.std), (known.mean, known.std), "half of a pair is none");
        assert_eq!((both.crop_fraction, both.input_px), (Some(0.875), Some([224, 224])));
        assert_eq!(both.interpolation.as_deref(), Some("bilinear"));
        let whole = PretrainedInput { std: Some([0.25; 3]), ..own };
        assert_eq!(whole.clone().or(&known).std, whole.std);
    }
}
