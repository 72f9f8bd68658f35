//! What a run trains, validates and tests on: a data set, split as the recipe says.

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
    /// What is looked at once, after training. Of a run by folds whose data set keeps nothing for that, all training images: what
    /// is said of each is what the model of its fold says.
    pub test: Part,
    /// Of a run by folds the fold of each image of the training set, from 0.
    pub folds: Option<Arc<[u32]>>,
}

impl TrainData {
    /// Splits `dataset` as `recipe` says: a function of the recipe's seed, fraction and subset alone.
    ///
    /// # Errors
    /// If the fraction or the subset cannot be had.
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

    /// All that is trained or validated on, ascending.
    pub(crate) fn pool(&self) -> Vec<u32> {
        let is_own = |val: &&Part| Arc::ptr_eq(&val.set, &self.train.set);
        let val = self.val.as_ref().filter(is_own).map(|val| val.indices.iter());
        let mut pool: Vec<u32> =
            self.train.indices.iter().chain(val.into_iter().flatten()).copied().collect();
        pool.sort_unstable();
        pool
    }

    /// How many folds there are; 0 where the run is not by folds.
    pub(crate) fn n_folds(&self) -> usize {
        self.folds.as_ref().map_or(0, |folds| folds.iter().max().map_or(0, |&last| last as usize + 1))
    }

    /// What is trained, validated and tested on where `fold`, from 0, is held out: it is the test, and nothing else has its images.
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
        Ok(Self { train: part(train), val, test, folds: None, dataset })
    }
}

/// The fold of each training image: images that are the same photograph are in one.
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

/// The split that a data set comes with.
fn given_split(n: usize, val: &[u32]) -> Split {
    let train = (0..n as u32).filter(|i| val.binary_search(i).is_err()).collect();
    Split { train, val: val.to_vec() }
}
