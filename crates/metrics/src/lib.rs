//! Metrics from predictions, and the records that a run writes.
//!
//! Everything here is a function of counts, labels and log-probabilities: no tensors, no files, no clock. Texts go in and
//! come out as strings; the caller decides where they are stored.
//!
//! Predictions of a model:
//! * [`Predictions`]: log-probabilities beside the true classes; accuracy, mean negative log-likelihood;
//!   [`argmax`], [`in_top_k`], [`top_k_accuracy`];
//! * [`WeightedMean`]: the mean of an epoch from the means of its batches.
//!
//! How good the predictions are:
//! * [`ConfusionMatrix`]: counts of true and predicted classes;
//! * [`ClassificationReport`]: precision, recall, F1 and support, printed as scikit-learn prints them;
//! * [`wilson_interval`]: the confidence interval of an accuracy; [`folds_interval`]: the same for cross-validation;
//! * [`Bands`]: which classes are acceptable, which can be improved, which do not work;
//! * [`class_intervals`]: the confidence intervals of precision, recall and F1 score per class;
//! * [`confused_pairs`], [`surest_errors`]: the errors to look at first;
//! * [`compare_paired`]: whether one model is better than another on the same images;
//! * [`seed_mean`], [`paired_difference`], [`welch_difference`]: the mean of several runs of one recipe, and the
//!   difference of two recipes;
//! * [`suspects`]: which labels may be wrong.
//!
//! How good the probabilities are:
//! * [`reliability_bins`], [`expected_calibration_error`]: whether a confidence equals the share of correct answers;
//! * [`fit_temperature`]: one number that calibrates the confidences;
//! * [`coverage_curve`], [`promised_threshold`]: how many images can be left to the model at a wanted accuracy;
//! * [`CostTable`]: what errors cost, and the decision that costs least.
//!
//! The learning rate that a short sweep suggests: [`LrSweep`].
//!
//! Whether a picture belongs to any of the classes: [`typicality`], [`auroc`], [`noticed`].
//!
//! Records of a run: [`EpochRecord`], [`Summary`], [`predictions_to_csv`], each with its exact text form.
//!
//! ```
//! use tallow_metrics::{Band, Bands, ClassificationReport, ConfusionMatrix, Foreign, wilson_interval};
//!
//! let names = ["cat", "dog"].map(Foreign::from);
//! let (targets, predicted) = ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]);
//! let matrix = ConfusionMatrix::from_pairs(names.len(), &targets, &predicted)?;
//!
//! let report = ClassificationReport::new(&matrix);
//! assert_eq!(report.accuracy, 5.0 / 6.0);
//! assert_eq!(
//!     report.to_text(&names)?,
//!     "              precision    recall  f1-score   support
//!
//!          cat       1.00      0.67      0.80         3
//!          dog       0.75      1.00      0.86         3
//!
//!     accuracy                           0.83         6
//!    macro avg       0.88      0.83      0.83         6
//! weighted avg       0.88      0.83      0.83         6
//! "
//! );
//!
//! let [low, high] = wilson_interval(matrix.n_correct(), matrix.n(), 0.95)?;
//! assert!(low < 0.44 && high > 0.96); // six images say little
//!
//! let bands = Bands::default();
//! let cats = bands.of_class(&matrix, 0).expect("there are cats");
//! assert_eq!((cats.band, cats.confused_with), (Band::Failing, Some(1))); // one of three is taken for a dog
//! assert!(bands.sentence(cats.band).starts_with("does not work as it should: more than 50 of 1,000 images"));
//! # Ok::<(), tallow_metrics::MetricsError>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod answers_csv;
mod bands;
mod calibration;
mod caveat;
mod class_intervals;
mod confused;
mod confusion;
mod costs;
mod costs_toml;
mod coverage;
mod coverage_promise;
mod csv_text;
mod error;
mod folds;
mod history;
mod interval;
mod lr_sweep;
mod mean;
mod normal;
mod novelty;
mod numpy_sum;
mod paired;
mod predictions;
mod predictions_csv;
mod race;
mod report;
mod report_text;
mod seeds;
mod student_t;
mod summary;
mod suspects;
mod temperature;
mod topk;

pub use answers_csv::{Answer, answers_to_csv};
pub use bands::{Band, Bands, ClassBand};
pub use calibration::{ReliabilityBin, expected_calibration_error, reliability_bins};
pub use caveat::Caveat;
pub use class_intervals::{ClassIntervals, class_intervals};
pub use confused::{ConfusedPair, confused_pairs, surest_errors};
pub use confusion::ConfusionMatrix;
pub use costs::{CostTable, Decision, DecisionCosts, PairCost};
pub use coverage::{CoveragePoint, coverage_at, coverage_curve};
pub use coverage_promise::{Promise, promised_threshold};
pub use error::MetricsError;
pub use folds::{FoldScores, folds_interval};
pub use history::{EpochRecord, history_to_csv, parse_history};
pub use interval::{clopper_pearson_lower, wilson_interval};
pub use lr_sweep::{LrSweep, SuggestedRate, SweepPoint};
pub use mean::WeightedMean;
pub use novelty::{
    FALSE_ALARM_RATE, LeftOut, MIN_KNOWN, NOVELTY_VERSION, NoveltyRecord, NoveltyTest, auroc, noticed,
    typicality,
};
pub use paired::{PairedComparison, Verdict, compare_paired};
pub use predictions::Predictions;
pub use predictions_csv::{PredictionsTable, parse_predictions_csv, predictions_to_csv};
pub use race::{RACE_VERSION, RaceRecord, Tried, quickest_of_the_best};
pub use report::{Averages, ClassScores, ClassificationReport};
pub use report_text::NamedReport;
pub use seeds::{SeedDifference, SeedMean, paired_difference, seed_mean, welch_difference};
pub use summary::{PretrainedWeights, SplitScore, Summary, TestScore};
pub use suspects::{Suspect, suspects};
/// Text from outside: the type of the names in predictions and records.
pub use tallow_core::Foreign;
pub use temperature::{
    MIN_CALIBRATION_PREDICTIONS, TEMPERATURES, calibration_temperature, fit_temperature, with_temperature,
};
pub use topk::{argmax, in_top_k, most_probable, top_k_accuracy};
