//! Finds the errors to look at first: the most confused pairs of classes, and the wrong answers with the highest
//! confidence.

use crate::{ConfusionMatrix, Predictions};

/// Images of one class that were predicted as another class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfusedPair {
    /// The true class.
    pub target: usize,
    /// The predicted class.
    pub predicted: usize,
    /// Number of images.
    pub n: u64,
    /// Their share of the images of the true class.
    pub share: f64,
}

/// Returns every pair of classes that was confused, sorted by the number of images, the largest first; ties in the order
/// of the classes.
pub fn confused_pairs(matrix: &ConfusionMatrix) -> Vec<ConfusedPair> {
    let mut pairs = Vec::new();
    for target in 0..matrix.n_classes() {
        let support = matrix.support(target) as f64;
        for (predicted, &n) in matrix.row(target).iter().enumerate() {
            if predicted != target && n > 0 {
                pairs.push(ConfusedPair { target, predicted, n, share: n as f64 / support });
            }
        }
    }
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.n)); // stable
    pairs
}

/// Returns the positions of the wrong predictions, sorted by confidence, the highest first; ties in the order of the
/// positions.
pub fn surest_errors(predictions: &Predictions) -> Vec<usize> {
    let targets = predictions.targets();
    let mut wrong: Vec<usize> =
        (0..predictions.len()).filter(|&i| predictions.predicted(i) != targets[i]).collect();
    let best = |i: usize| predictions.row(i)[predictions.predicted(i) as usize];
    wrong.sort_by(|&a, &b| best(b).total_cmp(&best(a))); // stable
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_confused_come_first() {
        let matrix = ConfusionMatrix::from_counts(3, vec![5, 2, 0, 3, 1, 2, 0, 0, 9]).unwrap();
        let found: Vec<_> = confused_pairs(&matrix).iter().map(|p| (p.target, p.predicted, p.n)).collect();
        assert_eq!(found, [(1, 0, 3), (0, 1, 2), (1, 2, 2)]);
        assert_eq!(confused_pairs(&matrix)[0].share, 0.5);
    }

    #[test]
    fn the_surest_errors_come_first() {
        let log_probs = vec![-0.1, -2.0, -0.3, -1.0, -0.2, -1.5, -0.1, -2.0];
        let p = Predictions::new(2, vec![0, 1, 1, 1], log_probs, vec![0; 4]).unwrap();
        assert_eq!(surest_errors(&p), [3, 2, 1]);
    }
}
