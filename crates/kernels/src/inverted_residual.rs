//! Inverted residual blocks for inference: three layers fused into one, without their intermediate maps.

use crate::chunks::check_len;
use crate::conv::FoldedConv;
use crate::depthwise::{DepthwiseShape, FoldedDepthwise};
use crate::direct::{self, Block, Element, Kernels, Pointwise};
use crate::isa::isa;
use crate::norm_act::After;
use crate::profile;

/// An inverted residual block of a mobile network: a 1x1 convolution to more channels (which some blocks do not
/// have), a depthwise convolution, and a 1x1 convolution to fewer channels. Each layer has its batch norm folded in
/// and an activation after it.
///
/// `y = project(depthwise(expand(x)))`, plus the residual if there is one.
///
/// # Source
/// Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>
#[derive(Debug)]
pub struct InvertedResidual<'a, E> {
    /// The 1x1 convolution to more channels, and the operation after it.
    pub expand: Option<(&'a FoldedConv<E>, After)>,
    /// The depthwise convolution, and the operation after it.
    pub depthwise: (&'a FoldedDepthwise, After),
    /// The 1x1 convolution to fewer channels, and the operation after it.
    pub project: (&'a FoldedConv<E>, After),
    /// Added to the result of `project` before the operation that follows. It is as large as the output.
    pub residual: Option<&'a [E]>,
}

impl<E: Element> InvertedResidual<'_, E> {
    /// Overwrites `y` with the output of the block. The bits are those of the separate layers.
    ///
    /// # Shapes
    /// `s` is the shape of the depthwise convolution. `x` (n, h, w, channels of the first layer), `y` (n, h_out,
    /// w_out, c_out).
    ///
    /// # Panics
    /// If a length does not fit the shape, or if [`is_possible`](Self::is_possible) returns false.
    pub fn forward(&self, s: &DepthwiseShape, x: &[E], y: &mut [E]) {
        let (expand, project) = (self.expand.map(pointwise), pointwise(self.project));
        let (Some(kernels), Some(project), true) = (Kernels::of(isa()), project, self.is_possible(s)) else {
            panic!("InvertedResidual: this block cannot be fused: {s:?}");
        };
        let expand = expand.flatten();
        let _span = profile::inverted_residual(s, expand.map(|expand| expand.c_in), project.c_out);
        let (depthwise, after) = self.depthwise;
        let (weight, bias) = depthwise.weight_and_bias();
        let is_chain = expand.is_none_or(|expand| expand.c_out == s.c) && project.c_in == s.c;
        assert!(is_chain && bias.len() == s.c, "InvertedResidual: layers of other channels than {s:?}");
        check_len("InvertedResidual", "x", x.len(), s.n * s.h * s.w * self.c_in(s));
        check_len("InvertedResidual", "y", y.len(), s.n * s.h_out() * s.w_out() * project.c_out);
        check_len("InvertedResidual", "residual", self.residual.map_or(y.len(), <[E]>::len), y.len());
        if y.is_empty() {
            return;
        }
        let residual = self.residual;
        let block = Block { depthwise: s, expand, weight, bias, after, project, residual };
        direct::inverted_residual(&kernels, &block, x, y);
    }

    fn c_in(&self, s: &DepthwiseShape) -> usize {
        self.expand.map_or(s.c, |(conv, _)| conv.c_in())
    }

    /// Returns whether there are loops for the fused block. If there are, the fused block is at least as fast as the
    /// separate layers at every map size.
    pub fn is_possible(&self, s: &DepthwiseShape) -> bool {
        let layers = self.expand.into_iter().chain([self.project]);
        let can_fuse = |kernels| direct::can_fuse::<E>(&kernels, s, self.c_in(s));
        layers.map(pointwise).all(|part| part.is_some())
            && self.depthwise.1 != After::ReluPool
            && !self.depthwise.0.has_own_limits()
            && Kernels::of(isa()).is_some_and(can_fuse)
    }
}

fn pointwise<'a, E: Element>((conv, after): (&'a FoldedConv<E>, After)) -> Option<Pointwise<'a, E>> {
    conv.pointwise(after)
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use tallow_core::{Purpose, Stream};

    use super::*;
    use crate::{ConvShape, FoldedEpilogue, Padding};

    fn random<E: Element>(len: usize, seed: u64) -> Vec<E> {
        let mut stream = Stream::new(seed, Purpose::Test, 0, 4);
        (0..len).map(|_| E::from_f32(stream.normal_f32())).collect()
    }

    fn pointwise<E: Element>(c_in: usize, c_out: usize, seed: u64) -> FoldedConv<E> {
        let scale: Vec<f32> = random(c_out, seed);
        let s = pointwise_shape(1, 1, 1, c_in, c_out);
        FoldedConv::new(&s, &random::<f32>(c_in * c_out, seed + 1), &scale, random(c_out, seed + 2))
    }

    fn pointwise_shape(n: usize, h: usize, w: usize, c_in: usize, c_out: usize) -> ConvShape {
        ConvShape { n, h, w, c_in, c_out, k_h: 1, k_w: 1, stride: 1, padding: Padding::Symmetric(0) }
    }

    fn layer<E: Element>(
        conv: &FoldedConv<E>,
        s: &DepthwiseShape,
        [c_in, c_out]: [usize; 2],
        x: &[E],
        residual: Option<&[E]>,
        after: After,
    ) -> Vec<E> {
        let &DepthwiseShape { n, h, w, .. } = s;
        let shape = pointwise_shape(n, h, w, c_in, c_out);
        let mut y = vec![E::default(); shape.y_len()];
        conv.forward(&shape, x, &FoldedEpilogue { residual, after }, &mut y);
        y
    }

    /// Compares the fused block with the separate layers. Without `c_in`, the block has no `expand`.
    fn agrees<E: Element>(
        s: DepthwiseShape,
        c_in: Option<usize>,
        c_out: usize,
        afters: [After; 3],
        has_residual: bool,
    ) {
        let expand = c_in.map(|c_in| pointwise::<E>(c_in, s.c, 1));
        let weight: Vec<f32> = random(s.weight_len(), 4);
        let depthwise = FoldedDepthwise::new(s.k, &weight, &random::<f32>(s.c, 5), random(s.c, 6));
        let project = pointwise::<E>(s.c, c_out, 7);
        let x: Vec<E> = random(s.n * s.h * s.w * c_in.unwrap_or(s.c), 10);
        let out = DepthwiseShape { h: s.h_out(), w: s.w_out(), ..s };
        let residual: Vec<E> = random(s.n * out.h * out.w * c_out, 11);
        let residual = has_residual.then_some(&residual[..]);
        let block = InvertedResidual {
            expand: expand.as_ref().map(|conv| (conv, afters[0])),
            depthwise: (&depthwise, afters[1]),
            project: (&project, afters[2]),
            residual,
        };
        if !block.is_possible(&s) {
            assert!(Kernels::<E>::of(isa()).is_none(), "{s:?}");
            return;
        }
        let wide = match (&expand, c_in) {
            (Some(conv), Some(c_in)) => layer(conv, &s, [c_in, s.c], &x, None, afters[0]),
            _ => x.clone(),
        };
        let mut middle = vec![E::default(); s.y_len()];
        depthwise.forward(&s, &wide, afters[1], &mut middle);
        let expected = layer(&project, &out, [s.c, c_out], &middle, residual, afters[2]);
        let mut y = vec![E::from_f32(f32::NAN); expected.len()];
        block.forward(&s, &x, &mut y);
        let bits = |y: &[E]| y.iter().map(|y| y.to_f32().to_bits()).collect::<Vec<_>>();
        assert!(
            bits(&y) == bits(&expected),
            "{s:?} {c_in:?} -> {c_out}, {afters:?}, residual {has_residual}"
        );
    }

    fn both_agree(
        s: DepthwiseShape,
        c_in: Option<usize>,
        c_out: usize,
        afters: [After; 3],
        has_residual: bool,
    ) {
        agrees::<f32>(s, c_in, c_out, afters, has_residual);
        agrees::<bf16>(s, c_in, c_out, afters, has_residual);
    }

    const LITE: [After; 3] = [After::Relu6, After::Relu6, After::Nothing];
    const SMALL: DepthwiseShape =
        DepthwiseShape { n: 5, h: 7, w: 9, c: 48, k: 3, stride: 1, padding: Padding::Same };

    #[test]
    fn small_images_agree() {
        for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (7, 1), (7, 2)] {
            for padding in [Padding::Same, Padding::Symmetric(k / 2), Padding::Symmetric(0)] {
                let s = DepthwiseShape { k, stride, padding, ..SMALL };
                both_agree(s, Some(10), 24, LITE, false);
                both_agree(DepthwiseShape { h: 8, w: 12, n: 130, ..s }, None, 40, LITE, false);
            }
        }
        both_agree(SMALL, Some(24), 24, LITE, true);
        both_agree(SMALL, None, 48, LITE, true);
        both_agree(DepthwiseShape { n: 0, ..SMALL }, None, 48, LITE, true);
    }

    #[test]
    fn images_in_bands_agree() {
        for (n, h, w, k, stride, padding) in [
            (1, 61, 47, 3, 1, Padding::Same),
            (2, 62, 45, 3, 2, Padding::Same),
            (1, 63, 46, 5, 2, Padding::Symmetric(2)),
            (5, 64, 31, 5, 1, Padding::Same),
            (1, 33, 64, 7, 2, Padding::Symmetric(0)),
        ] {
            let s = DepthwiseShape { n, h, w, c: 144, k, stride, padding };
            assert!(stride > 1 || padding != Padding::Same || !direct::is_one_band::<bf16>(&s), "{s:?}");
            both_agree(s, Some(24), 24, LITE, true);
            both_agree(s, None, 40, LITE, false);
        }
    }

    #[test]
    fn every_activation_agrees() {
        for after in [After::Nothing, After::Relu, After::Relu6, After::Gelu, After::Silu, After::HardSwish] {
            both_agree(SMALL, Some(24), 40, [after; 3], false);
        }
        both_agree(SMALL, Some(24), 24, [After::Silu, After::Gelu, After::Relu], true);
    }

    #[test]
    #[should_panic(expected = "InvertedResidual")]
    fn a_wrong_length_is_named() {
        let (depthwise, project) =
            (FoldedDepthwise::new(3, &[0.0; 9 * 48], &[0.0; 48], vec![0.0; 48]), pointwise::<f32>(48, 24, 1));
        let block = InvertedResidual {
            expand: None,
            depthwise: (&depthwise, After::Relu),
            project: (&project, After::Relu),
            residual: None,
        };
        block.forward(&SMALL, &[0.0; 48], &mut []);
    }
}
