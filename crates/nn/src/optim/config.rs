//! A recipe's `[optimizer]` table: the optimiser, and its settings with their defaults and ranges.

use serde::{Deserialize, Serialize};

use crate::error::{NnError, Result};

/// A recipe's `[optimizer]` table: the optimiser and its settings. Names and meanings are PyTorch's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// `torch.optim.SGD` with dampening 0.
    Sgd {
        /// Base learning rate; a schedule multiplies it.
        lr: f64,
        /// Factor of the momentum buffer in each step; 0: no momentum.
        #[serde(default)]
        momentum: f64,
        /// Whether to use Nesterov momentum.
        #[serde(default)]
        nesterov: bool,
        /// Weight decay: `weight_decay * p` is added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.Adam`: the weight decay is added to the gradient.
    Adam {
        /// Base learning rate; a schedule multiplies it.
        lr: f64,
        /// Decay of the mean of gradients.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the mean of squared gradients.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f64,
        /// Weight decay: `weight_decay * p` is added to the gradient.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.AdamW`: the weight decay shrinks the parameter directly (<https://arxiv.org/abs/1711.05101>).
    AdamW {
        /// Base learning rate; a schedule multiplies it.
        lr: f64,
        /// Decay of the mean of gradients.
        #[serde(default = "beta1")]
        beta1: f64,
        /// Decay of the mean of squared gradients.
        #[serde(default = "beta2")]
        beta2: f64,
        /// Added to the denominator.
        #[serde(default = "eps")]
        eps: f64,
        /// Weight decay: each step shrinks a parameter by the share `lr * weight_decay`.
        #[serde(default)]
        weight_decay: f64,
    },
    /// `torch.optim.Muon` for parameters with two or more dimensions, as matrices of the first dimension by all others. SGD
    /// updates the rest, and groups with `optimizer = "sgd"` (<https://kellerjordan.github.io/posts/muon/>).
    Muon {
        /// Base learning rate, above 0; a schedule multiplies it, and that of `sgd` by the same factor.
        lr: f64,
        /// Factor of the momentum buffer in each step; 0: no momentum.
        #[serde(default = "muon_momentum")]
        momentum: f64,
        /// Whether to use Nesterov momentum.
        #[serde(default = "yes")]
        nesterov: bool,
        /// Number of Newton-Schulz iterations, from 1 to 99.
        #[serde(default = "ns_steps")]
        ns_steps: usize,
        /// Whether each matrix is scaled to the Frobenius norm sqrt(c_out) before each step, so that the root mean square of its
        /// filters' norms is 1.
        #[serde(default)]
        filter_norm: bool,
        /// Weight decay: each step shrinks a matrix by the share `lr * weight_decay`.
        #[serde(default)]
        weight_decay: f64,
        /// Settings of SGD, for parameters with fewer than two dimensions and for groups with `optimizer = "sgd"`.
        #[serde(default)]
        sgd: SgdSettings,
    },
}

/// Settings of the SGD beside Muon: the table `[optimizer.sgd]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdSettings {
    /// Base learning rate; it is multiplied by the same factor as Muon's.
    pub lr: f64,
    /// As in [`OptimizerConfig::Sgd`].
    pub momentum: f64,
    /// As in [`OptimizerConfig::Sgd`].
    pub nesterov: bool,
    /// As in [`OptimizerConfig::Sgd`].
    pub weight_decay: f64,
}

impl Default for SgdSettings {
    fn default() -> Self {
        Self { lr: 0.01, momentum: 0.9, nesterov: true, weight_decay: 0.0 }
    }
}

