//! What can go wrong in a network: shapes that do not fit, weights that do not match, a device that is not there.

use crate::misfit::Misfit;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// A layer, or the context of a pass, was given something that it cannot take.
    #[error("{layer}: {problem}")]
    Shape {
        /// The layer's name, or its kind where it has none; `input` or `backward` of the context.
        layer: String,
        /// What it expected and what it got.
        problem: String,
    },
    /// Weights from a file do not fit the network.
    #[error("the weights do not fit this network: {0}")]
    Weights(Box<Misfit>),
    /// Bytes that should be a safetensors file are not.
    #[error("not a readable safetensors file: {0}")]
    Format(String),
    /// A parameter or buffer was declared twice under one name.
    #[error("the parameter {0} is declared twice")]
    Duplicate(String),
    /// A network of more numbers than any machine trains, which is a mistake in a size.
    #[error(
        "{name} has the sizes {shape:?}: the network would have more than {max} numbers, choose a smaller one"
    )]
    TooLarge {
        /// The parameter that is too many.
        name: String,
        /// Its sizes.
        shape: Vec<usize>,
        /// How many numbers all of them may have.
        max: usize,
    },
    /// A device that this binary or machine does not have.
    #[error("{0}")]
    Device(String),
    /// The loss function was given something that it cannot take.
    #[error("cross-entropy: {0}")]
    Loss(String),
    /// A setting of the optimiser that is out of range; the message begins with its key in a recipe.
    #[error("{0}")]
    Setting(String),
    /// An optimiser's groups or state that cannot be used.
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
