//! Groups of parameters, chosen by name, with their own learning rate, weight decay, last epoch or optimiser.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{OptimizerConfig, Rate};
use crate::error::{NnError, Result};
use crate::params::{Param, ParamStore};

/// One group: an entry of a recipe's `[[param_groups]]`. A parameter belongs to the first entry that fits it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamGroup {
    /// Pattern of the names: `*` stands for any characters or none, as in `layer4.*` or `*.bias`.
    pub pattern: String,
    /// Restricts the group to parameters with this number of dimensions; 1: biases, and weights and biases of norms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_dims: Option<usize>,
    /// Factor of the learning rate. With 0 the parameters stay unchanged; their gradient is still computed, and counts in the
    /// global norm. Parameters frozen by `ParamStore::freeze` get no gradient.
    #[serde(default = "one")]
    pub lr_factor: f64,
    /// Weight decay that replaces the optimiser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Optimiser that replaces [`OptimizerConfig::Muon`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<GroupOptimizer>,
    /// Number of epochs that the group learns. The learning rate does not follow the schedule: it falls linearly from the base
    /// rate times `lr_factor` at step 0 to 0 at this epoch. From then on the parameters and their optimiser state stay unchanged;
    /// the gradient is still computed, and counts in the global norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_epoch: Option<f64>,
}

/// An optimiser that a group can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupOptimizer {
    /// The SGD of [`OptimizerConfig::Muon`], with the settings of `[optimizer.sgd]`.
    Sgd,
}

fn one() -> f64 {
    1.0
}

/// The optimiser settings of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resolved {
    /// The optimiser that updates the parameter.
    pub(super) config: OptimizerConfig,
    /// Factor of the main optimiser's learning rate.
    lr_factor: f64,
    pub(super) weight_decay: f64,
    until_epoch: Option<f64>,
}

impl Resolved {
    /// Returns its learning rate; `None` from `until_epoch` on.
    pub(super) fn lr(&self, rate: Rate) -> Option<f64> {
        match self.until_epoch {
            None => Some(rate.lr * self.lr_factor),
            Some(end) if rate.epochs >= end => None,
            Some(end) => Some(rate.base_lr * self.lr_factor * (1.0 - rate.epochs / end)),
        }
    }
}

/// Returns the settings of each parameter of `store`.
pub(super) fn resolve(
    groups: &[ParamGroup],
    config: &OptimizerConfig,
    store: &ParamStore,
) -> Result<BTreeMap<String, Resolved>> {
    for group in groups {
        group.check(config)?;
        if !store.params().any(|p| group.fits(p)) {
            return Err(NnError::Optimizer(format!(
                "param_groups: no parameter matches \"{}\"",
                group.pattern
            )));
        }
    }
    let resolved = store.params().map(|p| {
        let group = groups.iter().find(|g| g.fits(p));
        let is_left = p.shape().len() < 2 || group.is_some_and(|g| g.optimizer == Some(GroupOptimizer::Sgd));
        let beside = config.beside().filter(|_| is_left);
        // the rates of Muon and of its SGD have a constant ratio
        let ratio = beside.as_ref().map_or(1.0, |beside| beside.lr() / config.lr());
        let own = beside.unwrap_or_else(|| config.clone());
        let resolved = Resolved {
            lr_factor: ratio * group.map_or(1.0, |g| g.lr_factor),
            weight_decay: group.and_then(|g| g.weight_decay).unwrap_or(own.weight_decay()),
            until_epoch: group.and_then(|g| g.until_epoch),
            config: own,
        };
        (p.name().to_owned(), resolved)
    });
    Ok(resolved.collect())
}

impl ParamGroup {
    fn fits(&self, param: &Param) -> bool {
        self.n_dims.is_none_or(|n| n == param.shape().len()) && matches(&self.pattern, param.name())
    }

