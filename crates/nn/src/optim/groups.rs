//! Groups of parameters with a learning rate and a decay of their own, chosen by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{NnError, Result};
use crate::params::ParamStore;

/// One group: an entry of a recipe's `[[param_groups]]`. The first entry that fits a parameter counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamGroup {
    /// Which names: `*` stands for any run of characters, as in `layer4.*` or `*.bias`.
    pub pattern: String,
    /// Only parameters with this many dimensions: 1 means biases and what norms scale and shift with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_dims: Option<usize>,
    /// Multiplies the learning rate. 0 keeps the numbers (the gradient is made all the same, and counts in the global
    /// norm); what is frozen by `ParamStore::freeze` gets none.
    #[serde(default = "one")]
    pub lr_factor: f64,
    /// The weight decay in place of the optimiser's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// What holds for one parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Resolved {
    pub(super) lr_factor: f64,
    pub(super) weight_decay: f64,
}

/// What holds for each parameter of `store`.
pub(super) fn resolve(
    groups: &[ParamGroup],
    decay: f64,
    store: &ParamStore,
) -> Result<BTreeMap<String, Resolved>> {
    let fits = |g: &ParamGroup, name: &str, n_dims: usize| {
        g.n_dims.is_none_or(|n| n == n_dims) && matches(&g.pattern, name)
    };
    for group in groups {
        let decay = group.weight_decay.unwrap_or(0.0);
        if !(group.lr_factor >= 0.0 && group.lr_factor.is_finite() && decay >= 0.0 && decay.is_finite()) {
            let (pattern, factor) = (&group.pattern, group.lr_factor);
            let problem = format!("must be 0 or more, they are {factor} and {decay}");
            return Err(NnError::Optimizer(format!(
                "param_groups: \"{pattern}\": lr_factor and weight_decay {problem}"
            )));
        }
        if !store.params().any(|p| fits(group, p.name(), p.shape().len())) {
            return Err(NnError::Optimizer(format!("param_groups: no parameter fits \"{}\"", group.pattern)));
        }
    }
    let resolved = store.params().map(|p| {
        let group = groups.iter().find(|g| fits(g, p.name(), p.shape().len()));
        let weight_decay = group.and_then(|g| g.weight_decay).unwrap_or(decay);
        let lr_factor = group.map_or(1.0, |g| g.lr_factor);
        (p.name().to_owned(), Resolved { lr_factor, weight_decay })
    });
    Ok(resolved.collect())
}

/// Whether `name` fits `pattern`, in which `*` stands for any run of characters.
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

    use super::*;
    use crate::init::Init;

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
        };
        let groups = [group("*", Some(1), 1.0, Some(0.0)), group("conv.*", None, 0.1, None)];
        let resolved = resolve(&groups, 0.5, &store).unwrap();
        assert_eq!(resolved["conv.bias"], Resolved { lr_factor: 1.0, weight_decay: 0.0 });
        assert_eq!(resolved["conv.weight"], Resolved { lr_factor: 0.1, weight_decay: 0.5 });
        assert_eq!(resolved["fc.weight"], Resolved { lr_factor: 1.0, weight_decay: 0.5 });
        let idle = resolve(&[group("layer4.*", None, 1.0, None)], 0.0, &store).unwrap_err().to_string();
        assert!(idle.contains("layer4.*"), "{idle}");
    }
}
