//! What a run will take with each backbone that was tried, which of them is taken, and what is said of it.

use anyhow::Result;
use tallow_core::{Progress as _, duration};
use tallow_dataset::{Dataset, Flip, ImageSet};
use tallow_metrics::{RACE_VERSION, RaceRecord, Tried, quickest_of_the_best, wilson_interval};
use tallow_report::chart::grouped;
use tallow_training::{CONFIDENCE, Override, Recipe, ValidateOn};

use super::candidates::{Candidate, LeftOut};
use super::trial::Trial;
use super::{Chosen, N_FOLDS};
use crate::App;
use crate::args::TrainArgs;
use crate::auto::{head_epochs, seen_whole};
use crate::output::counted;
use crate::recipe_input::load_recipe;

/// The race may take this share of the time that the user gave.
const RACE_SHARE: f64 = 0.4;
/// Epochs of a head, at least, however little time there is.
const MIN_EPOCHS: usize = 5;

/// What every run with the user's pictures has in common, whatever its backbone.
pub(super) struct Plan<'a> {
    pub(super) args: &'a TrainArgs,
    base: &'a str,
    overrides: &'a [Override],
    /// The typical shorter side of the pictures.
    side_px: usize,
    /// Pictures whose features are wanted, each as often as it is.
    n_features: usize,
    /// Pictures that a head learns from in an epoch, those of folds each time.
    n_head: usize,
    /// Heads that are trained: one, or also one for each fold.
    n_heads: usize,
    epochs: usize,
    may_choose_epochs: bool,
    time_secs: Option<f64>,
    pub(super) app: &'a App,
}

/// A candidate with what it came to.
pub(super) struct Ran {
    pub(super) candidate: Candidate,
    pub(super) trial: Trial,
}

/// The median of the shorter sides.
fn typical_side_px(set: &ImageSet) -> usize {
    let side = |i: usize| set.facts(i).map_or(0, |facts| facts.size_px[0].min(facts.size_px[1]) as usize);
    match set.block_shape() {
        Some([height, width, _]) => height.min(width),
        None => {
            let mut sides: Vec<usize> = (0..set.len()).map(side).collect();
            sides.sort_unstable();
            sides.get(sides.len() / 2).copied().unwrap_or(0)
        }
    }
}

