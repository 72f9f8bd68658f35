//! Batch norm, ReLU, and one affine map of all outputs, in the same number of passes as without the map.
//!
//! ```text
//! z = scale * y + shift            batch norm of y, per channel
//! a = gain * max(z, 0) + offset    gain and offset are one number each
//!   = gain * z + offset            limited to at least offset, or to at most offset if gain < 0
//!
//! g       = da where z > 0, otherwise 0
//! dgamma  = gain * sum of g * x_hat,  dbeta = gain * sum of g           x_hat = (y - mean) * inv_std
//! dgain   = sum of da * max(z, 0)                                       = sum over channels of
//!         = sum of g * (gamma * x_hat + beta)                             gamma * dgamma / gain + beta * dbeta / gain
//! doffset = sum of da
//! ```
//!
//! The sums that batch norm needs therefore also give the gradient of the gain. Source: PP-HGNetV2's "learnable
//! affine block",
//! <https://github.com/PaddlePaddle/PaddleClas/blob/release/2.5.1/ppcls/arch/backbone/legendary_models/pp_hgnet_v2.py>.

use rayon::prelude::*;

use super::lanes::{Channels, Sums, at, at_mut, for_lanes, limited};
use super::{After, NormActShape, NormState, plain};
use crate::chunks::{check_len, cut};
use crate::direct::Element;
use crate::profile;
use crate::vectorise::vectorised;

/// One affine map of all outputs of a ReLU: `gain * max(z, 0) + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Factor of each number.
    pub gain: f32,
    /// Offset of each number.
    pub offset: f32,
}

impl Affine {
    /// Returns the scale and the shift before the ReLU with the map folded in, per channel. The output is
    /// `gain * (scale * y + shift) + offset`, limited to the [limits](Self::limits).
    pub fn folded(self, scale: &[f32], shift: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let Self { gain, offset } = self;
        (
            scale.iter().map(|scale| gain * scale).collect(),
            shift.iter().map(|shift| gain * shift + offset).collect(),
        )
    }

    /// Returns the smallest and the largest possible output.
    pub fn limits(self) -> [f32; 2] {
        if self.gain >= 0.0 { [self.offset, f32::INFINITY] } else { [f32::NEG_INFINITY, self.offset] }
    }
}

/// Overwrites `a` with `affine` of the ReLU of the batch norm `y * scale + shift`.
///
/// # Shapes
/// `y` and `a` (n, h, w, c), `scale` and `shift` (c).
///
/// # Panics
/// If a length does not fit, or if `s.after` is not ReLU.
pub fn norm_affine<E: Element>(
    s: &NormActShape,
    y: &[E],
    scale: &[f32],
    shift: &[f32],
    affine: Affine,
    a: &mut [E],
) {
    let _span = profile::norm_act("norm_affine", s);
    s.check_relu("norm_affine");
    check_len("norm_affine", "y", y.len(), s.y_len());
    check_len("norm_affine", "scale", scale.len(), s.c);
    check_len("norm_affine", "shift", shift.len(), s.c);
    check_len("norm_affine", "a", a.len(), s.a_len());
    let (scale, shift) = affine.folded(scale, shift);
    norm_limited(s, y, &scale, &shift, affine.limits(), a);
}

/// Overwrites `a` with `y * scale + shift`, limited to `limits`.
pub(crate) fn norm_limited<E: Element>(
    s: &NormActShape,
    y: &[E],
    scale: &[f32],
    shift: &[f32],
    limits: [f32; 2],
    a: &mut [E],
) {
    let ranges = s.ranges();
    let a = cut(a, ranges.iter().map(|range| range.a.len()));
    ranges.par_iter().zip(a).for_each(|(range, a)| forward(&y[range.y.clone()], scale, shift, limits, a));
}

