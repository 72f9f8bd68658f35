//! What there is to know of an architecture: how a `[model]` table becomes its network, and what holds of every such
//! network. Which architectures there are: the table in `registry.rs`.

use serde::de::DeserializeOwned;
use tallow_nn::{Device, Model, ParamStore};

use crate::error::ModelError;
use crate::keys::completed;
use crate::weights::{PretrainedConfig, PretrainedInput};

/// Rows and columns of the largest images that a network is built for: what is larger is a mistake, and would take more memory
/// than there is.
const MAX_INPUT_PX: usize = 4096;

/// An architecture that a `[model]` table can name.
#[derive(Debug)]
pub struct Architecture {
    /// Its name, as torchvision or timm has it.
    pub name: &'static str,
    /// The images that a network can be built for, and takes once it is.
    pub sizes: InputSizes,
    /// The layer that tells classes apart, which pretrained weights of another task have in another width.
    pub classifier: &'static str,
    /// The weights to start from where nobody names others; `None`: it is trained from the start.
    pub weights: Option<PublishedWeights>,
    /// The `[model]` table, without its name, of the network that was published.
    pub(crate) reference: fn() -> toml::Table,
    /// The table's `input_px`.
    pub(crate) input_px: fn(&toml::Table) -> Result<[usize; 2], ModelError>,
    /// The network that a table describes, for so many classes, with its parameters in the store.
    pub(crate) build: fn(&toml::Table, usize, ParamStore) -> Result<Model, ModelError>,
}

/// The images that networks of an architecture take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSizes {
    /// A network can be built for many sizes, and takes those of its own `input_px` alone: a dense layer reads its map.
    Own,
    /// A network can be built for many sizes, and takes those of its own `input_px` and smaller ones, as long as its last map is no
    /// smaller than its dense layer wants it.
    OwnOrSmaller,
    /// A network takes any size, whatever its `input_px` says.
    Any,
    /// A network is built for squares of whole patches, and takes those of its own `input_px` alone.
    Patches {
        /// Rows and columns of a patch.
        patch_px: usize,
        /// The largest square's rows.
        max_px: usize,
    },
}

/// Weights that others trained and published.
#[derive(Debug)]
pub struct PublishedWeights {
    /// Where they are: the text of a [`WeightsSource`](crate::weights::WeightsSource).
    pub source: &'static str,
    /// The SPDX identifier of the licence that they are under.
    pub licence: &'static str,
    /// The images that they were trained on. It stands in for what other weights of the architecture do not say.
    pub input: PretrainedInput,
}

impl Architecture {
    /// The `[model]` table of the architecture as it is published, which is what measurements compare.
    pub fn reference_table(&self) -> toml::Table {
        let mut table = (self.reference)();
        table.insert("name".into(), self.name.into());
        table
    }

    /// The maps whose means together serve a head best, as `model.features` has them: those of the later stages, which are there
    /// anyway. None where a network's features are what they are.
    pub fn feature_maps(&self) -> &'static [&'static str] {
        match (&self.weights, self.sizes) {
            (Some(_), InputSizes::Any) if self.name.starts_with("resnet") => &["layer2", "layer3", "layer4"],
            (Some(_), InputSizes::Any) => &["stage2", "stage3", "stage4", "head"],
            _ => &[],
        }
    }

    /// The rows and columns of the images that the network of `table` is built for: those of others are resized to it.
    ///
    /// # Errors
    /// If a key is missing, unknown or of the wrong type.
    pub fn input_px(&self, table: &toml::Table) -> Result<[usize; 2], ModelError> {
        let input_px = (self.input_px)(table)?;
        match input_px.iter().all(|px| (1..=MAX_INPUT_PX).contains(px)) {
            true => Ok(input_px),
            false => Err(ModelError::Value {
                key: "input_px",
                problem: format!("expected 1 to {MAX_INPUT_PX} rows and columns, found {input_px:?}"),
            }),
        }
    }

    /// The images that weights with this `config.json` want to see. What they do not say, the published ones do.
    pub fn pretrained_input(&self, config: &PretrainedConfig) -> PretrainedInput {
        match &self.weights {
            Some(published) => config.input.clone().or(&published.input),
            None => config.input.clone(),
        }
    }

    /// The network that `table` describes, for `n_classes` classes, with the initial weights of `seed`, on `device`.
    ///
    /// # Errors
    /// If a key is missing, unknown or out of range.
    pub fn build(
        &self,
        table: &toml::Table,
        n_classes: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Model, ModelError> {
        let input_px = Some(self.input_px(table)?);
        let model = (self.build)(table, n_classes, ParamStore::new(seed, device))?;
        Ok(Model { input_px, is_custom: false, ..model })
    }
}

/// The table without its name, as the architecture's own configuration; what it leaves out, `keys` states.
pub(crate) fn parse<T: DeserializeOwned>(table: &toml::Table) -> Result<T, ModelError> {
    let mut rest = completed(table)?;
    rest.remove("name");
    rest.try_into().map_err(|e: toml::de::Error| ModelError::Table(format!("[model]: {}", e.message())))
}
