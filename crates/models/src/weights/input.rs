//! The images that pretrained weights want to see: what of it is known, from `config.json` or from an architecture.

use std::borrow::Cow;

/// How images came to the network that weights were trained in, and how they ought to come again. What is not known is
/// `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PretrainedInput {
    /// What is subtracted from red, green and blue in 0..1.
    pub mean: Option<[f32; 3]>,
    /// What the difference is divided by.
    pub std: Option<[f32; 3]>,
    /// How images are resized, in the words of timm and Pillow, such as `bicubic`.
    pub interpolation: Option<Cow<'static, str>>,
    /// Which part of the image's shorter side the input shows, in (0, 1].
    pub crop_fraction: Option<f32>,
    /// Rows and columns.
    pub input_px: Option<[usize; 2]>,
}

impl PretrainedInput {
    /// Squares of `px`, resized bicubically and normalised by ImageNet's mean and deviation, as timm does.
    pub(crate) const fn imagenet(px: usize, crop_fraction: f32) -> Self {
        Self::bicubic([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], px, crop_fraction)
    }

    /// Squares of `px`, resized bicubically to values from -1 to 1, as TensorFlow's networks take them.
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

    /// This, and what `other` says where this says nothing. Mean and deviation belong together: half of a pair is none.
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
