//! What can be wrong with a recipe's `[model]` table.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The table has no `name`.
    #[error("model.name is missing: expected one of {known}")]
    NoName {
        /// The names there are.
        known: String,
    },
    /// The run's network is a program's own.
    #[error(
        "the network was made by a program of its own (model.name = \"custom\"), and only that program can build it: there, \
         read_model gives its weights, and params.load_tensors takes them"
    )]
    Custom,
    /// No architecture has this name.
    #[error("model.name: there is no model \"{name}\": expected one of {known}{nearest}")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The names there are.
        known: String,
        /// The name that was probably meant, as the end of a sentence; or nothing.
        nearest: String,
    },
    /// A key of the table is missing, unknown or of the wrong type; the message names it.
    #[error("{0}")]
    Table(String),
    /// A value of the table is out of range.
    #[error("model.{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was expected and what is there.
        problem: String,
    },
    /// The network could not be put together.
    #[error(transparent)]
    Nn(#[from] tallow_nn::NnError),
}
