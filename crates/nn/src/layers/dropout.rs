//! Dropout.

use rayon::prelude::*;
use tallow_core::rng::key_of_name;
use tallow_core::{Purpose, Stream};

use super::{Layer, zip_map};
use crate::act::{Act, Dims, to_candle};
use crate::ctx::{Ctx, TrainKey};
use crate::device::Path;
use crate::error::{NnError, Result};

/// In training each number becomes 0 with probability `p`, and the rest is scaled by `1 / (1 - p)`; in inference
/// nothing happens.
///
/// The mask of an image is a function of the run's seed, the epoch, the image's place in it and the layer's name:
/// the same on every path, for any batch size and number of threads.
///
/// # Source
/// Srivastava et al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>
#[derive(Clone, Debug)]
pub struct Dropout {
    key: u64,
    p: f32,
}

impl Dropout {
    /// A dropout layer called `name`; two layers of one network have different names.
    ///
    /// # Errors
    /// If `p` does not lie in [0, 1).
    pub fn new(name: &str, p: f32) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            return Err(NnError::shape(name, format!("dropout must lie in [0, 1), it is {p}")));
        }
        Ok(Self { key: key_of_name(name), p })
    }

    /// The factor of every number, in (N, H, W, C) order: 0 or `1 / (1 - p)`.
    fn mask(&self, dims: Dims, train: TrainKey) -> Vec<f32> {
        let per_image = dims.c * dims.h * dims.w;
        let mut mask = vec![0.0; dims.len()];
        if per_image == 0 {
            return mask;
        }
        let keep = 1.0 / (1.0 - self.p);
        mask.par_chunks_mut(per_image).enumerate().for_each(|(i, mask)| {
            let position = train.first_position + i as u64;
            // the multiplication keeps the streams of different layers apart: an odd factor permutes the positions
            let index = self.key.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut stream = Stream::new(train.seed, Purpose::Dropout, train.epoch, index);
            for factor in mask {
                *factor = if stream.unit_f32() < self.p { 0.0 } else { keep };
            }
        });
        mask
    }
}

impl Layer for Dropout {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let Some(train) = ctx.train_key().filter(|_| self.p > 0.0) else { return Ok(x) };
        let (dims, needs_grad) = (x.dims(), x.needs_grad());
        let mask = self.mask(dims, train);
        if ctx.path() == Path::Candle {
            let x = x.as_candle("dropout")?;
            let mask = to_candle(&mask, dims, ctx.device())?.to_dtype(x.dtype())?;
            return Ok(Act::candle(dims, (x * mask)?));
        }
        let y = zip_map(&x.as_host("dropout")?, &mask, |x, factor| x * factor);
        ctx.push(move |dy, _| Ok(needs_grad.then(|| zip_map(&dy, &mask, |dy, factor| dy * factor))));
        Ok(Act::host(dims, y, needs_grad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_depends_on_the_place_in_the_epoch_not_on_the_batch() {
        let dropout = Dropout::new("features.7", 0.25).unwrap();
        let dims = |n| Dims { n, c: 5, h: 3, w: 2 };
        let key = |first_position| TrainKey { seed: 1, epoch: 2, first_position };
        let whole = dropout.mask(dims(4), key(10));
        assert_eq!(whole[30..], dropout.mask(dims(3), key(11)));
        assert_ne!(whole[..30], whole[30..60]);
        assert_ne!(whole, Dropout::new("features.15", 0.25).unwrap().mask(dims(4), key(10)));
    }

    #[test]
    fn the_share_of_zeros_is_p_and_the_mean_is_1() {
        let mask = Dropout::new("d", 0.3)
            .unwrap()
            .mask(Dims { n: 100, c: 1000, h: 1, w: 1 }, TrainKey { seed: 0, epoch: 0, first_position: 0 });
        let zeros = mask.iter().filter(|&&m| m == 0.0).count() as f64 / mask.len() as f64;
        let mean = mask.iter().map(|&m| f64::from(m)).sum::<f64>() / mask.len() as f64;
        assert!((zeros - 0.3).abs() < 0.008 && (mean - 1.0).abs() < 0.011, "{zeros} {mean}");
    }

    #[test]
    fn p_outside_the_range_is_refused() {
        assert!(Dropout::new("d", 1.0).is_err() && Dropout::new("d", f32::NAN).is_err());
    }
}
