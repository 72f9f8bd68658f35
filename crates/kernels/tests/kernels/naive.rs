//! The oracle: each kernel's definition as nested loops in f64, slow and plain.

use tallow_kernels::{ConvShape, DepthwiseShape, Padding, PoolShape};

/// Calls `product(x, weight, y)` with the indices of every product of a convolution: `y += x * weight`.
pub(crate) fn each_product(s: &ConvShape, mut product: impl FnMut(usize, usize, usize)) {
    let [top, left] = s.zeros_before();
    for image in 0..s.n {
        for oy in 0..s.h_out() {
            for ox in 0..s.w_out() {
                for ky in 0..s.k_h {
                    for kx in 0..s.k_w {
                        let (y, x) = (oy * s.stride + ky, ox * s.stride + kx); // in the padded map
                        if y < top || y >= top + s.h || x < left || x >= left + s.w {
                            continue;
                        }
                        let (y, x) = (y - top, x - left);
                        for i in 0..s.c_in {
                            for o in 0..s.c_out {
                                product(
                                    ((image * s.h + y) * s.w + x) * s.c_in + i,
                                    ((o * s.c_in + i) * s.k_h + ky) * s.k_w + kx,
                                    ((image * s.h_out() + oy) * s.w_out() + ox) * s.c_out + o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(crate) fn conv2d(s: &ConvShape, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = (0..s.y_len()).map(|i| bias[i % s.c_out]).collect();
    each_product(s, |ix, iw, iy| y[iy] += x[ix] * weight[iw]);
    y
}

pub(crate) fn conv2d_input_grad(s: &ConvShape, dy: &[f64], weight: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; s.x_len()];
    each_product(s, |ix, iw, iy| dx[ix] += dy[iy] * weight[iw]);
    dx
}

pub(crate) fn conv2d_weight_grad(s: &ConvShape, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut dweight = vec![0.0; s.weight_len()];
    each_product(s, |ix, iw, iy| dweight[iw] += dy[iy] * x[ix]);
    dweight
}

/// Like [`each_product`], for a depthwise convolution.
pub(crate) fn each_depthwise_product(s: &DepthwiseShape, mut product: impl FnMut(usize, usize, usize)) {
    let [top, left] = s.zeros_before();
    for image in 0..s.n {
        for oy in 0..s.h_out() {
            for ox in 0..s.w_out() {
                for ky in 0..s.k {
                    for kx in 0..s.k {
                        let (y, x) = (oy * s.stride + ky, ox * s.stride + kx); // in the padded map
                        if y < top || y >= top + s.h || x < left || x >= left + s.w {
                            continue;
                        }
                        let (y, x) = (y - top, x - left);
                        for c in 0..s.c {
                            product(
                                ((image * s.h + y) * s.w + x) * s.c + c,
                                (c * s.k + ky) * s.k + kx,
                                ((image * s.h_out() + oy) * s.w_out() + ox) * s.c + c,
                            );
                        }
                    }
                }
            }
        }
    }
}

pub(crate) fn depthwise(s: &DepthwiseShape, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = (0..s.y_len()).map(|i| bias[i % s.c]).collect();
    each_depthwise_product(s, |ix, iw, iy| y[iy] += x[ix] * weight[iw]);
    y
}

pub(crate) fn depthwise_input_grad(s: &DepthwiseShape, dy: &[f64], weight: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; s.x_len()];
    each_depthwise_product(s, |ix, iw, iy| dx[ix] += dy[iy] * weight[iw]);
    dx
}

pub(crate) fn depthwise_weight_grad(s: &DepthwiseShape, x: &[f64], dy: &[f64]) -> Vec<f64> {
    let mut dweight = vec![0.0; s.weight_len()];
    each_depthwise_product(s, |ix, iw, iy| dweight[iw] += dy[iy] * x[ix]);
    dweight
}

/// Computes a fully connected layer as a convolution of 1 x 1 maps.
pub(crate) fn linear_shape(n: usize, f_in: usize, f_out: usize) -> ConvShape {
    ConvShape {
        n,
        h: 1,
        w: 1,
        c_in: f_in,
        c_out: f_out,
        k_h: 1,
        k_w: 1,
        stride: 1,
        padding: Padding::Symmetric(0),
    }
}

pub(crate) fn channel_sums(x: &[f64], c: usize) -> Vec<f64> {
    (0..c).map(|channel| x.iter().skip(channel).step_by(c).sum()).collect()
}

/// Returns mean and biased variance of each channel.
pub(crate) fn stats(x: &[f64], c: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = (x.len() / c) as f64;
    let mean: Vec<f64> = channel_sums(x, c).iter().map(|sum| sum / rows).collect();
    let squares: Vec<f64> =
        x.iter().enumerate().map(|(i, x)| (x - mean[i % c]) * (x - mean[i % c])).collect();
    (mean, channel_sums(&squares, c).iter().map(|sum| sum / rows).collect())
}

/// Returns `(x - mean) / sqrt(var + eps) * gamma + beta`.
pub(crate) fn normalise(
    x: &[f64],
    (mean, var): (&[f64], &[f64]),
    eps: f64,
    (gamma, beta): (&[f64], &[f64]),
) -> Vec<f64> {
    let channel = |i: usize| i % gamma.len();
    let normal = |i: usize, x: f64| (x - mean[channel(i)]) / (var[channel(i)] + eps).sqrt();
    x.iter().enumerate().map(|(i, &x)| normal(i, x) * gamma[channel(i)] + beta[channel(i)]).collect()
}

/// Calls `pair(x, y)` with the indices of every pixel in every window, in reading order, channel by channel.
pub(crate) fn each_seen(s: &PoolShape, mut pair: impl FnMut(usize, usize)) {
    for image in 0..s.n {
        for oy in 0..s.h_out() {
            for ox in 0..s.w_out() {
                for ky in 0..s.k_h {
                    for kx in 0..s.k_w {
                        let (y, x) = (oy * s.stride + ky, ox * s.stride + kx); // in the padded map
                        if y < s.padding || y >= s.padding + s.h || x < s.padding || x >= s.padding + s.w {
                            continue;
                        }
                        let (y, x) = (y - s.padding, x - s.padding);
                        for c in 0..s.c {
                            pair(
                                ((image * s.h + y) * s.w + x) * s.c + c,
                                ((image * s.h_out() + oy) * s.w_out() + ox) * s.c + c,
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Returns the index in `x` of the first largest number of each window.
pub(crate) fn winners(s: &PoolShape, x: &[f32]) -> Vec<usize> {
    let mut winners = vec![None; s.y_len()];
    each_seen(s, |ix, iy| {
        if winners[iy].is_none_or(|best: usize| x[ix] > x[best]) {
            winners[iy] = Some(ix);
        }
    });
    winners.into_iter().map(|winner| winner.expect("a window sees at least one pixel")).collect()
}

pub(crate) fn avg_pool2d(s: &PoolShape, x: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; s.y_len()];
    each_seen(s, |ix, iy| y[iy] += x[ix] / (s.k_h * s.k_w) as f64);
    y
}

pub(crate) fn avg_pool2d_backward(s: &PoolShape, dy: &[f64]) -> Vec<f64> {
    let mut dx = vec![0.0; s.x_len()];
    each_seen(s, |ix, iy| dx[ix] += dy[iy] / (s.k_h * s.k_w) as f64);
    dx
}

pub(crate) fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + libm::erf(x / 2f64.sqrt()))
}

pub(crate) fn relu6(x: f64) -> f64 {
    x.clamp(0.0, 6.0)
}

pub(crate) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

pub(crate) fn hard_swish(x: f64) -> f64 {
    x * relu6(x + 3.0) / 6.0
}

pub(crate) fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit - total.ln()).collect()
}

/// Returns each sample's loss and the mean, as PyTorch's documentation of `CrossEntropyLoss` defines them.
pub(crate) fn cross_entropy(
    logits: &[f64],
    targets: &[u32],
    weights: &[f64],
    smoothing: f64,
) -> (Vec<f64>, f64) {
    let c = weights.len();
    let sample = |(logits, &target): (&[f64], &u32)| {
        let log_p = log_softmax(logits);
        (0..c)
            .map(|class| {
                let share =
                    if class == target as usize { 1.0 - smoothing } else { 0.0 } + smoothing / c as f64;
                -weights[class] * share * log_p[class]
            })
            .sum()
    };
    let losses: Vec<f64> = logits.chunks(c).zip(targets).map(sample).collect();
    let total_weight: f64 = targets.iter().map(|&target| weights[target as usize]).sum();
    let mean = losses.iter().sum::<f64>() / total_weight;
    (losses, mean)
}
