//! Precision, recall, F1 and support per class, and their averages.

use tallow_core::Foreign;

use crate::numpy_sum::numpy_sum;
use crate::{ConfusionMatrix, MetricsError, NamedReport};

/// The scores of one class. TP, FP, FN and TN are the numbers of true positives, false positives, false negatives and
/// true negatives of this class. A quotient with denominator 0 is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassScores {
    /// TP / (TP + FP): share of the images predicted as this class that belong to it.
    pub precision: f64,
    /// TP / (TP + FN): share of the images of this class that are predicted as it.
    pub recall: f64,
    /// 2 TP / (2 TP + FP + FN): the harmonic mean of precision and recall.
    pub f1_score: f64,
    /// TP + FN: number of images of this class.
    pub support: u64,
    /// (TP + TN) / N: accuracy of the question "is it this class or not?" over all N images. With many classes it is high
    /// for every class, because most images are correctly predicted as some other class. The diagonal of the confusion
    /// matrix, as shares of its rows, shows the recall instead.
    pub accuracy: f64,
}

/// An average of the classes' scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Averages {
    /// Average of the precisions.
    pub precision: f64,
    /// Average of the recalls.
    pub recall: f64,
    /// Average of the F1 scores (not the F1 of the averages).
    pub f1_score: f64,
}

/// The figures that scikit-learn's `classification_report(y_true, y_pred, labels=range(c), zero_division=0)` computes.
///
/// Every number equals scikit-learn's to the last bit. A matrix without images, which scikit-learn refuses, gives zeros.
/// [`Display`](std::fmt::Display) prints the report with class numbers as names.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassificationReport {
    /// The scores of each class, (c).
    pub classes: Vec<ClassScores>,
    /// Share of images classified correctly.
    pub accuracy: f64,
    /// Mean over all classes, including those without support.
    pub macro_avg: Averages,
    /// Mean over the classes, weighted by their support.
    pub weighted_avg: Averages,
}

impl ClassificationReport {
    /// Computes the report of `matrix`.
    pub fn new(matrix: &ConfusionMatrix) -> Self {
        let n = matrix.n();
        let classes: Vec<ClassScores> =
            (0..matrix.n_classes()).map(|class| scores(matrix, class, n)).collect();
        Self {
            accuracy: matrix.accuracy().unwrap_or(0.0),
            macro_avg: average(&classes, |_| 1.0),
            weighted_avg: average(&classes, |class| class.support as f64),
            classes,
        }
    }

    /// Returns the classes without images. Their recall and F1 are 0 only because there was nothing to find, and mean
    /// nothing.
    pub fn without_support(&self) -> impl Iterator<Item = usize> {
        self.classes.iter().enumerate().filter(|(_, class)| class.support == 0).map(|(class, _)| class)
    }

    /// Returns the number of images of the report.
    pub fn n(&self) -> u64 {
        self.classes.iter().map(|class| class.support).sum()
    }

    /// Returns the report with names for its classes, ready to be printed or serialised.
    ///
    /// # Errors
    /// If the number of names is not the number of classes.
    pub fn named<'a>(&'a self, class_names: &'a [Foreign]) -> Result<NamedReport<'a>, MetricsError> {
        NamedReport::new(self, class_names)
    }

    /// Returns the report as text; short for `named(class_names)?.to_string()`.
    ///
    /// # Errors
    /// If the number of names is not the number of classes.
    pub fn to_text(&self, class_names: &[Foreign]) -> Result<String, MetricsError> {
        Ok(self.named(class_names)?.to_string())
    }
}

fn scores(matrix: &ConfusionMatrix, class: usize, n: u64) -> ClassScores {
    let true_positives = matrix.count(class, class);
    let (support, n_predicted) = (matrix.support(class), matrix.n_predicted(class));
    let wrong = (support - true_positives) + (n_predicted - true_positives);
    ClassScores {
        precision: quotient(true_positives as f64, n_predicted as f64),
        recall: quotient(true_positives as f64, support as f64),
        f1_score: quotient(2.0 * true_positives as f64, support as f64 + n_predicted as f64),
        support,
        accuracy: quotient((n - wrong) as f64, n as f64),
    }
}

/// Divides with scikit-learn's `zero_division=0`: a denominator of 0 gives 0.
fn quotient(numerator: f64, denominator: f64) -> f64 {
    if denominator == 0.0 { 0.0 } else { numerator / denominator }
}

fn average(classes: &[ClassScores], weight: impl Fn(&ClassScores) -> f64) -> Averages {
    let total = numpy_sum(&classes.iter().map(&weight).collect::<Vec<_>>());
    let mean = |score: fn(&ClassScores) -> f64| {
        let weighted: Vec<f64> = classes.iter().map(|class| score(class) * weight(class)).collect();
        quotient(numpy_sum(&weighted), total)
    };
    Averages { precision: mean(|c| c.precision), recall: mean(|c| c.recall), f1_score: mean(|c| c.f1_score) }
}
