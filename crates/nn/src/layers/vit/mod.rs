//! Vision transformers, for inference: patches become tokens, which blocks of attention and dense layers change.
//!
//! ```text
//! tokens = [class, patches of the image, each by one linear map] + positions           embed.rs, positions.rs
//! for each block:                                                                        block.rs
//!     tokens += scale1 * proj(attention(qkv(norm1(tokens))))
//!     tokens += scale2 * fc2(gelu(fc1(norm2(tokens))))
//! features = of norm(tokens): the class token, and the mean of the others where that is asked for
//! ```
//!
//! On the kernel path every dense layer is a 1x1 convolution whose bias, GELU, scale and residual happen in its loop
//! (`dense.rs`). Nothing here gives a gradient, so that a network that learns refuses to be trained.

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
use crate::device::Path;
use crate::error::{NnError, Result};
use crate::graph::Op;
use crate::map::{Buffer, HostMap, MapElement};
use crate::params::{Param, Scope};

/// Added to the variance in norms, in the paper's code and in timm.
const EPS: f64 = 1e-6;

/// Tokens that go through at once: so many that every thread has work, so few that a block's maps are still in the cache when
/// it reads them. Results do not depend on it.
const MAX_TOKENS: usize = 4096;

/// What a [`VisionTransformer`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VisionTransformerConfig {
    /// Rows and columns of the images: whole patches.
    pub input_px: [usize; 2],
    /// Rows and columns of a patch.
    pub patch_px: usize,
    /// Patches in a row and in a column of the images that positions were learnt on.
    pub n_side: usize,
    /// How positions become those of `input_px`.
    pub positions: PositionResize,
    /// Numbers of a token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of a block's attention, which share the width.
    pub heads: usize,
    /// Whether what a block adds is scaled, channel by channel.
    pub layer_scale: bool,
    /// What the features are.
    pub features: TokenFeatures,
}

/// What of the tokens, after the last norm, are the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenFeatures {
    /// The class token.
    Class,
    /// The class token, and the mean of the patches' tokens beside it.
    ClassAndMean,
}

/// A vision transformer with timm's names, without its classifier: (n, 3, h, w) to (n, features). Layer norms' epsilon is 1e-6
/// and GELU exact, as in the paper's code.
///
/// It is for inference: in training it must be frozen, and gives no gradient of its input.
///
/// # Parameters
/// `cls_token` (1, 1, width), `pos_embed` (1, 1 + n_side * n_side, width), `patch_embed.proj` (width, 3, patch_px, patch_px), of
/// each block `norm1`, `attn.qkv`, `attn.proj`, `ls1.gamma`, `norm2`, `mlp.fc1`, `mlp.fc2`, `ls2.gamma`, and `norm`; all that have
/// no shape here have `weight` and `bias`, but for the two `gamma`. Matrices start at 0: nobody trains them here.
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
    /// Patches in a column and in a row.
    fn grid(&self) -> [usize; 2] {
        self.input_px.map(|px| px / self.patch_px)
    }

    fn n_tokens(&self) -> usize {
        1 + self.grid().iter().product::<usize>()
    }

    /// Numbers per image that come out.
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
    /// If a size is 0, images are no whole patches or heads do not share the width, or a name is taken.
    pub fn new(scope: &mut Scope<'_>, config: VisionTransformerConfig) -> Result<Self> {
        let VisionTransformerConfig { input_px: [h, w], patch_px, n_side, width, heads, .. } = config;
        if [h, w, patch_px, n_side, width, heads].contains(&0)
            || !h.is_multiple_of(patch_px)
            || !w.is_multiple_of(patch_px)
            || !width.is_multiple_of(heads)
        {
            return Err(NnError::shape(
                scope.name(),
                format!("no vision transformer has these sizes: {config:?}"),
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

    /// Fails unless `x` has the size, and nothing learns in training.
    fn check(&self, x: Dims, ctx: &Ctx) -> Result<()> {
        let [h, w] = self.config.input_px;
        let name = self.embedding.name();
        if [x.c, x.h, x.w] != [3, h, w] {
            return Err(NnError::shape(name, format!("expected 3 channels of {h} x {w} pixels, got {x}")));
        }
        if ctx.is_training() && self.params().any(|param| !param.is_frozen()) {
            return Err(NnError::shape(name, "a vision transformer is not trained here: freeze it"));
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

    /// The features of `n` images.
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
        match ctx.path() {
            Path::Kernels => in_precision!(ctx, E => self.forward_kernels::<E>(&x)),
            Path::Candle => self.forward_candle(&x),
            Path::Graph => self.record(&x, ctx),
        }
    }
}

#[cfg(test)]
mod tests;
