//! Softmax cross-entropy on logits.
//!
//! Logits are few (images times classes), so they are copied to main memory from any device. The loss, its gradient and all
//! statistics of a batch are computed there, by the same code for all devices.

use serde::{Deserialize, Serialize};
use tallow_kernels as kernels;

use crate::act::Act;
use crate::error::{NnError, Result};

/// Cross-entropy between softmax(logits) and the targets, as in `torch.nn.CrossEntropyLoss`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// The share of each target that is spread evenly over all classes, in [0, 1)
    /// (<https://arxiv.org/abs/1512.00567>, section 7).
    pub label_smoothing: f32,
    /// A weight per class, 0 or more. The weighted sum is divided by the sum of the targets' weights; the mean is NaN if that
    /// sum is 0, as in PyTorch. For mixed targets, the weights of the two classes are added by their shares. (PyTorch divides
    /// by the number of images there.)
    pub class_weights: Option<Vec<f32>>,
    /// The quantity that the gradient belongs to.
    pub reduction: Reduction,
}

/// The quantity that training minimises. It affects only the gradient: [`Loss`] always holds means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// The mean over the batch.
    #[default]
    Mean,
    /// The sum over the batch's images, multiplied by class weights if there are any. The gradient grows with the batch, and so
    /// does the step of SGD.
    Sum,
}

impl From<Reduction> for kernels::Reduction {
    fn from(reduction: Reduction) -> Self {
        match reduction {
            Reduction::Mean => Self::Mean,
            Reduction::Sum => Self::Sum,
        }
    }
}

/// A loss and its gradient.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The mean over the batch.
    pub mean: f32,
    /// The mean over the batch without label smoothing and class weights: -ln p of the targets, added by their shares if targets
    /// are mixed. It is comparable between recipes.
    pub plain_mean: f32,
    /// The loss of each image.
    pub per_image: Vec<f32>,
    /// The gradient of the mean, or of the sum of [`per_image`](Self::per_image), depending on the reduction: (n, classes) row by
    /// row, for [`crate::Ctx::backward`].
    pub grad_logits: Vec<f32>,
    /// The logits that the loss was computed from: (n, classes) row by row.
    pub logits: Vec<f32>,
}

impl CrossEntropy {
    /// Returns the loss of `logits` for `targets`, with its gradient.
    ///
    /// # Errors
    /// If the numbers of logits and targets do not agree, a target is not a class, or the settings are out of range.
    pub fn forward(&self, logits: &Act, targets: &[u32]) -> Result<Loss> {
        self.forward_mixed(logits, targets, targets, 1.0)
    }

    /// Returns the loss of images with two classes each, as Mixup and CutMix make them: `share` of the class in `targets`, and
    /// the rest of the class in `second`.
    ///
    /// ```text
    /// mean = sum of (share * loss(target) + (1 - share) * loss(second))
    ///        / sum of (share * weight[target] + (1 - share) * weight[second])
    /// ```
    ///
    /// # Errors
    /// As [`forward`](Self::forward), and if `share` is not in `[0, 1]`.
    pub fn forward_mixed(&self, logits: &Act, targets: &[u32], second: &[u32], share: f32) -> Result<Loss> {
        let (n, c) = (logits.dims().n, logits.dims().c);
        self.check(logits, targets)?;
        self.check(logits, second)?;
        if !(0.0..=1.0).contains(&share) {
            return Err(NnError::Loss(format!(
                "the share of the first target must lie in [0, 1], it is {share}"
            )));
        }
        let logits = logits.to_vec()?;
        let (mut per_image, mut grad_logits) = (vec![0.0; n], vec![0.0; n * c]);
        let kernels::CrossEntropyMeans { mean, plain_mean } = kernels::softmax_cross_entropy(
            n,
            c,
            &logits,
            kernels::Targets { first: targets, second, share },
            self.class_weights.as_deref(),
            self.label_smoothing,
            self.reduction.into(),
            &mut per_image,
            Some(&mut grad_logits),
        );
        Ok(Loss { mean, plain_mean, per_image, grad_logits, logits })
    }

    /// Returns the divisor of the mean over images with these targets: their number, or the sum of their class weights.
    /// `mixed` has the second targets and the share of the first ones.
    pub fn divisor(&self, targets: &[u32], mixed: Option<(&[u32], f32)>) -> f64 {
        let Some(weights) = &self.class_weights else { return targets.len() as f64 };
        let weight = |target: &u32| weights.get(*target as usize).copied().map_or(0.0, f64::from);
        let sum = |targets: &[u32]| targets.iter().map(weight).sum::<f64>();
        match mixed {
            Some((second, share)) => {
                let share = f64::from(share);
                share * sum(targets) + (1.0 - share) * sum(second)
            }
            None => sum(targets),
        }
    }

    fn check(&self, logits: &Act, targets: &[u32]) -> Result<()> {
        let dims = logits.dims();
        let problem = if dims.h * dims.w != 1 || dims.n != targets.len() {
            format!("{} targets for logits of {dims}", targets.len())
        } else if let Some(target) = targets.iter().find(|&&t| t as usize >= dims.c) {
            format!("the target {target} is not one of {} classes", dims.c)
        } else if !(0.0..1.0).contains(&self.label_smoothing) {
            format!("label_smoothing must lie in [0, 1), it is {}", self.label_smoothing)
        } else if self.class_weights.as_ref().is_some_and(|w| w.len() != dims.c) {
            let given = self.class_weights.as_ref().map_or(0, Vec::len);
            format!("class_weights has {given} entries for {} classes", dims.c)
        } else if let Some(weight) =
            self.class_weights.iter().flatten().find(|w| !(**w >= 0.0 && w.is_finite()))
        {
            format!("class_weights must be 0 or more, one is {weight}")
        } else {
            return Ok(());
        };
        Err(NnError::Loss(problem))
    }
}

