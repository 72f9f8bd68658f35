//! Joins a backbone and a head into a model, and freezes the parameters that do not learn. Each backbone is in a file of its own;
//! heads are in `head.rs`.

use serde::{Deserialize, Serialize};
use tallow_nn::{Layer, Model, ParamStore, Sequential, Trunk};

use crate::error::ModelError;
use crate::head::HeadConfig;

/// The part of a network that learns besides its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unfreeze {
    /// Only the head learns. The backbone is frozen, and its features are computed once per image.
    None,
    /// The last stage (`layer4` of a ResNet), and the layers after it.
    #[serde(alias = "layer4")]
    Last,
    /// All layers.
    #[default]
    All,
}

/// The mean and variance that batch norms use in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormMode {
    /// The running statistics of the pretrained weights, which do not change.
    Frozen,
    /// The mean and variance of each batch; the running statistics are updated.
    Live,
}

/// The part of a network that computes features. Its parameters are in a store.
pub(crate) struct Backbone<L> {
    /// Computes features from images.
    pub(crate) layer: L,
    /// Features per image.
    pub(crate) n_features: usize,
    /// Everything that features depend on besides weights and images, as text.
    pub(crate) description: String,
    /// Names of the layers of the last stage and of the layers after it.
    pub(crate) last_stage: &'static [&'static str],
}

/// The part of a backbone that learns.
#[derive(Clone, Copy)]
pub(crate) struct Learning {
    pub(crate) unfreeze: Unfreeze,
    /// Mode of the batch norms in the part that learns.
    pub(crate) batch_norm: BatchNormMode,
}

impl Learning {
    /// Checks the values of a `[model]` table. Without `batch_norm`, statistics are frozen if there are weights, and live if not.
    pub(crate) fn new(
        unfreeze: Unfreeze,
        batch_norm: Option<BatchNormMode>,
        has_weights: bool,
    ) -> Result<Self, ModelError> {
        let refuse = |key, problem: &str| Err(ModelError::Value { key, problem: problem.into() });
        if unfreeze != Unfreeze::All && !has_weights {
            return refuse("unfreeze", "the frozen part needs pretrained weights: name some with --weights");
        }
        if unfreeze == Unfreeze::None && batch_norm == Some(BatchNormMode::Live) {
            return refuse("batch_norm", "\"live\" needs a part that learns: unfreeze = \"last\" or \"all\"");
        }
        let default = if has_weights { BatchNormMode::Frozen } else { BatchNormMode::Live };
        Ok(Self { unfreeze, batch_norm: batch_norm.unwrap_or(default) })
    }

    /// Whether training changes the parameter or statistic called `name`.
    fn includes(self, name: &str, last_stage: &[&str]) -> bool {
        let in_part = match self.unfreeze {
            Unfreeze::None => false,
            Unfreeze::Last => last_stage.iter().any(|layer| is_below(name, layer)),
            Unfreeze::All => true,
        };
        in_part && (self.batch_norm == BatchNormMode::Live || !is_statistic(name))
    }
}

impl<L: Layer + 'static> Backbone<L> {
    /// Returns the model of this backbone and `head` for `n_classes` classes. The names of the head's parameters begin with
    /// `classifier`.
    ///
    /// Parameters that do not learn are frozen. If only the head learns, the backbone becomes the model's trunk.
    pub(crate) fn with_head(
        self,
        head: &HeadConfig,
        classifier: &str,
        n_classes: usize,
        learning: Learning,
        mut params: ParamStore,
    ) -> Result<Model, ModelError> {
        let Self { layer, n_features, description, last_stage } = self;
        let head = head.build(&mut params.root().sub(classifier), n_features, n_classes)?;
        params.freeze(|name| !is_below(name, classifier) && !learning.includes(name, last_stage));
        if learning.unfreeze == Unfreeze::None {
            let trunk = Trunk { layer: Box::new(layer), description, n_features };
            return Ok(Model { trunk: Some(trunk), ..Model::new(head, params) });
        }
        let mut network = Sequential::new();
        network.push(layer);
        network.push(head);
        Ok(Model::new(network, params))
    }
}

/// Whether a parameter is part of the layer called `layer`.
fn is_below(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|rest| rest.starts_with('.'))
}

pub(crate) fn is_statistic(name: &str) -> bool {
    name.ends_with("running_mean") || name.ends_with("running_var")
}
