//! Test-time augmentation: the model evaluates several views of a picture, and their logits are averaged.
//!
//! A model file names its views, so that the test, `eval` and `predict` give the same results.

use serde::{Deserialize, Serialize};
use tallow_dataset::Batch;
use tallow_nn::{Model, Precision};

use crate::error::Result;
use crate::evaluate::logits;
use crate::feed::{Content, MAX_INPUT_PX};
use crate::schedule::{InvalidSetting, require};

/// The `[evaluation]` table: the views of a picture that are evaluated. By default, only the picture itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Views {
    /// Whether the mirror image of each view is added, with equal weight; takes twice the time.
    pub flip: bool,
    /// Shift of two more views, in pixels: one up and to the left, one down and to the right, reflected at the border. Both
    /// together have the weight of the picture itself. Takes three times the time; 0: no shifted views.
    pub shift_px: usize,
}

impl Views {
    /// Checks the values.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the key whose value cannot be used.
    pub(crate) fn validate(&self) -> std::result::Result<(), InvalidSetting> {
        let rule = format!("must be at most {MAX_INPUT_PX}");
        require(self.shift_px <= MAX_INPUT_PX, "evaluation.shift_px", rule, self.shift_px)
    }

    /// Whether only the picture itself is evaluated.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// A view of an image, for whoever looks at it by other means: pixel (row, column) of the view is pixel (`rows[row]`,
/// `columns[column]`) of the image.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewMap {
    /// The image's row for each row of the view.
    pub rows: Vec<usize>,
    /// The image's column for each column of the view.
    pub columns: Vec<usize>,
    /// The share of the view's logits in the mean.
    pub weight: f32,
}

impl Views {
    /// The views of images of `height` x `width` pixels; empty where the picture alone is looked at.
    pub fn maps(&self, [height, width]: [usize; 2]) -> Vec<ViewMap> {
        if self.is_plain() {
            return Vec::new();
        }
        let px = self.shift_px as isize;
        let shifts: &[(isize, f32)] = match px {
            0 => &[(0, 1.0)],
            _ => &[(0, 0.5), (px, 0.25), (-px, 0.25)],
        };
        let mirrors: &[bool] = if self.flip { &[false, true] } else { &[false] };
        let line = |n: usize, px: isize| (0..n).map(|at| reflected(at as isize + px, n)).collect::<Vec<_>>();
        let mut maps = Vec::with_capacity(shifts.len() * mirrors.len());
        for &(px, share) in shifts {
            for &is_mirrored in mirrors {
                let mut columns = line(width, px);
                if is_mirrored {
                    columns.reverse();
                }
                let weight = share / mirrors.len() as f32;
                maps.push(ViewMap { rows: line(height, px), columns, weight });
            }
        }
        maps
    }
}

/// Returns the mean logits of the views of each image of a batch, (n, classes).
///
/// # Errors
/// If images do not fit the model, or the device fails.
pub(crate) fn logits_of_views(
    model: &Model,
    batch: Batch,
    content: Content,
    precision: Precision,
    views: Views,
) -> Result<Vec<f32>> {
    let look = |batch: Batch| -> Result<Vec<f32>> {
        let mirror = views.flip.then(|| mirrored(&batch));
        let seen = logits(model, batch, content, precision)?;
        match mirror {
            Some(mirror) => Ok(mean(seen, &logits(model, mirror, content, precision)?)),
            None => Ok(seen),
        }
    };
    if views.shift_px == 0 {
        return look(batch);
    }
    let px = views.shift_px as isize;
    let (up_left, down_right) = (shifted(&batch, px), shifted(&batch, -px));
    let shifted = mean(look(up_left)?, &look(down_right)?);
    Ok(mean(look(batch)?, &shifted))
}

fn mean(mut a: Vec<f32>, b: &[f32]) -> Vec<f32> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a = 0.5 * (*a + b));
    a
}

/// Returns the batch with each image mirrored left to right.
pub(crate) fn mirrored(batch: &Batch) -> Batch {
    let mut batch = batch.clone();
    let (line, c) = (batch.width * batch.channels, batch.channels);
    for line in batch.images.chunks_exact_mut(line.max(1)) {
        for left in 0..batch.width / 2 {
            let right = batch.width - 1 - left;
            for channel in 0..c {
                line.swap(left * c + channel, right * c + channel);
            }
        }
    }
    batch
}

/// Returns the batch with each image shifted up and to the left by `px`, or down and to the right if `px` is negative. Pixels
/// from beyond the border are the image's reflection; the border itself is not repeated.
fn shifted(batch: &Batch, px: isize) -> Batch {
    let Batch { height, width, channels, .. } = *batch;
    let columns: Vec<usize> = (0..width).map(|x| reflected(x as isize + px, width)).collect();
    let mut images = Vec::with_capacity(batch.images.len());
    for image in batch.images.chunks_exact((height * width * channels).max(1)) {
        for y in 0..height {
            let line = &image[reflected(y as isize + px, height) * width * channels..];
            for &x in &columns {
                images.extend_from_slice(&line[x * channels..(x + 1) * channels]);
            }
        }
    }
    Batch { images, ..batch.clone() }
}

