//! The embedding before the blocks: converts patches to tokens, and adds the class token and the positions.

use std::sync::Arc;

use candle_core::Tensor;
use tallow_kernels as kernels;
use tallow_kernels::{After, ConvShape, Padding};

use super::VisionTransformerConfig;
use super::dense::Dense;
use super::positions::resampled;
use crate::act::Act;
use crate::candle_ops;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::folded::Slot;
use crate::graph::{Constant, Op};
use crate::host;
use crate::init::Init;
use crate::map::{Buffer, MapElement};
use crate::params::{Param, Scope};

pub(super) struct Embedding {
    config: VisionTransformerConfig,
    class: Param,
    positions: Param,
    proj: Dense,
    /// The positions for images of the config's size.
    resampled: Slot<Vec<f32>>,
}

impl Embedding {
    pub(super) fn new(scope: &mut Scope<'_>, config: &VisionTransformerConfig) -> Result<Self> {
        let VisionTransformerConfig { patch_px, n_side, width, .. } = *config;
        let zeros = Init::Constant(0.0);
        Ok(Self {
            config: *config,
            class: scope.param("cls_token", &[1, 1, width], zeros)?,
            positions: scope.param("pos_embed", &[1, 1 + n_side * n_side, width], zeros)?,
            proj: Dense::new(
                &mut scope.sub("patch_embed.proj"),
                &[width, 3, patch_px, patch_px],
                After::Nothing,
            )?,
            resampled: Slot::default(),
        })
    }

    /// Returns the name of the patch weight, for error messages.
    pub(super) fn name(&self) -> &str {
        self.proj.weight().name()
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        [&self.class, &self.positions].into_iter().chain(self.proj.params())
    }

    fn shape(&self, n: usize) -> ConvShape {
        let VisionTransformerConfig { input_px: [h, w], patch_px: k, width, .. } = self.config;
        let padding = Padding::Symmetric(0);
        ConvShape { n, h, w, c_in: 3, c_out: width, k_h: k, k_w: k, stride: k, padding }
    }

    /// Returns the positions for images of the config's size, interpolated from the learnt ones, which may be on any device.
    fn positions(&self) -> Result<Arc<Vec<f32>>> {
        let VisionTransformerConfig { n_side, positions, width, .. } = self.config;
        self.resampled.get_or_make(self.positions.generation(), || {
            let learnt = host::to_vec(&self.positions.var().as_detached_tensor())?;
            Ok(resampled(&learnt, n_side, self.config.grid(), width, positions))
        })
    }

    /// Converts images (n, h, w, 3) to tokens (n, tokens, width).
    pub(super) fn infer<E: MapElement>(&self, n: usize, x: &[E]) -> Result<Buffer<E>> {
        let patches = self.proj.convolve(&self.shape(n), x, None)?;
        let positions = self.positions()?;
        let mut tokens = Buffer::<E>::dirty(n * positions.len());
        self.class.read(|class| kernels::embed_tokens(&patches, class, &positions, &mut tokens))?;
        Ok(tokens)
    }

    /// Records the same of (n, 3, h, w). A row of zeros makes room for the class token, which is added with its position.
    pub(super) fn record(&self, x: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (VisionTransformerConfig { width, patch_px, .. }, [rows, columns]) =
            (self.config, self.config.grid());
        let n_patches = rows * columns;
        let [weight, bias] = self.proj.constants()?;
        let conv = Op::Conv2d { weight, bias: Some(bias), stride: patch_px, padding: [0; 4], groups: 1 };
        let map = ctx.node(conv, &[x], vec![width, rows, columns])?;
        let map = ctx.node(Op::Reshape(vec![width, n_patches]), &[&map], vec![width, n_patches])?;
        let patches = ctx.node(Op::Transpose(vec![0, 2, 1]), &[&map], vec![n_patches, width])?;
        let room = Op::Pad { before: vec![1, 0], after: vec![0, 0] };
        let tokens = ctx.node(room, &[&patches], vec![1 + n_patches, width])?;
        let learnt = Constant::learned(&self.positions)?;
        // of a network of shapes there are no values to interpolate
        let mut values = if learnt.values.is_empty() { Vec::new() } else { self.positions()?.to_vec() };
        let class = Constant::learned(&self.class)?;
        values.iter_mut().zip(&class.values).for_each(|(position, class)| *position += class);
        let shape = vec![1, 1 + n_patches, width];
        ctx.map_node(Op::AddConstant(Constant { shape, values, ..learnt }), &tokens)
    }

    /// Converts images (n, 3, h, w) to tokens on the Candle backend.
    pub(super) fn infer_candle(&self, x: &Tensor) -> Result<Tensor> {
        let (n, width) = (x.dim(0)?, self.config.width);
        let weight = self.proj.weight().var().as_detached_tensor();
        let patches = candle_ops::conv2d(x, &weight, &self.shape(n))?;
        let patches = patches.flatten_from(2)?.transpose(1, 2)?.broadcast_add(&self.proj.bias_candle())?;
        let class = self.class.var().as_detached_tensor().repeat((n, 1, 1))?;
        let positions = self.positions()?;
        let positions = Tensor::from_slice(&positions, (1, positions.len() / width, width), x.device())?;
        Ok(Tensor::cat(&[class, patches], 1)?.broadcast_add(&positions)?)
    }
}
