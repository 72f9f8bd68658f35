//! Vision transformers, for inference: patches become tokens, and blocks of attention and dense layers update them.
//!
//! ```text
//! tokens = [class, patches of the image, each by one linear map] + positions           embed.rs, positions.rs
//! for each block:                                                                        block.rs
//!     tokens += scale1 * proj(attention(qkv(norm1(tokens))))
//!     tokens += scale2 * fc2(gelu(fc1(norm2(tokens))))
//! features = the class token of norm(tokens), and the mean of its other tokens if the config says so
//! ```
//!
//! On the kernel backend every dense layer is a 1x1 convolution; bias, GELU, scale and residual are computed in its loop
//! (`dense.rs`). There are no gradients here: a training pass fails unless all parameters are frozen.

mod block;
mod dense;
mod embed;
mod positions;

use candle_core::{DType, Tensor};
use tallow_kernels as kernels;

use self::block::Block;
use self::embed::Embedding;
pub use self::positions::PositionResize;
use super::{Layer, LayerNorm, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::Op;
use crate::map::{Buffer, HostMap, MapElement};
use crate::params::{Param, Scope};

/// Epsilon of norms, as in the paper's code and in timm.
const EPS: f64 = 1e-6;

/// Largest number of tokens that go through the network at once. It is large enough that every thread has work, and small enough
/// that a block's maps are still in the cache when the block reads them. Results do not depend on it.
const MAX_TOKENS: usize = 4096;

/// The shape of a [`VisionTransformer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisionTransformerConfig {
    /// Rows and columns of the images: multiples of `patch_px`.
    pub input_px: [usize; 2],
    /// Rows and columns of a patch.
    pub patch_px: usize,
    /// Patches in a row, and in a column, of the images that positions were learnt on.
    pub n_side: usize,
    /// Interpolation of the positions to `input_px`.
    pub positions: PositionResize,
    /// Values per token.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of attention heads of a block. Each has an equal part of the width.
    pub heads: usize,
    /// Whether a learned factor per channel scales the branches of a block.
    pub layer_scale: bool,
    /// The features that the network returns.
    pub features: TokenFeatures,
}

/// The tokens, after the last norm, that are the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFeatures {
    /// The class token.
    Class,
    /// The class token and the mean of the patch tokens, side by side.
    ClassAndMean,
}

/// A vision transformer with timm's names, without its classifier: (n, 3, h, w) to (n, features). Layer norms have epsilon 1e-6,
/// and GELU is exact, as in the paper's code.
///
/// It is for inference. In training it must be frozen, and it gives no gradient of its input.
///
/// # Parameters
/// - `cls_token` (1, 1, width) and `pos_embed` (1, 1 + n_side * n_side, width)
/// - `patch_embed.proj`: `weight` (width, 3, patch_px, patch_px) and `bias`
/// - for each block: `weight` and `bias` of `norm1`, `attn.qkv`, `attn.proj`, `norm2`, `mlp.fc1` and `mlp.fc2`; with layer scale
///   also `ls1.gamma` and `ls2.gamma`
/// - `norm`: `weight` and `bias`
///
/// Tokens, positions and matrices are initially 0, because they are not trained here.
///
/// # Source
/// Dosovitskiy et al. 2021, <https://arxiv.org/abs/2010.11929>; layer scale: Touvron et al. 2021,
/// <https://arxiv.org/abs/2103.17239>.
pub struct VisionTransformer {
    config: VisionTransformerConfig,
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: LayerNorm,
}

impl VisionTransformerConfig {
    /// Returns the number of patches in a column, and in a row.
    fn grid(&self) -> [usize; 2] {
        self.input_px.map(|px| px / self.patch_px)
    }

    fn n_tokens(&self) -> usize {
        1 + self.grid().iter().product::<usize>()
    }

    /// Returns the number of features per image.
    pub fn n_features(&self) -> usize {
        match self.features {
            TokenFeatures::Class => self.width,
            TokenFeatures::ClassAndMean => 2 * self.width,
        }
    }
}

impl VisionTransformer {
    /// Declares the network in `scope`.
    ///
    /// # Errors
    /// If a size is 0, images are not whole patches, the width is not a multiple of the heads, or a name is taken.
    pub fn new(scope: &mut Scope<'_>, config: VisionTransformerConfig) -> Result<Self> {
        let VisionTransformerConfig { input_px: [h, w], patch_px, n_side, width, heads, .. } = config;
        if [h, w, patch_px, n_side, width, heads].contains(&0)
            || !h.is_multiple_of(patch_px)
            || !w.is_multiple_of(patch_px)
            || !width.is_multiple_of(heads)
        {
            return Err(NnError::shape(
                scope.name(),
                format!("these sizes do not make a vision transformer: {config:?}"),
            ));
        }
        let embedding = Embedding::new(scope, &config)?;
        let mut blocks = Vec::with_capacity(config.depth);
        for i in 0..config.depth {
            blocks.push(Block::new(&mut scope.sub("blocks").sub(i), &config)?);
        }
        let norm = LayerNorm::new(&mut scope.sub("norm"), width, EPS)?;
        Ok(Self { config, embedding, blocks, norm })
    }

