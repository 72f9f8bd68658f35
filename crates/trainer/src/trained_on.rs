//! Finds the pictures of another data set that a run was trained on. A test on them says nothing about new pictures.

use std::collections::HashSet;
use std::path::Path;

use tallow_core::Progress as _;
use tallow_core::shown::shown;
use tallow_training::{ModelInfo, Part, RunFolder, TrainData};

use crate::App;
use crate::source::{self, Loaded, Spec};

/// Returns the indices in `part`'s set of pictures whose content the run in `run` was trained on. Returns none if that is
/// unknown: then `run` is no run folder, or its data set is not there any more, which is said.
pub(crate) fn among(part: &Part, run: &Path, info: &ModelInfo, app: &App) -> HashSet<u32> {
    let Ok(recipe) = RunFolder::recipe_of(run) else { return HashSet::new() };
    let own =
        Spec::parse(&recipe.data.dataset).and_then(|own| source::load_local(&own, &recipe.data, false, app));
    let train = match own {
        Ok(Loaded::Dataset(own, _)) if own.digest == info.data_digest => TrainData::of_model(*own, info).ok(),
        _ => None,
    };
    let Some(TrainData { train, .. }) = train else {
        app.progress.say(&format!(
            "Note: \"{}\" is not there as it was in training, so it is unknown which of these pictures the model was \
             trained on",
            shown(&recipe.data.dataset)
        ));
        return HashSet::new();
    };
    let trained: HashSet<_> = train.indices.iter().map(|&i| train.set.identity(i as usize)).collect();
    part.indices.iter().copied().filter(|&i| trained.contains(&part.set.identity(i as usize))).collect()
}
