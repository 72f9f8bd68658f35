//! The last files of a run's results: `manifest.json`, then `summary.json`, which makes the results final.
//!
//! In this order a run that is over always has a manifest, at whatever instant it is killed. Killed between the two, it goes
//! on with `--resume`, which removes the entries of the run's own files before anything else and writes both again.

use tallow_metrics::Summary;
use tallow_run_files::{
    CHECKPOINTS, EARLIER, EVALUATION, EVENTS, FOLDS, HISTORY, MODEL, RECIPE, SUMMARY, begin, forget,
    is_of_end,
};

use crate::checkpoint::encoding;
use crate::error::Result;
use crate::recipe::Recipe;
use crate::run_folder::RunFolder;

/// What a run has written by now and does not change again. The page, its pictures and TensorBoard's file follow later; the
/// steps that write them record them.
const WRITTEN: [&str; 7] = [RECIPE, HISTORY, EVENTS, MODEL, EVALUATION, FOLDS, EARLIER];

/// Whether a run that goes on changes the file `name`. The rest, such as a card or an exported model, is of other commands.
fn is_own(name: &str) -> bool {
    let first = name.split('/').next().unwrap_or(name);
    [CHECKPOINTS, SUMMARY].contains(&first) || WRITTEN.contains(&first) || is_of_end(name)
}

impl RunFolder {
    /// Removes the entries of this run's own files from the manifest, which speaks of a run that is over.
    pub(crate) fn forget_own_files(&self) -> Result<()> {
        Ok(forget(self.path(), is_own)?)
    }

    /// Writes the manifest of the run of `recipe` and its summary. If steps of the end follow, their empty list stands between
    /// the two: it is no result, so the manifest does not have it.
    pub(crate) fn write_last_word(
        &self,
        summary: &Summary,
        recipe: &Recipe,
        steps_follow: bool,
    ) -> Result<()> {
        // the main run removes the checkpoints of a fold as soon as it has read the fold's results
        let checkpoints = recipe.data.fold.is_none().then_some(CHECKPOINTS);
        let names: Vec<&str> = WRITTEN.into_iter().chain(checkpoints).collect();
        let text = serde_json::to_string_pretty(summary).map_err(encoding)? + "\n";
        begin(self.path(), &names, (SUMMARY, text.as_bytes()))?;
        if steps_follow {
            self.write_ending(&[])?;
        }
        self.write(SUMMARY, text.as_bytes())
    }
}
