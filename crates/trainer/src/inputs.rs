//! Decides the settings that a recipe leaves open about its pictures, once, and writes them into the recipe.

use tallow_dataset::{Dataset, Fit, Interpolation, Normalization, stratified_split};
use tallow_training::{DataConfig, Recipe, ValidateOn};

use crate::pretrained::Pretrained;

/// Decides how files are fitted to the model's size: as the weights were trained, if they state it; otherwise the whole
/// picture, with bilinear interpolation.
pub(crate) fn decide_for_files(data: &mut DataConfig, pretrained: Option<&Pretrained>) {
    let input = pretrained.map(Pretrained::input);
    let crop = input.and_then(|input| input.crop_fraction).map(f64::from);
    let fit = *data.fit.get_or_insert(if crop.is_some() { Fit::Crop } else { Fit::Squash });
    if fit == Fit::Crop {
        // rounded, because 0.875 in a file is 0.875 whatever f32 makes of the value
        data.crop_fraction = data.crop_fraction.or(crop).map(|f| (f * 1e6).round() / 1e6).or(Some(1.0));
    }
    let interpolation = match input.and_then(|input| input.interpolation.as_deref()) {
        Some("bicubic") => Interpolation::Bicubic,
        _ => Interpolation::Bilinear,
    };
    data.interpolation.get_or_insert(interpolation);
}

/// Decides how images in memory are fitted to `input_px`: whole. Smaller images are enlarged last, in f32.
pub(crate) fn decide_for_block(data: &mut DataConfig, shape: [usize; 3], input_px: [usize; 2]) {
    let is_smaller = shape[0] <= input_px[0] && shape[1] <= input_px[1] && shape[..2] != input_px[..];
    data.fit.get_or_insert(Fit::Squash);
    data.interpolation.get_or_insert(if is_smaller {
        Interpolation::Linear
    } else {
        Interpolation::Bilinear
    });
}

/// Returns the mean and standard deviation for normalising pixels: those of the recipe, else those of the weights, else those
/// of the data.
pub(crate) fn normalization(
    recipe: &Recipe,
    pretrained: Option<&Pretrained>,
    dataset: &Dataset,
) -> Normalization {
    let of_weights = || pretrained.and_then(Pretrained::normalization);
    recipe.data.normalization.or_else(of_weights).unwrap_or(dataset.normalization)
}

/// With folds, turns off validation during training unless something needs it, so that the run's own model is trained on all
/// images.
pub(crate) fn validate_by_folds(recipe: &mut Recipe) {
    if recipe.data.folds > 0 && !needs_validation(recipe) {
        recipe.data.val_fraction = 0.0;
    }
}

/// Whether a callback of the recipe needs validation during training.
fn needs_validation(recipe: &Recipe) -> bool {
    recipe.callbacks.early_stopping.is_some() || recipe.callbacks.reduce_lr_on_plateau.is_some()
}

/// Turns off validation if a data set of files has too few pictures for it and nothing needs it: all pictures are then
/// trained on. Returns a notice in that case.
pub(crate) fn give_up_validation(recipe: &mut Recipe, dataset: &Dataset) -> Option<String> {
    let needs_it = needs_validation(recipe);
    let Recipe { data, seed, .. } = recipe;
    let is_splitting = data.val_fraction > 0.0 && data.validate_on == ValidateOn::Split;
    let set = &dataset.train;
    if !is_splitting || needs_it || dataset.val_indices.is_some() || set.block_shape().is_some() {
        return None;
    }
    if stratified_split(set.labels(), set.class_names().len(), data.val_fraction, 0, *seed).is_ok() {
        return None;
    }
    data.val_fraction = 0.0;
    let n = set.len();
    Some(format!(
        "{n} training pictures are too few to keep some for validation: all are used for training, and \
         probabilities are not calibrated"
    ))
}
