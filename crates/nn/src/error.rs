//! [`NnError`]: the errors of networks, such as shapes or weights that do not fit, and a missing device.

use tallow_core::memory::Exhausted;

use crate::misfit::Misfit;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// A layer, or the context of a pass, got a value that it does not accept.
    #[error("{layer}: {problem}")]
    Shape {
        /// Name of the layer, or its kind if it has no name; `input` or `backward` for the context.
        layer: String,
        /// What was expected and what was given.
        problem: String,
    },
    /// Weights from a file do not fit the network.
    #[error("the weights do not fit this network: {0}")]
    Weights(Box<Misfit>),
    /// The bytes are not a valid safetensors file.
    #[error("not a readable safetensors file: {0}")]
    Format(String),
    /// A file does not match the digest that it carries.
    #[error(
        "its content does not match the digest that it carries: it was damaged or changed after it was \
         written, so use an intact copy"
    )]
    Digest,
    /// There is no memory for a tensor.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Two parameters or buffers were declared with one name.
    #[error("the parameter {0} is declared twice")]
    Duplicate(String),
    /// The network would be too large for any machine, so one of its sizes must be a mistake.
    #[error(
        "{name} has the sizes {shape:?}: the network would have more than {max} values; choose a smaller \
         network"
    )]
    TooLarge {
        /// Name of the parameter that exceeds the limit.
        name: String,
        /// Sizes of its dimensions.
        shape: Vec<usize>,
        /// Largest number of values of all parameters and buffers together.
        max: usize,
    },
    /// The device is unknown or not available in this binary or machine.
    #[error("{0}")]
    Device(String),
    /// The loss function got values that it does not accept.
    #[error("cross-entropy: {0}")]
    Loss(String),
    /// A setting of the optimiser is out of range. The message begins with its key in a recipe.
    #[error("{0}")]
    Setting(String),
    /// The optimiser's groups, its state or the limit of gradient clipping cannot be used.
    #[error("optimizer: {0}")]
    Optimizer(String),
    /// Candle failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, NnError>;

impl NnError {
    pub(crate) fn shape(layer: &str, problem: impl Into<String>) -> Self {
        Self::Shape { layer: layer.to_owned(), problem: problem.into() }
    }
}
