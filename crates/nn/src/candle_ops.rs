//! Candle operators with the right gradient, for the path that uses Candle's autograd.
//!
//! Where Candle 0.11.1 differentiates wrongly, the operator is composed from ones that it differentiates rightly:
//! max pooling (the gradient is scaled wrongly, and windows other than the stride are refused), ReLU (1 at 0), and
//! the weight gradient of convolution (wrong on Metal; a shape error where the map's rows and columns leave different
//! remainders at the stride). All on (N, C, H, W).

use candle_core::{DType, Result, Tensor};
use tallow_kernels::{ConvShape, PoolShape};

/// `max(x, 0)` with gradient 0 at 0; a NaN stays one.
pub(crate) fn relu(x: &Tensor) -> Result<Tensor> {
    x.detach().le(0.0)?.where_cond(&x.zeros_like()?, x)
}

/// Convolution with a (c_out, c_in, k_h, k_w) weight, cast to the type of `x`.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, s: &ConvShape) -> Result<Tensor> {
    let weight = weight.to_dtype(x.dtype())?;
    let rest = |size: usize, k: usize| (size + 2 * s.padding - k) % s.stride;
    if x.device().is_metal() || rest(s.h, s.k_h) != rest(s.w, s.k_w) {
        conv2d_unfolded(x, &weight, s)
    } else {
        x.conv2d(&weight, s.padding, s.stride, 1, 1)
    }
}

/// The same as a matrix product with the unfolded map: slower, but each part is differentiated rightly everywhere.
pub(crate) fn conv2d_unfolded(x: &Tensor, weight: &Tensor, s: &ConvShape) -> Result<Tensor> {
    let padded = x.pad_with_zeros(2, s.padding, s.padding)?.pad_with_zeros(3, s.padding, s.padding)?;
    let windows = windows(&padded, (s.k_h, s.k_w), (s.h_out(), s.w_out()), s.stride)?; // (n, c, pixels, k_h*k_w)
    let pixels = s.h_out() * s.w_out();
    let columns = windows.permute((0, 1, 3, 2))?.reshape((s.n, s.c_in * s.k_h * s.k_w, pixels))?;
    let weight = weight.reshape((s.c_out, s.c_in * s.k_h * s.k_w))?;
    weight.broadcast_left(s.n)?.contiguous()?.matmul(&columns.contiguous()?)?.reshape((
        s.n,
        s.c_out,
        s.h_out(),
        s.w_out(),
    ))
}

/// The largest value of each window; ties go to the first in reading order.
pub(crate) fn max_pool2d(x: &Tensor, s: &PoolShape) -> Result<Tensor> {
    let padded = pad_with_minus_infinity(x, s.padding)?;
    let windows = windows(&padded, (s.k_h, s.k_w), (s.h_out(), s.w_out()), s.stride)?.contiguous()?;
    let winner = first_largest(&windows.detach().to_dtype(DType::F32)?)?;
    windows.gather(&winner, 3)?.reshape((s.n, s.c, s.h_out(), s.w_out()))
}

/// The index of the first largest value along the last dimension, which stays with size 1. A NaN is larger than
/// everything, as in PyTorch.
fn first_largest(x: &Tensor) -> Result<Tensor> {
    let k = x.dim(3)?;
    let x = x.ne(x)?.where_cond(&Tensor::full(f32::INFINITY, x.shape(), x.device())?, x)?;
    let largest = x.max_keepdim(3)?;
    // the first index wins: each candidate scores k - index, everything else 0
    let score = Tensor::arange_step(k as f32, 0.0, -1.0, x.device())?;
    let candidates = x.broadcast_eq(&largest)?.to_dtype(DType::F32)?.broadcast_mul(&score)?;
    (candidates.max_keepdim(3)?.neg()? + k as f64)?.to_dtype(DType::U32)
}

/// The mean of each window, without padding.
pub(crate) fn avg_pool2d(x: &Tensor, s: &PoolShape) -> Result<Tensor> {
    let windows = windows(x, (s.k_h, s.k_w), (s.h_out(), s.w_out()), s.stride)?;
    windows.mean(3)?.reshape((s.n, s.c, s.h_out(), s.w_out()))
}

/// All windows of `x`: (n, c, h_out * w_out, k_h * k_w).
fn windows(x: &Tensor, k: (usize, usize), out: (usize, usize), stride: usize) -> Result<Tensor> {
    let (n, c, ..) = x.dims4()?;
    let picks = |offset: usize, count: usize| -> Result<Tensor> {
        let at: Vec<u32> = (0..count).map(|i| (offset + i * stride) as u32).collect();
        Tensor::from_vec(at, count, x.device())
    };
    let mut parts = Vec::with_capacity(k.0 * k.1);
    for p in 0..k.0 {
        let rows = x.index_select(&picks(p, out.0)?, 2)?;
        for q in 0..k.1 {
            parts.push(rows.index_select(&picks(q, out.1)?, 3)?.reshape((n, c, out.0 * out.1))?);
        }
    }
    Tensor::stack(&parts, 3)
}

fn pad_with_minus_infinity(x: &Tensor, padding: usize) -> Result<Tensor> {
    if padding == 0 {
        return Ok(x.clone());
    }
    let (n, c, h, w) = x.dims4()?;
    let border =
        |h: usize, w: usize| Tensor::full(f32::NEG_INFINITY, (n, c, h, w), x.device())?.to_dtype(x.dtype());
    let sides = border(h, padding)?;
    let wide = Tensor::cat(&[&sides, x, &sides], 3)?;
    let ends = border(padding, w + 2 * padding)?;
    Tensor::cat(&[&ends, &wide, &ends], 2)
}
