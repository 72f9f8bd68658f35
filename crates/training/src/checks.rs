//! Checks before a run begins or is resumed: they refuse recipes that do not fit the model or the data, and settings that may
//! not change. `recipe.rs` checks what can be checked on a recipe alone.

use tallow_core::Foreign;
use tallow_core::keys::leaves;
use tallow_dataset::{Augment, Dataset, n_batches};
use tallow_nn::Model;
use toml::{Table, Value};

use crate::data::{Part, TrainData};
use crate::error::{Result, TrainingError};
use crate::feed::train_loader;
use crate::recipe::Recipe;
use crate::state::State;

/// Keys that may differ when a run is resumed. The place of the data does not affect the result, and the digest of the data
/// is compared.
const MAY_CHANGE: [&str; 4] = ["epochs", "data.data_dir", "data.dataset", "data.skip_bad"];

/// The key that may differ if the weights are frozen, as the digest of frozen weights is compared.
const WEIGHTS: &str = "model.weights";

/// Refuses batches that could not be made, without making one.
pub(crate) fn check_batches(recipe: &Recipe, data: &TrainData, size_px: Option<[usize; 2]>) -> Result<()> {
    let Part { set, indices } = &data.train;
    let n_batches = n_batches(indices.len(), recipe.batch_size, recipe.data.drop_last);
    let cfg = train_loader(recipe, data, size_px);
    drop(tallow_dataset::train_batches(set.clone(), indices.clone(), &cfg, 0, n_batches)?);
    Ok(())
}

/// Refuses augmentation, mixing and test-time views if the trunk is frozen, as a frozen trunk sees each image only once.
/// Mirroring (`augment.flip`) is allowed.
pub(crate) fn check_trunk(recipe: &Recipe, model: &Model) -> Result<()> {
    let Recipe { augment, mix, evaluation, .. } = recipe;
    if model.trunk.is_some() && !evaluation.is_plain() {
        let problem = "a frozen backbone's features are computed once per image: leave the table out, or let the \
                       backbone learn (model.unfreeze)";
        return Err(TrainingError::Value { key: "evaluation:", problem: problem.into() });
    }
    let only_mirrors =
        *augment == Augment { flip: augment.flip, crop_fill: augment.crop_fill, ..Augment::default() };
    if model.trunk.is_none() || (only_mirrors && mix.is_none()) {
        return Ok(());
    }
    let problem = "a frozen backbone's features are computed once per image, and the image can only be \
                   mirrored: leave out everything except augment.flip, or let the backbone learn \
                   (model.unfreeze)";
    Err(TrainingError::Value { key: "augment, mix:", problem: problem.into() })
}

/// Refuses a callback that watches validation if no image is left to validate on.
pub(crate) fn check_validation(recipe: &Recipe, data: &TrainData) -> Result<()> {
    match recipe.watched_validation() {
        Some((key, monitor)) if data.val.is_none() => {
            let problem = format!(
                "is {monitor}, but no image is left to validate on, as all that were chosen are copies of images to \
                 train on: leave the callback out, or choose a larger data.val_fraction"
            );
            Err(TrainingError::Value { key, problem })
        }
        _ => Ok(()),
    }
}

/// Refuses folds that leave any part without images.
pub(crate) fn check_folds(data: &TrainData) -> Result<()> {
    let n_folds = data.n_folds();
    for fold in 0..n_folds {
        let parts = data.of_fold(fold);
        let empty = [
            ("to train on", Some(&parts.train)),
            ("to validate on", parts.val.as_ref()),
            ("to test on", Some(&parts.test)),
        ];
        if let Some((what, _)) = empty.iter().find(|(_, part)| part.is_some_and(Part::is_empty)) {
            let problem =
                format!("with {n_folds} folds, fold {} leaves no image {what}: choose fewer folds", fold + 1);
            return Err(TrainingError::Value { key: "data.folds:", problem });
        }
    }
    Ok(())
}

