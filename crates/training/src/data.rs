//! What a run trains, validates and tests on: a data set, split as the recipe says.

use std::sync::Arc;

use tallow_dataset::{Dataset, ImageSet, Split, stratified_split, stratified_subset};

use crate::error::{Result, TrainingError};
use crate::model_file::ModelInfo;
use crate::recipe::{DataConfig, Recipe, ValidateOn};

/// Some images of a set, by index.
#[derive(Clone, Debug)]
pub struct Part {
    /// The set.
    pub set: Arc<ImageSet>,
    /// Which of its images.
    pub indices: Arc<[u32]>,
}

impl Part {
    /// All images of `set`.
    pub fn whole(set: &Arc<ImageSet>) -> Self {
        Self::new(set, (0..set.len() as u32).collect())
    }

    /// Some images of `set`.
    pub fn new(set: &Arc<ImageSet>, indices: Vec<u32>) -> Self {
        Self { set: Arc::clone(set), indices: indices.into() }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// A data set and its parts.
#[derive(Clone, Debug)]
pub struct TrainData {
    /// The data set that the parts come from.
    pub dataset: Dataset,
    /// What is trained on.
    pub train: Part,
    /// What each epoch is validated on, if there is validation.
    pub val: Option<Part>,
    /// What is looked at once, after training.
    pub test: Part,
}

impl TrainData {
    /// Splits `dataset` as `recipe` says: a function of the recipe's seed, fraction and subset alone.
    ///
    /// # Errors
    /// If the fraction or the subset cannot be had.
    pub fn new(dataset: Dataset, recipe: &Recipe) -> Result<Self> {
        let DataConfig { val_fraction, validate_on, train_subset, .. } = recipe.data;
        let data = Self::split(dataset, val_fraction, validate_on, train_subset, recipe.seed)?;
        data.class_weights(recipe)?;
        Ok(data)
    }

    /// The weight of each class in the loss, where the recipe has weights.
    ///
    /// # Errors
    /// If they do not fit the classes.
    pub(crate) fn class_weights(&self, recipe: &Recipe) -> Result<Option<Vec<f32>>> {
        let Some(weights) = &recipe.loss.class_weights else { return Ok(None) };
        let set = &self.train.set;
        let mut counts = vec![0; set.class_names().len()];
        self.train.indices.iter().for_each(|&i| counts[set.label(i as usize) as usize] += 1);
        let resolved = weights.resolve(set.class_names(), &counts);
        resolved.map(Some).map_err(|problem| TrainingError::Value { key: "loss.class_weights", problem })
    }

    /// Splits `dataset`, which must be the one that the model was trained on, as it was split then.
    ///
    /// # Errors
    /// If the model file asks for parts that cannot be had.
    pub fn of_model(dataset: Dataset, info: &ModelInfo) -> Result<Self> {
        Self::split(dataset, info.val_fraction, info.validate_on, info.train_subset, info.split_seed)
    }

    fn split(
        dataset: Dataset,
        val_fraction: f64,
        validate_on: ValidateOn,
        train_subset: Option<usize>,
        seed: u64,
    ) -> Result<Self> {
        let set = &dataset.train;
        let on_test = validate_on == ValidateOn::Test;
        let fraction = if on_test { 0.0 } else { val_fraction };
        let split = match &dataset.val_indices {
            Some(val) if fraction > 0.0 => given_split(set.len(), val),
            _ => {
                let mut split = stratified_split(set.labels(), set.class_names().len(), fraction, 0, seed)?;
                split.keep_copies_together(|i| set.identity(i as usize));
                split
            }
        };
        let train = match train_subset {
            Some(n) => stratified_subset(set.labels(), &split.train, n, seed)?,
            None => split.train,
        };
        let test = Part::whole(&dataset.test);
        let part = |indices: Vec<u32>| Part::new(set, indices);
        let val = match on_test {
            true => Some(test.clone()),
            false => (!split.val.is_empty()).then(|| part(split.val)),
        };
        Ok(Self { train: part(train), val, test, dataset })
    }
}

/// The split that a data set comes with.
fn given_split(n: usize, val: &[u32]) -> Split {
    let train = (0..n as u32).filter(|i| val.binary_search(i).is_err()).collect();
    Split { train, val: val.to_vec() }
}