/// The share of right answers, with Wilson's interval.
fn score(trial: &Trial) -> (f64, [f64; 2]) {
    let (n_right, n) = (trial.right.iter().filter(|right| **right).count() as u64, trial.right.len() as u64);
    let interval = wilson_interval(n_right, n, CONFIDENCE).unwrap_or([0.0, 1.0]);
    (n_right as f64 / n.max(1) as f64, interval)
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        args: &'a TrainArgs,
        base: &'a str,
        overrides: &'a [Override],
        recipe: &Recipe,
        dataset: &Dataset,
        app: &'a App,
    ) -> Self {
        let n_train = dataset.train.len();
        let is_split = recipe.data.folds == 0
            && dataset.val_indices.is_none()
            && recipe.data.validate_on == ValidateOn::Split;
        let share = if is_split { 1.0 - recipe.data.val_fraction } else { 1.0 };
        let learnt = recipe.data.train_subset.unwrap_or((n_train as f64 * share) as usize);
        let mirrored = if recipe.augment.flip == Flip::None { 0 } else { n_train };
        Self {
            args,
            base,
            overrides,
            side_px: typical_side_px(&dataset.train),
            n_features: n_train + mirrored + dataset.test.len(),
            n_head: learnt * recipe.data.folds.max(1),
            n_heads: if recipe.data.folds > 0 { 1 + recipe.data.folds } else { 1 },
            epochs: match overrides.iter().any(|given| given.key == "epochs")
                || args.settings.recipe.is_some()
            {
                true => recipe.epochs as usize,
                false => head_epochs(learnt, recipe.batch_size),
            },
            may_choose_epochs: !overrides.iter().any(|given| given.key == "epochs"),
            time_secs: args.time,
            app,
        }
    }

    /// The recipe of a run with `candidate`; what the user says comes last.
    pub(super) fn recipe(&self, candidate: &Candidate, epochs: usize) -> Result<Recipe> {
        let mut chosen = candidate.overrides()?;
        chosen.extend(seen_whole(self.side_px, candidate.input_px));
        chosen.push(Override::new("epochs", epochs as i64));
        chosen.extend(self.overrides.iter().filter(|given| given.key != "model.weights").cloned());
        Ok(load_recipe(self.base, &chosen)?)
    }

    /// Why `candidate` is not even tried, where that is known.
    pub(super) fn why_not(&self, candidate: &Candidate, ran: &[Ran]) -> Option<String> {
        let time = self.time_secs.filter(|_| !ran.is_empty())?;
        let elapsed = self.app.started.elapsed().as_secs_f64();
        if elapsed > RACE_SHARE * time {
            return Some(format!("there was no time to try it within {}", duration(time)));
        }
        // the same network on smaller images tells what larger ones take
        let smaller = ran.iter().rev().find(|ran| ran.candidate.architecture == candidate.architecture)?;
        let ratio = (candidate.input_px as f64 / smaller.candidate.input_px as f64).powi(2);
        let secs = smaller.trial.secs_per_image * ratio * self.n_features as f64;
        (elapsed + secs > time).then(|| format!("its features alone take about {}", duration(secs)))
    }

    /// What a run with it takes from here on: features that there are none of yet, the head, and what comes on top.
    fn run_secs(&self, trial: &Trial, epochs: usize) -> f64 {
        let features = trial.secs_per_image * trial.n_missing as f64;
        features + epochs as f64 * self.epoch_secs(trial) + trial.other_secs
    }

    /// What an epoch of its head takes, or of its heads where there are folds.
    fn epoch_secs(&self, trial: &Trial) -> f64 {
        let [of_image, of_epoch] = trial.head_secs;
        of_image * self.n_head as f64 + of_epoch * self.n_heads as f64
    }

    /// The most epochs of a head, up to those that it settles in, that the time allows; none where it allows too few.
    fn epochs_within(&self, trial: &Trial) -> Option<usize> {
        let Some(time) = self.time_secs else { return Some(self.epochs) };
        let left = time - self.app.started.elapsed().as_secs_f64() - self.run_secs(trial, 0);
        let epochs = (left / self.epoch_secs(trial)).max(0.0) as usize;
        match epochs >= self.epochs {
            true => Some(self.epochs),
            false => (self.may_choose_epochs && epochs >= MIN_EPOCHS.min(self.epochs)).then_some(epochs),
        }
    }

    pub(super) fn told(&self, Candidate { architecture, input_px, .. }: &Candidate, trial: &Trial) -> String {
        let (accuracy, [low, high]) = score(trial);
        format!(
            "  {architecture:<26} {input_px:>4} px  {:6.2} % ({:.2} to {:.2})  {:7.2} ms a picture, in all about {}",
            100.0 * accuracy,
            100.0 * low,
            100.0 * high,
            1e3 * trial.secs_per_image,
            duration(self.run_secs(trial, self.epochs))
        )
    }

    /// The winner among those that the time allows, its plan, and the record of it all.
    pub(super) fn choose(&self, ran: Vec<Ran>, mut left_out: LeftOut, n_images: usize) -> Result<Chosen> {
        let epochs: Vec<Option<usize>> = ran.iter().map(|ran| self.epochs_within(&ran.trial)).collect();
        let in_time: Vec<usize> = (0..ran.len()).filter(|&i| epochs[i].is_some()).collect();
        if in_time.is_empty() {
            let least =
                ran.iter().map(|ran| self.run_secs(&ran.trial, MIN_EPOCHS)).fold(f64::INFINITY, f64::min);
            let least = least + self.app.started.elapsed().as_secs_f64();
            anyhow::bail!(
                "--time {}: these pictures take {} with the quickest of these backbones: give that time, or name a quicker \
                 one",
                duration(self.time_secs.unwrap_or_default()),
                duration(1.1 * least)
            );
        }
        for (ran, _) in ran.iter().zip(&epochs).filter(|(_, epochs)| epochs.is_none()) {
            let secs = self.run_secs(&ran.trial, self.epochs);
            left_out.push((ran.candidate.label(), format!("it takes about {}", duration(secs))));
        }
        let right: Vec<Vec<bool>> = in_time.iter().map(|&i| ran[i].trial.right.clone()).collect();
        let secs: Vec<f64> = in_time.iter().map(|&i| self.run_secs(&ran[i].trial, self.epochs)).collect();
        let chosen = in_time[quickest_of_the_best(&right, &secs)];
        let epochs = epochs[chosen].unwrap_or(self.epochs);
        let winner = &ran[chosen];
        let planned_secs = self.app.started.elapsed().as_secs_f64() + self.run_secs(&winner.trial, epochs);
        self.say_plan(winner, epochs, planned_secs, &left_out);
        let tried = |ran: &Ran| Tried {
            model: ran.candidate.architecture.to_owned(),
            weights: ran.candidate.weights.clone(),
            input_px: ran.candidate.input_px,
            accuracy: score(&ran.trial).0,
            accuracy_interval: score(&ran.trial).1,
            ms_per_image: 1e3 * ran.trial.secs_per_image,
            run_secs: self.run_secs(&ran.trial, self.epochs),
        };
        let race = RaceRecord {
            version: RACE_VERSION,
            n_images: n_images as u64,
            n_folds: N_FOLDS as u64,
            tried: ran.iter().map(tried).collect(),
            chosen,
            left_out,
            time_secs: self.time_secs,
            planned_secs,
            took_secs: None,
        };
        Ok(Chosen { recipe: self.recipe(&winner.candidate, epochs)?, race: Some(race) })
    }

    fn say_plan(&self, winner: &Ran, epochs: usize, planned_secs: f64, left_out: &[(String, String)]) {
        let trial = &winner.trial;
        self.app.progress.say(&format!(
            "Plan   {}: features of {} more pictures {}, {} of its head {}; in all about {}{}",
            winner.candidate.label(),
            grouped(trial.n_missing as f64, 0),
            duration(trial.secs_per_image * trial.n_missing as f64),
            counted(epochs as u64, "epoch"),
            duration(epochs as f64 * self.epoch_secs(trial)),
            duration(planned_secs),
            self.time_secs.map_or(String::new(), |time| format!(" of {}", duration(time)))
        ));
        for (what, reason) in left_out {
            self.app.progress.say(&format!("Left out: {what}: {reason}"));
        }
    }
}
