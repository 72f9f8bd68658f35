//! Concatenates the channels of maps from parallel branches, or from layers in a row.

use candle_core::Tensor;
use tallow_kernels as kernels;

use super::residual::total;
use super::{ConvNormAct, Layer, Sequential, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::{Ctx, Tape};
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::Op;
use crate::map::{Buffer, HostMap, MapElement};

/// The input of a part of a [`Concat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// The input of the whole layer.
    Input,
    /// The output of the part before it; for the first part, the input of the whole layer.
    Last,
}

/// Concatenates the channels of its parts' outputs: `torch.cat` along dimension 1. Each part reads the input, or the output of
/// the part before it. So the parts can be parallel branches, or a chain with all of its intermediate maps.
///
/// # Source
/// Huang et al. 2016, <https://arxiv.org/abs/1608.06993>; for chains Lee et al. 2019, <https://arxiv.org/abs/1904.09730>
#[derive(Default)]
pub struct Concat {
    parts: Vec<(Sequential, Takes)>,
    /// The convolution that mixes the concatenated channels.
    then: Option<ConvNormAct>,
}

/// The tape of a part, with its number of output channels and its kind of input.
struct PartTape {
    tape: Tape,
    width: usize,
    takes: Takes,
}

impl Concat {
    /// Returns a layer without parts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a part. A part without layers returns its input.
    pub fn push(&mut self, layers: Sequential, takes: Takes) {
        self.parts.push((layers, takes));
    }

    /// Applies `conv` to the concatenated maps. In inference, a 1x1 convolution reads the separate maps, so the concatenated map
    /// is never in memory.
    pub fn then(self, conv: ConvNormAct) -> Self {
        Self { then: Some(conv), ..self }
    }

    /// Concatenates the parts' maps, and pushes the backward pass of the concatenation and of the parts.
    fn join(&self, maps: &[Act], tapes: Vec<PartTape>, x_needs_grad: bool, ctx: &mut Ctx) -> Result<Act> {
        let dims = joined_dims(maps)?;
        if ctx.backend() == Backend::Graph {
            let maps: Vec<&Act> = maps.iter().collect();
            return ctx.node(Op::Concat { axis: 1 }, &maps, vec![dims.c, dims.h, dims.w]);
        }
        if ctx.backend() == Backend::Candle {
            let maps = maps.iter().map(|map| map.as_candle("concat")).collect::<Result<Vec<_>>>()?;
            return Ok(Act::candle(dims, Tensor::cat(&maps, 1)?));
        }
        in_precision!(ctx, E => {
            ctx.push_map(move |dy, grads| {
                let (dy, mut end) = (E::of(&dy), dims.c);
                let (mut of_input, mut of_part) = (None::<HostMap>, None::<HostMap>);
                for PartTape { tape, width, takes } in tapes.into_iter().rev() {
                    end -= width;
                    let grad = part_gradient::<E>(&dy, dims.c, [end, width], of_part.take());
                    let below = tape.backward(grad, grads)?;
                    if takes == Takes::Last && end > 0 {
                        of_part = below;
                    } else {
                        of_input = total::<E>(of_input, below);
                    }
                }
                Ok(of_input.filter(|_| x_needs_grad))
            });
            join::<E>(maps, dims)
        })
    }
}

impl Layer for Concat {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x_needs_grad = x.needs_grad();
        let (mut maps, mut tapes) = (Vec::<Act>::new(), Vec::new());
        for &(ref layers, takes) in &self.parts {
            let from = maps.last().filter(|_| takes == Takes::Last).unwrap_or(&x).clone();
            let (y, tape) = ctx.branch(|ctx| layers.forward(from, ctx))?;
            tapes.push(PartTape { tape, width: y.dims().c, takes });
            maps.push(y);
        }
        if let Some(conv) = &self.then
            && ctx.backend() == Backend::Kernels
            && !ctx.is_training()
            && let Some(y) = in_precision!(ctx, E => conv.infer_joined::<E>(&maps, joined_dims(&maps)?))?
        {
            return Ok(y);
        }
        let joined = self.join(&maps, tapes, x_needs_grad, ctx)?;
        match &self.then {
            Some(conv) => conv.forward(joined, ctx),
            None => Ok(joined),
        }
    }
}

/// Returns the size of the concatenated map. Fails unless all maps have the same images, rows and columns.
fn joined_dims(maps: &[Act]) -> Result<Dims> {
    let Some(first) = maps.first().map(Act::dims) else {
        return Err(NnError::shape("concat", "it has no parts"));
    };
    match maps.iter().map(Act::dims).find(|dims| Dims { c: first.c, ..*dims } != first) {
        Some(other) => Err(NnError::shape("concat", format!("maps of {first} and of {other}"))),
        None => Ok(Dims { c: maps.iter().map(|map| map.dims().c).sum(), ..first }),
    }
}

fn join<E: MapElement>(maps: &[Act], dims: Dims) -> Result<Act> {
    let needs_grad = maps.iter().any(Act::needs_grad);
    let buffers = maps.iter().map(|map| map.as_map::<E>("concat")).collect::<Result<Vec<_>>>()?;
    let parts = buffers.iter().zip(maps).map(|(buffer, map)| (&***buffer, map.dims().c));
    let mut y = Buffer::<E>::dirty(dims.len());
    kernels::concat_channels(&parts.collect::<Vec<_>>(), &mut y);
    Ok(Act::host(dims, y, needs_grad))
}

/// Returns the gradient of the `width` channels from `first` on, out of `c` concatenated channels, plus the gradient `other` from
/// the part that reads them.
fn part_gradient<E: MapElement>(
    dy: &[E],
    c: usize,
    [first, width]: [usize; 2],
    other: Option<HostMap>,
) -> HostMap {
    let other = other.map(|other| E::of(&other));
    let mut part = Buffer::<E>::dirty(dy.len() / c * width);
    kernels::take_channels(dy, c, first, width, other.as_ref().map(|other| &***other), &mut part);
    part.into()
}
