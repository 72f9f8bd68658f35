//! The confusion matrix: counts of (true class, predicted class).

use tallow_core::Foreign;

use crate::error::{check_classes, check_length};
use crate::{MetricsError, Predictions};

/// Counts of images by true class (rows) and predicted class (columns), laid out like scikit-learn's `confusion_matrix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    n_classes: usize,
    counts: Vec<u64>, // row-major
}

impl ConfusionMatrix {
    /// Counts pairs of a true and a predicted class.
    ///
    /// # Errors
    /// If `n_classes` is 0, the lists differ in length, or a label is not a class.
    pub fn from_pairs(n_classes: usize, targets: &[u32], predicted: &[u32]) -> Result<Self, MetricsError> {
        if n_classes == 0 {
            return Err(MetricsError::NoClasses);
        }
        check_length("predicted", predicted.len(), targets.len())?;
        check_classes("targets", targets, n_classes)?;
        check_classes("predicted", predicted, n_classes)?;
        let mut counts = vec![0; n_classes * n_classes];
        for (&target, &predicted) in targets.iter().zip(predicted) {
            counts[target as usize * n_classes + predicted as usize] += 1;
        }
        Ok(Self { n_classes, counts })
    }

    /// Counts the true and the most probable class of each prediction.
    pub fn from_predictions(predictions: &Predictions) -> Self {
        let n_classes = predictions.n_classes();
        let mut counts = vec![0; n_classes * n_classes];
        for (i, &target) in predictions.targets().iter().enumerate() {
            counts[target as usize * n_classes + predictions.predicted(i) as usize] += 1;
        }
        Self { n_classes, counts }
    }

    /// Makes a matrix of given counts: (c, c) row-major, rows true, columns predicted.
    ///
    /// # Errors
    /// If `n_classes` is 0, the number of counts is not `n_classes` squared, or the counts add up to more than a u64
    /// holds.
    pub fn from_counts(n_classes: usize, counts: Vec<u64>) -> Result<Self, MetricsError> {
        if n_classes == 0 {
            return Err(MetricsError::NoClasses);
        }
        check_length("counts", counts.len(), n_classes.saturating_mul(n_classes))?;
        counts.iter().try_fold(0u64, |sum, &c| sum.checked_add(c)).ok_or(MetricsError::CountOverflow)?;
        Ok(Self { n_classes, counts })
    }

