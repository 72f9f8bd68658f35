//! A model that is served, and its description.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use tallow_core::Foreign;
use tallow_dataset::ImageSet;
use tallow_training::Predictor;

/// A model and its name.
pub struct Served {
    /// The name by which requests choose the model. If several models have the same name, requests get the first.
    pub name: Foreign,
    /// The model.
    pub predictor: Predictor,
    /// The training images that the answers name ([`Predictor::name_nearest`]); `None` if the answers name none.
    pub training_images: Option<Arc<ImageSet>>,
}

/// The description of a model in the answer to `/models`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Card {
    pub(crate) name: Foreign,
    /// In the order of the model's answers.
    #[serde(serialize_with = "as_list")]
    pub(crate) classes: Arc<[Foreign]>,
    /// Rows and columns that pictures are fitted to.
    pub(crate) size_px: [usize; 2],
    /// Whether the probabilities are calibrated on validation images.
    pub(crate) calibrated: bool,
    /// Whether answers say that a picture belongs to none of the classes.
    pub(crate) has_none_of_these: bool,
    /// Whether answers name the nearest training pictures.
    pub(crate) has_nearest: bool,
}

impl Served {
    /// Returns the model's description; `None` if the model does not name the size that pictures are fitted to.
    pub(crate) fn card(&self) -> Option<Card> {
        let info = self.predictor.info();
        Some(Card {
            name: self.name.clone(),
            classes: info.class_names.clone().into(),
            size_px: self.predictor.input().preprocess?.size_px,
            calibrated: info.temperature.is_some(),
            has_none_of_these: self.predictor.knows_none_of_these(),
            has_nearest: self.training_images.is_some(),
        })
    }
}

fn as_list<S: Serializer>(names: &[Foreign], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names)
}
