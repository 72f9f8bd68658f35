//! [`ModelError`]: the errors of a recipe's `[model]` table.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The table has no `name`.
    #[error("model.name is missing: expected one of {known}")]
    NoName {
        /// All known names, separated by commas.
        known: String,
    },
    /// The network of the run was built by a program's own code (`name = "custom"`), not from a table.
    #[error(
        "the network was made by another program (model.name = \"custom\"), and only that program can build \
         it: in that program, read_model reads the weights, and params.load_tensors loads them"
    )]
    Custom,
    /// No architecture has this name.
    #[error("model.name: there is no model \"{name}\": expected one of {known}{nearest}")]
    UnknownName {
        /// The name in the table.
        name: String,
        /// All known names, separated by commas.
        known: String,
        /// The end of the sentence: suggests the most similar name; empty if there is none.
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
        /// The expected values and the value found.
        problem: String,
    },
    /// A layer could not be built.
    #[error(transparent)]
    Nn(#[from] tallow_nn::NnError),
}
