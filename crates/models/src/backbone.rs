//! A backbone with a head on it: which part of the two learns, and where features end. What a backbone computes is its
//! own file's business, what a head is `head.rs`'s.

use serde::{Deserialize, Serialize};
use tallow_nn::{Layer, Model, ParamStore, Sequential, Trunk};

use crate::error::ModelError;
use crate::head::HeadConfig;

/// Which part of a network learns besides its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unfreeze {
    /// None: the rest gives features, which are computed once per image.
    None,
    /// The last stage, which a ResNet calls `layer4`, and what follows it.
    #[serde(alias = "layer4")]
    Last,
    /// Everything.
    #[default]
    All,
}

/// Where batch norm takes mean and variance from in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormMode {
    /// From the weights' running statistics, which stay as they are.
    Frozen,
    /// From each batch; the running statistics follow.
    Live,
}

/// The part of a network that gives features, with its parameters in a store.
pub(crate) struct Backbone<L> {
    /// From images to features.
    pub(crate) layer: L,
    /// Numbers per image.
    pub(crate) n_features: usize,
    /// What decides features besides weights and images.
    pub(crate) description: String,
    /// The layers of the last stage, and what follows it.
    pub(crate) last_stage: &'static [&'static str],
}

/// What learns of a backbone.
#[derive(Clone, Copy)]
pub(crate) struct Learning {
    pub(crate) unfreeze: Unfreeze,
    /// Of the part that learns.
    pub(crate) batch_norm: BatchNormMode,
}

impl Learning {
    /// What a `[model]` table says of it. Without a word on batch norm, its statistics stay where they came with weights.
    pub(crate) fn new(
        unfreeze: Unfreeze,
        batch_norm: Option<BatchNormMode>,
        has_weights: bool,
    ) -> Result<Self, ModelError> {
        let refuse = |key, problem: &str| Err(ModelError::Value { key, problem: problem.into() });
        if unfreeze != Unfreeze::All && !has_weights {
            return refuse(
                "unfreeze",
                "weights that nobody trained would stay as they are: name some with --weights",
            );
        }
        if unfreeze == Unfreeze::None && batch_norm == Some(BatchNormMode::Live) {
            return refuse("batch_norm", "\"live\" needs a part that learns: unfreeze = \"last\" or \"all\"");
        }
        let default = if has_weights { BatchNormMode::Frozen } else { BatchNormMode::Live };
        Ok(Self { unfreeze, batch_norm: batch_norm.unwrap_or(default) })
    }

    /// Whether the parameter or statistic called `name` changes in training.
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
    /// The model: this with `head`, whose parameters are called `classifier`, for `n_classes` classes.
    ///
    /// Whatever does not learn is frozen; where nothing but the head learns, the backbone is the model's trunk.
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
