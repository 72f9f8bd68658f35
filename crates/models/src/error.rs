//! [`ModelError`]: the errors of a recipe's `[model]` table.

use tallow_core::memory::{Exhausted, in_words};
use tallow_core::shown;

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
    #[error("model.name: there is no model \"{}\": expected one of {known}{nearest}", shown(name))]
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
    /// There is not enough memory for the network.
    #[error(
        "[model]: the network has {n_values} weights and takes at least {}{}: choose a smaller network (fewer model.widths, \
         model.dense or model.head.hidden) or smaller images (model.input_px)",
        in_words(exhausted.n_bytes),
        exhausted.free.map_or(String::new(), |free| format!(", but {free}"))
    )]
    Memory {
        /// Number of its parameters and buffers.
        n_values: u64,
        /// The memory that it takes, and that there is.
        exhausted: Exhausted,
    },
    /// A layer could not be built.
    #[error(transparent)]
    Nn(#[from] tallow_nn::NnError),
}

#[cfg(test)]
mod tests {
    use tallow_core::memory::Room;

    use super::*;

    #[test]
    fn too_large_a_network_is_named_with_its_size_and_the_keys_that_make_it_smaller() {
        let free = Some(Room { bytes: 2_000_000_000, place: "on this machine" });
        let exhausted = Exhausted { n_bytes: 8_000_000_000, free };
        let message = ModelError::Memory { n_values: 2_000_000_000, exhausted }.to_string();
        assert!(
            message.starts_with(
                "[model]: the network has 2000000000 weights and takes at least 8.0 GB, but 2.0 GB are free on this machine: "
            ),
            "{message}"
        );
        assert!(message.contains("model.dense") && message.contains("model.input_px"), "{message}");
    }
}
