//! The residual block: a branch added to a shortcut.

use tallow_kernels as kernels;

use super::{ConvNormAct, Layer, Sequential, in_precision};
use crate::act::Act;
use crate::ctx::{Ctx, Tape};
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::graph::Op;
use crate::map::{Buffer, HostMap, MapElement};

/// `y = branch(x) + shortcut(x)`. Without a shortcut layer, `x` itself is added.
///
/// # Source
/// He et al. 2015, <https://arxiv.org/abs/1512.03385>
pub struct Residual {
    branch: Box<dyn Layer>,
    shortcut: Option<Box<dyn Layer>>,
}

impl Residual {
    /// Returns a block of `branch` and `shortcut`.
    pub fn new(branch: impl Layer + 'static, shortcut: Option<Box<dyn Layer>>) -> Self {
        Self { branch: Box::new(branch), shortcut }
    }

    fn add_kernels<E: MapElement>(branch: &Act, shortcut: &Act) -> Result<Act> {
        let needs_grad = branch.needs_grad() || shortcut.needs_grad();
        let sum = sum::<E>(&branch.as_map("residual")?, &shortcut.as_map("residual")?);
        Ok(Act::host(branch.dims(), sum, needs_grad))
    }
}

impl Layer for Residual {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x_needs_grad = x.needs_grad();
        let (branch, branch_tape) = ctx.branch(|ctx| self.branch.forward(x.clone(), ctx))?;
        let (shortcut, shortcut_tape) = match &self.shortcut {
            Some(layer) => ctx.branch(|ctx| layer.forward(x, ctx))?,
            None => (x, Tape::default()),
        };
        let dims = branch.dims();
        if dims != shortcut.dims() {
            return Err(NnError::shape("residual", format!("branch {dims}, shortcut {}", shortcut.dims())));
        }
        if ctx.backend() != Backend::Kernels {
            return add_acts(&branch, &shortcut, ctx);
        }
        in_precision!(ctx, E => {
            ctx.push_map(move |dy, grads| {
                let through_branch = branch_tape.backward(dy.clone(), grads)?;
                let through_shortcut = shortcut_tape.backward(dy, grads)?;
                Ok(total::<E>(through_branch, through_shortcut).filter(|_| x_needs_grad))
            });
            Self::add_kernels::<E>(&branch, &shortcut)
        })
    }
}

/// A residual block with fewer passes over memory: `y = act(norm(conv(branch(x))) + shortcut(x))`. `last` holds the convolution,
/// the norm and the activation, which is ReLU in ResNets. Without a shortcut layer, `x` itself is added.
pub struct ResidualBlock<B = Sequential> {
    pub(super) branch: B,
    pub(super) last: ConvNormAct,
    shortcut: Option<ConvNormAct>,
}

impl<B: Layer> ResidualBlock<B> {
    /// Returns a block of these parts.
    pub fn new(branch: B, last: ConvNormAct, shortcut: Option<ConvNormAct>) -> Self {
        Self { branch, last, shortcut }
    }

    fn train<E: MapElement>(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x_needs_grad = x.needs_grad();
        let (branch, branch_tape) = ctx.branch(|ctx| self.branch.forward(x.clone(), ctx))?;
        let (shortcut, shortcut_tape) = match &self.shortcut {
            Some(layer) => ctx.branch(|ctx| layer.forward(x, ctx))?,
            None => (x, Tape::default()),
        };
        if !self.last.needs_grad(&branch, Some(&shortcut)) {
            return self.last.forward_with(branch, Some(shortcut), ctx);
        }
        let (y, undo) = self.last.train::<E>(&branch, Some(&shortcut), ctx)?;
        ctx.push_map(move |dy, grads| {
            let (dbranch, dshortcut) = undo.run(dy, grads)?;
            let through_branch = match dbranch {
                Some(dbranch) => branch_tape.backward(dbranch, grads)?,
                None => None,
            };
            let through_shortcut = shortcut_tape.backward(dshortcut, grads)?;
            Ok(total::<E>(through_branch, through_shortcut).filter(|_| x_needs_grad))
        });
        Ok(y)
    }
}

impl<B: Layer> Layer for ResidualBlock<B> {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        if ctx.backend() == Backend::Kernels && ctx.is_training() {
            return in_precision!(ctx, E => self.train::<E>(x, ctx));
        }
        let branch = self.branch.forward(x.clone(), ctx)?;
        let shortcut = match &self.shortcut {
            Some(layer) => layer.forward(x, ctx)?,
            None => x,
        };
        self.last.forward_with(branch, Some(shortcut), ctx)
    }
}

/// Returns the sum of two activations on a path that fuses nothing.
pub(super) fn add_acts(a: &Act, b: &Act, ctx: &mut Ctx) -> Result<Act> {
    if ctx.backend() == Backend::Graph {
        let shape = ctx.shape_of(a)?;
        return ctx.node(Op::Add, &[a, b], shape);
    }
    Ok(Act::candle(a.dims(), (a.as_candle("residual")? + b.as_candle("residual")?)?))
}

/// Returns the sum of two gradients. A gradient is `None` if no layer before that branch needs it.
pub(super) fn total<E: MapElement>(a: Option<HostMap>, b: Option<HostMap>) -> Option<HostMap> {
    match (a, b) {
        (Some(a), Some(b)) => Some(sum::<E>(&E::of(&a), &E::of(&b)).into()),
        (a, b) => a.or(b),
    }
}

fn sum<E: MapElement>(a: &[E], b: &[E]) -> Buffer<E> {
    let mut sum = Buffer::dirty(a.len());
    kernels::add(a, b, &mut sum);
    sum
}