impl From<SgdSettings> for OptimizerConfig {
    fn from(SgdSettings { lr, momentum, nesterov, weight_decay }: SgdSettings) -> Self {
        Self::Sgd { lr, momentum, nesterov, weight_decay }
    }
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
fn muon_momentum() -> f64 {
    0.95
}
fn ns_steps() -> usize {
    5
}
fn yes() -> bool {
    true
}

impl OptimizerConfig {
    /// Returns the base learning rate.
    pub fn lr(&self) -> f64 {
        match *self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } | Self::Muon { lr, .. } => {
                lr
            }
        }
    }

    /// Sets the base learning rate.
    pub fn set_lr(&mut self, new: f64) {
        match self {
            Self::Sgd { lr, .. } | Self::Adam { lr, .. } | Self::AdamW { lr, .. } | Self::Muon { lr, .. } => {
                *lr = new;
            }
        }
    }

    pub(super) fn weight_decay(&self) -> f64 {
        match *self {
            Self::Sgd { weight_decay, .. }
            | Self::Adam { weight_decay, .. }
            | Self::AdamW { weight_decay, .. }
            | Self::Muon { weight_decay, .. } => weight_decay,
        }
    }

    /// Returns the names of the state tensors of each parameter that this optimiser updates itself. The SGD beside
    /// [`Muon`](Self::Muon) has its own names.
    pub(super) fn slot_names(&self) -> &'static [&'static str] {
        match self {
            Self::Sgd { momentum: 0.0, .. } | Self::Muon { momentum: 0.0, .. } => &[],
            Self::Sgd { .. } | Self::Muon { .. } => &["momentum_buffer"],
            Self::Adam { .. } | Self::AdamW { .. } => &["exp_avg", "exp_avg_sq"],
        }
    }

    /// Returns the number of values that this optimiser keeps for each value that it updates itself.
    pub fn n_states(&self) -> usize {
        self.slot_names().len()
    }

    /// Returns the SGD that updates the parameters that [`Muon`](Self::Muon) does not; `None` for any other optimiser.
    pub(super) fn beside(&self) -> Option<Self> {
        match *self {
            Self::Muon { sgd, .. } => Some(sgd.into()),
            _ => None,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// If a setting is out of range. The message has its key in a recipe, its value and its range.
    pub fn validate(&self) -> Result<()> {
        self.validate_as("optimizer")?;
        self.beside().map_or(Ok(()), |sgd| sgd.validate_as("optimizer.sgd"))
    }

    /// Like [`validate`](Self::validate), for settings in the table `table`.
    fn validate_as(&self, table: &str) -> Result<()> {
        let in_range = |name: &str, value: f64, ok: bool, range: &str| match ok {
            true => Ok(()),
            false => Err(NnError::Setting(format!("{table}.{name} must {range}, it is {value}"))),
        };
        in_range("lr", self.lr(), self.lr() >= 0.0 && self.lr().is_finite(), "be 0 or more")?;
        let decay = self.weight_decay();
        in_range("weight_decay", decay, decay >= 0.0 && decay.is_finite(), "be 0 or more")?;
        let momentum_in_range = |momentum: f64, nesterov: bool| {
            in_range("momentum", momentum, (0.0..1.0).contains(&momentum), "lie in [0, 1)")?;
            in_range("momentum", momentum, !nesterov || momentum > 0.0, "be above 0 if nesterov is on")
        };
        match *self {
            Self::Sgd { momentum, nesterov, .. } => momentum_in_range(momentum, nesterov),
            Self::Adam { beta1, beta2, eps, .. } | Self::AdamW { beta1, beta2, eps, .. } => {
                in_range("beta1", beta1, (0.0..1.0).contains(&beta1), "lie in [0, 1)")?;
                in_range("beta2", beta2, (0.0..1.0).contains(&beta2), "lie in [0, 1)")?;
                in_range("eps", eps, eps > 0.0 && eps.is_finite(), "be above 0")
            }
            Self::Muon { lr, momentum, nesterov, ns_steps, .. } => {
                in_range("lr", lr, lr > 0.0, "be above 0, because SGD's rate falls with it")?;
                momentum_in_range(momentum, nesterov)?;
                in_range("ns_steps", ns_steps as f64, (1..100).contains(&ns_steps), "be from 1 to 99")
            }
        }
    }
}
