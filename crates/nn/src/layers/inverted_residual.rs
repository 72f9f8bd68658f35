//! The inverted residual block of mobile networks: expansion to more channels, depthwise convolution, projection to fewer
//! channels. In inference it is one fused kernel, if there is a kernel for its shape.

use tallow_kernels as kernels;

use super::{ConvNormAct, DepthwiseNormAct, Layer, ResidualBlock, in_precision};
use crate::act::Act;
use crate::ctx::Ctx;
use crate::device::Backend;
use crate::error::{NnError, Result};
use crate::map::{Buffer, MapElement};

/// `y = last(depthwise(expand(start(x))))`. Some blocks have no `expand`, and most have no `start`. With a shortcut, `x` is added
/// before the activation of `last`.
///
/// # Source
/// Sandler et al. 2018, <https://arxiv.org/abs/1801.04381>
pub struct InvertedResidual {
    block: ResidualBlock<Branch>,
    has_shortcut: bool,
}

struct Branch {
    start: Option<DepthwiseNormAct>,
    expand: Option<ConvNormAct>,
    depthwise: DepthwiseNormAct,
}

impl InvertedResidual {
    /// Returns a block of these parts.
    pub fn new(
        expand: Option<ConvNormAct>,
        depthwise: DepthwiseNormAct,
        last: ConvNormAct,
        has_shortcut: bool,
    ) -> Self {
        let branch = Branch { start: None, expand, depthwise };
        Self { block: ResidualBlock::new(branch, last, None), has_shortcut }
    }

    /// Adds a depthwise convolution before all other parts, as in "universal" blocks.
    ///
    /// # Source
    /// Qin et al. 2024, <https://arxiv.org/abs/2404.10518>
    pub fn with_start(mut self, start: DepthwiseNormAct) -> Self {
        self.block.branch.start = Some(start);
        self
    }

    fn needs_grad(&self, x: &Act) -> bool {
        let Branch { start, expand, depthwise } = &self.block.branch;
        let start_learns = start.as_ref().is_some_and(DepthwiseNormAct::learns);
        let learns = start_learns
            || depthwise.learns()
            || expand.as_ref().is_some_and(|expand| expand.needs_grad(x, None));
        learns || self.block.last.needs_grad(x, None)
    }

    /// Runs an inference pass, with all parts after `start` in one kernel. Returns `None` if there is no kernel for the shape.
    fn infer<E: MapElement>(&self, x: &Act) -> Result<Option<Act>> {
        let (Branch { start, expand, depthwise }, last) = (&self.block.branch, &self.block.last);
        let dims = match start {
            Some(start) => start.dims_of(x.dims())?,
            None => x.dims(),
        };
        let expand = match expand {
            Some(expand) => Some((expand, expand.folded::<E>(dims)?)),
            None => None,
        };
        let wide = expand.as_ref().map_or(Ok(dims), |(layer, _)| layer.dims_of(dims))?;
        let (middle, project) = (depthwise.folded()?, last.folded::<E>(depthwise.dims_of(wide)?)?);
        let mut fused = kernels::InvertedResidual {
            expand: expand.as_ref().map(|(layer, folded)| (&**folded, layer.after())),
            depthwise: (&middle, depthwise.after()),
            project: (&project, last.after()),
            residual: None,
        };
        let shape = depthwise.shape(wide)?;
        if !fused.is_possible(&shape) {
            return Ok(None);
        }
        let dims = last.dims_of(depthwise.dims_of(wide)?)?;
        if self.has_shortcut && dims != x.dims() {
            return Err(NnError::shape(last.name(), format!("branch {dims}, shortcut {}", x.dims())));
        }
        let residual = if self.has_shortcut { Some(x.as_map::<E>(last.name())?) } else { None };
        fused.residual = residual.as_ref().map(|residual| &***residual);
        let x = match start {
            Some(start) => start.infer::<E>(x)?.as_map::<E>(last.name())?,
            None => x.as_map::<E>(last.name())?,
        };
        let mut y = Buffer::<E>::dirty(dims.len());
        fused.forward(&shape, &x, &mut y);
        Ok(Some(Act::host(dims, y, false)))
    }
}

impl Layer for Branch {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x = match &self.start {
            Some(start) => start.forward(x, ctx)?,
            None => x,
        };
        let x = match &self.expand {
            Some(expand) => expand.forward(x, ctx)?,
            None => x,
        };
        self.depthwise.forward(x, ctx)
    }
}

impl Layer for InvertedResidual {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        if ctx.backend() == Backend::Kernels
            && (!ctx.is_training() || !self.needs_grad(&x))
            && let Some(y) = in_precision!(ctx, E => self.infer::<E>(&x)?)
        {
            return Ok(y);
        }
        if self.has_shortcut {
            return self.block.forward(x, ctx);
        }
        let x = self.block.branch.forward(x, ctx)?;
        self.block.last.forward(x, ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::map::Precision;
    use crate::params::ParamStore;
    use crate::{After, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, DepthwiseConfig, Dims, Padding};

    fn block(store: &mut ParamStore, with_start: bool, stride: usize) -> Result<InvertedResidual> {
        let mut root = store.root();
        let mut depthwise = |name: &str, c, stride, after| {
            let norm = BatchNorm2d::new(&mut root.sub(format!("{name}.bn")), c, BatchNormConfig::default())?;
            let config = DepthwiseConfig { k: 3, stride, padding: Padding::Same };
            DepthwiseNormAct::new(&mut root.sub(name), c, config, norm, after)
        };
        let (start, middle) =
            (depthwise("start", 24, 1, After::Nothing)?, depthwise("middle", 48, stride, After::Relu6)?);
        let mut conv = |name: &str, c_in, c_out, after| {
            let conv = Conv2d::new(
                &mut root.sub(name),
                c_in,
                c_out,
                Conv2dConfig { bias: false, ..Conv2dConfig::same(1) },
            )?;
            let norm =
                BatchNorm2d::new(&mut root.sub(format!("{name}.bn")), c_out, BatchNormConfig::default())?;
            Ok::<_, NnError>(ConvNormAct::new(conv, norm, after))
        };
        let (expand, last) = (conv("expand", 24, 48, After::Relu6)?, conv("last", 48, 24, After::Nothing)?);
        let block = InvertedResidual::new(Some(expand), middle, last, stride == 1);
        Ok(if with_start { block.with_start(start) } else { block })
    }

    /// Compares `infer` with the separate layers.
    #[test]
    fn one_piece_gives_the_bits_of_its_layers() -> Result<()> {
        for (with_start, stride) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
            for precision in [Precision::F32, Precision::Bf16] {
                let mut store = ParamStore::new(3, &Device::Cpu);
                let block = block(&mut store, with_start, stride)?;
                let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu).with_precision(precision);
                let dims = Dims { n: 3, c: 24, h: 9, w: 7 };
                let pixels = (0..dims.len()).map(|i| ((i * 37 % 101) as f32 - 50.0) / 20.0).collect();
                let x = ctx.input(pixels, dims)?;
                let y = block.forward(x.clone(), &mut ctx)?;
                let branch = block.block.branch.forward(x.clone(), &mut ctx)?;
                let residual = block.has_shortcut.then_some(x);
                let expected = block.block.last.forward_with(branch, residual, &mut ctx)?;
                assert_eq!(y.dims(), expected.dims());
                assert_eq!(y.to_vec()?, expected.to_vec()?, "{with_start} {stride} {precision:?}");
            }
        }
        Ok(())
    }
}