/// Refuses `data.size_factors` for models that cannot take images of several sizes.
pub(crate) fn check_sizes(recipe: &Recipe, model: &Model) -> Result<()> {
    let problem = match model.input_px {
        _ if recipe.data.size_factors.is_empty() => return Ok(()),
        Some(_) if model.trunk.is_none() => return Ok(()),
        Some(_) => {
            "cannot be used, because the features of a frozen backbone are computed once, at one size: \
             leave it out"
        }
        None => "cannot be used, because this model takes images of one size only: leave it out",
    };
    Err(TrainingError::Value { key: "data.size_factors", problem: problem.into() })
}

/// Refuses data that differ from those the run was started with. The error names the new and the missing classes.
pub(crate) fn check_same_data(state: &State, dataset: &Dataset) -> Result<()> {
    if state.data_digest == dataset.digest {
        return Ok(());
    }
    let names = dataset.train.class_names();
    let without = |all: &[Foreign], others: &[Foreign]| -> Vec<String> {
        all.iter().filter(|name| !others.contains(name)).map(|name| name.shown().into_owned()).collect()
    };
    let mut what = Vec::new();
    if !state.class_names.is_empty() {
        let (new, gone) = (without(names, &state.class_names), without(&state.class_names, names));
        what.extend((!new.is_empty()).then(|| format!("new classes: {}", new.join(", "))));
        what.extend((!gone.is_empty()).then(|| format!("missing classes: {}", gone.join(", "))));
    }
    let what = if what.is_empty() { "other pictures".to_owned() } else { what.join("; ") };
    Err(TrainingError::OtherData { then: state.data_digest.clone(), now: dataset.digest.clone(), what })
}

/// Refuses every difference between the two recipes that is not allowed, and fewer epochs. With `is_frozen`, the path of the
/// frozen weights may differ.
pub(crate) fn check_unchanged(then: &Recipe, now: &Recipe, is_frozen: bool) -> Result<()> {
    let resolved = Recipe { schedule: now.schedule.clone().resolve(then.epochs), ..now.clone() };
    let (a, b) = (settings(then)?, settings(&resolved)?);
    let show = |side: &[(String, Value)], key: &str| {
        side.iter().find(|(k, _)| k == key).map_or("not set".to_owned(), |(_, v)| v.to_string())
    };
    for (key, _) in a.iter().chain(&b) {
        let (old, new) = (show(&a, key), show(&b, key));
        let fewer_epochs = key == "epochs" && now.epochs < then.epochs;
        let may_change = MAY_CHANGE.contains(&key.as_str()) || (is_frozen && key == WEIGHTS);
        if old != new && (fewer_epochs || !may_change) {
            return Err(TrainingError::Changed { key: key.clone(), then: old, now: new });
        }
    }
    Ok(())
}

/// Returns every value of the recipe, under its keys joined by dots.
///
/// # Errors
/// If a value cannot be written as TOML: a seed above 2^63 - 1.
pub fn settings(recipe: &Recipe) -> Result<Vec<(String, Value)>> {
    let table = Table::try_from(recipe).map_err(|e| TrainingError::Recipe {
        origin: recipe.name.raw().to_owned(),
        problem: e.to_string(),
    })?;
    Ok(leaves(&table).into_iter().map(|(key, value)| (key, value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe_source::{Override, load_recipe};

    #[test]
    fn only_more_epochs_may_change() {
        let then = load_recipe("cnn", &[]).unwrap();
        let then = Recipe { schedule: then.schedule.clone().resolve(then.epochs), ..then };
        let check = |text: &str| {
            check_unchanged(&then, &load_recipe("cnn", &[Override::parse(text).unwrap()]).unwrap(), false)
        };
        check("epochs=21").unwrap();
        check("data.data_dir=elsewhere").unwrap();
        let error = |text: &str| check(text).unwrap_err().to_string();
        assert!(error("epochs=19").contains("epochs is 19"), "{}", error("epochs=19"));
        assert!(error("seed=1").contains("seed is 1 now"), "{}", error("seed=1"));
        assert!(error("optimizer.lr=0.5").contains("optimizer.lr"));
        assert!(error("max_grad_norm=1.0").contains("not set"));
        assert!(error("model.weights=elsewhere").contains("model.weights"));
        let moved = load_recipe("cnn", &[Override::parse("model.weights=elsewhere").unwrap()]).unwrap();
        check_unchanged(&then, &moved, true).unwrap();
    }
}
