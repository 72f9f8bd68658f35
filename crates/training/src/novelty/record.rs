//! The end of a run on features: fits the detector of new pictures and measures how well it works.
//!
//! The usual scores are those of pictures that the fit did not use. These are the validation pictures. If there are none or
//! too few, they are the folds of the training pictures, each scored by a fit to the other folds. To measure how well an
//! unseen class is noticed, classes are left out of the fit in turn.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tallow_core::Foreign;
use tallow_dataset::stratified_subset;
use tallow_metrics::{
    FALSE_ALARM_RATE, LeftOut, MIN_KNOWN, NOVELTY_VERSION, NoveltyRecord, NoveltyTest, Predictions, auroc,
    noticed,
};

use super::Novelty;
use super::relative_mahalanobis::RelativeMahalanobis;
use crate::data::{Part, TrainData, folds_of};
use crate::error::Result;
use crate::features::Features;
use crate::feed::{Feed, Feeds};
use crate::session::Session;

/// Largest number of training pictures that distributions are fitted to.
const MAX_FITTED: usize = 20_000;
/// The same limit when a class is left out.
const MAX_FITTED_LEFT_OUT: usize = 5_000;
/// Then also the largest number of known pictures and of new pictures to compare.
const MAX_COMPARED: usize = 1_000;
/// Largest number of classes that are left out in turn.
const MAX_LEFT_OUT: usize = 20;
/// Number of folds if there are no validation pictures and no folds of the run.
const N_FOLDS: usize = 5;
/// Number of test pictures shown in the report.
const N_SHOWN: usize = 12;
/// The false alarm rates of [`NoveltyRecord::curve`].
const RATES: [f64; 15] = [0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0];

/// The features of a set and its labels.
struct Labelled<'a> {
    features: &'a Features,
    labels: &'a [u32],
    n_classes: usize,
    seed: u64,
}

/// Pictures whose scores define what is usual.
struct Known {
    /// Index and score of each picture; the score is from distributions fitted without that picture.
    scores: Vec<(u32, f32)>,
    /// Some of these pictures, which the fits with a class left out do not use.
    apart: Vec<u32>,
}

impl Session {
    /// Fits the detector of new pictures and measures how well it works. Returns `None` if the run does not train on
    /// features, is the run of a fold, or has too few pictures.
    pub(crate) fn novelty(
        &self,
        feeds: &Feeds,
        test: &Predictions,
    ) -> Result<Option<(Novelty, NoveltyRecord)>> {
        let (Feed::Features { features, part: train }, Feed::Features { features: of_test, .. }) =
            (&feeds.train, &feeds.test)
        else {
            return Ok(None);
        };
        if self.recipe.data.fold.is_some() {
            return Ok(None);
        }
        let names = train.set.class_names();
        let set =
            Labelled { features, labels: train.set.labels(), n_classes: names.len(), seed: self.recipe.seed };
        let Some(score) = set.fit(&train.indices, MAX_FITTED)? else { return Ok(None) };
        let Some(Known { scores, apart }) = set.known(&self.data, &score)? else { return Ok(None) };
        let (left_out, curve) = set.left_out(&train.indices, &apart, names)?;
        let novelty = Novelty::new(score, scores.iter().map(|(_, score)| *score).collect());

        let typicalities = match self.is_tested_by_folds() {
            true => {
                let by_place: HashMap<u32, f32> = scores.iter().copied().collect();
                test.indices().iter().map(|i| novelty.typicality(by_place[i])).collect()
            }
            false => novelty.typicalities(&of_test.rows(test.indices())),
        };
        let mut order: Vec<usize> = (0..test.len()).collect();
        order.sort_by(|&a, &b| typicalities[a].total_cmp(&typicalities[b])); // stable
        let n_alarms = order.partition_point(|&i| typicalities[i] <= FALSE_ALARM_RATE);
        let is_right = |&&i: &&usize| test.predicted(i) == test.targets()[i];
        let record = NoveltyRecord {
            version: NOVELTY_VERSION,
            false_alarm_rate: FALSE_ALARM_RATE,
            n_known: scores.len() as u64,
            test: (!self.is_tested_by_folds()).then(|| NoveltyTest {
                n: test.len() as u64,
                n_alarms: n_alarms as u64,
                n_right_of_alarms: order[..n_alarms].iter().filter(is_right).count() as u64,
                n_right: test.n_correct(),
            }),
            left_out,
            curve,
            most_unlike: order.iter().take(N_SHOWN).map(|&i| (test.indices()[i], typicalities[i])).collect(),
        };
        Ok(Some((novelty, record)))
    }
}

