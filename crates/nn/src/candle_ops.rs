//! Operators with correct gradients for the Candle backend, which uses Candle's autograd. Tensors are (N, C, H, W).
//!
//! Candle 0.11.1 computes some gradients wrongly. These operators are composed from operators with correct gradients:
//!
//! - max pooling: Candle scales the gradient wrongly, and refuses windows of another size than the stride
//! - ReLU: Candle's gradient at 0 is 1
//! - weight gradient of convolution: wrong on Metal, and a shape error if the map's rows and columns leave different remainders
//!   at the stride

use candle_core::{DType, Result, Tensor};
use tallow_kernels::{ConvShape, DepthwiseShape, Padding, PoolShape};

/// Returns `max(x, 0)`, with gradient 0 at 0. A NaN stays NaN.
pub(crate) fn relu(x: &Tensor) -> Result<Tensor> {
    x.detach().le(0.0)?.where_cond(&x.zeros_like()?, x)
}

/// Convolution with a (c_out, c_in, k_h, k_w) weight, which is cast to the type of `x`.
pub(crate) fn conv2d(x: &Tensor, weight: &Tensor, s: &ConvShape) -> Result<Tensor> {
    let weight = weight.to_dtype(x.dtype())?;
    let Padding::Symmetric(padding) = s.padding else { return conv2d_unfolded(x, &weight, s) };
    let rest = |size: usize, k: usize| (size + 2 * padding - k) % s.stride;
    if x.device().is_metal() || rest(s.h, s.k_h) != rest(s.w, s.k_w) {
        conv2d_unfolded(x, &weight, s)
    } else {
        x.conv2d(&weight, padding, s.stride, 1, 1)
    }
}

/// Depthwise convolution with a (c, 1, k, k) weight, which is cast to the type of `x`: multiplies the windows of each channel by
/// its kernel.
pub(crate) fn depthwise_conv2d(x: &Tensor, weight: &Tensor, s: &DepthwiseShape) -> Result<Tensor> {
    let (h_out, w_out) = (s.h_out(), s.w_out());
    let padded = with_zeros(x, s.zeros_before(), [h_out, w_out].map(|n| (n - 1) * s.stride + s.k))?;
    let windows = windows(&padded, (s.k, s.k), (h_out, w_out), s.stride)?; // (n, c, pixels, k * k)
    let weight = weight.to_dtype(x.dtype())?.reshape((1, s.c, 1, s.k * s.k))?;
    windows.broadcast_mul(&weight)?.sum(3)?.reshape((s.n, s.c, h_out, w_out))
}

/// Pads the map with `before` zeros above and on the left, and with zeros below and on the right up to `seen` rows and columns. A
/// larger map is not cut.
fn with_zeros(x: &Tensor, before: [usize; 2], seen: [usize; 2]) -> Result<Tensor> {
    let after = |axis: usize, len: usize| seen[axis].saturating_sub(before[axis] + len);
    let (h, w) = (x.dim(2)?, x.dim(3)?);
    x.pad_with_zeros(2, before[0], after(0, h))?.pad_with_zeros(3, before[1], after(1, w))
}

