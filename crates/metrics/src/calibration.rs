//! Measures whether confidences match accuracies: reliability bins and the expected calibration error.

use crate::Predictions;

/// The predictions with a confidence in `(low, high]`; for the first bin, in `[0, high]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReliabilityBin {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Number of predictions in the bin.
    pub n: u64,
    /// Number of correct predictions in the bin.
    pub n_correct: u64,
    /// Mean confidence of the predictions in the bin; 0 if there are none.
    pub mean_confidence: f64,
}

impl ReliabilityBin {
    /// Returns the share of correct predictions; `None` if the bin is empty.
    pub fn accuracy(&self) -> Option<f64> {
        (self.n > 0).then(|| self.n_correct as f64 / self.n as f64)
    }
}

/// Sorts predictions by the probability of their most probable class into `n_bins` bins of equal width.
///
/// # Shapes
/// The result: (`n_bins`), from low to high; empty for `n_bins = 0`.
///
/// # Source
/// C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 2.
pub fn reliability_bins(predictions: &Predictions, n_bins: usize) -> Vec<ReliabilityBin> {
    let width = 1.0 / n_bins as f64;
    let mut bins: Vec<ReliabilityBin> = (0..n_bins)
        .map(|i| {
            let (low, high) = (i as f64 * width, (i + 1) as f64 * width);
            ReliabilityBin { low, high, n: 0, n_correct: 0, mean_confidence: 0.0 }
        })
        .collect();
    if bins.is_empty() {
        return bins;
    }
    for (i, &target) in predictions.targets().iter().enumerate() {
        let confidence = predictions.confidence(i);
        let bin = ((confidence * n_bins as f64).ceil() as usize).clamp(1, n_bins) - 1;
        let bin = &mut bins[bin];
        bin.n += 1;
        bin.n_correct += u64::from(predictions.predicted(i) == target);
        bin.mean_confidence += confidence; // the sum for now, divided below
    }
    for bin in &mut bins {
        bin.mean_confidence /= bin.n.max(1) as f64;
    }
    bins
}

/// Returns the expected calibration error: the mean over the bins of |accuracy - mean confidence|, weighted by the number
/// of predictions.
///
/// ```text
/// ECE = sum_b n_b / n |accuracy_b - mean confidence_b|
/// ```
///
/// 15 bins are usual. Returns `None` if there are no predictions or no bins.
///
/// # Source
/// The same as for [`reliability_bins`], equation 3.
pub fn expected_calibration_error(predictions: &Predictions, n_bins: usize) -> Option<f64> {
    let bins = reliability_bins(predictions, n_bins);
    let n = predictions.len();
    let gap = |bin: &ReliabilityBin| Some(bin.n as f64 * (bin.accuracy()? - bin.mean_confidence).abs());
    (n > 0 && n_bins > 0).then(|| bins.iter().filter_map(gap).sum::<f64>() / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two classes: each value is the probability of class 0 for one image; the true class is always 0.
    fn given(probabilities: &[f64]) -> Predictions {
        let log_probs = probabilities.iter().flat_map(|p| [p.ln() as f32, (1.0 - p).ln() as f32]).collect();
        let n = probabilities.len();
        Predictions::new(2, vec![0; n], log_probs, (0..n as u32).collect()).unwrap()
    }

    #[test]
    fn a_confidence_at_an_edge_is_in_the_lower_bin_and_1_in_the_last() {
        let counts = |p: f64| reliability_bins(&given(&[p]), 4).iter().map(|b| b.n).collect::<Vec<_>>();
        assert_eq!(counts(0.5), [0, 1, 0, 0]);
        assert_eq!(counts(0.51), [0, 0, 1, 0]);
        assert_eq!(counts(1.0), [0, 0, 0, 1]);
    }

    #[test]
    fn the_error_is_the_gap() {
        let p = given(&[0.88, 0.88, 0.88, 0.12]); // the last is a wrong answer, given with confidence 0.88
        let bins = reliability_bins(&p, 10);
        assert_eq!((bins[8].n, bins[8].n_correct, bins[8].accuracy()), (4, 3, Some(0.75)));
        assert!((expected_calibration_error(&p, 10).unwrap() - 0.13).abs() < 1e-7);
    }

    #[test]
    fn of_nothing_there_is_no_error() {
        assert_eq!(expected_calibration_error(&given(&[]), 15), None);
        assert_eq!(expected_calibration_error(&given(&[0.7]), 0), None);
        assert_eq!(reliability_bins(&given(&[]), 2)[1].accuracy(), None);
    }
}
