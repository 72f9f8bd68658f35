//! Depthwise convolution for inference: batch norm is folded into the weights, and the operation after it runs in the
//! same loop.

use super::DepthwiseShape;
use super::gather::{ANY, Inputs, gather};
use crate::activation::curve_in_place;
use crate::chunks::check_len;
use crate::direct::Element;
use crate::layout::transposed;
use crate::norm_act::After;
use crate::profile;

/// The weights of a depthwise convolution, scaled per channel, and a bias, prepared for repeated use.
///
/// A batch norm with constant statistics is such a scale and bias: `scale = gamma / sqrt(var + eps)`, `bias = beta -
/// mean * scale`.
#[derive(Clone, Debug)]
pub struct FoldedDepthwise {
    /// (k, k, c).
    weight: Vec<f32>,
    bias: Vec<f32>,
    limits: Option<[f32; 2]>,
}

impl FoldedDepthwise {
    /// Folds `scale` (c) into the `weight` (c, 1, k, k) of a kernel of `k` x `k`.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(k: usize, weight: &[f32], scale: &[f32], bias: Vec<f32>) -> Self {
        let c = scale.len();
        check_len("FoldedDepthwise", "weight", weight.len(), c * k * k);
        check_len("FoldedDepthwise", "bias", bias.len(), c);
        let mut weight = transposed(weight, c, k * k);
        for tap in weight.chunks_exact_mut(c.max(1)) {
            tap.iter_mut().zip(scale).for_each(|(weight, scale)| *weight *= scale);
        }
        Self { weight, bias, limits: None }
    }

    /// Sets the limits of a following ReLU, like [`FoldedConv::with_limits`](crate::FoldedConv::with_limits).
    pub fn with_limits(self, limits: [f32; 2]) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// Returns whether a following ReLU has its own limits.
    pub(crate) fn has_own_limits(&self) -> bool {
        self.limits.is_some()
    }

    /// Returns the weight (k, k, c) and the bias (c).
    pub(crate) fn weight_and_bias(&self) -> (&[f32], &[f32]) {
        (&self.weight, &self.bias)
    }

    /// Overwrites `y` with `after(conv2d(x, groups = c) + bias)`.
    ///
    /// For a curve (GELU, SiLU, hard swish) in bf16, the sums are also rounded before the curve is applied.
    ///
    /// # Shapes
    /// `x` (n, h, w, c), `y` (n, h_out, w_out, c).
    ///
    /// # Panics
    /// If a length does not fit the shape, if `s` has another size than the weights, or if `after` pools.
    pub fn forward<E: Element>(&self, s: &DepthwiseShape, x: &[E], after: After, y: &mut [E]) {
        let _span = profile::depthwise("depthwise_folded", s);
        s.check("FoldedDepthwise", ("x", x.len()), ("weight", self.weight.len()), ("y", y.len()));
        check_len("FoldedDepthwise", "bias", self.bias.len(), s.c);
        assert!(after != After::ReluPool, "FoldedDepthwise: pooling must be a separate pass");
        let own = self.limits.filter(|_| after == After::Relu);
        let (bias, limits) = (Some(&self.bias[..]), own.or(after.limits()).unwrap_or(ANY));
        gather(&Inputs { g: s.gather(), from: x, weight: &self.weight, bias, limits }, y, |y| {
            if after.is_curved() {
                curve_in_place(after, y);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use tallow_core::{Purpose, Stream};

    use super::super::Padding;
    use super::*;
    use crate::depthwise_forward;
    use crate::norm_act::{Affine, NormActShape, norm_act, norm_affine};

    fn random<E: Element>(len: usize, seed: u64) -> Vec<E> {
        let mut stream = Stream::new(seed, Purpose::Test, 0, 3);
        (0..len).map(|_| E::from_f32(stream.normal_f32())).collect()
    }

    /// Compares with convolution, norm and activation one after another.
    fn agrees<E: Element>(s: DepthwiseShape, after: After, tolerance: f32) {
        let (x, weight): (Vec<E>, Vec<f32>) = (random(s.x_len(), 1), random(s.weight_len(), 2));
        let (scale, bias): (Vec<f32>, Vec<f32>) = (random(s.c, 3), random(s.c, 4));
        let mut y = vec![E::default(); s.y_len()];
        depthwise_forward(&s, &x, &weight, None, &mut y);
        let out = NormActShape { n: s.n, h: s.h_out(), w: s.w_out(), c: s.c, after };
        let mut expected = vec![E::default(); out.a_len()];
        norm_act(&out, &y, &scale, &bias, None, &mut expected, &mut []);
        let mut a = vec![E::from_f32(f32::NAN); out.a_len()];
        FoldedDepthwise::new(s.k, &weight, &scale, bias).forward(&s, &x, after, &mut a);
        let (a, expected) = (E::as_f32(&a), E::as_f32(&expected));
        let norm = expected.iter().map(|e| e * e).sum::<f32>().sqrt();
        let error = a.iter().zip(&*expected).map(|(a, e)| (a - e).powi(2)).sum::<f32>().sqrt();
        assert!(error <= tolerance * norm, "{s:?} {after:?}: {}", error / norm);
    }

    #[test]
    fn folding_changes_only_the_rounding() {
        for (h, w, c, k, stride) in [(9, 7, 33, 3, 1), (40, 56, 24, 5, 2), (7, 7, 5, 5, 1), (6, 9, 16, 2, 3)]
        {
            let s = DepthwiseShape { n: 3, h, w, c, k, stride, padding: Padding::Same };
            for after in
                [After::Nothing, After::Relu, After::Relu6, After::Gelu, After::Silu, After::HardSwish]
            {
                agrees::<f32>(s, after, 1e-5);
                agrees::<bf16>(s, after, 1e-2);
            }
        }
    }

    /// Compares with convolution, norm and the affine map one after another.
    fn agrees_with_affine<E: Element>(s: DepthwiseShape, affine: Affine, tolerance: f32) {
        let (x, weight): (Vec<E>, Vec<f32>) = (random(s.x_len(), 1), random(s.weight_len(), 2));
        let (scale, bias): (Vec<f32>, Vec<f32>) = (random(s.c, 3), random(s.c, 4));
        let (mut y, mut expected) = (vec![E::default(); s.y_len()], vec![E::default(); s.y_len()]);
        depthwise_forward(&s, &x, &weight, None, &mut y);
        let out = NormActShape { n: s.n, h: s.h_out(), w: s.w_out(), c: s.c, after: After::Relu };
        norm_affine(&out, &y, &scale, &bias, affine, &mut expected);
        let (scale, bias) = affine.folded(&scale, &bias);
        let folded = FoldedDepthwise::new(s.k, &weight, &scale, bias).with_limits(affine.limits());
        let mut a = vec![E::from_f32(f32::NAN); s.y_len()];
        folded.forward(&s, &x, After::Relu, &mut a);
        let (a, expected) = (E::as_f32(&a), E::as_f32(&expected));
        let norm = expected.iter().map(|e| e * e).sum::<f32>().sqrt();
        let error = a.iter().zip(&*expected).map(|(a, e)| (a - e).powi(2)).sum::<f32>().sqrt();
        assert!(error <= tolerance * norm, "{s:?} {affine:?}: {}", error / norm);
    }

    #[test]
    fn an_affine_map_is_folded_as_well() {
        for (h, w, c, k, stride) in [(9, 7, 33, 3, 1), (20, 16, 24, 5, 2), (6, 9, 16, 2, 3)] {
            let s = DepthwiseShape { n: 2, h, w, c, k, stride, padding: Padding::Same };
            for (gain, offset) in [(0.7, 0.3), (1.4, -0.6), (-0.8, 0.2)] {
                agrees_with_affine::<f32>(s, Affine { gain, offset }, 1e-5);
                agrees_with_affine::<bf16>(s, Affine { gain, offset }, 1e-2);
            }
        }
    }

    #[test]
    #[should_panic(expected = "FoldedDepthwise: weight has 8 elements, expected 18")]
    fn other_weights_are_refused() {
        let folded = FoldedDepthwise::new(2, &[1.0; 8], &[1.0; 2], vec![0.0; 2]);
        let s = DepthwiseShape { n: 1, h: 3, w: 3, c: 2, k: 3, stride: 1, padding: Padding::Same };
        folded.forward(&s, &[0f32; 18], After::Nothing, &mut [0.0; 18]);
    }
}