    /// Checks the ranges, and that `config` has the group's optimiser.
    fn check(&self, config: &OptimizerConfig) -> Result<()> {
        let refuse = |problem: String| {
            Err(NnError::Optimizer(format!("param_groups: \"{}\": {problem}", self.pattern)))
        };
        let (factor, decay) = (self.lr_factor, self.weight_decay.unwrap_or(0.0));
        if !(factor >= 0.0 && factor.is_finite() && decay >= 0.0 && decay.is_finite()) {
            return refuse(format!(
                "lr_factor and weight_decay must be 0 or more, they are {factor} and {decay}"
            ));
        }
        if let Some(end) = self.until_epoch.filter(|end| !(*end > 0.0 && end.is_finite())) {
            return refuse(format!(
                "until_epoch must be above 0, it is {end}: to freeze the group, set lr_factor = 0"
            ));
        }
        match self.optimizer {
            Some(GroupOptimizer::Sgd) if config.beside().is_none() => refuse(
                "optimizer = \"sgd\" works only with optimizer.kind = \"muon\": leave it out, or choose \
                 that kind"
                    .into(),
            ),
            _ => Ok(()),
        }
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters or none.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|i| tail.is_char_boundary(i) && matches(rest, &tail[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use serde_json::json;

    use super::*;
    use crate::init::Init;
    use crate::optim::SgdSettings;

    #[test]
    fn patterns() {
        assert!(matches("*", "a.b") && matches("a.*", "a.b") && matches("*.bias", "x.y.bias"));
        assert!(matches("a*c*e", "abcde") && matches("ab", "ab") && matches("*b*", "b"));
        assert!(!matches("a.*", "ab") && !matches("*.bias", "bias") && !matches("a*c", "abcd"));
    }

    #[test]
    fn the_first_fitting_group_counts_and_an_idle_one_is_refused() {
        let mut store = ParamStore::new(0, &Device::Cpu);
        for (name, shape) in [("conv.weight", &[1, 1][..]), ("conv.bias", &[1]), ("fc.weight", &[1, 1])] {
            store.root().param(name, shape, Init::Constant(0.0)).unwrap();
        }
        let group = |pattern: &str, n_dims, lr_factor, weight_decay| ParamGroup {
            pattern: pattern.into(),
            n_dims,
            lr_factor,
            weight_decay,
            optimizer: None,
            until_epoch: None,
        };
        let groups = [group("*", Some(1), 1.0, Some(0.0)), group("conv.*", None, 0.1, None)];
        let sgd = OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 0.5 };
        let resolved = resolve(&groups, &sgd, &store).unwrap();
        let expected = |lr_factor, weight_decay| Resolved {
            config: sgd.clone(),
            lr_factor,
            weight_decay,
            until_epoch: None,
        };
        assert_eq!(resolved["conv.bias"], expected(1.0, 0.0));
        assert_eq!(resolved["conv.weight"], expected(0.1, 0.5));
        assert_eq!(resolved["fc.weight"], expected(1.0, 0.5));
        let idle = resolve(&[group("layer4.*", None, 1.0, None)], &sgd, &store).unwrap_err().to_string();
        assert!(idle.contains("layer4.*"), "{idle}");
    }
    fn group(text: serde_json::Value) -> ParamGroup {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn beside_muon_sgd_has_what_is_no_matrix_and_who_asks_for_it() {
        let mut store = ParamStore::new(0, &Device::Cpu);
        for (name, shape) in [
            ("conv.weight", &[2, 1, 3, 3][..]),
            ("conv.bias", &[2]),
            ("head.bias", &[2]),
            ("head.weight", &[2, 2]),
        ] {
            store.root().param(name, shape, Init::Constant(0.0)).unwrap();
        }
        let sgd = SgdSettings { lr: 0.05, momentum: 0.85, nesterov: true, weight_decay: 0.125 };
        let muon = OptimizerConfig::Muon {
            lr: 0.2,
            momentum: 0.6,
            nesterov: true,
            ns_steps: 3,
            filter_norm: true,
            weight_decay: 0.5,
            sgd,
        };
        let head =
            group(json!({"pattern": "head.*", "optimizer": "sgd", "lr_factor": 8.0, "weight_decay": 0.0}));
        let resolved = resolve(&[head], &muon, &store).unwrap();
        let rates = |name: &str| (resolved[name].lr(0.1.into()).unwrap(), resolved[name].weight_decay);
        assert_eq!(resolved["conv.weight"].config, muon);
        assert_eq!(rates("conv.weight"), (0.1, 0.5));
        for (name, expected) in
            [("conv.bias", (0.025, 0.125)), ("head.bias", (0.2, 0.0)), ("head.weight", (0.2, 0.0))]
        {
            assert_eq!(resolved[name].config, OptimizerConfig::from(sgd), "{name}");
            assert_eq!(rates(name), expected, "{name}: at half of the base rate");
        }
    }

    /// 2.5 epochs of 4 steps: the tenth step is the last one, independent of the schedule.
    #[test]
    fn a_group_with_an_end_falls_to_it_in_a_straight_line() {
        let mut store = ParamStore::new(0, &Device::Cpu);
        for name in ["a.bias", "b.bias"] {
            store.root().param(name, &[1], Init::Constant(0.0)).unwrap();
        }
        let sgd = OptimizerConfig::Sgd { lr: 0.5, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
        let ends = group(json!({"pattern": "a.*", "lr_factor": 4.0, "until_epoch": 2.5}));
        let resolved = resolve(&[ends], &sgd, &store).unwrap();
        let rates = |name: &str| -> Vec<Option<f64>> {
            let rate = |step: u32| Rate { lr: 0.125, base_lr: 0.5, epochs: f64::from(step) / 4.0 };
            (0..13).map(|step| resolved[name].lr(rate(step))).collect()
        };
        let expected = [2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.8, 0.6, 0.4, 0.2].map(Some);
        for (rate, expected) in rates("a.bias").into_iter().zip(expected.into_iter().chain([None; 3])) {
            let near =
                rate.zip(expected).is_none_or(|(rate, expected): (f64, f64)| (rate - expected).abs() < 1e-12);
            assert!(near && rate.is_some() == expected.is_some(), "{rate:?} is not {expected:?}");
        }
        assert_eq!(rates("b.bias"), [Some(0.125); 13]);
    }
}
