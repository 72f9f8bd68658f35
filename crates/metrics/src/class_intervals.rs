//! Confidence intervals for the precision, the recall and the F1 score of each class.

use crate::{ConfusionMatrix, MetricsError, wilson_interval};

/// Intervals `[low, high]` of one class's scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassIntervals {
    /// Interval of the precision, TP / (TP + FP).
    pub precision: [f64; 2],
    /// Interval of the recall, TP / (TP + FN).
    pub recall: [f64; 2],
    /// Interval of the F1 score, 2 TP / (2 TP + FP + FN).
    pub f1_score: [f64; 2],
}

/// Returns the intervals of every class at `confidence`, (c).
///
/// Precision and recall are counted shares, so their intervals are [`wilson_interval`]s. F1 is not a share, but an
/// increasing function of one: with J = TP / (TP + FP + FN), F1 = 2 J / (1 + J). Its interval is that of J, mapped by
/// this function.
///
/// # Errors
/// If `confidence` is not above 0 and below 1.
pub fn class_intervals(
    matrix: &ConfusionMatrix,
    confidence: f64,
) -> Result<Vec<ClassIntervals>, MetricsError> {
    let of_class = |class| {
        let (tp, support) = (matrix.count(class, class), matrix.support(class));
        let n_predicted = matrix.n_predicted(class);
        let union = wilson_interval(tp, support + n_predicted - tp, confidence)?;
        Ok(ClassIntervals {
            precision: wilson_interval(tp, n_predicted, confidence)?,
            recall: wilson_interval(tp, support, confidence)?,
            f1_score: union.map(|j| 2.0 * j / (1.0 + j)),
        })
    };
    (0..matrix.n_classes()).map(of_class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClassificationReport;
    use proptest::prelude::*;

    #[test]
    fn of_no_images_nothing_is_known() {
        let matrix = ConfusionMatrix::from_counts(2, vec![0, 0, 0, 5]).unwrap();
        let first = class_intervals(&matrix, 0.95).unwrap()[0];
        assert_eq!((first.precision, first.recall, first.f1_score), ([0.0, 1.0], [0.0, 1.0], [0.0, 1.0]));
        assert!(matches!(class_intervals(&matrix, 1.0), Err(MetricsError::Confidence(_))));
    }

    proptest! {
        #[test]
        fn each_holds_its_score(counts in prop::collection::vec(0u64..50, 9)) {
            let matrix = ConfusionMatrix::from_counts(3, counts).unwrap();
            let report = ClassificationReport::new(&matrix);
            for (class, (i, s)) in class_intervals(&matrix, 0.9).unwrap().iter().zip(&report.classes).enumerate() {
                let holds = |[low, high]: [f64; 2], score: f64| low <= score + 1e-12 && score <= high + 1e-12;
                prop_assert!(holds(i.precision, s.precision) && holds(i.recall, s.recall), "{class}");
                prop_assert!(holds(i.f1_score, s.f1_score), "{class}");
            }
        }
    }
}
