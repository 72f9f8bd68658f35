//! Statistics of runs that differ only in their seed: the mean of a recipe with its interval, and whether the means of
//! two recipes differ.

use serde::Serialize;

use crate::MetricsError;
use crate::student_t::{student_t, two_sided_p};

/// The mean of some runs, with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedMean {
    /// Number of runs.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Standard deviation of the runs, with divisor n - 1; `None` for a single run.
    pub deviation: Option<f64>,
    /// Interval of the mean: low, high; `None` for a single run.
    pub interval: Option<[f64; 2]>,
}

/// Returns the mean m of `values` with its two-sided interval at `confidence`, where s is the standard deviation of
/// `values`:
///
/// ```text
/// m -+ t(n - 1) s / sqrt(n)
/// ```
///
/// # Errors
/// If there is no value, or `confidence` is not above 0 and below 1.
///
/// # Source
/// Student, "The Probable Error of a Mean", Biometrika 6 (1908), 1-25; the same as SciPy's `t.interval`.
pub fn seed_mean(values: &[f64], confidence: f64) -> Result<SeedMean, MetricsError> {
    check(values, 1, confidence)?;
    let (n, mean) = (values.len(), mean(values));
    if n == 1 {
        return Ok(SeedMean { n, mean, deviation: None, interval: None });
    }
    let (deviation, df) = (variance(values).sqrt(), (n - 1) as f64);
    let half_width = student_t(confidence, df) * deviation / (n as f64).sqrt();
    let interval = Some([mean - half_width, mean + half_width]);
    Ok(SeedMean { n, mean, deviation: Some(deviation), interval })
}

/// The difference of two recipes: the mean of the second recipe's runs minus the mean of the first recipe's runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SeedDifference {
    /// Second mean minus first mean.
    pub difference: f64,
    /// The interval of the difference: low, high.
    pub interval: [f64; 2],
    /// Probability of a difference at least as large if both means were the same.
    pub p_value: f64,
    /// Degrees of freedom.
    pub df: f64,
    /// The confidence of the interval.
    pub confidence: f64,
}

impl SeedDifference {
    /// Builds the result from a difference and its standard error.
    fn new(difference: f64, error: f64, df: f64, confidence: f64) -> Self {
        let half_width = student_t(confidence, df) * error;
        let p_value = match (error > 0.0, difference == 0.0) {
            (true, _) => two_sided_p(difference / error, df),
            (false, true) => 1.0,
            (false, false) => 0.0, // no spread, so any difference is real
        };
        let interval = [difference - half_width, difference + half_width];
        Self { difference, interval, p_value, df, confidence }
    }

    /// Returns whether the interval excludes 0.
    pub fn is_told_apart(&self) -> bool {
        self.interval[0] > 0.0 || self.interval[1] < 0.0
    }
}

/// Returns the difference of runs that form pairs, where both runs of a pair have the same seed: Student's t on the
/// differences of the pairs.
///
/// # Errors
/// If the two lists differ in length, they have fewer than two runs, or `confidence` is not above 0 and below 1.
///
/// # Source
/// As [`seed_mean`]; SciPy's `ttest_rel(second, first)`.
pub fn paired_difference(
    first: &[f64],
    second: &[f64],
    confidence: f64,
) -> Result<SeedDifference, MetricsError> {
    crate::error::check_length("second", second.len(), first.len())?;
    check(first, 2, confidence)?;
    let differences: Vec<f64> = first.iter().zip(second).map(|(a, b)| b - a).collect();
    let n = differences.len() as f64;
    let error = (variance(&differences) / n).sqrt();
    Ok(SeedDifference::new(mean(&differences), error, n - 1.0, confidence))
}

/// Returns the difference of independent runs, where the two recipes may differ in variance: Welch's t.
///
/// With v = s^2 / n for each recipe, the standard error is sqrt(v1 + v2), and the degrees of freedom are (v1 + v2)^2 /
/// (v1^2 / (n1 - 1) + v2^2 / (n2 - 1)).
///
/// # Errors
/// If either recipe has fewer than two runs, or `confidence` is not above 0 and below 1.
///
/// # Source
/// B. L. Welch, Biometrika 34 (1947), 28-35; SciPy's `ttest_ind(second, first, equal_var=False)`.
pub fn welch_difference(
    first: &[f64],
    second: &[f64],
    confidence: f64,
) -> Result<SeedDifference, MetricsError> {
    check(first, 2, confidence)?;
    check(second, 2, confidence)?;
    let [(v1, df1), (v2, df2)] =
        [first, second].map(|values| (variance(values) / values.len() as f64, (values.len() - 1) as f64));
    let v = v1 + v2;
    let df = if v > 0.0 { v * v / (v1 * v1 / df1 + v2 * v2 / df2) } else { df1 + df2 };
    Ok(SeedDifference::new(mean(second) - mean(first), v.sqrt(), df, confidence))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Variance with divisor n - 1.
fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (values.len() - 1) as f64
}

