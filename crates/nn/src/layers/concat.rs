//! Maps side by side: of branches, and of layers one after another.

use candle_core::Tensor;
use tallow_kernels as kernels;

use super::residual::total;
use super::{ConvNormAct, Layer, Sequential, in_precision};
use crate::act::{Act, Dims};
use crate::ctx::{Ctx, Tape};
use crate::device::Path;
use crate::error::{NnError, Result};
use crate::graph::Op;
use crate::map::{Buffer, HostMap, MapElement};

/// What a part of a [`Concat`] takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// What the whole takes.
    Input,
    /// What the part before it gives; of the first part, what the whole takes.
    Last,
}

/// The maps that its parts give, their channels side by side: `torch.cat` along dimension 1. Each part takes the input, or what
/// the part before it gives, so that parallel branches are one of these as well as a chain whose every link is kept.
///
/// # Source
/// Huang et al. 2016, <https://arxiv.org/abs/1608.06993>; of chains Lee et al. 2019, <https://arxiv.org/abs/1904.09730>
#[derive(Default)]
pub struct Concat {
    parts: Vec<(Sequential, Takes)>,
    /// What mixes the channels.
    then: Option<ConvNormAct>,
}

/// What undoes a part, with its channels and whether it took what the one before it gave.
struct PartTape {
    tape: Tape,
    width: usize,
    takes: Takes,
}

impl Concat {
    /// No part yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a part; without layers it gives what it takes.
    pub fn push(&mut self, layers: Sequential, takes: Takes) {
        self.parts.push((layers, takes));
    }

    /// The same, and `conv` of the joined maps: a 1x1 convolution reads them where they are in inference, so that no map of all of
    /// them is in memory.
    pub fn then(self, conv: ConvNormAct) -> Self {
        Self { then: Some(conv), ..self }
    }

    /// The parts' maps joined, and what undoes that and them.
    fn join(&self, maps: &[Act], tapes: Vec<PartTape>, x_needs_grad: bool, ctx: &mut Ctx) -> Result<Act> {
        let dims = joined_dims(maps)?;
        if ctx.path() == Path::Graph {
            let maps: Vec<&Act> = maps.iter().collect();
            return ctx.node(Op::Concat { axis: 1 }, &maps, vec![dims.c, dims.h, dims.w]);
        }
        if ctx.path() == Path::Candle {
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
            && ctx.path() == Path::Kernels
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

/// Of maps of one size.
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

/// The gradient of `width` channels from `first` on of the `c` joined ones, and what the part after them adds to it.
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