/// Returns the index in a line of `n` pixels for the position `at`, with reflection at both ends.
fn reflected(at: isize, n: usize) -> usize {
    let period = 2 * (n as isize - 1).max(1);
    let at = at.rem_euclid(period);
    (at.min(period - at) as usize).min(n.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use tallow_nn::{Device, Flatten, Linear, ParamStore, Sequential};

    use super::*;

    /// Two images of 3 x 4 pixels with 2 channels.
    fn batch() -> Batch {
        let images = (0..48).map(|i| (i * i % 31) as f32).collect();
        let indices = vec![0, 1];
        let (height, width, channels) = (3, 4, 2);
        let targets = indices.clone();
        Batch { first_position: 0, images, targets, mixed: None, indices, n: 2, height, width, channels }
    }

    fn pixel(batch: &Batch, image: usize, y: usize, x: usize) -> &[f32] {
        let at = ((image * batch.height + y) * batch.width + x) * batch.channels;
        &batch.images[at..at + batch.channels]
    }

    #[test]
    fn what_comes_in_is_the_reflection() {
        assert_eq!([-2, -1, 0, 1, 3, 4, 5].map(|at| reflected(at, 4)), [2, 1, 0, 1, 3, 2, 1]);
        assert_eq!([-1, 0, 1, 2].map(|at| reflected(at, 1)), [0; 4]);
        let (whole, up_left, down_right) = (batch(), shifted(&batch(), 1), shifted(&batch(), -1));
        assert_eq!(pixel(&up_left, 1, 0, 0), pixel(&whole, 1, 1, 1));
        assert_eq!(pixel(&up_left, 1, 2, 3), pixel(&whole, 1, 1, 2), "beyond the lower right corner");
        assert_eq!(pixel(&down_right, 0, 2, 3), pixel(&whole, 0, 1, 2));
        assert_eq!(pixel(&down_right, 0, 0, 0), pixel(&whole, 0, 1, 1), "beyond the upper left corner");
        assert_eq!(shifted(&whole, 7).images.len(), whole.images.len(), "further than it is wide");
    }

    #[test]
    fn maps_are_the_views() {
        assert!(Views::default().maps([3, 4]).is_empty());
        let views = Views { flip: true, shift_px: 1 };
        let maps = views.maps([3, 4]);
        let seen = [batch(), shifted(&batch(), 1), shifted(&batch(), -1)];
        let seen = seen.into_iter().flat_map(|batch| [mirrored(&batch), batch]).collect::<Vec<_>>();
        for (map, view) in maps.iter().zip(seen.chunks(2).flat_map(|pair| [&pair[1], &pair[0]])) {
            for (y, &row) in map.rows.iter().enumerate() {
                for (x, &column) in map.columns.iter().enumerate() {
                    assert_eq!(pixel(view, 1, y, x), pixel(&batch(), 1, row, column), "{map:?}");
                }
            }
        }
        assert_eq!(
            maps.iter().map(|map| map.weight).collect::<Vec<_>>(),
            [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
        );
        assert_eq!(Views { flip: false, shift_px: 2 }.maps([3, 4]).len(), 3);
    }

    #[test]
    fn views_are_weighed() {
        let mut params = ParamStore::new(5, &Device::Cpu);
        let mut network = Sequential::new();
        network.push(Flatten);
        network.push(Linear::new(&mut params.root().sub("fc"), 24, 5, true).unwrap());
        let model = Model::new(network, params);
        let look = |batch: Batch| logits(&model, batch, Content::Images, Precision::F32).unwrap();
        let seen = |flip, shift_px| {
            let views = Views { flip, shift_px };
            logits_of_views(&model, batch(), Content::Images, Precision::F32, views).unwrap()
        };
        let views = [batch(), shifted(&batch(), 2), shifted(&batch(), -2)];
        let [own, up_left, down_right] = views.clone().map(look);
        let [own_mirror, up_left_mirror, down_right_mirror] = views.map(|view| look(mirrored(&view)));
        assert_eq!(seen(false, 0), own);
        let (flipped, both) = (seen(true, 0), seen(true, 2));
        let shifted = seen(false, 2);
        for i in 0..own.len() {
            let own_pair = (own[i] + own_mirror[i]) / 2.0;
            assert!((flipped[i] - own_pair).abs() < 1e-5);
            assert!((shifted[i] - own[i] / 2.0 - (up_left[i] + down_right[i]) / 4.0).abs() < 1e-5);
            let others = up_left[i] + up_left_mirror[i] + down_right[i] + down_right_mirror[i];
            assert!((both[i] - own_pair / 2.0 - others / 8.0).abs() < 1e-5);
        }
        assert_ne!(flipped, own);
    }
}
