//! Extends a run beyond its planned epochs: sets the learning rate of the added epochs and keeps the model from before the
//! extension.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallow_core::{FileError, files};
use tallow_metrics::{Caveat, Summary};
use tallow_run_files::{
    CARD, EARLIER, EXPLANATIONS, MODEL, ONNX, SUMMARY, TEST_PREDICTIONS, VAL_PREDICTIONS, WEB,
};

use crate::averaging::Averaging;
use crate::checkpoint::MAX_FILE_BYTES;
use crate::error::{Result, TrainingError};
use crate::event::Event;
use crate::model_file::read_model;
use crate::recipe::{MAX_EPOCHS, Recipe};
use crate::run_folder::read_summary;
use crate::schedule::{InvalidSetting, not_negative, require};
use crate::session::{Session, Watch};

/// Default start of an extension, as a share of the recipe's learning rate: low enough to keep what was learnt, high enough
/// to learn more.
const FACTOR: f64 = 0.2;

/// One entry of a recipe's `extensions`: epochs added to a run whose schedule had ended.
///
/// From the start of the epoch `from_epoch` to the end of `to_epoch` the factor of the learning rate falls linearly from
/// `factor` to the schedule's last factor. If the last factor is higher than `factor`, the rate stays there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Number of epochs before the extension.
    pub from_epoch: u64,
    /// Number of epochs at the end of the extension.
    pub to_epoch: u64,
    /// The share of the recipe's learning rate at the start of the extension.
    pub factor: f64,
}

impl Extension {
    /// Returns the factor at `step` of the whole run, or `None` outside the extension; `end_factor` is the schedule's last
    /// factor.
    fn factor(&self, step: u64, steps_per_epoch: u64, end_factor: impl Fn() -> f64) -> Option<f64> {
        let (from, to) = (self.from_epoch * steps_per_epoch, self.to_epoch * steps_per_epoch);
        if step < from || step >= to {
            return None;
        }
        let p = (step - from) as f64 / (to - from) as f64;
        let end_factor = end_factor();
        Some(self.factor.max(end_factor) * (1.0 - p) + end_factor * p)
    }

    pub(crate) fn validate(&self) -> std::result::Result<(), InvalidSetting> {
        not_negative("extensions.factor", self.factor)?;
        let rule = format!("must be more than from_epoch, which is {}", self.from_epoch);
        require(self.to_epoch > self.from_epoch, "extensions.to_epoch", rule, self.to_epoch)?;
        let rule = format!("must be at most {MAX_EPOCHS}");
        require(self.to_epoch <= MAX_EPOCHS, "extensions.to_epoch", rule, self.to_epoch)
    }
}

impl Recipe {
    /// Returns the factor that multiplies the learning rate at `step`, counted from 0 over the whole run: the factor of the
    /// schedule or of an extension.
    pub fn lr_factor(&self, step: u64, steps_per_epoch: u64) -> f64 {
        let planned = |step| self.schedule.factor(step, steps_per_epoch);
        let extended =
            self.extensions.iter().find_map(|e| e.factor(step, steps_per_epoch, || planned(u64::MAX)));
        extended.unwrap_or_else(|| planned(step))
    }

    /// Returns the recipe for a run with more epochs than `then`, its original plan. Epochs within the schedule's horizon
    /// stay as they are. Later epochs become an extension that begins with the rate `lr`; without `lr`, with a fifth of the
    /// recipe's rate.
    pub(crate) fn extended(mut self, then: &Self, lr: Option<f64>) -> Result<Self> {
        let refuse = |problem: &str| Err(TrainingError::Value { key: "--lr:", problem: problem.into() });
        if lr.is_some_and(|lr| !(lr >= 0.0 && lr.is_finite())) {
            return refuse("must be 0 or more");
        }
        if self.data.folds > 0 && self.epochs > then.epochs {
            let problem = "a run with folds cannot be extended, because its folds say nothing about a model \
                           that was trained longer: start a new run with more epochs";
            return Err(TrainingError::Value { key: "epochs:", problem: problem.into() });
        }
        let factor = lr.map_or(FACTOR, |lr| lr / self.optimizer.lr());
        let Some(horizon) = self.schedule.horizon_epochs() else {
            return match lr {
                None => Ok(self),
                Some(_) => refuse(
                    "with --resume, --lr is the rate at which additional epochs begin after the end of the \
                     schedule, but this run's schedule has no end: leave --lr out",
                ),
            };
        };
        let from_epoch = horizon.ceil().max(then.epochs as f64) as u64;
        if self.epochs > then.epochs && self.epochs > from_epoch {
            self.extensions.push(Extension { from_epoch, to_epoch: self.epochs, factor });
            self.validate()?;
            return Ok(self);
        }
        // after a kill, the same request may come again, and its extension exists already
        let is_there = |e: &Extension| e.to_epoch == self.epochs && e.factor == factor;
        match lr.is_none() || self.extensions.last().is_some_and(is_there) {
            true => Ok(self),
            false => refuse(
                "with --resume, --lr is the rate at which additional epochs begin after the end of the \
                 schedule: give more --epochs, or leave --lr out",
            ),
        }
    }
}

