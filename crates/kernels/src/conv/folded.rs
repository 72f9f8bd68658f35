//! Convolution for inference: batch norm folded into the weights, and what follows it in the same loop.

use super::{ConvShape, forward_by_patches, rounded};
use crate::chunks::check_len;
use crate::direct::{self, Element, Epilogue, Kernels, PackedWeights, Pointwise};
use crate::isa::isa;
use crate::norm_act::{After, NormActShape, norm_act};
use crate::profile;

/// The weights of a convolution, each output channel times a scale, and a bias, ready for use again and again.
///
/// A batch norm with constant statistics is such a scale and bias: `scale = gamma / sqrt(var + eps)`, `bias = beta -
/// mean * scale`.
#[derive(Clone, Debug)]
pub struct FoldedConv<E> {
    /// (c_out, c_in, k_h, k_w).
    dims: [usize; 4],
    stride: usize,
    weights: Weights<E>,
    bias: Vec<f32>,
}

#[derive(Clone, Debug)]
enum Weights<E> {
    Packed(PackedWeights<E>),
    /// OIHW, for the matrix of patches.
    Plain(Vec<f32>),
}

/// What a [`FoldedConv`] does to its sums before it writes them, in this order.
#[derive(Clone, Copy, Debug)]
pub struct FoldedEpilogue<'a, E> {
    /// Added, where there is one: as large as the output, and before nothing or ReLU.
    pub residual: Option<&'a [E]>,
    /// What follows.
    pub after: After,
}

impl<E: Element> FoldedConv<E> {
    /// Folds `scale` (c_out) into the OIHW `weight` of the size `dims`, of a convolution with this stride.
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(dims: [usize; 4], stride: usize, weight: &[f32], scale: &[f32], bias: Vec<f32>) -> Self {
        check_len("FoldedConv", "weight", weight.len(), dims.iter().product());
        check_len("FoldedConv", "scale", scale.len(), dims[0]);
        check_len("FoldedConv", "bias", bias.len(), dims[0]);
        let weights = match Kernels::of(isa()) {
            Some(kernels) => Weights::Packed(PackedWeights::new(&kernels, dims, stride, weight, Some(scale))),
            None => {
                let per_channel = weight.chunks_exact(dims[1] * dims[2] * dims[3]).zip(scale);
                let scaled: Vec<f32> =
                    per_channel.flat_map(|(weight, scale)| weight.iter().map(move |w| w * scale)).collect();
                Weights::Plain(rounded::<E>(&scaled))
            }
        };
        Self { dims, stride, weights, bias }
    }

