//! What can go wrong here through somebody's choice. Wrong lengths are programming errors, and panic.

/// A request for an instruction set that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// No instruction set has this name.
    #[error("TALLOW_ISA: unknown instruction set {name:?}; expected one of {expected}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that exist.
        expected: String,
    },
    /// The processor lacks it.
    #[error(
        "TALLOW_ISA: this processor has no {requested}; it has {available}: choose one of these or unset it"
    )]
    Unavailable {
        /// What was asked for.
        requested: &'static str,
        /// What can be asked for here.
        available: String,
    },
}

/// A request for a way to do convolutions that there is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TALLOW_CONV: unknown method {name:?}; expected one of {expected}, or unset it")]
pub struct MethodError {
    /// What was asked for.
    pub name: String,
    /// The names that exist.
    pub expected: String,
}