impl Session {
    /// If more epochs are requested than the run was started with: keeps the present model, writes the new plan and adds a
    /// notice. Every step can be repeated: if the run is killed here, it is extended again, or resumed as extended if the
    /// recipe is already written.
    pub(crate) fn extend(&mut self, then: &Recipe) -> Result<()> {
        if self.recipe.epochs <= then.epochs {
            return Ok(());
        }
        let run = self.run_dir().to_owned();
        if let Some(summary) = self.recorder.run.read_summary()? {
            let earlier = run.join(EARLIER).join(format!("epoch-{}", summary.epochs_run));
            keep(&run, &earlier)?;
            let caveat = Caveat::ExtendedAfterTest { epochs: summary.epochs_run };
            if !self.state.caveats.contains(&caveat) {
                self.state.caveats.push(caveat);
            }
        }
        // the added epochs get a new chance, even if early stopping had ended the run
        self.state.early_stopping.wait = 0;
        let begins_again = self.recipe.extensions.len() > then.extensions.len();
        if begins_again && matches!(self.recipe.averaging, Some(Averaging::LastEpochs { .. })) {
            self.average = None;
        }
        self.recorder.run.write_last(&self.checkpoint()?)?;
        self.recorder.run.write_recipe(&self.recipe)?;
        let mut notice = format!("extended from {} to {} epochs", then.epochs, self.recipe.epochs);
        if let Some(extension) = self.recipe.extensions.last().filter(|e| e.to_epoch == self.recipe.epochs) {
            let steps_per_epoch = self.steps_per_epoch() as u64;
            let first = self.state.base_lr
                * self.recipe.lr_factor(extension.from_epoch * steps_per_epoch, steps_per_epoch);
            notice += &format!(
                "; from epoch {} on, the learning rate starts again at {} and falls linearly (--lr chooses \
                 another start)",
                extension.from_epoch + 1,
                rounded(first)
            );
        }
        self.notices.push(notice);
        let made = [(ONNX, "export"), (WEB, "export"), (CARD, "card"), (EXPLANATIONS, "explain")];
        for (name, command) in
            made.into_iter().filter(|(name, _)| files::exists(&run.join(name)).unwrap_or(false))
        {
            self.notices.push(format!(
                "{name} is of the model before the extension: make it again with trainer {command}"
            ));
        }
        Ok(())
    }

    /// Restores the model from before an extension if its validation accuracy is better than `val_accuracy`, that of the
    /// model the run ends with. Emits a notice and returns the restored model's epoch.
    pub(crate) fn restore_earlier(
        &mut self,
        val_accuracy: Option<f64>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<u64>> {
        let Some(val_accuracy) = val_accuracy else { return Ok(None) };
        let folder = self.run_dir().join(EARLIER);
        let better = earlier_models(&folder)?.into_iter().filter(|(_, earlier)| *earlier > val_accuracy);
        let Some((path, earlier)) = better.max_by(|a, b| a.1.total_cmp(&b.1)) else { return Ok(None) };
        let found = read_model(&path).and_then(|saved| {
            self.learner.model.params.load_tensors(&saved.weights)?;
            Ok(saved.info.epoch)
        });
        let epoch = match found {
            Ok(epoch) => epoch,
            Err(e) => {
                let text =
                    format!("before it was extended, the run had a better model, but it cannot be read: {e}");
                self.emit(watch, Event::Notice { text })?;
                return Ok(None);
            }
        };
        let text = format!(
            "the model after {epoch} epochs, from before the run was extended, is better on the validation \
             images ({:.2} % right, {:.2} % after the extension): the run keeps that model",
            100.0 * earlier,
            100.0 * val_accuracy
        );
        self.emit(watch, Event::Notice { text })?;
        self.emit(watch, Event::BestRestored { epoch })?;
        Ok(Some(epoch))
    }
}

/// Rounds off digits that come from arithmetic alone.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.6e}").parse().unwrap_or(rate)
}