/// Convolution as a matrix product with the unfolded map. It is slower, but all gradients are correct on every device.
pub(crate) fn conv2d_unfolded(x: &Tensor, weight: &Tensor, s: &ConvShape) -> Result<Tensor> {
    let seen = [(s.h_out(), s.k_h), (s.w_out(), s.k_w)].map(|(n, k)| (n - 1) * s.stride + k);
    let padded = with_zeros(x, s.zeros_before(), seen)?;
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

/// Returns the largest value of each window. Of equal values, the first in reading order gets the gradient. A NaN wins over any
/// number.
pub(crate) fn max_pool2d(x: &Tensor, s: &PoolShape) -> Result<Tensor> {
    let padded = pad_with_minus_infinity(x, s.padding)?;
    let windows = windows(&padded, (s.k_h, s.k_w), (s.h_out(), s.w_out()), s.stride)?.contiguous()?;
    let winner = winners(&windows.detach().to_dtype(DType::F32)?)?;
    windows.gather(&winner, 3)?.reshape((s.n, s.c, s.h_out(), s.w_out()))
}

/// Returns the index of the winner along the last dimension, which keeps size 1. As in PyTorch, the winner is the last NaN.
/// Without a NaN it is the first of the largest values.
fn winners(x: &Tensor) -> Result<Tensor> {
    let k = x.dim(3)? as f64;
    let index = Tensor::arange(0.0, k as f32, x.device())?;
    let nan = x.ne(x)?;
    let nothing = Tensor::full(f32::NEG_INFINITY, x.shape(), x.device())?;
    let largest = nan.where_cond(&nothing, x)?.max_keepdim(3)?;
    // all candidates have different scores, so the largest is unique: 1 to k for numbers, above k for NaNs; the rest has 0
    let first = x.broadcast_eq(&largest)?.to_dtype(DType::F32)?.broadcast_mul(&index.affine(-1.0, k)?)?;
    let last_nan = nan.to_dtype(DType::F32)?.broadcast_mul(&index.affine(1.0, k + 1.0)?)?;
    (first + last_nan)?.argmax_keepdim(3)
}

/// Returns the mean of each window, without padding.
pub(crate) fn avg_pool2d(x: &Tensor, s: &PoolShape) -> Result<Tensor> {
    let windows = windows(x, (s.k_h, s.k_w), (s.h_out(), s.w_out()), s.stride)?;
    windows.mean(3)?.reshape((s.n, s.c, s.h_out(), s.w_out()))
}

/// Returns all windows of `x`: (n, c, h_out * w_out, k_h * k_w).
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

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::init::Init;

    fn var(shape: (usize, usize, usize, usize), key: &str) -> Var {
        let values = Init::Normal { std: 1.0 }.values(shape.0 * shape.1 * shape.2 * shape.3, 0, key);
        Var::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    /// Returns the output of `conv`, and the gradients of `sum(r * output)` for a random `r`.
    fn run(s: &ConvShape, conv: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> [Tensor; 3] {
        let x = var((s.n, s.c_in, s.h, s.w), "x");
        let weight = var((s.c_out, s.c_in, s.k_h, s.k_w), "weight");
        let y = conv(&x, &weight).unwrap();
        let r = var((s.n, s.c_out, s.h_out(), s.w_out()), "r");
        let grads = (&y * r.as_detached_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
        [y.detach(), grads.get(&x).unwrap().clone(), grads.get(&weight).unwrap().clone()]
    }

    fn norm(t: &Tensor) -> f32 {
        t.sqr().unwrap().sum_all().unwrap().sqrt().unwrap().to_scalar().unwrap()
    }

    /// Compares sizes for which Candle computes correct gradients on the CPU.
    #[test]
    fn the_unfolded_convolution_is_candles() {
        let sizes = [
            (5, 4, 3, 3, 1, 1),
            (5, 4, 2, 3, 1, 0),
            (6, 8, 3, 3, 2, 1),
            (7, 9, 1, 1, 2, 0),
            (6, 7, 2, 3, 3, 2),
        ];
        for (h, w, k_h, k_w, stride, padding) in sizes {
            let s = ConvShape {
                n: 2,
                h,
                w,
                c_in: 3,
                c_out: 4,
                k_h,
                k_w,
                stride,
                padding: Padding::Symmetric(padding),
            };
            let theirs = run(&s, |x, weight| x.conv2d(weight, padding, stride, 1, 1));
            let ours = run(&s, |x, weight| conv2d_unfolded(x, weight, &s));
            for (what, (ours, theirs)) in ["output", "dx", "dweight"].iter().zip(ours.iter().zip(&theirs)) {
                assert_eq!(ours.dims(), theirs.dims());
                let error = norm(&(ours - theirs).unwrap()) / norm(theirs);
                assert!(error < 1e-6, "{what} of {s:?}: {error}");
            }
        }
    }

    /// 7 x 10 pixels leave different remainders at stride 2. Candle's own gradient fails there, and is not called.
    #[test]
    fn different_remainders_are_differentiated() {
        let s = ConvShape {
            n: 2,
            h: 7,
            w: 10,
            c_in: 3,
            c_out: 4,
            k_h: 3,
            k_w: 3,
            stride: 2,
            padding: Padding::Symmetric(1),
        };
        let [_, dx, dweight] = run(&s, |x, weight| conv2d(x, weight, &s));
        assert_eq!((dx.dims(), dweight.dims()), (&[2, 3, 7, 10][..], &[4, 3, 3, 3][..]));
    }
}