impl Labelled<'_> {
    /// Fits distributions to at most `max` of the images; returns `None` if their features do not vary.
    fn fit(&self, indices: &[u32], max: usize) -> Result<Option<RelativeMahalanobis>> {
        if indices.is_empty() {
            return Ok(None);
        }
        let chosen = stratified_subset(self.labels, indices, indices.len().min(max), self.seed)?;
        let classes: Vec<u32> = chosen.iter().map(|&i| self.labels[i as usize]).collect();
        Ok(RelativeMahalanobis::fit(&mut self.features.rows(&chosen), &classes, self.n_classes))
    }

    /// Returns the known pictures: the validation pictures, which `score` was not fitted to, or else the folds. Returns
    /// `None` if there are too few.
    fn known(&self, data: &TrainData, score: &RelativeMahalanobis) -> Result<Option<Known>> {
        let is_own = |val: &&Part| Arc::ptr_eq(&val.set, &data.train.set) && val.len() >= MIN_KNOWN;
        let known = match data.val.as_ref().filter(is_own).filter(|_| data.folds.is_none()) {
            Some(val) => Known { scores: self.scored(score, &val.indices), apart: val.indices.to_vec() },
            None => match self.by_folds(data)? {
                Some(known) => known,
                None => return Ok(None),
            },
        };
        Ok((known.scores.len() >= MIN_KNOWN).then_some(known))
    }

    fn by_folds(&self, data: &TrainData) -> Result<Option<Known>> {
        let pool = data.pool();
        if pool.len() < MIN_KNOWN {
            return Ok(None);
        }
        let folds = match &data.folds {
            Some(folds) => Arc::clone(folds),
            None => match folds_of(&data.dataset, N_FOLDS, self.seed) {
                Ok(folds) => folds,
                Err(_) => return Ok(None), // nearly all pictures are identical
            },
        };
        let n_folds = folds.iter().max().map_or(0, |last| last + 1);
        let (mut scores, mut apart) = (Vec::new(), Vec::new());
        for fold in 0..n_folds {
            let (held_out, others): (Vec<u32>, Vec<u32>) =
                pool.iter().partition(|&&i| folds[i as usize] == fold);
            let Some(score) = self.fit(&others, MAX_FITTED)? else { return Ok(None) };
            scores.extend(self.scored(&score, &held_out));
            if fold == 0 {
                apart = held_out;
            }
        }
        Ok(Some(Known { scores, apart }))
    }

    fn scored(&self, score: &RelativeMahalanobis, indices: &[u32]) -> Vec<(u32, f32)> {
        indices.iter().copied().zip(score.scores(&self.features.rows(indices))).collect()
    }

    /// Leaves out some classes in turn, and measures how well distributions fitted without a class notice its pictures.
    /// Returns the results by class and the mean curve. The pictures `apart` define what is usual. Returns nothing if fewer
    /// than two classes would remain.
    fn left_out(
        &self,
        train: &[u32],
        apart: &[u32],
        names: &[Foreign],
    ) -> Result<(Vec<LeftOut>, Vec<[f64; 2]>)> {
        if self.n_classes < 3 || apart.is_empty() {
            return Ok((Vec::new(), Vec::new()));
        }
        let is_apart: HashSet<u32> = apart.iter().copied().collect();
        let train: Vec<u32> = train.iter().copied().filter(|i| !is_apart.contains(i)).collect();
        let apart = stratified_subset(self.labels, apart, apart.len().min(MAX_COMPARED), self.seed)?;
        let n_left_out = self.n_classes.min(MAX_LEFT_OUT);
        let (mut found, mut curves) = (Vec::new(), Vec::new());
        for class in (0..n_left_out).map(|i| (i * self.n_classes / n_left_out) as u32) {
            let is_of_class = |i: &u32| self.labels[*i as usize] == class;
            let (mut novel, others): (Vec<u32>, Vec<u32>) = train.iter().partition(|i| is_of_class(i));
            novel.truncate(MAX_COMPARED);
            let Some(score) = self.fit(&others, MAX_FITTED_LEFT_OUT)? else { continue };
            let known: Vec<u32> = apart.iter().copied().filter(|i| !is_of_class(i)).collect();
            let of = |indices: &[u32]| score.scores(&self.features.rows(indices));
            let (known, novel) = (of(&known), of(&novel));
            let Some(auroc) = auroc(&known, &novel) else { continue };
            let class = names[class as usize].clone();
            let at_rate = noticed(&known, &novel, &[FALSE_ALARM_RATE])[0];
            found.push(LeftOut { class, n: novel.len() as u64, noticed: at_rate, auroc });
            curves.push(noticed(&known, &novel, &RATES));
        }
        let mean = |at: usize| curves.iter().map(|curve| curve[at]).sum::<f64>() / curves.len() as f64;
        let n_points = if curves.is_empty() { 0 } else { RATES.len() };
        Ok((found, (0..n_points).map(|at| [RATES[at], mean(at)]).collect()))
    }
}
