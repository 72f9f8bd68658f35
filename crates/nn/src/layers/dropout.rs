//! Dropout.

use rayon::prelude::*;
use tallow_core::rng::key_of_name;
use tallow_core::{Purpose, Stream};
use tallow_kernels as kernels;

use super::{Layer, in_precision};
use crate::act::{Act, Dims, to_candle};
use crate::ctx::{Ctx, TrainKey};
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::map::{Buffer, MapElement};

/// In training, sets each value to 0 with probability `p`, and multiplies the rest by `1 / (1 - p)`. In inference, it returns
/// its input.
///
/// The mask of an image depends only on the run's seed, the epoch, the image's place in the epoch and the layer's name. It is
/// the same on both paths, and for any batch size and number of threads.
///
/// # Source
/// Srivastava et al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>
#[derive(Clone, Debug)]
pub struct Dropout {
    key: u64,
    p: f32,
}

impl Dropout {
    /// Returns a dropout layer called `name`. Two layers of one network must have different names.
    ///
    /// # Errors
    /// If `p` is not in [0, 1).
    pub fn new(name: &str, p: f32) -> Result<Self> {
        if !(0.0..1.0).contains(&p) {
            return Err(NnError::shape(name, format!("dropout must lie in [0, 1), it is {p}")));
        }
        Ok(Self { key: key_of_name(name), p })
    }

    /// Returns 1 for every value that is kept, and 0 for the rest, in (N, H, W, C) order.
    fn mask(&self, dims: Dims, train: TrainKey) -> Buffer<u8> {
        let mut mask = Buffer::dirty(dims.len());
        mask.par_chunks_mut((dims.c * dims.h * dims.w).max(1)).enumerate().for_each(|(i, mask)| {
            let position = train.first_position + i as u64;
            // the multiplication keeps the streams of different layers apart: an odd factor permutes the positions
            let index = self.key.wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let mut stream = Stream::new(train.seed, Purpose::Dropout, train.epoch, index);
            let mut units = [0.0; 256];
            for mask in mask.chunks_mut(units.len()) {
                stream.fill_unit_f32(&mut units[..mask.len()]);
                for (keeps, unit) in mask.iter_mut().zip(&units) {
                    *keeps = u8::from(*unit >= self.p);
                }
            }
        });
        mask
    }

    /// Returns the factor of the values that are kept.
    fn factor(&self) -> f32 {
        1.0 / (1.0 - self.p)
    }

    fn forward_kernels<E: MapElement>(&self, x: &Act, mask: Buffer<u8>, ctx: &mut Ctx) -> Result<Act> {
        let (dims, needs_grad, factor) = (x.dims(), x.needs_grad(), self.factor());
        let mut y = Buffer::<E>::dirty(dims.len());
        kernels::masked(&x.as_map::<E>("dropout")?, &mask, factor, &mut y);
        ctx.push_map(move |dy, _| {
            Ok(needs_grad.then(|| {
                let mut dx = Buffer::<E>::dirty(mask.len());
                kernels::masked(&E::of(&dy), &mask, factor, &mut dx);
                dx.into()
            }))
        });
        Ok(Act::host(dims, y, needs_grad))
    }
}

impl Layer for Dropout {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let Some(train) = ctx.train_key().filter(|_| self.p > 0.0) else { return Ok(x) };
        let (dims, mask) = (x.dims(), self.mask(x.dims(), train));
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x, mask, ctx)),
            Backend::Candle => {
                let x = x.as_candle("dropout")?;
                let factors: Vec<f32> = mask.iter().map(|&keeps| f32::from(keeps) * self.factor()).collect();
                let factors = to_candle(&factors, dims, ctx.device())?.to_dtype(x.dtype())?;
                Ok(Act::candle(dims, (x * factors)?))
            }
            Backend::Graph => Ok(x), // a graph is of inference
        }
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
        assert_eq!(whole[30..], dropout.mask(dims(3), key(11))[..]);
        assert_ne!(whole[..30], whole[30..60]);
        assert_ne!(whole[..], Dropout::new("features.15", 0.25).unwrap().mask(dims(4), key(10))[..]);
    }

    #[test]
    fn the_share_of_zeros_is_p_and_the_mean_is_1() {
        let mask = Dropout::new("d", 0.3)
            .unwrap()
            .mask(Dims { n: 100, c: 1000, h: 1, w: 1 }, TrainKey { seed: 0, epoch: 0, first_position: 0 });
        let zeros = mask.iter().filter(|&&keeps| keeps == 0).count() as f64 / mask.len() as f64;
        let mean = (1.0 - zeros) * f64::from(Dropout::new("d", 0.3).unwrap().factor());
        assert!((zeros - 0.3).abs() < 0.008 && (mean - 1.0).abs() < 0.011, "{zeros} {mean}");
    }

    #[test]
    fn p_outside_the_range_is_refused() {
        assert!(Dropout::new("d", 1.0).is_err() && Dropout::new("d", f32::NAN).is_err());
    }
}
