//! [`Architecture`]: how it builds a network from a `[model]` table, and what all of its networks have in common. The list of
//! architectures is in `registry.rs`.

use serde::de::DeserializeOwned;
use tallow_core::memory;
use tallow_nn::{Device, Model, NetworkSize, ParamStore};

use crate::error::ModelError;
use crate::keys::completed;
use crate::weights::{PretrainedConfig, PretrainedInput};

/// Largest number of rows or columns that a network is built for. A larger number is a mistake, and such a network would not fit
/// in memory.
const MAX_INPUT_PX: usize = 4096;

/// Largest number of channels of a convolution, and of units of a dense layer, that a table may ask for. Published networks have up
/// to 18,432 channels and 25,088 units.
pub(crate) const MAX_WIDTH: usize = 1 << 16;

/// An architecture that a `[model]` table can name.
#[derive(Debug)]
pub struct Architecture {
    /// Its name in torchvision or timm.
    pub name: &'static str,
    /// The image sizes that a network can be built for, and those that it then accepts.
    pub sizes: InputSizes,
    /// Name of the classifier layer. Its width is the number of classes, so it differs in weights of another task.
    pub classifier: &'static str,
    /// The default pretrained weights; `None` if the architecture is trained from scratch.
    pub weights: Option<PublishedWeights>,
    /// Returns the `[model]` table of the published network, without `name`.
    pub(crate) reference: fn() -> toml::Table,
    /// Returns the table's `input_px`.
    pub(crate) input_px: fn(&toml::Table) -> Result<[usize; 2], ModelError>,
    /// Builds the network of a table for a number of classes, with its parameters in the store.
    pub(crate) build: fn(&toml::Table, usize, ParamStore) -> Result<Model, ModelError>,
}

/// The image sizes that networks of an architecture accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSizes {
    /// A network can be built for many sizes, but accepts only images of its own `input_px`, because a dense layer reads its last
    /// map.
    Own,
    /// A network can be built for many sizes, and accepts images of its own `input_px` and smaller ones. The last map must keep
    /// the size that the dense layer needs.
    OwnOrSmaller,
    /// A network accepts images of any size, not only those of its `input_px`.
    Any,
    /// A network is built for squares of whole patches, and accepts only images of its own `input_px`.
    Patches {
        /// Rows and columns of a patch.
        patch_px: usize,
        /// Rows and columns of the largest square.
        max_px: usize,
    },
}

/// Pretrained weights that others published.
#[derive(Debug)]
pub struct PublishedWeights {
    /// Their location, as the text of a [`WeightsSource`](crate::weights::WeightsSource).
    pub source: &'static str,
    /// SPDX identifier of their licence.
    pub licence: &'static str,
    /// The images that they were trained on. Other weights of the architecture use these values where their own `config.json`
    /// states none.
    pub input: PretrainedInput,
}

impl Architecture {
    /// Returns the `[model]` table of the architecture as it was published. Benchmarks use this table.
    pub fn reference_table(&self) -> toml::Table {
        let mut table = (self.reference)();
        table.insert("name".into(), self.name.into());
        table
    }

    /// Returns the value of `model.features` that gives a head the best features: the maps of the later stages, which the
    /// backbone computes anyway. Their means stand side by side. Empty if the architecture has no key `features`.
    pub fn feature_maps(&self) -> &'static [&'static str] {
        match (&self.weights, self.sizes) {
            (Some(_), InputSizes::Any) if self.name.starts_with("resnet") => &["layer2", "layer3", "layer4"],
            (Some(_), InputSizes::Any) => &["stage2", "stage3", "stage4", "head"],
            _ => &[],
        }
    }

    /// Returns the rows and columns of the images that the network of `table` is built for. Images of other sizes are resized to
    /// them.
    ///
    /// # Errors
    /// If a key is missing, unknown or of the wrong type, or if the size is not within 1 to 4096 pixels.
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

    /// Returns the images that weights with this `config.json` expect. Values that it does not state are those of the published
    /// weights.
    pub fn pretrained_input(&self, config: &PretrainedConfig) -> PretrainedInput {
        match &self.weights {
            Some(published) => config.input.clone().or(&published.input),
            None => config.input.clone(),
        }
    }

    /// Builds the network of `table` on `device` for `n_classes` classes. `seed` decides the initial weights.
    ///
    /// # Errors
    /// If a key is missing, unknown or out of range, or there is not enough memory for the network. The memory is compared before
    /// any of it is requested.
    pub fn build(
        &self,
        table: &toml::Table,
        n_classes: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Model, ModelError> {
        let size = self.size(table, n_classes)?;
        let n_numbers = size.n_values.saturating_add(size.n_at_once);
        memory::check(n_numbers.saturating_mul(size_of::<f32>() as u64))
            .map_err(|exhausted| ModelError::Memory { n_values: size.n_values, exhausted })?;
        self.build_in(table, n_classes, ParamStore::new(seed, device))
    }

    /// Returns the sizes of the network of `table`. Nothing is allocated for its values.
    ///
    /// # Errors
    /// If a key is missing, unknown or out of range.
    pub fn size(&self, table: &toml::Table, n_classes: usize) -> Result<NetworkSize, ModelError> {
        Ok(self.shapes(table, n_classes)?.size(self.input_px(table)?)?)
    }

    /// Builds the network of `table` from [shapes](ParamStore::shapes): it can be recorded and compared with weights, not run.
    ///
    /// # Errors
    /// If a key is missing, unknown or out of range.
    pub fn shapes(&self, table: &toml::Table, n_classes: usize) -> Result<Model, ModelError> {
        self.build_in(table, n_classes, ParamStore::shapes())
    }

    fn build_in(
        &self,
        table: &toml::Table,
        n_classes: usize,
        params: ParamStore,
    ) -> Result<Model, ModelError> {
        let input_px = Some(self.input_px(table)?);
        let model = (self.build)(table, n_classes, params)?;
        Ok(Model { input_px, is_custom: false, ..model })
    }
}

/// Refuses a width or a number of units, the value of `key`, that is 0 or too large.
pub(crate) fn check_width(key: &'static str, width: usize) -> Result<(), ModelError> {
    match (1..=MAX_WIDTH).contains(&width) {
        true => Ok(()),
        false => Err(ModelError::Value { key, problem: format!("expected 1 to {MAX_WIDTH}, found {width}") }),
    }
}

/// Parses the table, without `name`, as the configuration of its architecture. Keys that it leaves out get the values of `keys`.
pub(crate) fn parse<T: DeserializeOwned>(table: &toml::Table) -> Result<T, ModelError> {
    let mut rest = completed(table)?;
    rest.remove("name");
    rest.try_into().map_err(|e: toml::de::Error| {
        ModelError::Table(format!("[model]: {}", tallow_core::shown(e.message())))
    })
}
