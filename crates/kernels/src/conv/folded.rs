//! Convolution for inference: batch norm is folded into the weights, and the operation after it runs in the same
//! loop.

use super::{ConvShape, forward_by_patches, rounded};
use crate::chunks::check_len;
use crate::concat::concat_channels;
use crate::direct::{self, Element, Epilogue, Input, Kernels, PackedWeights, Pass, Pointwise};
use crate::isa::isa;
use crate::norm_act::{After, NormActShape, norm_act, norm_limited};
use crate::profile;

/// The weights of a convolution, scaled per output channel, and a bias, prepared for repeated use.
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
    limits: Option<[f32; 2]>,
}

#[derive(Clone, Debug)]
enum Weights<E> {
    Packed(PackedWeights<E>),
    /// OIHW, for the product with the matrix of patches.
    Plain(Vec<f32>),
}

/// Operations of a [`FoldedConv`] on its sums before it writes them, in this order.
#[derive(Clone, Copy, Debug)]
pub struct FoldedEpilogue<'a, E> {
    /// Added if given. It is as large as the output, and allowed only before `Nothing` or `Relu`.
    pub residual: Option<&'a [E]>,
    /// The operation that follows.
    pub after: After,
}

impl<E: Element> FoldedConv<E> {
    /// Folds `scale` (c_out) into the OIHW `weight` of a convolution of this shape. The result serves any number of
    /// images, and all shapes that it [`suits`](Self::suits).
    ///
    /// # Panics
    /// If a length does not fit.
    pub fn new(s: &ConvShape, weight: &[f32], scale: &[f32], bias: Vec<f32>) -> Self {
        let dims = [s.c_out, s.c_in, s.k_h, s.k_w];
        check_len("FoldedConv", "weight", weight.len(), dims.iter().product());
        check_len("FoldedConv", "scale", scale.len(), dims[0]);
        check_len("FoldedConv", "bias", bias.len(), dims[0]);
        let weights = match Kernels::of(isa()) {
            Some(kernels) => Weights::Packed(PackedWeights::new(&kernels, s, weight, Some(scale))),
            None => {
                let per_channel = weight.chunks_exact(dims[1] * dims[2] * dims[3]).zip(scale);
                let scaled: Vec<f32> =
                    per_channel.flat_map(|(weight, scale)| weight.iter().map(move |w| w * scale)).collect();
                Weights::Plain(rounded::<E>(&scaled))
            }
        };
        Self { dims, stride: s.stride, weights, bias, limits: None }
    }

    /// Returns whether the weights have the form that maps of this size need. The size decides the method of the
    /// convolution, and so the last bits of its results.
    pub fn suits(&self, s: &ConvShape) -> bool {
        match (&self.weights, Kernels::<E>::of(isa())) {
            (Weights::Packed(weights), Some(kernels)) => weights.suits(&kernels, s),
            _ => true,
        }
    }

    /// Returns the same convolution with other limits of a following ReLU than 0 and infinity: those of an
    /// [`Affine`](crate::Affine) that is folded into scale and bias.
    pub fn with_limits(self, limits: [f32; 2]) -> Self {
        Self { limits: Some(limits), ..self }
    }

