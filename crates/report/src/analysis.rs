//! Computes the figures of a run's report once, from its predictions.

use tallow_core::Foreign;
use tallow_metrics::{
    ClassIntervals, ClassificationReport, ConfusionMatrix, CostTable, Predictions, calibration_temperature,
    class_intervals, confused_pairs, expected_calibration_error, reliability_bins, surest_errors,
    top_k_accuracy, wilson_interval, with_temperature,
};

use crate::chart::Calibration;
use crate::error::{ReportError, Result};
use crate::record::RunRecord;

/// The confidence of every interval and test of a report.
pub const CONFIDENCE: f64 = 0.95;
/// Number of bins of reliability diagrams and calibration errors.
pub const N_BINS: usize = 15;
/// Numbers of the most confused pairs, of pictures of each pair, and of the surest errors that a report shows.
pub(crate) const N_PAIRS: usize = 6;
pub(crate) const N_PICTURES_OF_A_PAIR: usize = 4;
pub(crate) const N_SUREST: usize = 12;

/// The results of a model on the test images.
pub(crate) struct Test<'a> {
    pub(crate) class_names: &'a [Foreign],
    pub(crate) files: &'a [Foreign],
    pub(crate) predictions: &'a Predictions,
    pub(crate) matrix: ConfusionMatrix,
    pub(crate) report: ClassificationReport,
    pub(crate) intervals: Vec<ClassIntervals>,
    pub(crate) accuracy_interval: [f64; 2],
}

impl<'a> Test<'a> {
    /// Computes the results of `run`; `None` if it has no test predictions.
    pub(crate) fn of(run: &'a RunRecord) -> Result<Option<Self>> {
        let Some(table) = run.test.as_ref().filter(|table| !table.predictions.is_empty()) else {
            return Ok(None);
        };
        let matrix = ConfusionMatrix::from_predictions(&table.predictions);
        let by_folds = run.summary.as_ref().filter(|summary| summary.is_tested_by_folds());
        let by_folds = by_folds.and_then(|summary| Some(summary.folds.as_ref()?.accuracy_interval));
        Ok(Some(Self {
            class_names: &table.class_names,
            files: &table.files,
            predictions: &table.predictions,
            report: ClassificationReport::new(&matrix),
            intervals: class_intervals(&matrix, CONFIDENCE)?,
            accuracy_interval: match by_folds {
                Some(interval) => interval,
                None => wilson_interval(matrix.n_correct(), matrix.n(), CONFIDENCE)?,
            },
            matrix,
        }))
    }

    pub(crate) fn accuracy(&self) -> f64 {
        self.report.accuracy
    }

    /// Returns whether there is no test image of this class. Then its recall and F1 are unknown.
    pub(crate) fn is_untested(&self, class: usize) -> bool {
        self.report.classes[class].support == 0
    }

    /// Returns each k that is below the number of classes, with the top-k accuracy.
    pub(crate) fn top_k(&self) -> Vec<(usize, f64)> {
        let ks = [2, 3, 5].into_iter().filter(|&k| k < self.class_names.len());
        ks.filter_map(|k| Some((k, top_k_accuracy(self.predictions, k)?))).collect()
    }
}

/// Probabilities before and after temperature scaling.
pub(crate) struct Trust {
    /// The temperature, fitted on validation; `None` for a run without enough validation predictions.
    pub(crate) temperature: Option<f64>,
    /// The test predictions, calibrated if there is a temperature.
    pub(crate) test: Predictions,
    /// The validation predictions, calibrated if there is a temperature.
    pub(crate) val: Option<Predictions>,
    /// Calibration on the test images: as trained and, if there is a temperature, calibrated.
    pub(crate) states: Vec<Calibration>,
    /// Mean negative log-likelihood on the test images, for each of `states`.
    pub(crate) losses: Vec<f64>,
    /// Whether the model was independent of validation and test images, so that one can confirm choices made on the
    /// other.
    pub(crate) is_independent: bool,
    /// Whether validation also decided when training stopped, when the learning rate fell, or which weights were kept.
    pub(crate) val_chose: bool,
    /// Whether validation and test are the same answers, those of the folds, because no other images were kept for a
    /// test.
    pub(crate) is_by_folds: bool,
}

