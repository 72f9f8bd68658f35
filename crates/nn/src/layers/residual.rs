//! The residual block: a branch added to a shortcut.

use super::{Layer, zip_map};
use crate::act::Act;
use crate::ctx::Ctx;
use crate::device::Path;
use crate::error::{NnError, Result};
use crate::map::MapElement as _;

/// `y = branch(x) + shortcut(x)`, where no shortcut means `x` itself.
///
/// # Source
/// He et al. 2015, <https://arxiv.org/abs/1512.03385>
pub struct Residual {
    branch: Box<dyn Layer>,
    shortcut: Option<Box<dyn Layer>>,
}

impl Residual {
    /// A block of `branch` and `shortcut`.
    pub fn new(branch: impl Layer + 'static, shortcut: Option<Box<dyn Layer>>) -> Self {
        Self { branch: Box::new(branch), shortcut }
    }
}

impl Layer for Residual {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x_needs_grad = x.needs_grad();
        let (branch, branch_tape) = ctx.branch(|ctx| self.branch.forward(x.clone(), ctx))?;
        let (shortcut, shortcut_tape) = match &self.shortcut {
            Some(layer) => ctx.branch(|ctx| layer.forward(x, ctx))?,
            None => (x, crate::ctx::Tape::default()),
        };
        let dims = branch.dims();
        if dims != shortcut.dims() {
            return Err(NnError::shape("residual", format!("branch {dims}, shortcut {}", shortcut.dims())));
        }
        if ctx.path() == Path::Candle {
            let sum = (branch.as_candle("residual")? + shortcut.as_candle("residual")?)?;
            return Ok(Act::candle(dims, sum));
        }
        let needs_grad = branch.needs_grad() || shortcut.needs_grad();
        let y = zip_map(&branch.as_host("residual")?, &shortcut.as_host("residual")?, |a, b| a + b);
        ctx.push_map(move |dy, grads| {
            let through_branch = branch_tape.backward(dy.clone(), grads)?;
            let through_shortcut = shortcut_tape.backward(dy, grads)?;
            Ok(match (through_branch, through_shortcut) {
                (Some(a), Some(b)) if x_needs_grad => {
                    Some(zip_map(&f32::of(&a), &f32::of(&b), |a, b| a + b).into())
                }
                _ => None,
            })
        });
        Ok(Act::host(dims, y, needs_grad))
    }
}
