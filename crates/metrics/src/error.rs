//! The errors of this crate.

use tallow_core::Foreign;

/// An input that does not fit, with its place and the expected value. Its message is safe to show.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// The number of classes is 0.
    #[error("n_classes is 0: there must be at least one class")]
    NoClasses,
    /// Two lists that belong together have different lengths.
    #[error("{what} has {found} entries, expected {expected}")]
    Length {
        /// The list with the wrong length.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The expected length.
        expected: usize,
    },
    /// A label that is not a class.
    #[error("{what}[{position}] is {class}: expected a class below n_classes = {n_classes}")]
    ClassOutOfRange {
        /// The list that holds the label.
        what: &'static str,
        /// Its position in the list, counted from 0.
        position: usize,
        /// The label.
        class: u32,
        /// Number of classes.
        n_classes: usize,
    },
    /// A value that cannot be the logarithm of a probability.
    #[error(
        "the log-probability of class {class} for prediction {position} is {value}: expected a number of at \
         most 0 (log_softmax of finite logits)"
    )]
    NotALogProbability {
        /// The row, counted from 0.
        position: usize,
        /// The column, counted from 0.
        class: usize,
        /// The value.
        value: f32,
    },
    /// Counts that add up to more than 2^64 - 1.
    #[error("the counts of the confusion matrix add up to more than {}", u64::MAX)]
    CountOverflow,
    /// More successes than trials.
    #[error("{successes} successes of {n} trials: expected at most {n}")]
    MoreSuccessesThanTrials {
        /// Number of successes.
        successes: u64,
        /// Number of trials.
        n: u64,
    },
    /// Folds that cannot be compared: fewer than two, or one without an image.
    #[error("folds of {n_images:?} images: expected at least two folds, each with at least one image")]
    Folds {
        /// Number of images of each fold.
        n_images: Vec<u64>,
    },
    /// Fewer runs than the statistic needs.
    #[error("{found} runs: expected at least {expected}")]
    TooFewRuns {
        /// Number of runs.
        found: usize,
        /// Least number of runs.
        expected: usize,
    },
    /// A confidence that is not a number strictly between 0 and 1.
    #[error("confidence is {0}: expected a number above 0 and below 1, such as 0.95")]
    Confidence(f64),
    /// A wanted accuracy that is not a number strictly between 0 and 1.
    #[error("the wanted accuracy is {0}: expected a share above 0 and below 1, such as 0.98")]
    WantedAccuracy(f64),
    /// Thresholds of bands that are not in order.
    #[error(
        "bands: acceptable_up_to is {acceptable_up_to} and improvable_up_to is {improvable_up_to}: \
         expected 0 <= acceptable_up_to <= improvable_up_to, in errors per 1,000 images"
    )]
    BandOrder {
        /// The first threshold.
        acceptable_up_to: f64,
        /// The second threshold.
        improvable_up_to: f64,
    },
    /// Two classes with the same name, where names must be unique.
    #[error("the class name {name:?} is used twice: classes {first} and {second}; rename one of them")]
    DuplicateClassName {
        /// The name.
        name: Foreign,
        /// The first class that has it.
        first: usize,
        /// The second.
        second: usize,
    },
    /// A temperature that is not a positive finite number.
    #[error("temperature is {0}: expected a number above 0")]
    Temperature(f64),
    /// Predictions of two models that are not about the same images.
    #[error("the two sets of predictions cannot be compared image by image: {0}")]
    NotPaired(String),
    /// A cost table that does not fit the classes, or holds a number that cannot be a price.
    #[error("costs: {key}: {problem}")]
    Costs {
        /// The key in the table, such as `price[2].true`; for a syntax error, "the file".
        key: String,
        /// What was found and what was expected.
        problem: String,
    },
    /// A text that is not the expected table.
    #[error("line {line}, column {}: {problem}", column.shown())]
    Csv {
        /// The line, counted from 1, the header included; for a row that spans several lines, its first line.
        line: u64,
        /// The column's name, or its number counted from 1 if it has no name.
        column: Foreign,
        /// What was found and what was expected.
        problem: String,
    },
}

/// Checks that a list has the expected length.
pub(crate) fn check_length(what: &'static str, found: usize, expected: usize) -> Result<(), MetricsError> {
    if found == expected { Ok(()) } else { Err(MetricsError::Length { what, found, expected }) }
}

/// Checks that every label is a class.
pub(crate) fn check_classes(
    what: &'static str,
    labels: &[u32],
    n_classes: usize,
) -> Result<(), MetricsError> {
    match labels.iter().position(|&class| class as usize >= n_classes) {
        None => Ok(()),
        Some(position) => {
            Err(MetricsError::ClassOutOfRange { what, position, class: labels[position], n_classes })
        }
    }
}
