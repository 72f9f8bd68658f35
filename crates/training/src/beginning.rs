//! The start of a run: the network's entry in the records, the weights of another run where the recipe names one, and which
//! of this run's images those weights were trained or tested on.

use std::collections::HashSet;
use std::path::Path;

use tallow_core::Foreign;
use tallow_metrics::Caveat;
use tallow_nn::{CUSTOM, Model};
use tallow_run_files::MODEL;
use toml::{Table, Value};

use crate::data::TrainData;
use crate::error::{Result, TrainingError};
use crate::model_file::{ModelInfo, SavedModel, read_model};
use crate::recipe::{Recipe, ValidateOn};

/// Returns the `[model]` table for the records. This is `table` if the network was built from it. A program's own network is
/// recorded as custom, since only that program can build it.
pub(crate) fn recorded_model(table: &Table, model: &Model) -> Table {
    match model.is_custom {
        true => Table::from_iter([("name".to_owned(), CUSTOM.into())]),
        false => table.clone(),
    }
}

/// Loads the weights that `recipe.init_from` names, if any. Returns the caveats for the figures of this run.
pub(crate) fn begin_with(recipe: &Recipe, model: &Model, data: &TrainData) -> Result<Vec<Caveat>> {
    let own = (recipe.data.validate_on == ValidateOn::Test).then_some(Caveat::ValidatedOnTest);
    let Some(path) = &recipe.init_from else { return Ok(own.into_iter().collect()) };
    let SavedModel { info, weights, .. } = read_model(path)?;
    let name =
        |table: &Table| -> Foreign { table.get("name").and_then(Value::as_str).unwrap_or_default().into() };
    model.params.load_tensors(&weights).map_err(|e| TrainingError::OtherNetwork {
        path: path.clone(),
        theirs: name(&info.model),
        ours: name(&recipe.model),
        problem: e.to_string(),
    })?;
    Ok(own.into_iter().chain(of_start(path, &info, data)).collect())
}

/// Completes the known caveats of a resumed run with those that follow from its recipe.
pub(crate) fn completed(known: Vec<Caveat>, recipe: &Recipe) -> Vec<Caveat> {
    let from = recipe.init_from.as_deref().map(called);
    Caveat::complete(known, recipe.data.validate_on == ValidateOn::Test, from)
}

/// Returns a short name for the run folder or model file at `path`. A model card should not contain the path itself.
fn called(path: &Path) -> Foreign {
    let is_of_run = path.file_name().is_some_and(|name| name == MODEL);
    let named = if is_of_run { path.parent().unwrap_or(path) } else { path };
    Foreign::of_path(Path::new(named.file_name().unwrap_or(path.as_os_str())))
}

/// Returns the caveats that follow from starting with the model at `path`: what that model has already seen of the run's
/// `data`.
fn of_start(path: &Path, info: &ModelInfo, data: &TrainData) -> Vec<Caveat> {
    let from = called(path);
    if info.data_digest != data.dataset.digest {
        return vec![Caveat::StartUnknown { from, dataset: info.dataset.clone() }];
    }
    let mut caveats = Vec::new();
    // the data set is the same, so an index means the same image: this tells which images were trained on
    match TrainData::of_model(data.dataset.clone(), info) {
        Ok(then) => {
            let trained: HashSet<u32> = then.train.indices.iter().copied().collect();
            let validates = data.val.as_ref().filter(|val| std::sync::Arc::ptr_eq(&val.set, &data.train.set));
            let seen = validates.map_or(0, |val| val.indices.iter().filter(|i| trained.contains(i)).count());
            if seen > 0 {
                caveats.push(Caveat::StartTrainedOnValidation { from: from.clone(), n: seen as u64 });
            }
        }
        Err(_) => caveats.push(Caveat::StartUnknown { from: from.clone(), dataset: info.dataset.clone() }),
    }
    for inherited in &info.caveats {
        caveats.extend(match inherited {
            Caveat::ValidatedOnTest | Caveat::StartValidatedOnTest { .. } => {
                Some(Caveat::StartValidatedOnTest { from: from.clone() })
            }
            // it is unknown which of these validation images the weights before those had seen
            Caveat::StartTrainedOnValidation { .. } | Caveat::StartUnknown { .. } => {
                Some(Caveat::StartUnknown { from: from.clone(), dataset: Foreign::default() })
            }
            Caveat::StartTested { .. } | Caveat::ExtendedAfterTest { .. } => None, // the caveat below says as much
        });
    }
    caveats.push(Caveat::StartTested { from });
    caveats
}
