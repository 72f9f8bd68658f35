//! The data that a run trains, validates and tests on: a data set, split as the recipe says.

use std::collections::HashMap;
use std::sync::Arc;

use tallow_dataset::{Dataset, ImageSet, Split, stratified_folds, stratified_split, stratified_subset};

use crate::error::{Result, TrainingError};
use crate::model_file::ModelInfo;
use crate::recipe::{DataConfig, Recipe, ValidateOn};

/// Some images of a set, by index.
#[derive(Clone, Debug)]
pub struct Part {
    /// The set.
    pub set: Arc<ImageSet>,
    /// The indices of the chosen images.
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

    /// Number of images.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether the part has no images.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// A data set and its parts.
#[derive(Clone, Debug)]
pub struct TrainData {
    /// The data set that the parts come from.
    pub dataset: Dataset,
    /// The training images.
    pub train: Part,
    /// The images that each epoch is validated on, if there is validation.
    pub val: Option<Part>,
    /// The test images, which are evaluated once, after training. In a run with folds whose data set has no test images,
    /// these are all training images; each is predicted by the model of its fold.
    pub test: Part,
    /// In a run with folds, the fold of each image of the training set, from 0.
    pub folds: Option<Arc<[u32]>>,
}

impl TrainData {
    /// Splits `dataset` as `recipe` says. The split depends only on the recipe's seed and its `[data]` table.
    ///
    /// # Errors
    /// If the fraction, the subset or the folds are impossible, or class weights do not fit the classes.
    pub fn new(dataset: Dataset, recipe: &Recipe) -> Result<Self> {
        let DataConfig { val_fraction, validate_on, train_subset, folds, fold, .. } = recipe.data;
        let mut data = Self::split(dataset, val_fraction, validate_on, train_subset, recipe.seed)?;
        if folds > 0 {
            data.folds = Some(folds_of(&data.dataset, folds, recipe.seed)?);
            if data.test.is_empty() {
                data.test = Part::new(&data.dataset.train, data.pool());
            }
        }
        if let Some(fold) = fold {
            data = data.of_fold(fold - 1);
        }
        data.class_weights(recipe)?;
        Ok(data)
    }

    /// Returns the indices of all training images and of the validation images that come from the training set, ascending.
    pub(crate) fn pool(&self) -> Vec<u32> {
        let is_own = |val: &&Part| Arc::ptr_eq(&val.set, &self.train.set);
        let val = self.val.as_ref().filter(is_own).map(|val| val.indices.iter());
        let mut pool: Vec<u32> =
            self.train.indices.iter().chain(val.into_iter().flatten()).copied().collect();
        pool.sort_unstable();
        pool
    }

    /// Number of folds; 0 if the run has none.
    pub(crate) fn n_folds(&self) -> usize {
        self.folds.as_ref().map_or(0, |folds| folds.iter().max().map_or(0, |&last| last as usize + 1))
    }

    /// Returns the parts of the run that holds out `fold`, counted from 0: the fold's images are the test, and no other part
    /// contains them.
    pub(crate) fn of_fold(&self, fold: usize) -> Self {
        let is_held_out =
            |i: &u32| self.folds.as_ref().is_some_and(|folds| folds[*i as usize] == fold as u32);
        let without = |part: &Part| {
            Part::new(&part.set, part.indices.iter().copied().filter(|i| !is_held_out(i)).collect())
        };
        Self {
            train: without(&self.train),
            val: self.val.as_ref().map(without),
            test: Part::new(&self.train.set, self.pool().into_iter().filter(is_held_out).collect()),
            folds: None,
            dataset: self.dataset.clone(),
        }
    }

    /// Returns the weight of each class in the loss, if the recipe has weights.
    ///
    /// # Errors
    /// If the weights do not fit the classes.
    pub(crate) fn class_weights(&self, recipe: &Recipe) -> Result<Option<Vec<f32>>> {
        let Some(weights) = &recipe.loss.class_weights else { return Ok(None) };
        let set = &self.train.set;
        let mut counts = vec![0; set.class_names().len()];
        self.train.indices.iter().for_each(|&i| counts[set.label(i as usize) as usize] += 1);
        let resolved = weights.resolve(set.class_names(), &counts);
        resolved.map(Some).map_err(|problem| TrainingError::Value { key: "loss.class_weights", problem })
    }

    /// Splits `dataset` as it was split for the model's training. `dataset` must be the data set that the model was trained
    /// on.
    ///
    /// # Errors
    /// If the model file asks for impossible parts.
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
        Ok(Self { train: part(train), val, test, folds: None, dataset })
    }
}

/// Returns the fold of each training image. Images of the same photograph are in the same fold.
pub(crate) fn folds_of(dataset: &Dataset, n_folds: usize, seed: u64) -> Result<Arc<[u32]>> {
    let set = &dataset.train;
    let groups = match &dataset.groups {
        Some(groups) => groups.to_vec(),
        None => {
            let mut first = HashMap::new();
            (0..set.len()).map(|i| *first.entry(set.identity(i)).or_insert(i as u32)).collect()
        }
    };
    Ok(stratified_folds(set.labels(), &groups, n_folds, seed)?.into())
}

/// Returns the split that the data set comes with.
fn given_split(n: usize, val: &[u32]) -> Split {
    let train = (0..n as u32).filter(|i| val.binary_search(i).is_err()).collect();
    Split { train, val: val.to_vec() }
}