/// Overwrites `dy`, `dgamma` and `dbeta` with the gradients of [`norm_affine`] with respect to the input of the batch
/// norm and to its parameters. Returns the gradients of the gain and the offset.
///
/// # Shapes
/// `y`, `da` and `dy` (n, h, w, c), all others (c).
///
/// # Panics
/// The same as [`norm_affine`].
#[expect(clippy::too_many_arguments, reason = "what went in, and one slice for each gradient")]
pub fn norm_affine_backward<E: Element>(
    s: &NormActShape,
    y: &[E],
    norm: &NormState<'_>,
    affine: Affine,
    da: &[E],
    dy: &mut [E],
    dgamma: &mut [f32],
    dbeta: &mut [f32],
) -> [f32; 2] {
    let _span = profile::norm_act("norm_affine_backward", s);
    s.check_relu("norm_affine_backward");
    for (what, actual, expected) in [
        ("y", y.len(), s.y_len()),
        ("da", da.len(), s.y_len()),
        ("dy", dy.len(), s.y_len()),
        ("dgamma", dgamma.len(), s.c),
        ("dbeta", dbeta.len(), s.c),
        ("gamma", norm.gamma.len(), s.c),
        ("beta", norm.beta.len(), s.c),
        ("mean", norm.mean.len(), s.c),
        ("inv_std", norm.inv_std.len(), s.c),
    ] {
        check_len("norm_affine_backward", what, actual, expected);
    }
    let (scale, shift) = norm.scale_and_shift();
    let ranges = s.ranges();
    let add_up = |range: &super::Range| {
        let mut sums = vec![0.0; 3 * s.c];
        add_up_all(&y[range.y.clone()], &da[range.a.clone()], &scale, &shift, norm.mean, &mut sums);
        sums
    };
    let sums: Vec<Vec<f32>> = ranges.par_iter().map(add_up).collect();
    let mut coefficients = norm.coefficients(s, &scale, &sums, dgamma, dbeta);
    let products =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let dgain = products(norm.gamma, dgamma) + products(norm.beta, dbeta);
    let doffset = sums.iter().flat_map(|sums| &sums[2 * s.c..]).map(|&sum| f64::from(sum)).sum::<f64>();
    for gradient in [&mut coefficients[..], dgamma, dbeta] {
        gradient.iter_mut().for_each(|gradient| *gradient *= affine.gain);
    }
    let dy = cut(dy, ranges.iter().map(|range| range.y.len()));
    ranges.par_iter().zip(dy).for_each(|(range, dy)| {
        let (y, da) = (&y[range.y.clone()], &da[range.a.clone()]);
        plain::apply(y, da, &scale, &shift, norm.mean, &coefficients, After::Relu, dy);
    });
    [dgain as f32, doffset as f32]
}

impl NormActShape {
    #[track_caller]
    fn check_relu(&self, function: &str) {
        assert!(self.after == After::Relu, "{function}: an affine map of {:?}, expected Relu", self.after);
    }
}

vectorised! {
    fn forward<E: Element>(y: &[E], scale: &[f32], shift: &[f32], limits: [f32; 2], a: &mut [E]) {
        plain::map(y, scale, shift, a, |z| limited(z, limits));
    }
}

