//! Optimisers: SGD with momentum, Adam and AdamW, with groups of parameters chosen by name and state that can be saved.
//!
//! Parameters are walked in name order and changed in place, in f32, whatever precision the layers compute in. On
//! the CPU the arithmetic is `tallow-kernels`'; on other devices it is composed from Candle operators.

mod device;
mod groups;

pub use groups::ParamGroup;

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use tallow_kernels::optim::{AdamConfig, SgdConfig, adam_step, sgd_step};

use crate::error::{NnError, Result};
use crate::gradients::Gradients;
use crate::host;
use crate::misfit::Misfit;
use crate::params::{Param, ParamStore};
use crate::weights::{HostTensor, Tensors};
use groups::Resolved;

/// Which optimiser, with its settings: a recipe's `[optimizer]` table. Names and meanings are PyTorch's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// `torch.optim.SGD` with dampening 0.
    Sgd {
        /// The base learning rate; a schedule multiplies it.
        lr: f64,
        /// The share of the last step's direction that is kept; 0 for none.
        #[serde(default)]
        momentum: f64,
        /// Nesterov's momentum.
        #[serde(default)]
        nesterov: bool,
        /// Added to the gradient: `weight_decay * p`.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.Adam`: the decay is added to the gradient.
    Adam {
        /// The base learning rate; a schedule multiplies it.
        lr: f64,
        /// The decay of the mean of gradients.
        #[serde(default = "beta1")]
        beta1: f64,
        /// The decay of the mean of squared gradients.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f64,
        /// Added to the gradient: `weight_decay * p`.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.AdamW`: the decay shrinks the parameter directly (<https://arxiv.org/abs/1711.05101>).
    AdamW {
        /// The base learning rate; a schedule multiplies it.
        lr: f64,
        /// The decay of the mean of gradients.
        #[serde(default = "beta1")]
        beta1: f64,
        /// The decay of the mean of squared gradients.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f64,
        /// The share `lr * weight_decay` by which a parameter shrinks in each step.
        #[serde(default)]
        weight_decay: f64,
    },
}

fn beta1() -> f64 {
    0.9
}
fn beta2() -> f64 {
    0.999
}
fn eps() -> f64 {
    1e-8
}

impl OptimizerConfig {
    /// The base learning rate.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } => lr,
        }
    }

    /// Sets the base learning rate.
    pub fn set_lr(&mut self, new: f64) {
        match self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } => *lr = new,
        }
    }

    fn weight_decay(&self) -> f64 {
        match *self {
            Self::Sgd { weight_decay, .. }
            | Self::Adam { weight_decay, .. }
            | Self::AdamW { weight_decay, .. } => weight_decay,
        }
    }

    /// The names of what is kept per parameter.
    fn slot_names(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } => &["momentum_buffer"],
            Self::Adam { .. } | Self::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// With the setting's key in a recipe, its value and its range.
    pub fn validate(&self) -> Result<()> {
        let in_range = |name: &str, value: f64, ok: bool, range: &str| match ok {
            true => Ok(()),
            false => Err(NnError::Setting(format!("optimizer.{name} must {range}, it is {value}"))),
        };
        in_range("lr", self.lr(), self.lr() >= 0.0 && self.lr().is_finite(), "be 0 or more")?;
        let decay = self.weight_decay();
        in_range("weight_decay", decay, decay >= 0.0 && decay.is_finite(), "be 0 or more")?;
        match *self {
            Self::Sgd { momentum, nesterov, .. } => {
                in_range("momentum", momentum, (0.0..1.0).contains(&momentum), "lie in [0, 1)")?;
                in_range("momentum", momentum, !nesterov || momentum > 0.0, "be above 0 where nesterov is on")
            }
            Self::Adam { beta1, beta2, eps, .. } | Self::AdamW { beta1, beta2, eps, .. } => {
                in_range("beta1", beta1, (0.0..1.0).contains(&beta1), "lie in [0, 1)")?;
                in_range("beta2", beta2, (0.0..1.0).contains(&beta2), "lie in [0, 1)")?;
                in_range("eps", eps, eps > 0.0 && eps.is_finite(), "be above 0")
            }
        }
    }
}

/// What is kept for one parameter: one entry per slot name.
enum Slots {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor>),
}

/// An optimiser at work on one network.
pub struct Optimizer {
    config: OptimizerConfig,
    groups: BTreeMap<String, Resolved>,
    slots: BTreeMap<String, Slots>,
    n_steps: u64,
}

