//! Confidence intervals of a counted share: the Wilson score interval, and Clopper and Pearson's exact lower bound.

use crate::MetricsError;
use crate::normal::normal_quantile;

/// Returns the Wilson score interval `[low, high]` for `successes` out of `n` trials, two-sided, at `confidence` (0.95 is
/// usual).
///
/// With p = successes / n and z the quantile of the normal distribution at (1 + confidence) / 2:
///
/// ```text
/// (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
/// ```
///
/// `low` is exactly 0 if there are no successes, and `high` is exactly 1 if all trials are successes. Without trials, the
/// interval is `[0, 1]`: nothing is known.
///
/// # Errors
/// If there are more successes than trials, or `confidence` is not above 0 and below 1.
///
/// # Source
/// E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927), 209-212; in the
/// form of R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, method 3. The same as SciPy's `binomtest(k,
/// n).proportion_ci(confidence, method='wilson')`.
///
/// ```
/// let [low, high] = tallow_metrics::wilson_interval(7_311, 10_000, 0.95)?;
/// assert!(0.7223 < low && low < 0.7224 && 0.7396 < high && high < 0.7398);
/// # Ok::<(), tallow_metrics::MetricsError>(())
/// ```
pub fn wilson_interval(successes: u64, n: u64, confidence: f64) -> Result<[f64; 2], MetricsError> {
    if successes > n {
        return Err(MetricsError::MoreSuccessesThanTrials { successes, n });
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(MetricsError::Confidence(confidence));
    }
    if n == 0 {
        return Ok([0.0, 1.0]);
    }
    let z = -normal_quantile((1.0 - confidence) / 2.0); // the lower tail: finite even if the confidence is close to 1
    let (trials, p) = (n as f64, successes as f64 / n as f64);
    let denominator = 2.0 * (trials + z * z);
    let center = (2.0 * trials * p + z * z) / denominator;
    let half_width = z / denominator * (4.0 * trials * p * (1.0 - p) + z * z).sqrt();
    let low = if successes == 0 { 0.0 } else { center - half_width };
    let high = if successes == n { 1.0 } else { center + half_width };
    Ok([low, high])
}

/// Returns the one-sided lower bound of Clopper and Pearson for `successes` out of `n` trials, at `confidence`. It is the
/// probability of success for which at least `successes` successes have the probability `1 - confidence`. It holds with
/// at least that confidence, even for few trials. Without trials, it is 0.
///
/// # Errors
/// If there are more successes than trials, or `confidence` is not above 0 and below 1.
///
/// # Source
/// C. J. Clopper, E. S. Pearson, Biometrika 26 (1934), 404-413; the same as SciPy's `binomtest(k, n,
/// alternative='greater').proportion_ci(confidence, method='exact').low`.
pub fn clopper_pearson_lower(successes: u64, n: u64, confidence: f64) -> Result<f64, MetricsError> {
    if successes > n {
        return Err(MetricsError::MoreSuccessesThanTrials { successes, n });
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(MetricsError::Confidence(confidence));
    }
    if successes == 0 {
        return Ok(0.0);
    }
    let alpha = 1.0 - confidence;
    let (mut low, mut high) = (0.0, 1.0);
    while high - low > 1e-15 {
        let middle = (low + high) / 2.0;
        if middle <= low || middle >= high {
            break; // no f64 lies between the two
        }
        match few_failures(n - successes, n, middle) < alpha {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok(low)
}

/// Returns the probability of at most `failures` failures in `n` trials that each succeed with probability `p`, in (0,
/// 1).
fn few_failures(failures: u64, n: u64, p: f64) -> f64 {
    if failures == n {
        return 1.0;
    }
    let log_choose = |k: u64| {
        libm::lgamma(n as f64 + 1.0) - libm::lgamma(k as f64 + 1.0) - libm::lgamma((n - k) as f64 + 1.0)
    };
    let odds = p / (1.0 - p);
    // Terms shrink with the distance from the mode. The sums start at the mode, or at `failures` if that is less.
    let log_term = |k: u64| log_choose(k) + k as f64 * libm::log1p(-p) + (n - k) as f64 * libm::log(p);
    let mode = (((n + 1) as f64 * (1.0 - p)) as u64).min(failures);
    let mut sum = 0.0;
    let mut term = libm::exp(log_term(mode));
    for k in (0..=mode).rev() {
        sum += term;
        if term < 1e-18 * sum {
            break;
        }
        term *= k as f64 / (n - k + 1) as f64 * odds;
    }
    let mut term = libm::exp(log_term(mode));
    for k in mode + 1..=failures {
        term *= (n - k + 1) as f64 / k as f64 / odds;
        sum += term;
        if term < 1e-18 * sum {
            break;
        }
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_are_exact() {
        let at = |k, n| wilson_interval(k, n, 0.95).unwrap();
        assert_eq!(at(0, 0), [0.0, 1.0]);
        for n in 1..200 {
            assert_eq!((at(0, n)[0], at(n, n)[1]), (0.0, 1.0), "{n}");
        }
        assert!(at(0, 9)[1] > 0.2 && at(9, 9)[0] < 0.8);
    }

    /// If all trials succeed, the bound is alpha^(1 / n); without successes it is 0.
    #[test]
    fn the_exact_bound_is_exact_where_it_can_be_said() {
        for n in [1u64, 5, 117, 4_000_000] {
            let found = clopper_pearson_lower(n, n, 0.95).unwrap();
            let expected = 0.05f64.powf(1.0 / n as f64);
            assert!((found - expected).abs() < 1e-9, "{n}: {found}, expected {expected}");
        }
        assert_eq!(clopper_pearson_lower(0, 9, 0.95).unwrap(), 0.0);
        assert_eq!(clopper_pearson_lower(0, 0, 0.95).unwrap(), 0.0);
        assert!(clopper_pearson_lower(2, 1, 0.95).is_err() && clopper_pearson_lower(1, 2, 1.0).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(
            wilson_interval(3, 2, 0.95).unwrap_err().to_string(),
            "3 successes of 2 trials: expected at most 2"
        );
        for confidence in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
            assert!(matches!(wilson_interval(1, 2, confidence), Err(MetricsError::Confidence(_))));
        }
    }

    #[test]
    fn the_nearest_to_certainty_is_still_an_interval() {
        let [low, high] = wilson_interval(500, 1000, 1.0 - f64::EPSILON / 2.0).unwrap();
        assert!(0.3 < low && low < 0.4 && 0.6 < high && high < 0.7, "{low} {high}");
    }

    proptest! {
        #[test]
        fn holds_the_share_and_stays_in_bounds(
            (n, k) in (1u64..1 << 40).prop_flat_map(|n| (Just(n), 0..=n)), confidence in 1e-6f64..0.999_999_9,
        ) {
            let [low, high] = wilson_interval(k, n, confidence).unwrap();
            let p = k as f64 / n as f64;
            prop_assert!(0.0 <= low && low <= p && p <= high && high <= 1.0, "{low} {p} {high}");
        }

        #[test]
        fn swapping_successes_and_failures_mirrors_it((n, k) in (1u64..100_000).prop_flat_map(|n| (Just(n), 0..=n))) {
            let [low, high] = wilson_interval(k, n, 0.95).unwrap();
            let [mirrored_high, mirrored_low] = wilson_interval(n - k, n, 0.95).unwrap().map(|x| 1.0 - x);
            prop_assert!((low - mirrored_low).abs() < 1e-12 && (high - mirrored_high).abs() < 1e-12);
        }
    }
}
