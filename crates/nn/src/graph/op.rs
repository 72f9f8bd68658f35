//! The operations that networks of this crate consist of, with their constants.

use crate::error::Result;
use crate::host;
use crate::params::Param;

/// Numbers that belong to the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The name of the parameter or buffer, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// The sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Its numbers, the last dimension fastest.
    pub values: Vec<f32>,
    /// Whether an optimiser could change it: a running mean is not learned.
    pub is_learned: bool,
}

impl Constant {
    /// A copy of a parameter.
    pub(crate) fn learned(param: &Param) -> Result<Self> {
        Self::copy(param, true)
    }

    /// A copy of a buffer.
    pub(crate) fn buffer(buffer: &Param) -> Result<Self> {
        Self::copy(buffer, false)
    }

    fn copy(param: &Param, is_learned: bool) -> Result<Self> {
        let values = host::to_vec(&param.var().as_detached_tensor())?;
        Ok(Self { name: param.name().to_owned(), shape: param.shape().to_vec(), values, is_learned })
    }

    /// The same numbers with other sizes.
    pub(crate) fn reshaped(self, shape: &[usize]) -> Self {
        debug_assert_eq!(self.values.len(), shape.iter().product::<usize>());
        Self { shape: shape.to_vec(), ..self }
    }
}

/// An operation, with PyTorch's meaning. Axes count the batch as axis 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `torch.nn.functional.conv2d`: `weight` (c_out, c_in / groups, k_h, k_w).
    Conv2d {
        /// The kernels.
        weight: Constant,
        /// Added to each output channel.
        bias: Option<Constant>,
        /// Step of the kernel in both directions.
        stride: usize,
        /// Rows of zeros above, columns to the left, rows below, columns to the right.
        padding: [usize; 4],
        /// Groups of channels that are convolved apart.
        groups: usize,
    },
    /// `(x - mean) / sqrt(var + eps) * gamma + beta` per channel; no gamma is 1.
    BatchNorm {
        /// Factors.
        gamma: Option<Constant>,
        /// Offsets.
        beta: Constant,
        /// Running means.
        mean: Constant,
        /// Running variances.
        var: Constant,
        /// Added to the variance.
        eps: f64,
    },
    /// Layer norm over the last axis.
    LayerNorm {
        /// Factors.
        gamma: Constant,
        /// Offsets.
        beta: Constant,
        /// Added to the variance.
        eps: f64,
    },
    /// `x * weight^T + bias` on the last axis: `weight` (f_out, f_in).
    Linear {
        /// The matrix.
        weight: Constant,
        /// Added to each output.
        bias: Option<Constant>,
    },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * relu6(x + 3) / 6`.
    HardSwish,
    /// `x * Phi(x)`, exact.
    Gelu,
    /// The largest value of each k x k window; padding never wins.
    MaxPool2d {
        /// Rows and columns of the window.
        k: usize,
        /// Step of the window.
        stride: usize,
        /// Pixels added on each side.
        padding: usize,
    },
    /// The mean of each k x k window.
    AvgPool2d {
        /// Rows and columns of the window.
        k: usize,
        /// Step of the window.
        stride: usize,
    },
    /// The mean of each map; rows and columns stay as 1 x 1.
    GlobalAvgPool,
    /// One vector for each image.
    Flatten,
    /// The sum of two tensors of one shape.
    Add,
    /// Tensors side by side along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// `x + constant`, broadcast as in NumPy.
    AddConstant(Constant),
    /// `x * constant`, broadcast as in NumPy.
    MulConstant(Constant),
    /// `factor * x`.
    Scale(f32),
    /// Zeros before and after each axis but the batch.
    Pad {
        /// Zeros before each axis.
        before: Vec<usize>,
        /// Zeros after each axis.
        after: Vec<usize>,
    },
    /// `torch.permute`, the batch first.
    Transpose(Vec<usize>),
    /// `torch.reshape` to these sizes behind the batch.
    Reshape(Vec<usize>),
    /// The places `start` up to `end` of an axis.
    Slice {
        /// The axis.
        axis: usize,
        /// The first place.
        start: usize,
        /// The place after the last.
        end: usize,
    },
    /// The product of two stacks of matrices, as `torch.matmul`.
    MatMul,
    /// Softmax over the last axis.
    Softmax,
    /// The mean over an axis, which disappears.
    Mean {
        /// The axis.
        axis: usize,
    },
}

impl Op {
    /// The name of the kind of operation, as PyTorch's modules have it where there is one.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv2d { .. } => "conv2d",
            Self::BatchNorm { .. } => "batch_norm",
            Self::LayerNorm { .. } => "layer_norm",
            Self::Linear { .. } => "linear",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Silu => "silu",
            Self::HardSwish => "hardswish",
            Self::Gelu => "gelu",
            Self::MaxPool2d { .. } => "max_pool2d",
            Self::AvgPool2d { .. } => "avg_pool2d",
            Self::GlobalAvgPool => "global_avg_pool",
            Self::Flatten => "flatten",
            Self::Add => "add",
            Self::Concat { .. } => "concat",
            Self::AddConstant(_) => "add_constant",
            Self::MulConstant(_) => "mul_constant",
            Self::Scale(_) => "scale",
            Self::Pad { .. } => "pad",
            Self::Transpose(_) => "transpose",
            Self::Reshape(_) => "reshape",
            Self::Slice { .. } => "slice",
            Self::MatMul => "matmul",
            Self::Softmax => "softmax",
            Self::Mean { .. } => "mean",
        }
    }

    /// Its constants.
    pub fn constants(&self) -> impl Iterator<Item = &Constant> {
        let all: [Option<&Constant>; 4] = match self {
            Self::Conv2d { weight, bias, .. } | Self::Linear { weight, bias } => {
                [Some(weight), bias.as_ref(), None, None]
            }
            Self::BatchNorm { gamma, beta, mean, var, .. } => {
                [gamma.as_ref(), Some(beta), Some(mean), Some(var)]
            }
            Self::LayerNorm { gamma, beta, .. } => [Some(gamma), Some(beta), None, None],
            Self::AddConstant(constant) | Self::MulConstant(constant) => [Some(constant), None, None, None],
            _ => [None; 4],
        };
        all.into_iter().flatten()
    }

    /// How many of its numbers an optimiser could change.
    pub fn n_parameters(&self) -> usize {
        self.constants().filter(|constant| constant.is_learned).map(|constant| constant.values.len()).sum()
    }
}
