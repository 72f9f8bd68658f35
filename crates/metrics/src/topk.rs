//! Ranks the scores of an image: which class has the highest score, and whether the true class is among the k best.
//!
//! [`argmax`] and [`in_top_k`] use one order: higher scores first; of equal scores the lower class first; NaN after every
//! number, so that a diverged model is never rewarded for it. (PyTorch leaves the order of ties open and puts NaN first;
//! scikit-learn's `top_k_accuracy_score` puts the higher class first and refuses NaN.)

use crate::Predictions;

/// Returns the class with the highest score, the first of equals; `None` if no score is a number.
///
/// ```
/// use tallow_metrics::argmax;
/// assert_eq!(argmax(&[0.1, 0.7, 0.7]), Some(1));
/// assert_eq!(argmax(&[f32::NAN, -1.0]), Some(1));
/// assert_eq!(argmax(&[]), None);
/// ```
pub fn argmax(scores: &[f32]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (class, &score) in scores.iter().enumerate() {
        if !score.is_nan() && best.is_none_or(|b| score > scores[b]) {
            best = Some(class);
        }
    }
    best
}

/// Returns whether `target` is among the `k` classes with the highest scores.
///
/// False for `k = 0`, for a target whose score is NaN, and for a target that is not a class. For any other target, true
/// if `k >= scores.len()`.
pub fn in_top_k(scores: &[f32], target: usize, k: usize) -> bool {
    let Some(&own) = scores.get(target) else { return false };
    if own.is_nan() {
        return false;
    }
    let ahead = scores.iter().enumerate().filter(|&(class, &s)| s > own || (s == own && class < target));
    ahead.count() < k
}

/// Returns the `k` most probable classes with their probabilities, the most probable first. Of equal probabilities, the lower
/// class comes first. `log_probs` are the natural logarithms of the probabilities of all classes.
///
/// ```
/// use tallow_metrics::most_probable;
/// let told = most_probable(&[0.25f32.ln(), 0.5f32.ln(), 0.25f32.ln()], 2);
/// assert_eq!(told.iter().map(|(class, _)| *class).collect::<Vec<_>>(), [1, 0]);
/// assert!((told[0].1 - 0.5).abs() < 1e-6);
/// ```
pub fn most_probable(log_probs: &[f32], k: usize) -> Vec<(usize, f64)> {
    let mut order: Vec<usize> = (0..log_probs.len()).collect();
    order.sort_by(|&a, &b| log_probs[b].total_cmp(&log_probs[a])); // stable
    order.truncate(k);
    order.into_iter().map(|class| (class, f64::from(log_probs[class]).exp())).collect()
}

/// Returns the share of predictions whose true class is among the `k` most probable; `None` if there are no predictions.
pub fn top_k_accuracy(predictions: &Predictions, k: usize) -> Option<f64> {
    let targets = predictions.targets();
    let hits = (0..targets.len()).filter(|&i| in_top_k(predictions.row(i), targets[i] as usize, k)).count();
    (!targets.is_empty()).then(|| hits as f64 / targets.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_go_to_the_lower_class() {
        let scores = [0.0, 2.0, 2.0, 2.0, -1.0];
        assert_eq!(argmax(&scores), Some(1));
        let in_top_2: Vec<bool> = (0..5).map(|t| in_top_k(&scores, t, 2)).collect();
        assert_eq!(in_top_2, [false, true, true, false, false]);
    }

    #[test]
    fn nan_comes_last_even_after_minus_infinity() {
        let scores = [f32::NAN, f32::NEG_INFINITY, f32::NAN];
        assert_eq!(argmax(&scores), Some(1));
        assert!(in_top_k(&scores, 1, 1));
        assert!(!in_top_k(&scores, 0, 3) && !in_top_k(&scores, 2, 3));
        assert_eq!(argmax(&[f32::NAN; 3]), None);
    }

    #[test]
    fn edges_of_k_and_target() {
        let scores = [0.3, 0.2];
        assert!(!in_top_k(&scores, 0, 0));
        assert!(in_top_k(&scores, 1, 2) && in_top_k(&scores, 1, usize::MAX));
        assert!(!in_top_k(&scores, 2, 5));
    }

    proptest! {
        /// Exactly min(k, c) classes are among the k best, and argmax is the first of them.
        #[test]
        fn exactly_k_classes_are_in_the_top_k(
            scores in prop::collection::vec((-3i8..3).prop_map(f32::from), 1..12), k in 0usize..14,
        ) {
            let members: Vec<usize> = (0..scores.len()).filter(|&t| in_top_k(&scores, t, k)).collect();
            prop_assert_eq!(members.len(), k.min(scores.len()));
            let mut order: Vec<usize> = (0..scores.len()).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a])); // stable: lower class first
            let mut expected = order[..k.min(scores.len())].to_vec();
            expected.sort_unstable();
            prop_assert_eq!(members, expected);
            prop_assert_eq!(argmax(&scores), Some(order[0]));
        }
    }
}