fn check(values: &[f64], n: usize, confidence: f64) -> Result<(), MetricsError> {
    if values.len() < n {
        return Err(MetricsError::TooFewRuns { found: values.len(), expected: n });
    }
    match confidence > 0.0 && confidence < 1.0 {
        true => Ok(()),
        false => Err(MetricsError::Confidence(confidence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 5] = [0.8528, 0.8561, 0.8497, 0.8540, 0.8514];
    const B: [f64; 5] = [0.8571, 0.8575, 0.8549, 0.8563, 0.8569];
    const C: [f64; 3] = [0.861, 0.8564, 0.8577];

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-10 * expected.abs(), "{found}, expected {expected}");
    }

    /// `numpy.std(a, ddof=1)`, `scipy.stats.t.interval(0.95, 4, numpy.mean(a), scipy.stats.sem(a))`, SciPy 1.17.
    #[test]
    fn the_mean_is_scipys() {
        let found = seed_mean(&A, 0.95).unwrap();
        assert_eq!(found.n, 5);
        near(found.mean, 0.8528);
        near(found.deviation.unwrap(), 0.0024443813123160418);
        near(found.interval.unwrap()[0], 0.8497648997266151);
        near(found.interval.unwrap()[1], 0.8558351002733849);
        let one = seed_mean(&[0.5], 0.95).unwrap();
        assert_eq!((one.mean, one.deviation, one.interval), (0.5, None, None));
    }

    /// `ttest_rel(b, a)` and its `confidence_interval(0.95)`, SciPy 1.17.
    #[test]
    fn pairs_are_scipys() {
        let found = paired_difference(&A, &B, 0.95).unwrap();
        near(found.p_value, 0.009862035824164313);
        near(found.interval[0], 0.0014936517183311068);
        near(found.interval[1], 0.005986348281668869);
        assert!(found.is_told_apart() && found.df == 4.0);
        let other = paired_difference(&B, &A, 0.95).unwrap();
        assert_eq!(other.interval, [-found.interval[1], -found.interval[0]]);
    }

    /// `ttest_ind(c, a, equal_var=False)` and its `confidence_interval(0.95)`, SciPy 1.17.
    #[test]
    fn welchs_test_is_scipys() {
        let found = welch_difference(&A, &C, 0.95).unwrap();
        near(found.difference, 0.005566666666666609);
        near(found.df, 4.457181688637168);
        near(found.p_value, 0.02889207722959673);
        near(found.interval[0], 0.0008929743765422656);
        near(found.interval[1], 0.010240358956790952);
    }

    #[test]
    fn runs_that_are_all_alike_have_no_interval_to_speak_of() {
        let alike = [0.5; 3];
        for test in [paired_difference, welch_difference] {
            let same = test(&alike, &alike, 0.95).unwrap();
            assert_eq!((same.interval, same.p_value, same.is_told_apart()), ([0.0; 2], 1.0, false));
            let other = test(&alike, &[0.75; 3], 0.95).unwrap();
            assert_eq!((other.interval, other.p_value, other.is_told_apart()), ([0.25; 2], 0.0, true));
        }
    }

    #[test]
    fn too_few_runs_are_refused() {
        let message = seed_mean(&[], 0.95).unwrap_err().to_string();
        assert_eq!(message, "0 runs: expected at least 1");
        assert!(paired_difference(&[0.5], &[0.5], 0.95).is_err());
        assert!(paired_difference(&A, &C, 0.95).is_err());
        assert!(welch_difference(&A, &[0.5], 0.95).unwrap_err().to_string().starts_with("1 runs"));
        assert!(seed_mean(&A, 1.0).is_err() && welch_difference(&A, &C, 0.0).is_err());
    }
}
