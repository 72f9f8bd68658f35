//! Brightness, contrast and saturation, as torchvision's `adjust_brightness`, `adjust_contrast`, `adjust_saturation`.

/// Weights of red, green and blue in a pixel's grey: torchvision's, which add up to 0.9999.
const GREY: [f32; 3] = [0.2989, 0.587, 0.114];

/// Changes of an image's colours, applied in the order of the fields. A factor of 1 changes nothing.
///
/// Each change is `clamp(factor * value + (1 - factor) * other, 0, 255)`. `other` is black for brightness, the image's
/// mean grey for contrast, and the pixel's grey for saturation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jitter {
    /// Factor of the brightness; 0 gives black.
    pub brightness: f32,
    /// Factor of the contrast; 0 gives the mean grey.
    pub contrast: f32,
    /// Factor of the saturation; 0 gives shades of grey. Ignored for images that do not have three channels.
    pub saturation: f32,
}

impl Jitter {
    /// Changes `values` (HWC, in 0 to 255). The mean is summed in f64.
    pub(super) fn apply(&self, values: &mut [f32], channels: usize) {
        if self.brightness != 1.0 {
            values.iter_mut().for_each(|value| *value = blend(self.brightness, *value, 0.0));
        }
        if self.contrast != 1.0 {
            let sum: f64 = values.chunks_exact(channels).map(|pixel| f64::from(grey(pixel))).sum();
            let mean = (sum / (values.len() / channels) as f64) as f32;
            values.iter_mut().for_each(|value| *value = blend(self.contrast, *value, mean));
        }
        if self.saturation != 1.0 && channels == 3 {
            for pixel in values.chunks_exact_mut(3) {
                let grey = grey(pixel);
                pixel.iter_mut().for_each(|value| *value = blend(self.saturation, *value, grey));
            }
        }
    }
}

fn blend(factor: f32, value: f32, other: f32) -> f32 {
    (factor * value + (1.0 - factor) * other).clamp(0.0, 255.0)
}

/// Returns the weighted mean of three channels, or the plain mean of any other number of channels.
fn grey(pixel: &[f32]) -> f32 {
    match pixel {
        [red, green, blue] => GREY[0] * red + GREY[1] * green + GREY[2] * blue,
        _ => pixel.iter().sum::<f32>() / pixel.len() as f32,
    }
}