vectorised! {
    /// Adds the sums of g, of g * (y - mean) and of da to `sums` (3, c).
    fn add_up_all<E: Element>(y: &[E], da: &[E], scale: &[f32], shift: &[f32], mean: &[f32], sums: &mut [f32]) {
        let c = mean.len();
        let (of_g, rest) = sums.split_at_mut(c);
        let (of_gx, of_da) = rest.split_at_mut(c);
        for (y, da) in y.chunks_exact(c).zip(da.chunks_exact(c)) {
            for_lanes!(c, i, N, {
                let (y, da, of_da) = (at::<E, N>(y, i), at::<E, N>(da, i), at_mut::<f32, N>(of_da, i));
                let (channels, mut sums) = (Channels::<N>::at(scale, shift, i), Sums::<N>::at(mean, of_g, of_gx, i));
                for j in 0..N {
                    let (y, da) = (y[j].to_f32(), da[j].to_f32());
                    sums.add(channels.relu_gradient(y, da, j), y, j);
                    of_da[j] += da;
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use tallow_core::{Purpose, Stream};

    use super::*;
    use crate::{Saved, norm_act, norm_act_backward};

    fn random(len: usize, seed: u64) -> Vec<f32> {
        let mut stream = Stream::new(seed, Purpose::Test, 0, 4);
        (0..len).map(|_| stream.normal_f32()).collect()
    }

    fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
        let norm = b.iter().map(|b| b * b).sum::<f32>().sqrt() + 1e-6;
        let error = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        assert!(a.len() == b.len() && error <= tolerance * norm, "{what}: {}", error / norm);
    }

    /// Compares the fused passes with batch norm and ReLU in one pass, which other tests check, followed by a
    /// separate map.
    fn agrees<E: Element>(s: NormActShape, affine: Affine, frozen: bool, tolerance: f32) {
        let map = |seed| random(s.y_len(), seed).into_iter().map(E::from_f32).collect::<Vec<E>>();
        let (y, da) = (map(1), map(2));
        let [gamma, beta, mean] = [3, 4, 5].map(|seed| random(s.c, seed));
        let inv_std: Vec<f32> = random(s.c, 6).iter().map(|x| 0.5 + x.abs()).collect();
        let norm = NormState { gamma: &gamma, beta: &beta, mean: &mean, inv_std: &inv_std, frozen };
        let (scale, shift) = norm.scale_and_shift();
        let Affine { gain, offset } = affine;

        let mut relu = vec![E::default(); s.y_len()];
        norm_act(&s, &y, &scale, &shift, None, &mut relu, &mut []);
        let expected: Vec<f32> = E::as_f32(&relu).iter().map(|r| gain * r + offset).collect();
        let through: Vec<f32> = E::as_f32(&da).iter().map(|da| gain * da).collect();
        let wide_y = E::as_f32(&y).into_owned();
        let saved = Saved { y: &wide_y[..], a: None, winners: &[], norm };
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; s.y_len()], vec![0.0; s.c], vec![0.0; s.c]);
        norm_act_backward(&s, &saved, &through, &mut dx, &mut [], &mut dgamma, &mut dbeta);
        let dgain =
            E::as_f32(&da).iter().zip(&*E::as_f32(&relu)).map(|(da, r)| f64::from(da * r)).sum::<f64>();
        let doffset = E::as_f32(&da).iter().map(|&da| f64::from(da)).sum::<f64>();

        let mut a = vec![E::from_f32(f32::NAN); s.y_len()];
        norm_affine(&s, &y, &scale, &shift, affine, &mut a);
        close("a", &E::as_f32(&a), &expected, tolerance);
        let (mut dy, mut dg, mut db) = (a, vec![f32::NAN; s.c], vec![f32::NAN; s.c]);
        let daffine = norm_affine_backward(&s, &y, &norm, affine, &da, &mut dy, &mut dg, &mut db);
        close("dy", &E::as_f32(&dy), &dx, tolerance);
        close("dgamma", &dg, &dgamma, tolerance);
        close("dbeta", &db, &dbeta, tolerance);
        close("daffine", &daffine, &[dgain as f32, doffset as f32], tolerance);
    }

    #[test]
    fn the_map_costs_no_pass_and_changes_no_number() {
        for (n, h, w, c) in [(1, 2, 2, 1), (3, 7, 5, 3), (2, 32, 30, 33), (1, 65, 64, 64), (5, 2, 3, 130)] {
            for (gain, offset) in [(0.7, 0.3), (1.4, -0.6), (-0.8, 0.2), (0.0, -1.0)] {
                let s = NormActShape { n, h, w, c, after: After::Relu };
                for frozen in [true, false] {
                    agrees::<f32>(s, Affine { gain, offset }, frozen, 1e-4);
                    agrees::<bf16>(s, Affine { gain, offset }, frozen, 2e-2);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "norm_affine: an affine map of Gelu, expected Relu")]
    fn of_something_else_it_is_refused() {
        let s = NormActShape { n: 1, h: 1, w: 1, c: 1, after: After::Gelu };
        norm_affine(&s, &[1.0], &[1.0], &[1.0], Affine { gain: 1.0, offset: 0.0 }, &mut [0.0]);
    }
}