/// Copies the model of `run`, its predictions and its summary to `to`.
fn keep(run: &Path, to: &Path) -> Result<()> {
    files::create_folder(files::folder_of(to))?;
    files::create_folder(to)?;
    for name in [MODEL, VAL_PREDICTIONS, TEST_PREDICTIONS, SUMMARY] {
        let (from, path) = (run.join(name), to.join(Path::new(name).file_name().unwrap_or_default()));
        match files::read_at_most(&from, MAX_FILE_BYTES) {
            Ok(bytes) => files::write(&path, &bytes)?,
            Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Returns the models in `folder` that have a validation accuracy, with that accuracy, in the order of their epochs.
fn earlier_models(folder: &Path) -> Result<Vec<(PathBuf, f64)>> {
    let list =
        || -> io::Result<Vec<PathBuf>> { fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect() };
    let folders = match list() {
        Err(e) if files::is_absent(&e) => return Ok(Vec::new()),
        folders => folders.map_err(FileError::new("list the folder", folder))?,
    };
    let mut found: Vec<(u64, PathBuf, f64)> = Vec::new();
    for folder in folders {
        let (summary, model) = (read_summary(&folder)?, folder.join(MODEL));
        if let Some(Summary { epochs_run, val: Some(val), .. }) = summary
            && files::is_file(&model)?
        {
            found.push((epochs_run, model, val.accuracy));
        }
    }
    found.sort_by_key(|(epoch, ..)| *epoch);
    Ok(found.into_iter().map(|(_, model, accuracy)| (model, accuracy)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe_source::{Override, load_recipe};

    fn cnn(overrides: &[&str]) -> Recipe {
        let overrides: Vec<Override> = overrides.iter().map(|text| Override::parse(text).unwrap()).collect();
        let recipe = load_recipe("cnn", &overrides).unwrap();
        Recipe { schedule: recipe.schedule.clone().resolve(recipe.epochs), ..recipe }
    }

    #[test]
    fn more_epochs_learn_at_a_rate_that_falls_again() {
        let then = cnn(&["epochs=20"]);
        let now = Recipe { epochs: 30, ..then.clone() }.extended(&then, None).unwrap();
        assert_eq!(now.extensions, [Extension { from_epoch: 20, to_epoch: 30, factor: 0.2 }]);
        for step in 0..200 {
            assert_eq!(now.lr_factor(step, 10), then.lr_factor(step, 10), "what was planned stays");
        }
        let end = then.schedule.factor(u64::MAX, 10);
        assert_eq!(now.lr_factor(200, 10), 0.2);
        assert!((now.lr_factor(250, 10) - (0.1 + end / 2.0)).abs() < 1e-12);
        assert!(now.lr_factor(299, 10) > end && now.lr_factor(299, 10) < 0.01);
        assert_eq!(now.lr_factor(300, 10), end);
        let again = Recipe { epochs: 40, ..now.clone() }.extended(&now, Some(then.optimizer.lr())).unwrap();
        assert_eq!(again.extensions[1], Extension { from_epoch: 30, to_epoch: 40, factor: 1.0 });
        assert_eq!(again.lr_factor(250, 10), now.lr_factor(250, 10));
    }

    #[test]
    fn what_a_schedule_still_plans_is_no_extension() {
        let then = cnn(&["epochs=20", "schedule.horizon_epochs=30.0"]);
        let now = Recipe { epochs: 30, ..then.clone() }.extended(&then, None).unwrap();
        assert!(now.extensions.is_empty());
        let further = Recipe { epochs: 33, ..then.clone() }.extended(&then, None).unwrap();
        assert_eq!(further.extensions[0].from_epoch, 30);
        let constant = load_recipe("keras", &[]).unwrap();
        let more = Recipe { epochs: constant.epochs + 5, ..constant.clone() };
        assert!(more.clone().extended(&constant, None).unwrap().extensions.is_empty());
        let error = more.extended(&constant, Some(0.1)).unwrap_err().to_string();
        assert!(error.contains("--lr") && error.contains("schedule has no end"), "{error}");
        let error = then.clone().extended(&then, Some(0.1)).unwrap_err().to_string();
        assert!(error.contains("give more --epochs"), "no more epochs, no other rate: {error}");
        let error = further.clone().extended(&then, Some(-1.0)).unwrap_err().to_string();
        assert!(error.contains("must be 0 or more"), "{error}");
        let again = further.clone().extended(&further, Some(0.2 * further.optimizer.lr())).unwrap();
        assert_eq!(again, further, "what is asked for again is there");
        assert_eq!(rounded(0.1 * 0.2), 0.02);
    }
}