    /// As a 1x1 convolution with stride 1, where it is one and there are loops for it.
    pub(crate) fn pointwise(&self, after: After) -> Option<Pointwise<'_, E>> {
        let [c_out, c_in, k_h, k_w] = self.dims;
        match &self.weights {
            Weights::Packed(weights) if k_h * k_w * self.stride == 1 && after != After::ReluPool => {
                Some(Pointwise { c_in, c_out, weights, bias: &self.bias, after })
            }
            _ => None,
        }
    }

    /// Input channels.
    pub(crate) fn c_in(&self) -> usize {
        self.dims[1]
    }

    /// Overwrites `y` with `epilogue(conv2d(x) + bias)`.
    ///
    /// # Shapes
    /// `x` (n, h, w, c_in); `y` (n, h_out, w_out, c_out), or (n, h_out / 2, w_out / 2, c_out) where it is pooled.
    ///
    /// # Panics
    /// If a length does not fit the shape, `s` is of another size or stride than the weights, or the epilogue is none.
    ///
    /// Of a curve (GELU, SiLU, hard swish) in bf16 the sums are rounded before it, too.
    pub fn forward(&self, s: &ConvShape, x: &[E], epilogue: &FoldedEpilogue<'_, E>, y: &mut [E]) {
        let _span = profile::conv("conv2d_folded", s);
        let FoldedEpilogue { residual, after } = *epilogue;
        assert_eq!(self.dims, [s.c_out, s.c_in, s.k_h, s.k_w], "FoldedConv: weights of another size");
        assert_eq!(self.stride, s.stride, "FoldedConv: weights of another stride");
        let may_add = matches!(after, After::Nothing | After::Relu);
        assert!(may_add || residual.is_none(), "FoldedConv: a residual before {after:?}");
        let out = NormActShape { n: s.n, h: s.h_out(), w: s.w_out(), c: s.c_out, after };
        check_len("FoldedConv", "x", x.len(), s.x_len());
        check_len("FoldedConv", "y", y.len(), out.a_len());
        check_len("FoldedConv", "residual", residual.map_or(s.y_len(), <[E]>::len), s.y_len());
        if y.is_empty() {
            return;
        }
        match (&self.weights, Kernels::of(isa())) {
            (Weights::Packed(weights), Some(kernels)) => {
                let epilogue = Epilogue { bias: Some(&self.bias), residual, after };
                direct::forward(&kernels, s, x, weights, &epilogue, y, false);
            }
            (Weights::Plain(weight), _) => {
                let mut sums = vec![E::default(); s.y_len()];
                let convolve =
                    |y: &mut [f32]| forward_by_patches(s, &E::as_f32(x), weight, Some(&self.bias), y);
                E::edit_as_f32(&mut sums, convolve);
                let (ones, zeros) = (vec![1.0; s.c_out], vec![0.0; s.c_out]);
                let mut winners = vec![0; out.winners_len()];
                norm_act(&out, &sums, &ones, &zeros, residual, y, &mut winners);
            }
            (Weights::Packed(_), None) => unreachable!("the instruction set does not change"),
        }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use tallow_core::{Purpose, Stream};

    use super::*;
    use crate::conv2d_forward;
    use crate::padding::Padding;

    fn random<E: Element>(len: usize, seed: u64) -> Vec<E> {
        let mut stream = Stream::new(seed, Purpose::Test, 0, 2);
        (0..len).map(|_| E::from_f32(stream.normal_f32())).collect()
    }

    /// Against convolution, norm, residual, activation and pooling one after another.
    fn agrees<E: Element>(s: ConvShape, after: After, with_residual: bool, tolerance: f32) {
        let (x, weight): (Vec<E>, Vec<f32>) = (random(s.x_len(), 1), random(s.weight_len(), 2));
        let (scale, bias): (Vec<f32>, Vec<f32>) = (random(s.c_out, 3), random(s.c_out, 4));
        let residual: Vec<E> = random(s.y_len(), 5);
        let residual = with_residual.then_some(&residual[..]);
        let mut y = vec![E::default(); s.y_len()];
        conv2d_forward(&s, &x, &weight, None, &mut y);
        let out = NormActShape { n: s.n, h: s.h_out(), w: s.w_out(), c: s.c_out, after };
        let (mut expected, mut winners) = (vec![E::default(); out.a_len()], vec![0; out.winners_len()]);
        norm_act(&out, &y, &scale, &bias, residual, &mut expected, &mut winners);
        let mut a = vec![E::from_f32(f32::NAN); out.a_len()];
        let folded = FoldedConv::new([s.c_out, s.c_in, s.k_h, s.k_w], s.stride, &weight, &scale, bias);
        folded.forward(&s, &x, &FoldedEpilogue { residual, after }, &mut a);
        let (a, expected) = (E::as_f32(&a), E::as_f32(&expected));
        let norm = expected.iter().map(|e| e * e).sum::<f32>().sqrt() + 1e-6;
        let error = a.iter().zip(&*expected).map(|(a, e)| (a - e).powi(2)).sum::<f32>().sqrt();
        assert!(error <= tolerance * norm, "{s:?} {after:?} {with_residual}: {}", error / norm);
    }

    #[test]
    fn folding_changes_only_the_rounding() {
        let shape = |n, h, w, c_in, c_out, k, stride, padding| ConvShape {
            n,
            h,
            w,
            c_in,
            c_out,
            k_h: k,
            k_w: k,
            stride,
            padding: Padding::Symmetric(padding),
        };
        for s in [
            shape(3, 9, 7, 5, 33, 3, 1, 1),
            shape(3, 9, 7, 70, 50, 3, 1, 1),
            shape(2, 8, 8, 4, 64, 1, 1, 0),
            shape(5, 4, 6, 3, 20, 1, 2, 0),
            shape(1, 130, 61, 16, 40, 3, 1, 1),
            shape(2, 31, 29, 3, 8, 7, 2, 3),
        ] {
            for (after, with_residual) in [
                (After::Nothing, false),
                (After::Nothing, true),
                (After::Relu, false),
                (After::Relu, true),
                (After::ReluPool, false),
                (After::Relu6, false),
                (After::Gelu, false),
                (After::Silu, false),
                (After::HardSwish, false),
            ] {
                agrees::<f32>(s, after, with_residual, 1e-5);
                agrees::<bf16>(s, after, with_residual, 1e-2);
            }
        }
    }

    #[test]
    #[should_panic(expected = "FoldedConv: a residual before Relu6")]
    fn a_residual_before_relu6_is_refused() {
        let folded = FoldedConv::<f32>::new([1, 1, 1, 1], 1, &[1.0], &[1.0], vec![0.0]);
        let s = ConvShape {
            n: 1,
            h: 1,
            w: 1,
            c_in: 1,
            c_out: 1,
            k_h: 1,
            k_w: 1,
            stride: 1,
            padding: Padding::Symmetric(0),
        };
        let epilogue = FoldedEpilogue { residual: Some(&[0.0; 1][..]), after: After::Relu6 };
        folded.forward(&s, &[0.0], &epilogue, &mut [0.0]);
    }

    #[test]
    #[should_panic(expected = "FoldedConv: weights of another size")]
    fn other_weights_are_refused() {
        let folded = FoldedConv::<f32>::new([2, 1, 1, 1], 1, &[1.0; 2], &[1.0; 2], vec![0.0; 2]);
        let s = ConvShape {
            n: 1,
            h: 1,
            w: 1,
            c_in: 2,
            c_out: 2,
            k_h: 1,
            k_w: 1,
            stride: 1,
            padding: Padding::Symmetric(0),
        };
        let epilogue = FoldedEpilogue { residual: None, after: After::Nothing };
        folded.forward(&s, &[0.0; 2], &epilogue, &mut [0.0; 2]);
    }
}
