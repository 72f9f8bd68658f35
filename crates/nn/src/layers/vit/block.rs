//! A block of a vision transformer: attention between the tokens, then two dense layers on each token. Both results are added to
//! their inputs.

use candle_core::Tensor;
use tallow_kernels as kernels;
use tallow_kernels::{After, AttentionShape};

use super::dense::Dense;
use super::{EPS, VisionTransformerConfig};
use crate::act::Act;
use crate::ctx::Ctx;
use crate::error::Result;
use crate::graph::Op;
use crate::init::Init;
use crate::layers::LayerNorm;
use crate::map::{Buffer, MapElement};
use crate::params::{Param, Scope};

/// Units of the hidden layer, as a multiple of a token's width.
const MLP_RATIO: usize = 4;

pub(super) struct Block {
    heads: usize,
    width: usize,
    norms: [LayerNorm; 2],
    qkv: Dense,
    proj: Dense,
    fc1: Dense,
    fc2: Dense,
}

impl Block {
    pub(super) fn new(scope: &mut Scope<'_>, config: &VisionTransformerConfig) -> Result<Self> {
        let (c, hidden) = (config.width, MLP_RATIO * config.width);
        let mut scale = |part: &str| -> Result<Option<Param>> {
            let declare = || scope.sub(part).param("gamma", &[c], Init::Constant(1.0));
            config.layer_scale.then(declare).transpose()
        };
        let [ls1, ls2] = [scale("ls1")?, scale("ls2")?];
        let norms = [
            LayerNorm::new(&mut scope.sub("norm1"), c, EPS)?,
            LayerNorm::new(&mut scope.sub("norm2"), c, EPS)?,
        ];
        let mut dense = |name: &str, dims, after| Dense::new(&mut scope.sub(name), dims, after);
        Ok(Self {
            heads: config.heads,
            width: c,
            norms,
            qkv: dense("attn.qkv", &[3 * c, c], After::Nothing)?,
            proj: dense("attn.proj", &[c, c], After::Nothing)?.scaled(ls1),
            fc1: dense("mlp.fc1", &[hidden, c], After::Gelu)?,
            fc2: dense("mlp.fc2", &[c, hidden], After::Nothing)?.scaled(ls2),
        })
    }

    pub(super) fn params(&self) -> impl Iterator<Item = &Param> {
        let of_dense = [&self.qkv, &self.proj, &self.fc1, &self.fc2].into_iter().flat_map(Dense::params);
        self.norms.iter().flat_map(LayerNorm::params).chain(of_dense)
    }

    /// Applies the block to tokens (n, tokens, width).
    pub(super) fn infer<E: MapElement>(&self, n: usize, tokens: Buffer<E>) -> Result<Buffer<E>> {
        let (width, heads) = (self.width, self.heads);
        let shape =
            AttentionShape { n, tokens: tokens.len() / (n * width), heads, head_width: width / heads };
        let qkv = self.qkv.rows::<E>(&self.norms[0].infer(&tokens)?, None)?;
        let mut mixed = Buffer::<E>::dirty(tokens.len());
        kernels::attention(&shape, &qkv, &mut mixed);
        let tokens = self.proj.rows::<E>(&mixed, Some(&tokens))?;
        let hidden = self.fc1.rows::<E>(&self.norms[1].infer(&tokens)?, None)?;
        self.fc2.rows::<E>(&hidden, Some(&tokens))
    }

    pub(super) fn infer_candle(&self, tokens: &Tensor) -> Result<Tensor> {
        let mixed = self.attend_candle(&self.qkv.rows_candle(&self.norms[0].infer_candle(tokens)?, None)?)?;
        let tokens = self.proj.rows_candle(&mixed, Some(tokens))?;
        let hidden = self.fc1.rows_candle(&self.norms[1].infer_candle(&tokens)?, None)?;
        self.fc2.rows_candle(&hidden, Some(&tokens))
    }

    /// Records the same.
    pub(super) fn record(&self, tokens: &Act, ctx: &mut Ctx) -> Result<Act> {
        let normal = self.norms[0].record(tokens, ctx)?;
        let qkv = self.qkv.record(&normal, None, ctx)?;
        let mixed = self.record_attention(&qkv, ctx)?;
        let tokens = self.proj.record(&mixed, Some(tokens), ctx)?;
        let normal = self.norms[1].record(&tokens, ctx)?;
        let hidden = self.fc1.record(&normal, None, ctx)?;
        self.fc2.record(&hidden, Some(&tokens), ctx)
    }

    fn record_attention(&self, qkv: &Act, ctx: &mut Ctx) -> Result<Act> {
        let (width, heads, tokens) = (self.width, self.heads, qkv.dims().h);
        let d = width / heads;
        let mut by_head = |i: usize, axes: [usize; 4], shape: [usize; 3]| {
            let slice = Op::Slice { axis: 2, start: i * width, end: (i + 1) * width };
            let part = ctx.node(slice, &[qkv], vec![tokens, width])?;
            let split = vec![tokens, heads, d];
            let part = ctx.node(Op::Reshape(split.clone()), &[&part], split)?;
            ctx.node(Op::Transpose(axes.to_vec()), &[&part], shape.to_vec())
        };
        let queries = by_head(0, [0, 2, 1, 3], [heads, tokens, d])?;
        let keys = by_head(1, [0, 2, 3, 1], [heads, d, tokens])?;
        let values = by_head(2, [0, 2, 1, 3], [heads, tokens, d])?;
        let queries = ctx.map_node(Op::Scale((1.0 / (d as f64).sqrt()) as f32), &queries)?;
        let scores = ctx.node(Op::MatMul, &[&queries, &keys], vec![heads, tokens, tokens])?;
        let shares = ctx.map_node(Op::Softmax, &scores)?;
        let mixed = ctx.node(Op::MatMul, &[&shares, &values], vec![heads, tokens, d])?;
        let mixed = ctx.node(Op::Transpose(vec![0, 2, 1, 3]), &[&mixed], vec![tokens, heads, d])?;
        ctx.node(Op::Reshape(vec![tokens, width]), &[&mixed], vec![tokens, width])
    }

    /// Computes attention: (n, tokens, 3 * width) to (n, tokens, width).
    fn attend_candle(&self, qkv: &Tensor) -> Result<Tensor> {
        let (n, tokens, _) = qkv.dims3()?;
        let d = self.width / self.heads;
        let by_head = qkv.reshape((n, tokens, 3, self.heads, d))?.permute((2, 0, 3, 1, 4))?;
        let part = |i: usize| by_head.get(i)?.contiguous(); // (n, heads, tokens, d)
        let queries = (part(0)? * (1.0 / (d as f64).sqrt()))?;
        let scores = queries.matmul(&part(1)?.transpose(2, 3)?)?;
        let mixed = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&part(2)?)?;
        Ok(mixed.transpose(1, 2)?.reshape((n, tokens, self.width))?)
    }
}