    /// Returns the number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Returns the number of images of class `target` that were predicted as class `predicted`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn count(&self, target: usize, predicted: usize) -> u64 {
        self.row(target)[predicted]
    }

    /// Returns the counts of true class `target` by predicted class, (c).
    ///
    /// # Panics
    /// If there is no such class.
    pub fn row(&self, target: usize) -> &[u64] {
        &self.counts[target * self.n_classes..][..self.n_classes]
    }

    /// Returns the number of images with true class `target`.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn support(&self, target: usize) -> u64 {
        self.row(target).iter().sum()
    }

    /// Returns the number of images that were predicted as class `predicted`, correctly or not.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn n_predicted(&self, predicted: usize) -> u64 {
        (0..self.n_classes).map(|target| self.count(target, predicted)).sum()
    }

    /// Returns row `target` as shares of its support, each in [0, 1]; `None` if the class has no images.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn row_shares(&self, target: usize) -> Option<Vec<f64>> {
        let support = self.support(target);
        let share = |&count: &u64| count as f64 / support as f64;
        (support > 0).then(|| self.row(target).iter().map(share).collect())
    }

    /// Returns the number of images.
    pub fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Returns the number of images that were classified correctly.
    pub fn n_correct(&self) -> u64 {
        (0..self.n_classes).map(|class| self.count(class, class)).sum()
    }

    /// Returns the share of images that were classified correctly; `None` if there are no images.
    pub fn accuracy(&self) -> Option<f64> {
        let n = self.n();
        (n > 0).then(|| self.n_correct() as f64 / n as f64)
    }

    /// Returns the class with the most images, the first of equals, and its share of all images. This share is the
    /// accuracy of always answering with that class, so an accuracy must be above it to be worth anything. Returns `None`
    /// if there are no images.
    pub fn largest_class(&self) -> Option<(usize, f64)> {
        let supports = (0..self.n_classes).map(|class| self.support(class));
        let (class, support) = supports.enumerate().rev().max_by_key(|&(_, support)| support)?;
        let n = self.n();
        (n > 0).then(|| (class, support as f64 / n as f64))
    }

    /// Returns the matrix as CSV (RFC 4180, lines end in a line feed): the header `true` and the names of the predicted
    /// classes, then one row per true class, its name first. A name that a spreadsheet would run as a formula gets an
    /// apostrophe before it.
    ///
    /// # Errors
    /// If the number of names is not the number of classes.
    pub fn to_csv(&self, class_names: &[Foreign]) -> Result<String, MetricsError> {
        check_length("class_names", class_names.len(), self.n_classes)?;
        let mut csv = String::from("true");
        for name in class_names {
            csv.push(',');
            csv.push_str(&name.in_csv());
        }
        csv.push('\n');
        for (target, name) in class_names.iter().enumerate() {
            csv.push_str(&name.in_csv());
            for count in self.row(target) {
                csv.push(',');
                csv.push_str(&count.to_string());
            }
            csv.push('\n');
        }
        Ok(csv)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_true_and_columns_predicted() {
        let matrix = ConfusionMatrix::from_pairs(3, &[0, 0, 0, 2], &[0, 1, 1, 2]).unwrap();
        assert_eq!(
            (matrix.row(0), matrix.row(1), matrix.row(2)),
            (&[1, 2, 0][..], &[0; 3][..], &[0, 0, 1][..])
        );
        assert_eq!((matrix.support(0), matrix.n_predicted(0)), (3, 1));
        assert_eq!((matrix.n(), matrix.n_correct(), matrix.accuracy()), (4, 2, Some(0.5)));
        assert_eq!(matrix.row_shares(0), Some(vec![1.0 / 3.0, 2.0 / 3.0, 0.0]));
        assert_eq!(matrix.row_shares(1), None);
    }

    #[test]
    fn of_nothing_there_is_no_accuracy() {
        let nothing = ConfusionMatrix::from_pairs(2, &[], &[]).unwrap();
        assert_eq!((nothing.accuracy(), nothing.largest_class()), (None, None));
    }

    #[test]
    fn the_largest_class_is_by_what_is_true() {
        let matrix = ConfusionMatrix::from_pairs(3, &[0, 1, 1, 2, 2], &[0, 0, 0, 0, 2]).unwrap();
        assert_eq!(matrix.largest_class(), Some((1, 0.4)), "the first of equals");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let pairs = |n_classes, targets: &[u32], predicted: &[u32]| {
            ConfusionMatrix::from_pairs(n_classes, targets, predicted).unwrap_err().to_string()
        };
        assert!(pairs(0, &[], &[]).contains("at least one class"));
        assert_eq!(pairs(2, &[0, 1], &[0]), "predicted has 1 entries, expected 2");
        assert_eq!(pairs(2, &[2], &[0]), "targets[0] is 2: expected a class below n_classes = 2");
        assert_eq!(pairs(2, &[1], &[7]), "predicted[0] is 7: expected a class below n_classes = 2");
        let counts = |n_classes, counts| ConfusionMatrix::from_counts(n_classes, counts).unwrap_err();
        assert_eq!(counts(0, vec![]), MetricsError::NoClasses);
        assert_eq!(counts(2, vec![0; 3]).to_string(), "counts has 3 entries, expected 4");
        assert_eq!(counts(2, vec![u64::MAX, 0, 0, 1]), MetricsError::CountOverflow);
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let matrix = ConfusionMatrix::from_counts(2, vec![1, 2, 3, 4]).unwrap();
        assert_eq!(
            matrix.to_csv(&["a, \"b\"", "c\nd"].map(Foreign::from)).unwrap(),
            "true,\"a, \"\"b\"\"\",\"c\nd\"\n\"a, \"\"b\"\"\",1,2\n\"c\nd\",3,4\n"
        );
        assert_eq!(matrix.to_csv(&["=a", "b"].map(Foreign::from)).unwrap(), "true,'=a,b\n'=a,1,2\nb,3,4\n");
        assert_eq!(
            matrix.to_csv(&["a".into()]).unwrap_err().to_string(),
            "class_names has 1 entries, expected 2"
        );
    }
}
