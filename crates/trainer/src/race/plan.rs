//! Estimates the duration of a run with each tried backbone, chooses one and reports the choice.

use std::path::Path;

use anyhow::Result;
use tallow_core::{Foreign, Progress as _, duration};
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

/// The share of the user's time that the race may take.
const RACE_SHARE: f64 = 0.4;
/// Smallest number of epochs of a head, unless fewer are planned.
const MIN_EPOCHS: usize = 5;

/// What all runs on the user's pictures have in common, whatever the backbone.
pub(super) struct Plan<'a> {
    pub(super) args: &'a TrainArgs,
    base: &'a Path,
    overrides: &'a [Override],
    /// The typical shorter side of the pictures, in pixels.
    side_px: usize,
    /// Number of images whose features a run needs, including mirror images.
    n_features: usize,
    /// Number of pictures that heads learn from in an epoch, summed over folds.
    n_head: usize,
    /// Number of heads that are trained: one, and one more for each fold.
    n_heads: usize,
    epochs: usize,
    may_choose_epochs: bool,
    time_secs: Option<f64>,
    pub(super) app: &'a App,
}

/// A candidate with the result of its trial.
pub(super) struct Ran {
    pub(super) candidate: Candidate,
    pub(super) trial: Trial,
}

/// Returns the median of the shorter sides of the pictures.
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

/// Returns the accuracy with Wilson's interval.
fn score(trial: &Trial) -> (f64, [f64; 2]) {
    let (n_right, n) = (trial.right.iter().filter(|right| **right).count() as u64, trial.right.len() as u64);
    let interval = wilson_interval(n_right, n, CONFIDENCE).unwrap_or([0.0, 1.0]);
    (n_right as f64 / n.max(1) as f64, interval)
}

impl<'a> Plan<'a> {
    pub(super) fn new(
        args: &'a TrainArgs,
        base: &'a Path,
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

    /// Returns the recipe of a run with `candidate`; the user's overrides are applied last.
    pub(super) fn recipe(&self, candidate: &Candidate, epochs: usize) -> Result<Recipe> {
        let mut chosen = candidate.overrides()?;
        chosen.extend(seen_whole(self.side_px, candidate.input_px));
        chosen.push(Override::new("epochs", epochs as i64));
        chosen.extend(self.overrides.iter().filter(|given| given.key != "model.weights").cloned());
        Ok(load_recipe(self.base, &chosen)?)
    }

    /// Returns a reason to skip `candidate` without a trial, if there is one.
    pub(super) fn why_not(&self, candidate: &Candidate, ran: &[Ran]) -> Option<String> {
        let time = self.time_secs.filter(|_| !ran.is_empty())?;
        let elapsed = self.app.started.elapsed().as_secs_f64();
        if elapsed > RACE_SHARE * time {
            return Some(format!("the time limit of {} left no time to try it", duration(time)));
        }
        // the time of the same network on smaller images predicts the time on larger ones
        let smaller = ran.iter().rev().find(|ran| ran.candidate.architecture == candidate.architecture)?;
        let ratio = (candidate.input_px as f64 / smaller.candidate.input_px as f64).powi(2);
        let secs = smaller.trial.secs_per_image * ratio * self.n_features as f64;
        (elapsed + secs > time).then(|| format!("its features alone take about {}", duration(secs)))
    }

    /// Returns the remaining seconds of a run: missing features, the head, and the rest.
    fn run_secs(&self, trial: &Trial, epochs: usize) -> f64 {
        let features = trial.secs_per_image * trial.n_missing as f64;
        features + epochs as f64 * self.epoch_secs(trial) + trial.other_secs
    }

    /// Returns the seconds of an epoch of the head; with folds, of all heads.
    fn epoch_secs(&self, trial: &Trial) -> f64 {
        let [of_image, of_epoch] = trial.head_secs;
        of_image * self.n_head as f64 + of_epoch * self.n_heads as f64
    }

    /// Returns the number of epochs that the time allows, at most those in which a head converges. Returns `None` if that is
    /// too few.
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

    /// Chooses the winner among the candidates that the time allows; returns its recipe and the record of the race.
    pub(super) fn choose(&self, ran: Vec<Ran>, mut left_out: LeftOut, n_images: usize) -> Result<Chosen> {
        let epochs: Vec<Option<usize>> = ran.iter().map(|ran| self.epochs_within(&ran.trial)).collect();
        let in_time: Vec<usize> = (0..ran.len()).filter(|&i| epochs[i].is_some()).collect();
        if in_time.is_empty() {
            let least =
                ran.iter().map(|ran| self.run_secs(&ran.trial, MIN_EPOCHS)).fold(f64::INFINITY, f64::min);
            let least = least + self.app.started.elapsed().as_secs_f64();
            anyhow::bail!(
                "--time {}: the fastest backbone that was tried needs {} for these pictures: allow that time, or \
                 name a faster backbone",
                duration(self.time_secs.unwrap_or_default()),
                duration(1.1 * least)
            );
        }
        for (ran, _) in ran.iter().zip(&epochs).filter(|(_, epochs)| epochs.is_none()) {
            let secs = self.run_secs(&ran.trial, self.epochs);
            left_out
                .push((ran.candidate.label().into(), format!("it takes about {}", duration(secs)).into()));
        }
        let right: Vec<Vec<bool>> = in_time.iter().map(|&i| ran[i].trial.right.clone()).collect();
        let secs: Vec<f64> = in_time.iter().map(|&i| self.run_secs(&ran[i].trial, self.epochs)).collect();
        let chosen = in_time[quickest_of_the_best(&right, &secs)];
        let epochs = epochs[chosen].unwrap_or(self.epochs);
        let winner = &ran[chosen];
        let planned_secs = self.app.started.elapsed().as_secs_f64() + self.run_secs(&winner.trial, epochs);
        self.say_plan(winner, epochs, planned_secs, &left_out);
        let tried = |ran: &Ran| Tried {
            model: ran.candidate.architecture.into(),
            weights: ran.candidate.weights.clone().into(),
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

    fn say_plan(&self, winner: &Ran, epochs: usize, planned_secs: f64, left_out: &[(Foreign, Foreign)]) {
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
            self.app.progress.say(&format!("Left out: {}: {}", what.shown(), reason.shown()));
        }
    }
}
