//! Temperature scaling: fits one number that brings a model's confidences in line with its accuracy.

use std::ops::RangeInclusive;

use crate::{MetricsError, Predictions};

/// Range of the temperatures that [`fit_temperature`] considers. A fit at either end means that the predictions do not
/// determine the temperature: for a model that is never wrong, lower is always better.
pub const TEMPERATURES: RangeInclusive<f64> = 0.05..=20.0;

/// Replaces a log-probability of minus infinity, so that one impossible class leaves the sums finite.
const LOWEST_LOG_PROB: f64 = -1e4;

/// Largest number of steps of the fit: enough halvings to bring the interval of inverse temperatures below the resolution
/// of f64.
const MAX_STEPS: usize = 200;

/// Returns the temperature T in [`TEMPERATURES`] that minimises the mean negative log-likelihood of `softmax(log p / T)`,
/// or `None` if there are no predictions.
///
/// As a function of b = 1 / T, this loss is convex. Its derivatives are
///
/// ```text
/// d/db   = mean_i( E_i[l] - l_i(target_i) )        where l_i = log p_i, and E_i, Var_i are taken
/// d2/db2 = mean_i( Var_i[l] )                      with the probabilities softmax(b l_i)
/// ```
///
/// Newton's method finds the root of the first derivative; each step is kept inside an interval that holds the root. Sums
/// are f64, in the order of the predictions. Fit the temperature on validation data, never on the data that are to be
/// judged. Scaling does not change which class is most probable.
///
/// # Source
/// Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
pub fn fit_temperature(predictions: &Predictions) -> Option<f64> {
    if predictions.is_empty() {
        return None;
    }
    let (mut low, mut high) = (1.0 / TEMPERATURES.end(), 1.0 / TEMPERATURES.start());
    if slope(predictions, low).0 >= 0.0 {
        return Some(*TEMPERATURES.end());
    }
    if slope(predictions, high).0 <= 0.0 {
        return Some(*TEMPERATURES.start());
    }
    let mut b = 1.0;
    for _ in 0..MAX_STEPS {
        let (first, second) = slope(predictions, b);
        if first < 0.0 {
            low = b;
        } else {
            high = b;
        }
        let newton = b - first / second;
        let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
        if (next - b).abs() <= 1e-12 * b {
            return Some(1.0 / next);
        }
        b = next;
    }
    Some(1.0 / b)
}

/// Least number of predictions for a calibration: with fewer, the temperature would be due to chance.
pub const MIN_CALIBRATION_PREDICTIONS: usize = 20;

/// Returns the temperature that calibrates a model's probabilities, fitted on its validation predictions. Returns `None`
/// if there are fewer than [`MIN_CALIBRATION_PREDICTIONS`]: then probabilities stay as the network gives them.
pub fn calibration_temperature(validation: &Predictions) -> Option<f64> {
    (validation.len() >= MIN_CALIBRATION_PREDICTIONS).then(|| fit_temperature(validation)).flatten()
}

/// Returns the first and second derivative of the mean negative log-likelihood at inverse temperature `b`.
fn slope(predictions: &Predictions, b: f64) -> (f64, f64) {
    let (mut first, mut second) = (0.0, 0.0);
    for (i, &target) in predictions.targets().iter().enumerate() {
        let row = predictions.row(i);
        let best = finite(row[predictions.predicted(i) as usize]);
        let (mut sum, mut sum_l, mut sum_l2) = (0.0, 0.0, 0.0);
        for &log_prob in row {
            let l = finite(log_prob) - best; // shifting every l changes neither derivative
            let weight = libm::exp(b * l);
            sum += weight;
            sum_l += weight * l;
            sum_l2 += weight * l * l;
        }
        let mean = sum_l / sum;
        first += mean - (finite(row[target as usize]) - best);
        second += sum_l2 / sum - mean * mean;
    }
    let n = predictions.len() as f64;
    (first / n, second / n)
}

fn finite(log_prob: f32) -> f64 {
    f64::from(log_prob).max(LOWEST_LOG_PROB)
}