impl Optimizer {
    /// An optimiser for all parameters of `store` that are not frozen now. The first group whose pattern fits a name decides its rate and
    /// decay; where none fits, the rate is the base rate and the decay that of `config`.
    ///
    /// # Errors
    /// If a setting is out of range, or a group fits no parameter.
    pub fn new(config: &OptimizerConfig, groups: &[ParamGroup], store: &ParamStore) -> Result<Self> {
        config.validate()?;
        let resolved = groups::resolve(groups, config.weight_decay(), store)?;
        let mut slots = BTreeMap::new();
        for param in learning(store) {
            let n = config.slot_names().len();
            let zero = match store.device().is_cpu() {
                true => Slots::Host(vec![vec![0.0; param.var().elem_count()]; n]),
                false => Slots::Device(vec![param.var().zeros_like()?; n]),
            };
            slots.insert(param.name().to_owned(), zero);
        }
        Ok(Self { config: config.clone(), groups: resolved, slots, n_steps: 0 })
    }

    /// One step at the learning rate `lr` (before the groups' factors). A parameter without gradient stays as it is.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self, store: &ParamStore, grads: &Gradients, lr: f64) -> Result<()> {
        self.n_steps += 1;
        for param in store.params() {
            let (Some(grad), Some(slots)) = (grads.get(param.name()), self.slots.get_mut(param.name()))
            else {
                continue;
            };
            let group = self.groups[param.name()];
            let rate = lr * group.lr_factor;
            match slots {
                Slots::Host(slots) => {
                    step_on_host(&self.config, param, grad, slots, rate, group.weight_decay, self.n_steps)?;
                }
                Slots::Device(slots) => {
                    device::step(&self.config, param, grad, slots, rate, group.weight_decay, self.n_steps)?;
                }
            }
        }
        Ok(())
    }

    /// How many steps were taken.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// A copy of what the optimiser remembers, as `<parameter>.<slot>`; with [`n_steps`](Self::n_steps) it is all.
    ///
    /// # Errors
    /// If the device fails.
    pub fn state(&self, store: &ParamStore) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, slots) in &self.slots {
            let shape = store.get(name).map(|p| p.shape().to_vec()).unwrap_or_default();
            for (i, slot) in self.config.slot_names().iter().enumerate() {
                let data = match slots {
                    Slots::Host(values) => values[i].clone(),
                    Slots::Device(values) => host::to_vec(&values[i])?,
                };
                tensors.insert(format!("{name}.{slot}"), HostTensor { shape: shape.clone(), data });
            }
        }
        Ok(tensors)
    }

    /// Takes up what [`state`](Self::state) gave: nothing is changed unless everything fits.
    ///
    /// # Errors
    /// Says how many entries are missing, extra or of another shape: the state is another optimiser's or network's.
    pub fn load_state(&mut self, store: &ParamStore, n_steps: u64, tensors: &Tensors) -> Result<()> {
        let slot_names = self.config.slot_names();
        let entries = learning(store).flat_map(|p| slot_names.iter().map(move |slot| (p, slot)));
        let expected =
            entries.map(|(p, slot)| (format!("{}.{slot}", p.name()), p.shape().to_vec())).collect();
        if let Some(misfit) = Misfit::between(&expected, tensors) {
            return Err(NnError::Optimizer(format!("the saved state does not fit: {misfit}")));
        }
        for (name, slots) in &mut self.slots {
            for (i, slot) in slot_names.iter().enumerate() {
                let saved = &tensors[&format!("{name}.{slot}")];
                match slots {
                    Slots::Host(values) => values[i].clone_from(&saved.data),
                    Slots::Device(values) => {
                        values[i] = Tensor::from_slice(&saved.data, values[i].shape(), store.device())?;
                    }
                }
            }
        }
        self.n_steps = n_steps;
        Ok(())
    }
}

fn learning(store: &ParamStore) -> impl Iterator<Item = &Param> {
    store.params().filter(|param| !param.is_frozen())
}

fn step_on_host(
    config: &OptimizerConfig,
    param: &Param,
    grad: &Tensor,
    slots: &mut [Vec<f32>],
    lr: f64,
    weight_decay: f64,
    t: u64,
) -> Result<()> {
    host::read(grad, |grad| {
        param.update(|p| match (config, &mut *slots) {
            (&OptimizerConfig::Sgd { momentum, nesterov, .. }, slots) => {
                let config = SgdConfig { lr, momentum, weight_decay, nesterov };
                sgd_step(p, grad, slots.first_mut().map(Vec::as_mut_slice), &config, t == 1);
            }
            (&OptimizerConfig::Adam { beta1, beta2, eps, .. }, [m, v]) => {
                let config = AdamConfig { lr, beta1, beta2, eps, weight_decay, decoupled: false };
                adam_step(p, grad, m, v, &config, t);
            }
            (&OptimizerConfig::AdamW { beta1, beta2, eps, .. }, [m, v]) => {
                let config = AdamConfig { lr, beta1, beta2, eps, weight_decay, decoupled: true };
                adam_step(p, grad, m, v, &config, t);
            }
            _ => unreachable!("an Adam optimiser has two slots per parameter"),
        })
    })?
}
