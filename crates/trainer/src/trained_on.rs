//! Finds the pictures of another data set that a run was trained on. A test on them says nothing about new pictures.

use std::collections::HashSet;
use std::path::Path;

use tallow_core::Progress as _;
use tallow_core::shown::shown;
use tallow_training::{ModelInfo, Part, RunFolder, TrainData};

use crate::App;
use crate::model_at::run_of;
use crate::source::{self, Loaded, Spec};

/// Returns the indices in `part`'s set of pictures whose content the model at `path` was trained on. They are none if that is
/// unknown, which is said: then no run is with the model, or the run's data set is not there any more. Returns `None` if a stop
/// was requested.
pub(crate) fn among(part: &Part, path: &Path, info: &ModelInfo, app: &App) -> Option<HashSet<u32>> {
    let Ok(recipe) = RunFolder::recipe_of(run_of(path)) else {
        app.progress.say(
            "Note: no run is with the model, so it is unknown which of these pictures it was trained on",
        );
        return Some(HashSet::new());
    };
    let own =
        Spec::parse(&recipe.data.dataset).and_then(|own| source::load_local(&own, &recipe.data, false, app));
    let train = match own {
        Ok(Loaded::Stopped(_)) => return None,
        Ok(Loaded::Dataset(own, _)) if own.digest == info.data_digest => TrainData::of_model(*own, info).ok(),
        _ => None,
    };
    let Some(TrainData { train, .. }) = train else {
        app.progress.say(&format!(
            "Note: \"{}\" is not there as it was in training, so it is unknown which of these pictures the model was \
             trained on",
            shown(&recipe.data.dataset)
        ));
        return Some(HashSet::new());
    };
    let trained: HashSet<_> = train.indices.iter().map(|&i| train.set.identity(i as usize)).collect();
    let is_trained_on = |i: &u32| trained.contains(&part.set.identity(*i as usize));
    Some(part.indices.iter().copied().filter(is_trained_on).collect())
}