/// Returns `predictions` with the log-probabilities `log softmax(log p / temperature)`.
///
/// # Errors
/// If `temperature` is not above 0 and finite.
pub fn with_temperature(predictions: &Predictions, temperature: f64) -> Result<Predictions, MetricsError> {
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(MetricsError::Temperature(temperature));
    }
    let n_classes = predictions.n_classes();
    let mut log_probs = Vec::with_capacity(predictions.log_probs().len());
    for i in 0..predictions.len() {
        let row = predictions.row(i);
        let best = f64::from(row[predictions.predicted(i) as usize]);
        // a row that is minus infinity throughout stays as it is
        let scaled =
            |&l: &f32| if best == f64::NEG_INFINITY { best } else { (f64::from(l) - best) / temperature };
        let log_sum = libm::log(row.iter().map(|l| libm::exp(scaled(l))).sum::<f64>());
        let log_sum = if log_sum.is_finite() { log_sum } else { 0.0 };
        log_probs.extend(row.iter().map(|l| (scaled(l) - log_sum) as f32));
    }
    let (targets, indices) = (predictions.targets().to_vec(), predictions.indices().to_vec());
    Predictions::new(n_classes, targets, log_probs, indices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(targets: Vec<u32>, probabilities: &[f64]) -> Predictions {
        let n = targets.len() as u32;
        let log_probs = probabilities.iter().map(|p| p.ln() as f32).collect();
        Predictions::new(2, targets, log_probs, (0..n).collect()).unwrap()
    }

    #[test]
    fn a_few_predictions_calibrate_nothing() {
        let repeated = |n: usize| of([0, 0, 0, 1].repeat(n), &[0.9, 0.1].repeat(4 * n));
        assert_eq!(calibration_temperature(&repeated(4)), None);
        assert_eq!(calibration_temperature(&repeated(5)), fit_temperature(&repeated(5)));
    }

    /// Correct three times out of four with confidence 0.9: odds of 9 must become odds of 3, so T = ln 9 / ln 3 = 2.
    #[test]
    fn a_closed_form() {
        let p = of(vec![0, 0, 0, 1], &[0.9, 0.1].repeat(4));
        let t = fit_temperature(&p).unwrap();
        assert!((t - 2.0).abs() < 1e-6, "{t}");
        let scaled = with_temperature(&p, t).unwrap();
        assert!((scaled.confidence(0) - 0.75).abs() < 1e-6);
    }

    #[test]
    fn what_the_predictions_do_not_determine_ends_at_an_end() {
        assert_eq!(fit_temperature(&of(vec![0, 0], &[0.9, 0.1, 0.8, 0.2])), Some(0.05)); // never wrong
        assert_eq!(fit_temperature(&of(vec![1, 1], &[0.9, 0.1, 0.8, 0.2])), Some(20.0)); // never right
        assert_eq!(fit_temperature(&of(vec![1], &[1.0, 0.0])), Some(20.0)); // minus infinity for the true class
        assert_eq!(fit_temperature(&of(vec![], &[])), None);
    }

    #[test]
    fn impossible_stays_impossible_and_nonsense_is_refused() {
        let p = of(vec![0], &[1.0, 0.0]);
        assert_eq!(with_temperature(&p, 3.0).unwrap().row(0), [0.0, f32::NEG_INFINITY]);
        for t in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(with_temperature(&p, t), Err(MetricsError::Temperature(_))), "{t}");
        }
    }

    proptest! {
        /// The fit is no worse than any other temperature.
        #[test]
        fn nothing_is_better(
            rows in prop::collection::vec((0u32..2, 0.02f64..0.98), 4..40), other in 0.1f64..10.0,
        ) {
            let probabilities: Vec<f64> = rows.iter().flat_map(|&(_, p)| [p, 1.0 - p]).collect();
            let p = of(rows.iter().map(|row| row.0).collect(), &probabilities);
            let t = fit_temperature(&p).unwrap();
            let nll = |t| with_temperature(&p, t).unwrap().mean_nll().unwrap();
            prop_assert!(nll(t) <= nll(other) + 1e-6, "{t}: {} and {other}: {}", nll(t), nll(other));
        }
    }
}
