//! The `[model]` table that timm's convolutional backbones share, and the maps that their features can come from. Each backbone
//! is in a file of its own.

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
    /// Source of the initial weights, as text of a [`WeightsSource`](crate::weights::WeightsSource). Building the network does
    /// not load them: the caller does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<String>,
    /// The part that learns: `none`, `last` or `all`.
    #[serde(default)]
    pub unfreeze: Unfreeze,
    /// The statistics that batch norms use in the part that learns. `None` is [`BatchNormMode::Frozen`] with `weights`, and
    /// [`BatchNormMode::Live`] without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNormMode>,
    /// The maps that features come from: the mean of each, side by side. timm's networks use only the map of the head.
    #[serde(default = "head")]
    pub features: Vec<Map>,
    /// The layers that turn features into logits.
    #[serde(default)]
    pub head: HeadConfig,
}

/// Builds the network of a `[model]` table for a number of classes.
type Build = fn(&toml::Table, usize, ParamStore) -> Result<Model, ModelError>;

/// Returns the architecture `name`, which accepts images of any size. Its published weights are under Apache-2.0.
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

/// A map of a backbone: the last map of one size, or the result of the layers after the stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Map {
    /// The last map with 1/4 of the image's rows and columns.
    Stage1,
    /// The last map with 1/8 of the image's rows and columns.
    Stage2,
    /// The last map with 1/16 of the image's rows and columns.
    Stage3,
    /// The last map with 1/32 of the image's rows and columns.
    Stage4,
    /// The result of the layers after the stages.
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
    /// Refuses values out of range.
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

    /// Returns the part of the backbone that learns.
    pub(crate) fn learning(&self) -> Result<Learning, ModelError> {
        Learning::new(self.unfreeze, self.batch_norm, self.weights.is_some())
    }

    /// Returns everything that the features of the backbone `name` depend on besides its weights, as text.
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
