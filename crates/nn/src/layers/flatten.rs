//! Feature maps to feature vectors.

use rayon::prelude::*;

use super::Layer;
use crate::act::{Act, Dims};
use crate::ctx::Ctx;
use crate::device::Path;
use crate::error::Result;

/// From (n, c, h, w) to (n, c*h*w) features in C, H, W order on every path, so that a dense layer's weights mean the
/// same everywhere, and in PyTorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flatten;

impl Layer for Flatten {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let Dims { n, c, h, w } = x.dims();
        let dims = Dims { n, c: c * h * w, h: 1, w: 1 };
        if ctx.path() == Path::Candle {
            return Ok(Act::candle(dims, x.as_candle("flatten")?.reshape((n, c * h * w, 1, 1))?));
        }
        let needs_grad = x.needs_grad();
        let y = transpose_each(&x.as_host("flatten")?, h * w, c);
        ctx.push(move |dy, _| Ok(needs_grad.then(|| transpose_each(&dy, c, h * w))));
        Ok(Act::host(dims, y, needs_grad))
    }
}

/// Transposes each (rows, columns) matrix of `x`.
fn transpose_each(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    if rows * columns == 0 {
        return y;
    }
    y.par_chunks_mut(rows * columns).zip(x.par_chunks(rows * columns)).for_each(|(y, x)| {
        for (row, values) in x.chunks_exact(columns).enumerate() {
            for (column, &value) in values.iter().enumerate() {
                y[column * rows + row] = value;
            }
        }
    });
    y
}
