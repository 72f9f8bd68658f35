//! Softmax cross-entropy on logits.
//!
//! Logits are few (images times classes), so on every device they are brought to main memory and the loss, its
//! gradient and everything that is counted are computed there, once, by one code.

use tallow_kernels as kernels;

use crate::act::Act;
use crate::error::{NnError, Result};

/// Cross-entropy between softmax(logits) and the targets, as `torch.nn.CrossEntropyLoss`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CrossEntropy {
    /// The share of each target that is spread evenly over all classes, in [0, 1)
    /// (<https://arxiv.org/abs/1512.00567>, section 7).
    pub label_smoothing: f32,
    /// A weight per class; the mean is divided by the sum of the targets' weights.
    pub class_weights: Option<Vec<f32>>,
}

/// A loss and its gradient.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The batch's mean.
    pub mean: f32,
    /// Each image's own loss, before the mean.
    pub per_image: Vec<f32>,
    /// The gradient of the mean: (n, classes) row by row, for [`crate::Ctx::backward`].
    pub grad_logits: Vec<f32>,
    /// The logits that the loss was computed from: (n, classes) row by row.
    pub logits: Vec<f32>,
}

impl CrossEntropy {
    /// The loss of `logits` against `targets`, with its gradient.
    ///
    /// # Errors
    /// If their numbers do not agree, a target is no class, or the settings are out of range.
    pub fn forward(&self, logits: &Act, targets: &[u32]) -> Result<Loss> {
        let (n, c) = (logits.dims().n, logits.dims().c);
        self.check(logits, targets)?;
        let logits = logits.to_vec()?;
        let (mut per_image, mut grad_logits) = (vec![0.0; n], vec![0.0; n * c]);
        let weights = self.class_weights.as_deref();
        let mean = kernels::softmax_cross_entropy(
            n,
            c,
            &logits,
            targets,
            weights,
            self.label_smoothing,
            &mut per_image,
            Some(&mut grad_logits),
        );
        Ok(Loss { mean, per_image, grad_logits, logits })
    }

    fn check(&self, logits: &Act, targets: &[u32]) -> Result<()> {
        let dims = logits.dims();
        let problem = if dims.h * dims.w != 1 || dims.n != targets.len() {
            format!("{} targets for logits of {dims}", targets.len())
        } else if let Some(target) = targets.iter().find(|&&t| t as usize >= dims.c) {
            format!("the target {target} is none of {} classes", dims.c)
        } else if !(0.0..1.0).contains(&self.label_smoothing) {
            format!("label_smoothing must lie in [0, 1), it is {}", self.label_smoothing)
        } else if self.class_weights.as_ref().is_some_and(|w| w.len() != dims.c) {
            let given = self.class_weights.as_ref().map_or(0, Vec::len);
            format!("class_weights has {given} entries for {} classes", dims.c)
        } else {
            return Ok(());
        };
        Err(NnError::Loss(problem))
    }
}

/// The logarithms of the softmax of each row of `logits` (n, classes).
pub fn log_softmax(logits: &[f32], n_classes: usize) -> Vec<f32> {
    let mut out = vec![0.0; logits.len()];
    kernels::log_softmax(logits.len() / n_classes.max(1), n_classes, logits, &mut out);
    out
}
