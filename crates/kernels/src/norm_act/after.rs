//! The operation that follows a batch norm or the sums of a convolution.

/// The operation that follows a batch norm or a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum After {
    /// Nothing.
    Nothing,
    /// `max(z, 0)`.
    Relu,
    /// `max(z, 0)`, then 2x2 max pooling with stride 2; an odd last row or column is left out.
    ReluPool,
    /// `z * cdf(z)`, as [`gelu`](crate::gelu).
    Gelu,
    /// `min(max(z, 0), 6)`, as [`relu6`](crate::relu6).
    Relu6,
    /// `z * sigmoid(z)`, as [`silu`](crate::silu).
    Silu,
    /// `z * relu6(z + 3) / 6`, as [`hard_swish`](crate::hard_swish).
    HardSwish,
}

impl After {
    /// Returns whether the operation is a curve, not only a lower and an upper limit.
    pub(crate) fn is_curved(self) -> bool {
        matches!(self, Self::Gelu | Self::Silu | Self::HardSwish)
    }

    /// Returns whether the first backward pass keeps the gradient for the second one.
    pub(super) fn keeps_gradient(self) -> bool {
        self.is_curved() || self == Self::Relu6
    }

    /// Returns the lower and the upper limit if the operation only limits `z`. For pooling, these are the limits of
    /// its ReLU.
    pub(crate) fn limits(self) -> Option<[f32; 2]> {
        match self {
            Self::Relu | Self::ReluPool => Some([0.0, f32::INFINITY]),
            Self::Relu6 => Some([0.0, 6.0]),
            Self::Nothing | Self::Gelu | Self::Silu | Self::HardSwish => None,
        }
    }
}