    /// Returns the weights as a 1x1 convolution with stride 1, if it is one and the instruction set has loops for it.
    pub(crate) fn pointwise(&self, after: After) -> Option<Pointwise<'_, E>> {
        let [c_out, c_in, k_h, k_w] = self.dims;
        match &self.weights {
            Weights::Packed(weights)
                if k_h * k_w * self.stride == 1 && after != After::ReluPool && self.limits.is_none() =>
            {
                Some(Pointwise { c_in, c_out, weights, bias: &self.bias, after })
            }
            _ => None,
        }
    }

    /// Returns the number of input channels.
    pub(crate) fn c_in(&self) -> usize {
        self.dims[1]
    }

    /// Overwrites `y` with `epilogue(conv2d(x) + bias)`.
    ///
    /// For a curve (GELU, SiLU, hard swish) in bf16, the sums are also rounded before the curve is applied.
    ///
    /// # Shapes
    /// `x` (n, h, w, c_in); `y` (n, h_out, w_out, c_out), or (n, h_out / 2, w_out / 2, c_out) with pooling.
    ///
    /// # Panics
    /// If a length does not fit the shape, if `s` has other channels, another kernel or another stride than the
    /// weights, or if there is a residual before limits or before another operation than `Nothing` or `Relu`.
    pub fn forward(&self, s: &ConvShape, x: &[E], epilogue: &FoldedEpilogue<'_, E>, y: &mut [E]) {
        let _span = profile::conv("conv2d_folded", s, Pass::Forward.method_name::<E>(s));
        check_len("FoldedConv", "x", x.len(), s.x_len());
        self.run(s, Input::Map(x), epilogue, y);
    }

    /// Runs [`forward`](Self::forward) on the joined channels of `parts`, each given with its number of channels,
    /// without building the joined map in memory.
    ///
    /// # Panics
    /// As [`forward`](Self::forward), and if this is not a 1x1 convolution with stride 1 and without padding.
    pub fn forward_joined(
        &self,
        s: &ConvShape,
        parts: &[(&[E], usize)],
        epilogue: &FoldedEpilogue<'_, E>,
        y: &mut [E],
    ) {
        let _span = profile::conv("conv2d_joined", s, Pass::Forward.method_name::<E>(s));
        let is_pixelwise = [s.k_h, s.k_w, s.stride] == [1; 3] && [s.h_out(), s.w_out()] == [s.h, s.w];
        assert!(
            is_pixelwise,
            "FoldedConv: parts are only for 1x1 convolutions with stride 1 and without padding: {s:?}"
        );
        check_len("FoldedConv", "parts", parts.iter().map(|(_, width)| width).sum(), s.c_in);
        for (part, width) in parts {
            check_len("FoldedConv", "a part", part.len(), s.n * s.h * s.w * width);
        }
        self.run(s, Input::Parts(parts), epilogue, y);
    }

    fn run(&self, s: &ConvShape, x: Input<'_, E>, epilogue: &FoldedEpilogue<'_, E>, y: &mut [E]) {
        let FoldedEpilogue { residual, after } = *epilogue;
        assert_eq!(self.dims, [s.c_out, s.c_in, s.k_h, s.k_w], "FoldedConv: weights of another size");
        assert_eq!(self.stride, s.stride, "FoldedConv: weights of another stride");
        let may_add = matches!(after, After::Nothing | After::Relu);
        assert!(may_add || residual.is_none(), "FoldedConv: a residual before {after:?}");
        let out = NormActShape { n: s.n, h: s.h_out(), w: s.w_out(), c: s.c_out, after };
        let limits = self.limits.filter(|_| after == After::Relu);
        assert!(limits.is_none() || residual.is_none(), "FoldedConv: a residual before limits");
        check_len("FoldedConv", "y", y.len(), out.a_len());
        check_len("FoldedConv", "residual", residual.map_or(s.y_len(), <[E]>::len), s.y_len());
        if y.is_empty() {
            return;
        }
        match (&self.weights, Kernels::of(isa())) {
            (Weights::Packed(weights), Some(kernels)) => {
                let epilogue = Epilogue { bias: Some(&self.bias), residual, after, limits };
                direct::forward(&kernels, s, x, weights, &epilogue, y, false);
            }
            (Weights::Plain(weight), _) => {
                let mut joined = Vec::new();
                let x = match x {
                    Input::Map(x) => x,
                    Input::Parts(parts) => {
                        joined.resize(s.x_len(), E::default());
                        concat_channels(parts, &mut joined);
                        &joined
                    }
                };
                let mut sums = vec![E::default(); s.y_len()];
                let convolve =
                    |y: &mut [f32]| forward_by_patches(s, &E::as_f32(x), weight, Some(&self.bias), y);
                E::edit_as_f32(&mut sums, convolve);
                let (ones, zeros) = (vec![1.0; s.c_out], vec![0.0; s.c_out]);
                let mut winners = vec![0; out.winners_len()];
                match limits {
                    Some(limits) => norm_limited(&out, &sums, &ones, &zeros, limits, y),
                    None => norm_act(&out, &sums, &ones, &zeros, residual, y, &mut winners),
                }
            }
            (Weights::Packed(_), None) => unreachable!("the instruction set does not change"),
        }
    }
}

#[cfg(test)]
mod tests;