    /// Fails unless `x` has the config's size and, in training, all parameters are frozen.
    fn check(&self, x: Dims, ctx: &Ctx) -> Result<()> {
        let [h, w] = self.config.input_px;
        let name = self.embedding.name();
        if [x.c, x.h, x.w] != [3, h, w] {
            return Err(NnError::shape(name, format!("expected 3 channels of {h} x {w} pixels, got {x}")));
        }
        if ctx.is_training() && self.params().any(|param| !param.is_frozen()) {
            return Err(NnError::shape(name, "vision transformers cannot be trained here: freeze it"));
        }
        Ok(())
    }

    fn params(&self) -> impl Iterator<Item = &Param> {
        let of_blocks = self.blocks.iter().flat_map(Block::params);
        self.embedding.params().chain(of_blocks).chain(self.norm.params())
    }

    fn forward_kernels<E: MapElement>(&self, x: &Act) -> Result<Act> {
        let (dims, n_features) = (x.dims(), self.config.n_features());
        let x = x.as_map::<E>(self.embedding.name())?;
        let per_group = (MAX_TOKENS / self.config.n_tokens()).max(1);
        let mut features = Buffer::<f32>::dirty(dims.n * n_features);
        let groups = x.chunks(per_group * dims.c * dims.h * dims.w);
        for (x, features) in groups.zip(features.chunks_mut(per_group * n_features)) {
            self.infer(features.len() / n_features, x, features)?;
        }
        Ok(Act::host(self.dims(dims.n), features, false))
    }

    /// Writes the features of `n` images to `features`.
    fn infer<E: MapElement>(&self, n: usize, x: &[E], features: &mut [f32]) -> Result<()> {
        let VisionTransformerConfig { width, .. } = self.config;
        let n_tokens = self.config.n_tokens();
        let mut tokens = self.embedding.infer(n, x)?;
        for block in &self.blocks {
            tokens = block.infer(n, tokens)?;
        }
        match self.config.features {
            TokenFeatures::Class => {
                let class: Vec<E> =
                    tokens.chunks(n_tokens * width).flat_map(|image| image[..width].to_vec()).collect();
                let wide = f32::of(&HostMap::from(Buffer::from_vec(class)));
                features.copy_from_slice(&self.norm.infer::<f32>(&wide)?);
            }
            TokenFeatures::ClassAndMean => {
                let normal = self.norm.infer::<f32>(&f32::of(&HostMap::from(tokens)))?;
                kernels::class_and_mean_token(n_tokens, width, &normal, features);
            }
        }
        Ok(())
    }

    fn forward_candle(&self, x: &Act) -> Result<Act> {
        let dims = self.dims(x.dims().n);
        let x = x.as_candle(self.embedding.name())?.detach().to_dtype(DType::F32)?;
        let mut tokens = self.embedding.infer_candle(&x)?;
        for block in &self.blocks {
            tokens = block.infer_candle(&tokens)?;
        }
        let class = |tokens: &Tensor| tokens.narrow(1, 0, 1);
        let features = match self.config.features {
            TokenFeatures::Class => self.norm.infer_candle(&class(&tokens)?.contiguous()?)?,
            TokenFeatures::ClassAndMean => {
                let normal = self.norm.infer_candle(&tokens)?;
                let patches = normal.narrow(1, 1, self.config.n_tokens() - 1)?;
                Tensor::cat(&[class(&normal)?, patches.mean_keepdim(1)?], 2)?
            }
        };
        Ok(Act::candle(dims, features.reshape((dims.n, dims.c, 1, 1))?))
    }

    fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let VisionTransformerConfig { width, .. } = self.config;
        let n_tokens = self.config.n_tokens();
        let mut tokens = self.embedding.record(x, ctx)?;
        for block in &self.blocks {
            tokens = block.record(&tokens, ctx)?;
        }
        let normal = self.norm.record(&tokens, ctx)?;
        let class = ctx.node(Op::Slice { axis: 1, start: 0, end: 1 }, &[&normal], vec![1, width])?;
        let class = ctx.flat(&class)?;
        match self.config.features {
            TokenFeatures::Class => Ok(class),
            TokenFeatures::ClassAndMean => {
                let rest = Op::Slice { axis: 1, start: 1, end: n_tokens };
                let patches = ctx.node(rest, &[&normal], vec![n_tokens - 1, width])?;
                let mean = ctx.node(Op::Mean { axis: 1 }, &[&patches], vec![width])?;
                ctx.node(Op::Concat { axis: 1 }, &[&class, &mean], vec![2 * width])
            }
        }
    }

    fn dims(&self, n: usize) -> Dims {
        Dims { n, c: self.config.n_features(), h: 1, w: 1 }
    }
}

impl Layer for VisionTransformer {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        self.check(x.dims(), ctx)?;
        match ctx.backend() {
            Backend::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x)),
            Backend::Candle => self.forward_candle(&x),
            Backend::Graph => self.record(&x, ctx),
        }
    }
}

#[cfg(test)]
mod tests;
