//! Explains a prediction: draws the places of a picture that speak for a class over the picture as the model sees it.
//!
//! The activation maps come from `tallow-nn`. Writing files and pages is left to others.

use std::borrow::Cow;
use std::sync::Arc;

use tallow_dataset::{ImageSet, Picture, denormalized, eval_batches};
use tallow_nn::{ActivationMap, Dims, Model};

use crate::error::Result;
use crate::feed::Input;
use crate::predictor::Predictor;

/// Share of the map's colour in a pixel whose map value is 1; the rest is the picture in grey.
const MOST_COLOR: f32 = 0.75;

/// The map's colours for the values 0 and 1: yellow and red.
const COLORS: [[f32; 3]; 2] = [[255.0, 225.0, 60.0], [215.0, 20.0, 30.0]];

/// The explanation of a prediction about one picture.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The picture as the model sees it: resized, with bytes as pixels.
    pub seen: Picture<'static>,
    /// The class, and how much each place speaks for it.
    pub map: ActivationMap,
}

impl Predictor {
    /// Returns which places of picture `index` of `set` speak for `class`; `None` is the class with the largest logit.
    ///
    /// # Errors
    /// If the picture cannot be read, or the network has no maps that can be explained.
    ///
    /// # Panics
    /// If there is no such picture or class.
    pub fn explain(&self, set: &Arc<ImageSet>, index: u32, class: Option<usize>) -> Result<Explanation> {
        explain(self.model(), self.input(), set, index, class)
    }
}

/// Returns which places of picture `index` of `set` speak for `class`.
///
/// # Errors
/// If the picture cannot be read, or the network has no maps that can be explained.
pub(crate) fn explain(
    model: &Model,
    input: &Input,
    set: &Arc<ImageSet>,
    index: u32,
    class: Option<usize>,
) -> Result<Explanation> {
    let Input { preprocess, normalization } = input;
    let batches = eval_batches(set.clone(), vec![index].into(), 1, normalization, preprocess.as_ref())?;
    let mut batches = batches.collect::<std::result::Result<Vec<_>, _>>()?;
    let batch = batches.remove(0); // one index gives one batch
    let (height, width, channels) = (batch.height, batch.width, batch.channels);
    let seen = denormalized(&batch.images, [height, width, channels], normalization);
    let dims = Dims { n: 1, c: channels, h: height, w: width };
    let map = model.activation_maps(batch.images, dims, &[class])?.remove(0);
    Ok(Explanation { seen, map })
}

impl Explanation {
    /// Returns the picture in grey under the map's colours. Red places speak most for the class; places without colour do not
    /// speak for it.
    pub fn overlay(&self) -> Picture<'static> {
        let Picture { height, width, channels, pixels } = &self.seen;
        let mut out = Vec::with_capacity(height * width * 3);
        for y in 0..*height {
            for x in 0..*width {
                let pixel = &pixels[(y * width + x) * channels..][..*channels];
                let grey = pixel.iter().map(|&level| f32::from(level)).sum::<f32>() / *channels as f32;
                let heat = self.heat([y, x]);
                let share = MOST_COLOR * heat;
                out.extend(color(heat).map(|level| ((1.0 - share) * grey + share * level).round() as u8));
            }
        }
        Picture { height: *height, width: *width, channels: 3, pixels: Cow::Owned(out) }
    }

    /// Returns the map's value at a pixel, interpolated between the centres of the map's places.
    fn heat(&self, [y, x]: [usize; 2]) -> f32 {
        let ActivationMap { height, width, values, .. } = &self.map;
        let between = |at: usize, n: usize, places: usize| {
            let place = ((at as f32 + 0.5) * places as f32 / n as f32 - 0.5).clamp(0.0, (places - 1) as f32);
            let first = place as usize;
            (first, (first + 1).min(places - 1), place - first as f32)
        };
        let (top, bottom, down) = between(y, self.seen.height, *height);
        let (left, right, across) = between(x, self.seen.width, *width);
        let row = |y: usize| (1.0 - across) * values[y * width + left] + across * values[y * width + right];
        (1.0 - down) * row(top) + down * row(bottom)
    }
}

/// Returns the colour of a value from 0 to 1.
fn color(heat: f32) -> [f32; 3] {
    std::array::from_fn(|channel| (1.0 - heat) * COLORS[0][channel] + heat * COLORS[1][channel])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explanation(values: Vec<f32>) -> Explanation {
        let seen = Picture { height: 4, width: 4, channels: 1, pixels: Cow::Owned(vec![100; 16]) };
        Explanation { seen, map: ActivationMap { class: 0, height: 2, width: 2, values } }
    }

    #[test]
    fn heat_is_interpolated_between_places() {
        let explanation = explanation(vec![0.0, 1.0, 0.0, 1.0]);
        assert_eq!([0, 1, 2, 3].map(|x| explanation.heat([0, x])), [0.0, 0.25, 0.75, 1.0]);
        assert_eq!(explanation.heat([3, 2]), 0.75);
    }

    #[test]
    fn hot_places_are_red_and_cold_ones_keep_the_picture() {
        let overlay = explanation(vec![0.0, 1.0, 0.0, 1.0]).overlay();
        let pixel = |x: usize| &overlay.pixels[3 * x..3 * x + 3];
        assert!(pixel(3)[0] > 150 && pixel(3)[2] < 60, "{:?}", pixel(3));
        assert_eq!(pixel(0), [100; 3]);
        assert_eq!(overlay.shape(), [4, 4, 3]);
    }
}