impl Trust {
    pub(crate) fn of(run: &RunRecord, test: &Test<'_>) -> Result<Self> {
        let state = |label: &str, p: &Predictions| Calibration {
            label: label.to_owned(),
            bins: reliability_bins(p, N_BINS),
            ece: expected_calibration_error(p, N_BINS).unwrap_or(0.0),
        };
        let loss = |p: &Predictions| p.mean_nll().unwrap_or(0.0);
        let fitting = |table: &&tallow_metrics::PredictionsTable| table.class_names == test.class_names;
        let is_by_folds = run.summary.as_ref().is_some_and(tallow_metrics::Summary::is_tested_by_folds);
        let val = match is_by_folds {
            true => Some(test.predictions),
            false => run.val.as_ref().filter(fitting).map(|table| &table.predictions),
        };
        let mut trust = Self {
            temperature: val.and_then(calibration_temperature),
            test: test.predictions.clone(),
            val: None,
            states: vec![state("as trained", test.predictions)],
            losses: vec![loss(test.predictions)],
            val_chose: run.summary.as_ref().is_none_or(|summary| summary.folds.is_none())
                && (run.recipe_value(&["callbacks", "early_stopping"]).is_some()
                    || run.recipe_value(&["callbacks", "reduce_lr_on_plateau"]).is_some()
                    || run.is_extended),
            is_by_folds,
            is_independent: !run.caveats().iter().any(|c| c.spoils_test() || c.spoils_validation()),
        };
        if let (Some(temperature), Some(val)) = (trust.temperature, val) {
            trust.test = with_temperature(test.predictions, temperature)?;
            trust.val = Some(with_temperature(val, temperature)?);
            trust.states.push(state("calibrated", &trust.test));
            trust.losses.push(loss(&trust.test));
        } else {
            trust.val = val.cloned();
        }
        Ok(trust)
    }
}

/// The options of a report.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The text of a cost table, read by [`CostTable::from_toml`].
    pub costs: Option<String>,
    /// The wanted accuracy of the answers, in (0, 1), where the model may abstain.
    pub target_accuracy: Option<f64>,
}

impl Options {
    pub(crate) fn cost_table(&self, class_names: &[Foreign]) -> Result<Option<CostTable>> {
        Ok(self.costs.as_ref().map(|text| CostTable::from_toml(text, class_names)).transpose()?)
    }

    /// Checks the options for `run`.
    ///
    /// # Errors
    /// If the target accuracy is not above 0 and below 1.
    pub(crate) fn check(&self, run: &RunRecord) -> Result<()> {
        match self.target_accuracy {
            Some(target) if !(target > 0.0 && target < 1.0) => Err(ReportError::Missing {
                run: run.name.clone(),
                problem: format!(
                    "the target accuracy is {target}, expected a share above 0 and below 1, such as 0.98"
                ),
            }),
            _ => Ok(()),
        }
    }
}

/// Returns the test images that a report of `predictions` shows, as indices in the data set without repeats: examples of
/// the most confused pairs, and the surest errors. The caller, which has the images, writes them to the run folder's
/// `images/`.
pub fn wanted_test_images(predictions: &Predictions) -> Vec<u32> {
    let matrix = ConfusionMatrix::from_predictions(predictions);
    let pairs = confused_pairs(&matrix);
    let of_pairs =
        pairs.iter().take(N_PAIRS).flat_map(|pair| examples(predictions, pair.target, pair.predicted));
    let mut wanted: Vec<u32> = Vec::new();
    for position in of_pairs.chain(surest_errors(predictions).into_iter().take(N_SUREST)) {
        let index = predictions.indices()[position];
        if !wanted.contains(&index) {
            wanted.push(index);
        }
    }
    wanted
}

/// Returns the test images for which a report of `predictions` shows the nearest training images, if the run has them.
pub fn surest_wrong_images(predictions: &Predictions) -> Vec<u32> {
    let surest = surest_errors(predictions).into_iter().take(N_SUREST);
    surest.map(|position| predictions.indices()[position]).collect()
}

/// Returns the positions of images of class `target` that were predicted as `predicted`, the surest first.
pub(crate) fn examples(predictions: &Predictions, target: usize, predicted: usize) -> Vec<usize> {
    let of_pair = |&i: &usize| {
        predictions.targets()[i] as usize == target && predictions.predicted(i) as usize == predicted
    };
    surest_errors(predictions).into_iter().filter(of_pair).take(N_PICTURES_OF_A_PAIR).collect()
}
