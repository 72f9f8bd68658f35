//! Errors that a user's choice can cause. Wrong lengths are programming errors and panic.

/// A request for an unknown or unavailable instruction set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsaError {
    /// No instruction set has this name.
    #[error("TALLOW_ISA: unknown instruction set {name:?}; expected one of {expected}")]
    Unknown {
        /// The requested name.
        name: String,
        /// The names that exist.
        expected: String,
    },
    /// The processor does not have the instruction set.
    #[error(
        "TALLOW_ISA: this processor does not have {requested}; it has {available}: choose one of these, or \
         unset TALLOW_ISA"
    )]
    Unavailable {
        /// The requested instruction set.
        requested: &'static str,
        /// The instruction sets that this processor has.
        available: String,
    },
}

/// A request for an unknown convolution method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("TALLOW_CONV: unknown method {name:?}; expected one of {expected}; or unset TALLOW_CONV")]
pub struct MethodError {
    /// The requested name.
    pub name: String,
    /// The names that exist.
    pub expected: String,
}
