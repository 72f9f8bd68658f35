//! What the backbones that timm publishes have in common: their `[model]` table, and which of their maps are features. What each
//! computes stands in its own file.

use serde::{Deserialize, Serialize};
use tallow_nn::{Model, ParamStore};

use crate::architecture::{Architecture, InputSizes, PublishedWeights, parse};
use crate::backbone::{BatchNormMode, Learning, Unfreeze};
use crate::error::ModelError;
use crate::head::HeadConfig;
use crate::weights::PretrainedInput;

/// The `[model]` table of a convolutional backbone with timm's names and weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimmConfig {
    /// Rows and columns of the images.
    pub input_px: [usize; 2],
    /// Where the initial weights come from, as [`WeightsSource`](crate::weights::WeightsSource) reads it; whoever builds
    /// the network loads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// Which part learns: `none`, `last` or `all`.
    #[serde(default)]
    pub unfreeze: Unfreeze,
    /// Where batch norm takes its statistics from while the part that learns is trained; without it,
    /// [`BatchNormMode::Frozen`] where `weights` are given and [`BatchNormMode::Live`] where none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNormMode>,
    /// The maps whose means are the features, side by side; timm's own are those of the head alone.
    #[serde(default = "head")]
    pub features: Vec<Map>,
    /// What turns features into logits.
    #[serde(default)]
    pub head: HeadConfig,
}

/// What makes a network of a `[model]` table, for so many classes.
type Build = fn(&toml::Table, usize, ParamStore) -> Result<Model, ModelError>;

/// The architecture `name`, of images of any size, whose published weights are under Apache-2.0.
pub(crate) const fn architecture(
    name: &'static str,
    classifier: &'static str,
    source: &'static str,
    input: PretrainedInput,
    build: Build,
) -> Architecture {
    Architecture {
        name,
        sizes: InputSizes::Any,
        classifier,
        weights: Some(PublishedWeights { source, licence: "Apache-2.0", input }),
        reference: || toml::toml! { input_px = [224, 224] },
        input_px: |table| Ok(parse::<TimmConfig>(table)?.input_px),
        build,
    }
}

/// A map of a backbone: the last of one size, or what the backbone makes of the very last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Map {
    /// A quarter of the image's rows and columns.
    Stage1,
    /// An eighth.
    Stage2,
    /// A sixteenth.
    Stage3,
    /// A thirty-second.
    Stage4,
    /// What follows the stages.
    Head,
}

impl Map {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stage1 => "stage1",
            Self::Stage2 => "stage2",
            Self::Stage3 => "stage3",
            Self::Stage4 => "stage4",
            Self::Head => "head",
        }
    }
}

fn head() -> Vec<Map> {
    vec![Map::Head]
}

impl TimmConfig {
    /// Refuses values that no such network can have.
    pub(crate) fn validate(&self) -> Result<(), ModelError> {
        let refuse = |key, problem: String| Err(ModelError::Value { key, problem });
        if self.input_px.contains(&0) {
            return refuse("input_px", format!("expected at least 1 x 1, found {:?}", self.input_px));
        }
        let ascends = self.features.is_sorted_by(|a, b| a < b);
        if !ascends || self.features.last() != Some(&Map::Head) {
            let expected = "expected some of stage1 to stage4 and head in this order, head among them";
            return refuse("features", format!("{expected}, found {:?}", self.names()));
        }
        self.head.validate()?;
        Ok(())
    }

    /// What learns.
    pub(crate) fn learning(&self) -> Result<Learning, ModelError> {
        Learning::new(self.unfreeze, self.batch_norm, self.weights.is_some())
    }

    /// What decides the features of the backbone `name` besides its weights.
    pub(crate) fn describe(&self, name: &str) -> String {
        let [h, w] = self.input_px;
        let features =
            if self.features == head() { String::new() } else { format!(" {}", self.names().join("+")) };
        format!("{name} {h}x{w}{features}")
    }

    fn names(&self) -> Vec<&'static str> {
        self.features.iter().map(|map| map.as_str()).collect()
    }
}
