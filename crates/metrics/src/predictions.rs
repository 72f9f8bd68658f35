//! The predictions of a model for a data set: log-probabilities and the true classes.

use crate::error::{check_classes, check_length};
use crate::{MetricsError, argmax};

/// How far above 0 a log-probability may lie: rounding in f32 of large logits can go this far.
const ROUNDING: f32 = 1e-3;

/// Log-probabilities of `n` images for `c` classes, with the true class of each.
///
/// Checked once, in [`new`](Self::new): every accessor may rely on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    n_classes: usize,
    targets: Vec<u32>,
    log_probs: Vec<f32>,
    indices: Vec<u32>,
}

impl Predictions {
    /// Builds predictions from what an evaluation collected.
    ///
    /// # Shapes
    /// * `targets`: (n), the true classes;
    /// * `log_probs`: (n, c) row-major, natural logarithms, as `log_softmax` gives them; minus infinity is allowed;
    /// * `indices`: (n), the index of each row's image in its data set.
    ///
    /// # Errors
    /// If `n_classes` is 0, lengths do not match, a target is not a class, or a value is NaN or above 0 by more than
    /// rounding (logits or probabilities instead of log-probabilities).
    pub fn new(
        n_classes: usize,
        targets: Vec<u32>,
        log_probs: Vec<f32>,
        indices: Vec<u32>,
    ) -> Result<Self, MetricsError> {
        if n_classes == 0 {
            return Err(MetricsError::NoClasses);
        }
        check_length("log_probs", log_probs.len(), targets.len().saturating_mul(n_classes))?;
        check_length("indices", indices.len(), targets.len())?;
        check_classes("targets", &targets, n_classes)?;
        if let Some(at) = log_probs.iter().position(|&p| p.is_nan() || p > ROUNDING) {
            let (position, class) = (at / n_classes, at % n_classes);
            return Err(MetricsError::NotALogProbability { position, class, value: log_probs[at] });
        }
        Ok(Self { n_classes, targets, log_probs, indices })
    }

    /// Returns the number of classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Returns the number of predictions.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Returns whether there are no predictions.
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Returns the true classes, (n).
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    /// Returns the log-probabilities, (n, c) row-major.
    pub fn log_probs(&self) -> &[f32] {
        &self.log_probs
    }

    /// Returns the index of each prediction's image in its data set, (n).
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// Returns the log-probabilities of prediction `i`, (c).
    ///
    /// # Panics
    /// If there is no prediction `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.log_probs[i * self.n_classes..][..self.n_classes]
    }

    /// Returns the predictions of the images whose index `keep` accepts.
    pub fn of_images(&self, keep: impl Fn(u32) -> bool) -> Self {
        let mut kept = Self { targets: vec![], log_probs: vec![], indices: vec![], ..*self };
        for (i, &index) in self.indices.iter().enumerate().filter(|(_, index)| keep(**index)) {
            kept.targets.push(self.targets[i]);
            kept.log_probs.extend(self.row(i));
            kept.indices.push(index);
        }
        kept
    }

    /// Returns the most probable class of prediction `i`, the lowest of equals.
    ///
    /// # Panics
    /// If there is no prediction `i`.
    pub fn predicted(&self, i: usize) -> u32 {
        argmax(self.row(i)).map_or(0, |class| class as u32) // never `None`: `new` refuses NaN and zero classes
    }

    /// Returns the probability of the most probable class of prediction `i`, in [0, 1].
    ///
    /// # Panics
    /// If there is no prediction `i`.
    pub fn confidence(&self, i: usize) -> f64 {
        let best = self.row(i)[self.predicted(i) as usize];
        libm::exp(f64::from(best)).min(1.0)
    }

    /// Returns [`predicted`](Self::predicted) for every prediction, (n).
    pub fn all_predicted(&self) -> Vec<u32> {
        (0..self.len()).map(|i| self.predicted(i)).collect()
    }

    /// Returns the number of correct predictions.
    pub fn n_correct(&self) -> u64 {
        (0..self.len()).filter(|&i| self.predicted(i) == self.targets[i]).count() as u64
    }

    /// Returns the share of correct predictions; `None` if there are no predictions.
    pub fn accuracy(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.n_correct() as f64 / self.len() as f64)
    }

    /// Returns the mean negative log-likelihood of the true classes, `-sum(log p_i(target_i)) / n`, summed in f64; `None`
    /// if there are no predictions. This is the cross-entropy without label smoothing or class weights.
    pub fn mean_nll(&self) -> Option<f64> {
        let sum: f64 = (0..self.len()).map(|i| f64::from(self.row(i)[self.targets[i] as usize])).sum();
        (!self.is_empty()).then(|| (0.0 - sum) / self.len() as f64) // subtracted, so that a loss of zero is 0, not -0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(n_classes: usize, targets: &[u32], log_probs: &[f32], indices: &[u32]) -> String {
        Predictions::new(n_classes, targets.to_vec(), log_probs.to_vec(), indices.to_vec())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(error(0, &[], &[], &[]).contains("at least one class"));
        assert_eq!(error(2, &[0], &[-1.0], &[0]), "log_probs has 1 entries, expected 2");
        assert_eq!(error(2, &[0], &[-1.0, -1.0], &[]), "indices has 0 entries, expected 1");
        assert_eq!(
            error(2, &[0, 2], &[-1.0; 4], &[0, 1]),
            "targets[1] is 2: expected a class below n_classes = 2"
        );
        for wrong in [f32::NAN, f32::INFINITY, 0.7] {
            let message = error(2, &[0, 1], &[-1.0, -1.0, -1.0, wrong], &[0, 1]);
            assert!(message.starts_with("the log-probability of class 1 for prediction 1 is"), "{message}");
        }
    }

    #[test]
    fn rounding_and_impossible_classes_are_allowed() {
        let p = Predictions::new(2, vec![0], vec![1e-6, f32::NEG_INFINITY], vec![9]).unwrap();
        assert_eq!((p.predicted(0), p.accuracy()), (0, Some(1.0)));
        let missed = Predictions::new(2, vec![1], vec![0.0, f32::NEG_INFINITY], vec![9]).unwrap();
        assert_eq!((missed.accuracy(), missed.mean_nll()), (Some(0.0), Some(f64::INFINITY)));
    }

    #[test]
    fn some_images_are_kept_whole() {
        let log_probs = vec![-0.1, -3.0, -2.0, -0.2, -0.3, -1.5];
        let p = Predictions::new(2, vec![0, 1, 1], log_probs, vec![7, 8, 9]).unwrap();
        let expected = Predictions::new(2, vec![0, 1], vec![-0.1, -3.0, -0.3, -1.5], vec![7, 9]).unwrap();
        assert_eq!(p.of_images(|index| index != 8), expected);
        assert!(p.of_images(|_| false).is_empty());
    }

    #[test]
    fn of_nothing_there_is_no_mean() {
        let none = Predictions::new(3, vec![], vec![], vec![]).unwrap();
        assert_eq!((none.accuracy(), none.mean_nll(), none.n_correct()), (None, None, 0));
        assert_eq!(crate::top_k_accuracy(&none, 3), None);
    }

    #[test]
    fn a_sure_and_right_model_has_loss_0() {
        let sure = Predictions::new(2, vec![0], vec![0.0, -200.0], vec![0]).unwrap();
        assert_eq!(sure.mean_nll().map(f64::to_bits), Some(0.0f64.to_bits()));
    }
}
