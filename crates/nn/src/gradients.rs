//! The gradients of one step, by parameter name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use candle_core::{Device, Tensor};

use crate::error::{NnError, Result};
use crate::host;
use crate::params::Param;

/// Gradients by parameter name, in name order. Each has the shape and the device of its parameter, and is f32.
#[derive(Debug, Default)]
pub struct Gradients {
    by_name: BTreeMap<String, Tensor>,
    pub(crate) input: Option<Vec<f32>>,
    /// Of the map that a pass for explanation watches.
    pub(crate) watched: Option<Vec<f32>>,
    /// The names of the gradients in the order in which they were computed, on the kernel backend. A parameter that is used
    /// twice stands there twice.
    computed: Vec<String>,
    pub(crate) announcer: Option<Announcer>,
}

/// Announces the gradients of a backward pass while it runs, each as soon as it is complete.
#[derive(Clone, Debug)]
pub struct Announcer {
    /// How often the network uses each parameter, as an earlier pass found out.
    pub n_uses: Arc<BTreeMap<String, usize>>,
    /// Gets the name and the numbers of each gradient.
    pub sender: Sender<(String, Vec<f32>)>,
}

impl Gradients {
    /// Returns the gradient of the parameter called `name`; `None` if the parameter is frozen or was not used.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.by_name.get(name)
    }

    /// Iterates over all gradients, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.by_name.iter().map(|(name, grad)| (name.as_str(), grad))
    }

    /// Returns the names of the gradients in the order in which the kernel backend computed them. A parameter that is used twice
    /// stands there twice. Empty on other backends.
    pub fn computed(&self) -> &[String] {
        &self.computed
    }

    /// Returns the gradient of the input in (N, H, W, C) order, if the pass began with [`crate::Ctx::input_with_grad`].
    pub fn input(&self) -> Option<&[f32]> {
        self.input.as_deref()
    }

    pub(crate) fn insert(&mut self, name: &str, grad: Tensor) {
        self.by_name.insert(name.to_owned(), grad);
    }

    /// Adds the values that `fill` writes to the gradient of a parameter in main memory. Does nothing if the parameter is frozen.
    pub(crate) fn add_for(&mut self, param: &Param, fill: impl FnOnce(&mut [f32])) -> Result<()> {
        if param.is_frozen() {
            return Ok(());
        }
        let mut grad = vec![0.0; param.shape().iter().product()];
        fill(&mut grad);
        self.add(param.name(), param.shape(), grad)
    }

    /// Adds `grad` to the gradient of a parameter in main memory, because a parameter may be used more than once.
    pub(crate) fn add(&mut self, name: &str, shape: &[usize], grad: Vec<f32>) -> Result<()> {
        match self.by_name.get(name) {
            Some(sum) => {
                host::update(sum, |sum| sum.iter_mut().zip(&grad).for_each(|(sum, g)| *sum += g))?;
            }
            None => self.insert(name, Tensor::from_vec(grad, shape, &Device::Cpu)?),
        }
        self.computed.push(name.to_owned());
        self.announce(name)
    }

    /// Announces the gradient called `name`, if somebody listens and it is complete.
    fn announce(&self, name: &str) -> Result<()> {
        let Some(Announcer { n_uses, sender }) = &self.announcer else { return Ok(()) };
        let Some(grad) = self.get(name) else { return Ok(()) };
        let n_computed = self.computed.iter().filter(|computed| *computed == name).count();
        if n_uses.get(name) == Some(&n_computed) {
            let _ = sender.send((name.to_owned(), host::to_vec(grad)?)); // who stopped to listen says why elsewhere
        }
        Ok(())
    }

    /// Returns the 2-norm of all gradients together, summed in f64 in name order.
    ///
    /// # Errors
    /// If the device fails.
    pub fn global_norm(&self) -> Result<f64> {
        let mut sum = 0.0;
        for grad in self.by_name.values() {
            sum += host::to_vec(grad)?.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
        }
        Ok(sum.sqrt())
    }

    /// Scales all gradients so that their [global norm](Self::global_norm) is at most `max_norm`. Returns the norm before
    /// scaling. The factor is `min(1, max_norm / (norm + 1e-6))`, as in `torch.nn.utils.clip_grad_norm_`.
    ///
    /// # Errors
    /// If `max_norm` is not above 0, or the device fails.
    pub fn clip_global_norm(&mut self, max_norm: f64) -> Result<f64> {
        if max_norm.is_nan() || max_norm <= 0.0 {
            return Err(NnError::Optimizer(format!("max_norm must be above 0, it is {max_norm}")));
        }
        let norm = self.global_norm()?;
        let factor = max_norm / (norm + 1e-6);
        if factor < 1.0 {
            for grad in self.by_name.values_mut() {
                *grad = grad.affine(factor, 0.0)?;
            }
        }
        Ok(norm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_scales_to_the_norm_and_leaves_small_gradients_alone() {
        let mut grads = Gradients::default();
        grads.add("a", &[1], vec![3.0]).unwrap();
        grads.add("b", &[1], vec![4.0]).unwrap();
        assert_eq!(grads.clip_global_norm(10.0).unwrap(), 5.0);
        assert_eq!(host::to_vec(grads.get("a").unwrap()).unwrap(), [3.0]);
        assert_eq!(grads.clip_global_norm(1.0).unwrap(), 5.0);
        assert!((host::to_vec(grads.get("b").unwrap()).unwrap()[0] - 0.8).abs() < 1e-6);
        assert!(grads.clip_global_norm(0.0).is_err() && grads.clip_global_norm(f64::NAN).is_err());
    }

    #[test]
    fn a_gradient_is_announced_once_it_is_complete() {
        let (sender, listener) = std::sync::mpsc::channel();
        let n_uses = [("a", 2), ("b", 1)].map(|(name, n)| (name.to_owned(), n));
        let announcer = Some(Announcer { n_uses: Arc::new(n_uses.into()), sender });
        let mut grads = Gradients { announcer, ..Gradients::default() };
        for (name, value) in [("a", 1.0), ("b", 2.0), ("a", 3.0), ("new", 4.0)] {
            grads.add(name, &[1], vec![value]).unwrap();
        }
        assert_eq!(grads.computed(), ["a", "b", "a", "new"]);
        drop(grads);
        let announced: Vec<_> = listener.into_iter().collect();
        assert_eq!(announced, [("b".to_owned(), vec![2.0]), ("a".to_owned(), vec![4.0])]);
    }

    #[test]
    fn a_parameter_used_twice_gets_the_sum() {
        let mut grads = Gradients::default();
        grads.add("a", &[2], vec![1.0, 2.0]).unwrap();
        grads.add("a", &[2], vec![10.0, 20.0]).unwrap();
        assert_eq!(host::to_vec(grads.get("a").unwrap()).unwrap(), [11.0, 22.0]);
    }
}
