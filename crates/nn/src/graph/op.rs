//! The operations of this crate's networks, with their constants.

use crate::error::Result;
use crate::host;
use crate::params::Param;

/// A parameter or buffer of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The name of the parameter or buffer, such as `layer1.0.conv1.weight`.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
    /// The values in row-major order; empty if the network was built from shapes alone
    /// ([`ParamStore::shapes`](crate::ParamStore::shapes)).
    pub values: Vec<f32>,
    /// Whether this is a parameter, which an optimiser can change. A buffer, such as a running mean, is not learned.
    pub is_learned: bool,
}

impl Constant {
    /// Copies a parameter.
    pub(crate) fn learned(param: &Param) -> Result<Self> {
        Self::copy(param, true)
    }

    /// Copies a buffer.
    pub(crate) fn buffer(buffer: &Param) -> Result<Self> {
        Self::copy(buffer, false)
    }

    fn copy(param: &Param, is_learned: bool) -> Result<Self> {
        let values = host::to_vec(&param.var().as_detached_tensor())?;
        Ok(Self { name: param.name().to_owned(), shape: param.shape().to_vec(), values, is_learned })
    }

    /// Returns the number of values that the shape has.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Returns the same values with another shape.
    pub(crate) fn reshaped(self, shape: &[usize]) -> Self {
        debug_assert_eq!(self.len(), shape.iter().product::<usize>());
        Self { shape: shape.to_vec(), ..self }
    }
}

/// An operation, with PyTorch's meaning. Axis 0 is the batch.
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
        /// Number of groups of channels that are convolved separately.
        groups: usize,
    },
    /// `(x - mean) / sqrt(var + eps) * gamma + beta` per channel. Without a gamma, the factor is 1.
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
    /// `x * weight^T + bias` on the last axis, with `weight` (f_out, f_in).
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
    /// `x * Phi(x)`, without approximation.
    Gelu,
    /// The largest value of each k x k window. Padding counts as negative infinity.
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
    /// The mean of each map, as a map of 1 x 1.
    GlobalAvgPool,
    /// Flattens all axes but the batch: one vector for each image.
    Flatten,
    /// The sum of two tensors of the same shape.
    Add,
    /// Concatenates tensors along an axis.
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
    /// Pads each axis except the batch with zeros.
    Pad {
        /// Zeros before each axis.
        before: Vec<usize>,
        /// Zeros after each axis.
        after: Vec<usize>,
    },
    /// `torch.permute` with these axes. The batch stays first.
    Transpose(Vec<usize>),
    /// `torch.reshape` to these sizes after the batch.
    Reshape(Vec<usize>),
    /// The indices from `start` to `end - 1` of an axis.
    Slice {
        /// The axis.
        axis: usize,
        /// The first index.
        start: usize,
        /// The index after the last.
        end: usize,
    },
    /// The product of two batches of matrices, as in `torch.matmul`.
    MatMul,
    /// Softmax over the last axis.
    Softmax,
    /// The mean over an axis. The result does not have this axis.
    Mean {
        /// The axis.
        axis: usize,
    },
}

impl Op {
    /// Returns the name of the kind of operation. It follows PyTorch if PyTorch has such an operation.
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

    /// Returns the constants of the operation.
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

    /// Returns the number of learned values.
    pub fn n_parameters(&self) -> usize {
        self.constants().filter(|constant| constant.is_learned).map(Constant::len).sum()
    }
}
