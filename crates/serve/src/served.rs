//! A model that is served: what asks it, and what is told of it.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use tallow_dataset::ImageSet;
use tallow_training::Predictor;

/// A model and its name.
pub struct Served {
    /// What requests call it; of several with one name the first is meant.
    pub name: String,
    /// The model.
    pub predictor: Predictor,
    /// The training images that its answers name ([`Predictor::name_nearest`]), where they name any.
    pub training_images: Option<Arc<ImageSet>>,
}

/// What is told of a model.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Card {
    pub(crate) name: String,
    /// In the order of the model's answers.
    #[serde(serialize_with = "as_list")]
    pub(crate) classes: Arc<[String]>,
    /// Rows and columns that pictures are fitted to.
    pub(crate) size_px: [usize; 2],
    /// Whether its probabilities are calibrated on validation images.
    pub(crate) calibrated: bool,
    pub(crate) has_none_of_these: bool,
    pub(crate) has_nearest: bool,
}

impl Served {
    /// None where the model names no size that pictures are fitted to.
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

fn as_list<S: Serializer>(names: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names)
}
