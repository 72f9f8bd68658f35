//! Sorts classes into bands by the worst cell of their row in the confusion matrix, with the thresholds of the Keras
//! baseline.

use serde::{Deserialize, Serialize};

use crate::{ConfusionMatrix, MetricsError};

/// The quality of a cell of the confusion matrix, or of a class. Ordered from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// At most [`Bands::acceptable_up_to`] errors.
    Acceptable,
    /// More errors than that, but at most [`Bands::improvable_up_to`].
    Improvable,
    /// More errors than that.
    Failing,
}

impl Band {
    /// Returns a short name for tables: "acceptable", "improvable" or "failing".
    pub fn name(self) -> &'static str {
        match self {
            Self::Acceptable => "acceptable",
            Self::Improvable => "improvable",
            Self::Failing => "failing",
        }
    }
}

/// Thresholds of the bands, in errors per 1,000 images of the true class. A value equal to a threshold belongs to the
/// better band.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bands {
    /// Highest rate that is acceptable.
    pub acceptable_up_to: f64,
    /// Highest rate that can be improved. A class above it does not work as it should.
    pub improvable_up_to: f64,
}

impl Default for Bands {
    /// The baseline's thresholds: 30 and 50.
    fn default() -> Self {
        Self { acceptable_up_to: 30.0, improvable_up_to: 50.0 }
    }
}

/// The band of a class and the cell that decided it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassBand {
    /// The band.
    pub band: Band,
    /// The class that images of this class are most often wrongly predicted as, the lowest of equals; `None` if there is
    /// no error.
    pub confused_with: Option<usize>,
    /// Number of those errors per 1,000 images of the true class.
    pub errors_per_1000: f64,
}

impl Bands {
    /// Checks thresholds that a user chose.
    ///
    /// # Errors
    /// If the thresholds are not in order, below 0, or NaN.
    pub fn check(&self) -> Result<(), MetricsError> {
        let Self { acceptable_up_to, improvable_up_to } = *self;
        if 0.0 <= acceptable_up_to && acceptable_up_to <= improvable_up_to {
            return Ok(());
        }
        Err(MetricsError::BandOrder { acceptable_up_to, improvable_up_to })
    }

    /// Returns the band of a number of errors per 1,000 images of the true class.
    pub fn of_rate(&self, errors_per_1000: f64) -> Band {
        if errors_per_1000 <= self.acceptable_up_to {
            Band::Acceptable
        } else if errors_per_1000 <= self.improvable_up_to {
            Band::Improvable
        } else {
            Band::Failing
        }
    }

    /// Returns the band of a cell off the diagonal; `None` on the diagonal and if the true class has no images.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn of_cell(&self, matrix: &ConfusionMatrix, target: usize, predicted: usize) -> Option<Band> {
        let support = matrix.support(target);
        (target != predicted && support > 0)
            .then(|| self.of_rate(per_1000(matrix.count(target, predicted), support)))
    }

    /// Returns the band of a class, which is the band of its worst cell; `None` if the class has no images.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn of_class(&self, matrix: &ConfusionMatrix, target: usize) -> Option<ClassBand> {
        let (row, support) = (matrix.row(target), matrix.support(target));
        let mut worst: Option<usize> = None;
        for (predicted, &errors) in row.iter().enumerate() {
            if predicted != target && errors > worst.map_or(0, |w| row[w]) {
                worst = Some(predicted);
            }
        }
        let errors_per_1000 = per_1000(worst.map_or(0, |w| row[w]), support);
        let band = self.of_rate(errors_per_1000);
        (support > 0).then_some(ClassBand { band, confused_with: worst, errors_per_1000 })
    }

    /// Describes a band in words.
    pub fn sentence(&self, band: Band) -> String {
        let Self { acceptable_up_to: low, improvable_up_to: high } = self;
        match band {
            Band::Acceptable => {
                format!(
                    "acceptable: at most {low} of 1,000 images of the class are taken for any one other class"
                )
            }
            Band::Improvable => format!(
                "can be improved: more than {low} and up to {high} of 1,000 images of the class are taken for one \
                 other class"
            ),
            Band::Failing => format!(
                "does not work as it should: more than {high} of 1,000 images of the class are taken for one other \
                 class"
            ),
        }
    }
}

/// Errors per 1,000 images. The multiplication comes first, so that the result is rounded once: a rate that equals a
/// threshold compares equal to it.
fn per_1000(errors: u64, support: u64) -> f64 {
    errors as f64 * 1000.0 / support as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 images of each class; class 0 is taken `a` times for class 1 and `b` times for class 2.
    fn with_errors(a: u64, b: u64) -> ConfusionMatrix {
        ConfusionMatrix::from_counts(3, vec![1000 - a - b, a, b, 0, 1000, 0, 0, 0, 1000]).unwrap()
    }

    #[test]
    fn a_threshold_belongs_to_the_better_band() {
        let band = |errors| Bands::default().of_class(&with_errors(errors, 0), 0).unwrap().band;
        let at = [0, 30, 31, 50, 51, 1000].map(band);
        use Band::{Acceptable, Failing, Improvable};
        assert_eq!(at, [Acceptable, Acceptable, Improvable, Improvable, Failing, Failing]);
    }

    #[test]
    fn rates_that_are_whole_are_exact() {
        for support in [1000, 3000, 17_000] {
            for rate in 0..=1000 {
                assert_eq!(per_1000(support / 1000 * rate, support), rate as f64, "of {support}");
            }
        }
    }

    #[test]
    fn a_class_takes_the_band_of_its_worst_cell_not_of_its_sum() {
        let bands = Bands::default();
        let class = bands.of_class(&with_errors(29, 30), 0).unwrap(); // 59 errors, but none of the cells above 30
        assert_eq!(
            class,
            ClassBand { band: Band::Acceptable, confused_with: Some(2), errors_per_1000: 30.0 }
        );
        assert_eq!(bands.of_class(&with_errors(40, 40), 0).unwrap().confused_with, Some(1));
        assert_eq!(bands.of_class(&with_errors(40, 40), 1).unwrap().confused_with, None);
    }

    #[test]
    fn no_images_no_band_and_the_diagonal_has_none() {
        let matrix = ConfusionMatrix::from_counts(2, vec![0, 0, 1, 1]).unwrap();
        let bands = Bands::default();
        assert_eq!((bands.of_class(&matrix, 0), bands.of_cell(&matrix, 0, 1)), (None, None));
        assert_eq!((bands.of_cell(&matrix, 1, 0), bands.of_cell(&matrix, 1, 1)), (Some(Band::Failing), None));
    }

    #[test]
    fn thresholds_can_be_chosen_and_are_checked() {
        let bands = Bands { acceptable_up_to: 0.0, improvable_up_to: 2.5 };
        assert_eq!(
            [0.0, 2.5, 2.6].map(|r| bands.of_rate(r)),
            [Band::Acceptable, Band::Improvable, Band::Failing]
        );
        assert!(bands.sentence(Band::Improvable).contains("more than 0 and up to 2.5 of 1,000"));
        assert_eq!(bands.check(), Ok(()));
        for (acceptable_up_to, improvable_up_to) in
            [(50.0, 30.0), (-1.0, 2.0), (f64::NAN, 1.0), (1.0, f64::NAN)]
        {
            assert!(Bands { acceptable_up_to, improvable_up_to }.check().is_err());
        }
    }
}