/// Returns the logarithm of the softmax of each row of `logits` (n, classes).
///
/// # Panics
/// If `n_classes` is 0, or the length of `logits` is not a multiple of it.
pub fn log_softmax(logits: &[f32], n_classes: usize) -> Vec<f32> {
    let mut out = vec![0.0; logits.len()];
    kernels::log_softmax(logits.len().checked_div(n_classes).unwrap_or(0), n_classes, logits, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::act::Dims;
    use crate::ctx::Ctx;
    use crate::device::Backend;

    /// Returns the error message for 2 images and 3 classes.
    fn refusal(loss: &CrossEntropy, targets: &[u32]) -> String {
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        let logits = ctx.input(vec![0.5; 6], Dims { n: 2, c: 3, h: 1, w: 1 }).unwrap();
        loss.forward(&logits, targets).unwrap_err().to_string()
    }

    #[test]
    fn what_it_cannot_take_is_named() {
        let plain = CrossEntropy::default();
        assert!(refusal(&plain, &[0]).contains("1 targets"));
        assert!(refusal(&plain, &[0, 3]).contains("the target 3 is not one of 3 classes"));
        for label_smoothing in [-0.1, 1.0, f32::NAN] {
            let message = refusal(&CrossEntropy { label_smoothing, ..plain.clone() }, &[0, 1]);
            assert!(message.contains("label_smoothing") && message.contains(&label_smoothing.to_string()));
        }
        let weighted =
            |weights: &[f32]| CrossEntropy { class_weights: Some(weights.to_vec()), ..plain.clone() };
        assert!(refusal(&weighted(&[1.0, 1.0]), &[0, 1]).contains("2 entries for 3 classes"));
        assert!(refusal(&weighted(&[1.0, 1.0, -2.0]), &[0, 1]).contains("one is -2"));
        assert!(refusal(&weighted(&[1.0, f32::NAN, 1.0]), &[0, 1]).contains("one is NaN"));
    }

    /// Two images, each with the probabilities 1/2, 1/4 and 1/4 for three classes.
    #[test]
    fn mixed_targets_by_hand() {
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        let ln_2 = std::f32::consts::LN_2;
        let logits = ctx.input([ln_2, 0.0, 0.0].repeat(2), Dims { n: 2, c: 3, h: 1, w: 1 }).unwrap();
        let weighted = CrossEntropy { class_weights: Some(vec![1.0, 2.0, 4.0]), ..CrossEntropy::default() };
        let loss = weighted.forward_mixed(&logits, &[0, 1], &[1, 2], 0.75).unwrap();
        // weights of the targets: 0.75 * 1 + 0.25 * 2 and 0.75 * 2 + 0.25 * 4
        let expected = [(0.75 + 0.25 * 2.0 * 2.0) * ln_2, (0.75 * 2.0 * 2.0 + 0.25 * 4.0 * 2.0) * ln_2];
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        near(loss.per_image[0], expected[0]);
        near(loss.per_image[1], expected[1]);
        near(loss.mean, (expected[0] + expected[1]) / (1.25 + 2.5));
        near(loss.plain_mean, (0.75 + 0.25 * 2.0 + 2.0) * ln_2 / 2.0);
        near(loss.grad_logits[0], (1.25 * 0.5 - 0.75) / 3.75);
        near(loss.grad_logits[5], (2.5 * 0.25 - 0.25 * 4.0) / 3.75);
        let summed = CrossEntropy { reduction: Reduction::Sum, ..weighted.clone() };
        let summed = summed.forward_mixed(&logits, &[0, 1], &[1, 2], 0.75).unwrap();
        near(summed.grad_logits[0], 1.25 * 0.5 - 0.75);
        near(summed.grad_logits[5], 2.5 * 0.25 - 0.25 * 4.0);
        assert_eq!((summed.mean, summed.plain_mean), (loss.mean, loss.plain_mean), "means are told");
        let message = weighted.forward_mixed(&logits, &[0, 1], &[1, 2], 1.5).unwrap_err().to_string();
        assert!(message.contains("[0, 1]") && message.contains("1.5"), "{message}");
        assert!(weighted.forward_mixed(&logits, &[0, 1], &[1, 3], 0.5).is_err());
        assert!(weighted.forward_mixed(&logits, &[0, 1], &[1], 0.5).is_err());
    }

    #[test]
    fn the_divisor_counts_images_or_weights() {
        let plain = CrossEntropy::default();
        assert_eq!(plain.divisor(&[0, 1, 1], None), 3.0);
        assert_eq!(plain.divisor(&[0, 1, 1], Some((&[1, 1, 0], 0.25))), 3.0);
        let weighted = CrossEntropy { class_weights: Some(vec![1.0, 2.0]), ..plain };
        assert_eq!(weighted.divisor(&[0, 1, 1], None), 5.0);
        assert_eq!(weighted.divisor(&[0, 0], Some((&[1, 1], 0.25))), 0.25 * 2.0 + 0.75 * 4.0);
    }

    #[test]
    fn maps_are_no_logits() {
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        let map = ctx.input(vec![0.5; 12], Dims { n: 2, c: 3, h: 2, w: 1 }).unwrap();
        assert!(CrossEntropy::default().forward(&map, &[0, 1]).is_err());
    }
}
