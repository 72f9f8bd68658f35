//! Selective classification: how accurate a model is on the images of which it is sure enough.

use crate::Predictions;

/// The result of answering every image with a confidence of at least `threshold`, and no other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CoveragePoint {
    /// Lowest confidence that is answered.
    pub threshold: f64,
    /// Number of images.
    pub n: u64,
    /// Number of images that are answered.
    pub n_answered: u64,
    /// Number of correct answers.
    pub n_correct: u64,
}

impl CoveragePoint {
    /// Returns the share of images that are answered; 0 if there are no images.
    pub fn coverage(&self) -> f64 {
        self.n_answered as f64 / self.n.max(1) as f64
    }

    /// Returns the share of answers that are correct; `None` if no image is answered.
    pub fn accuracy(&self) -> Option<f64> {
        (self.n_answered > 0).then(|| self.n_correct as f64 / self.n_answered as f64)
    }
}

/// Returns one point per distinct confidence, from the surest image alone to all images.
///
/// # Source
/// Y. Geifman, R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017: the risk-coverage curve
/// with the softmax response, as accuracy.
pub fn coverage_curve(predictions: &Predictions) -> Vec<CoveragePoint> {
    let n = predictions.len() as u64;
    let mut points: Vec<CoveragePoint> = Vec::new();
    let (mut n_answered, mut n_correct) = (0, 0);
    for (threshold, right) in surest_first(predictions) {
        n_answered += 1;
        n_correct += u64::from(right);
        let point = CoveragePoint { threshold, n, n_answered, n_correct };
        match points.last_mut().filter(|last| last.threshold == threshold) {
            Some(last) => *last = point, // equally sure images are answered together
            None => points.push(point),
        }
    }
    points
}

/// Returns the confidence of each image and whether its answer is correct, the surest first.
pub(crate) fn surest_first(predictions: &Predictions) -> Vec<(f64, bool)> {
    let mut images: Vec<(f64, bool)> = (0..predictions.len())
        .map(|i| (predictions.confidence(i), predictions.predicted(i) == predictions.targets()[i]))
        .collect();
    images.sort_by(|a, b| b.0.total_cmp(&a.0)); // stable
    images
}

/// Returns the point at `threshold`: images with at least this confidence are answered.
pub fn coverage_at(predictions: &Predictions, threshold: f64) -> CoveragePoint {
    let mut point = CoveragePoint { threshold, n: predictions.len() as u64, n_answered: 0, n_correct: 0 };
    for (i, &target) in predictions.targets().iter().enumerate() {
        if predictions.confidence(i) >= threshold {
            point.n_answered += 1;
            point.n_correct += u64::from(predictions.predicted(i) == target);
        }
    }
    point
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One prediction per row: its confidence, and whether it is correct.
    fn given(rows: &[(f64, bool)]) -> Predictions {
        let log_probs = rows.iter().flat_map(|(p, _)| [p.ln() as f32, (1.0 - p).ln() as f32]).collect();
        let targets = rows.iter().map(|&(_, right)| u32::from(!right)).collect();
        Predictions::new(2, targets, log_probs, (0..rows.len() as u32).collect()).unwrap()
    }

    const ROWS: [(f64, bool); 5] = [(0.6, false), (0.99, true), (0.8, false), (0.9, true), (0.8, true)];

    #[test]
    fn the_curve_goes_from_the_surest_to_all() {
        let curve = coverage_curve(&given(&ROWS));
        let counts: Vec<_> = curve.iter().map(|p| (p.n_answered, p.n_correct)).collect();
        assert_eq!(counts, [(1, 1), (2, 2), (4, 3), (5, 3)]); // the two of 0.8 together
        assert_eq!((curve[2].coverage(), curve[2].accuracy()), (0.8, Some(0.75)));
        assert_eq!(coverage_curve(&given(&[])), []);
    }

    #[test]
    fn a_threshold_gives_its_own_point_back() {
        let p = given(&ROWS);
        for point in coverage_curve(&p) {
            assert_eq!(coverage_at(&p, point.threshold), point);
        }
        let none = coverage_at(&p, 0.999);
        assert_eq!((none.n_answered, none.accuracy(), none.coverage()), (0, None, 0.0));
    }
}
