//! Optimisers: SGD with momentum, Adam, AdamW and Muon, with groups of parameters chosen by name, and with state that can be
//! saved.
//!
//! Parameters are updated in name order, in place, and in f32, also if the layers compute in bf16. The arithmetic is that of
//! `tallow-kernels` on the CPU, and is composed from Candle operators on other devices.

mod config;
mod device;
mod groups;

pub use config::{OptimizerConfig, SgdSettings};
pub use groups::{GroupOptimizer, ParamGroup};

use std::collections::BTreeMap;

use candle_core::Tensor;
use tallow_core::memory::filled;
use tallow_kernels::optim::{AdamConfig, MuonConfig, SgdConfig, adam_step, muon_step, sgd_step};

use crate::error::{NnError, Result};
use crate::gradients::Gradients;
use crate::host;
use crate::misfit::Misfit;
use crate::params::{Param, ParamStore};
use crate::weights::{HostTensor, Tensors};
use groups::Resolved;

/// The state of one parameter: one entry per slot name.
enum Slots {
    Host(Vec<Vec<f32>>),
    Device(Vec<Tensor>),
}

/// The values that decide the learning rates of one step. A single number converts to a rate without a schedule, at the start of
/// training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The learning rate of the schedule.
    pub lr: f64,
    /// The base rate, before the schedule. Groups with [`ParamGroup::until_epoch`] use it instead of the schedule's rate.
    pub base_lr: f64,
    /// Training before this step, in epochs; a fraction within an epoch.
    pub epochs: f64,
}

impl From<f64> for Rate {
    fn from(lr: f64) -> Self {
        Self { lr, base_lr: lr, epochs: 0.0 }
    }
}

/// An optimiser of one network, with its state.
pub struct Optimizer {
    groups: BTreeMap<String, Resolved>,
    slots: BTreeMap<String, Slots>,
    n_steps: u64,
}

impl Optimizer {
    /// Returns an optimiser for all parameters of `store` that are not frozen now. The first group that fits a parameter decides
    /// its learning rate and weight decay. If no group fits, they are those of `config`.
    ///
    /// # Errors
    /// If a setting is out of range, a group fits no parameter, or a group chooses an optimiser that `config` does not have.
    pub fn new(config: &OptimizerConfig, groups: &[ParamGroup], store: &ParamStore) -> Result<Self> {
        config.validate()?;
        let resolved = groups::resolve(groups, config, store)?;
        let mut slots = BTreeMap::new();
        for param in learning(store) {
            let n = resolved[param.name()].config.slot_names().len();
            let zero = match store.device().is_cpu() {
                true => Slots::Host((0..n).map(|_| filled(0.0, param.n_values())).collect()),
                false => Slots::Device(vec![param.var().zeros_like()?; n]),
            };
            slots.insert(param.name().to_owned(), zero);
        }
        Ok(Self { groups: resolved, slots, n_steps: 0 })
    }

    /// Takes one step at `rate`, which the groups' factors multiply. A parameter stays unchanged, with its state, if it has no
    /// gradient or if its group has reached `until_epoch`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self, store: &ParamStore, grads: &Gradients, rate: impl Into<Rate>) -> Result<()> {
        let rate = rate.into();
        self.n_steps += 1;
        for param in store.params() {
            let (Some(grad), Some(slots)) = (grads.get(param.name()), self.slots.get_mut(param.name()))
            else {
                continue;
            };
            let group = &self.groups[param.name()];
            let Some(lr) = group.lr(rate) else { continue };
            let (config, weight_decay) = (&group.config, group.weight_decay);
            match slots {
                Slots::Host(slots) => {
                    step_on_host(config, param, grad, slots, lr, weight_decay, self.n_steps)?;
                }
                Slots::Device(slots) => {
                    device::step(config, param, grad, slots, lr, weight_decay, self.n_steps)?;
                }
            }
        }
        Ok(())
    }

    /// Returns the number of steps taken.
    pub fn n_steps(&self) -> u64 {
        self.n_steps
    }

    /// Returns a copy of the optimiser's state, as `<parameter>.<slot>`. With [`n_steps`](Self::n_steps) it is complete.
    ///
    /// # Errors
    /// If the device fails.
    pub fn state(&self, store: &ParamStore) -> Result<Tensors> {
        let mut tensors = Tensors::new();
        for (name, slots) in &self.slots {
            let shape = store.get(name).map(|p| p.shape().to_vec()).unwrap_or_default();
            for (i, slot) in self.slot_names(name).iter().enumerate() {
                let data = match slots {
                    Slots::Host(values) => values[i].clone(),
                    Slots::Device(values) => host::to_vec(&values[i])?,
                };
                tensors.insert(format!("{name}.{slot}"), HostTensor { shape: shape.clone(), data });
            }
        }
        Ok(tensors)
    }

    /// Loads a state that [`state`](Self::state) returned. If any tensor does not fit, it changes nothing.
    ///
    /// # Errors
    /// If the state is that of another optimiser or network. The message states how many entries are missing, extra or of another
    /// shape.
    pub fn load_state(&mut self, store: &ParamStore, n_steps: u64, tensors: &Tensors) -> Result<()> {
        let entries =
            learning(store).flat_map(|p| self.slot_names(p.name()).iter().map(move |slot| (p, slot)));
        let expected =
            entries.map(|(p, slot)| (format!("{}.{slot}", p.name()), p.shape().to_vec())).collect();
        if let Some(misfit) = Misfit::between(&expected, tensors) {
            return Err(NnError::Optimizer(format!("the saved state does not fit: {misfit}")));
        }
        for (name, slots) in &mut self.slots {
            for (i, slot) in self.groups[name].config.slot_names().iter().enumerate() {
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

    /// Returns the names of the state tensors of a parameter.
    fn slot_names(&self, param: &str) -> &'static [&'static str] {
        self.groups[param].config.slot_names()
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
            (&OptimizerConfig::Muon { momentum, nesterov, ns_steps, filter_norm, .. }, slots) => {
                let config = MuonConfig { lr, momentum, nesterov, ns_steps, filter_norm, weight_decay };
                muon_step(p, grad, slots.first_mut().map(Vec::as_mut_slice), param.shape()[0], &config);
            }
            _ => unreachable!("an Adam optimiser has two slots per parameter"),
        })
    })?
}
