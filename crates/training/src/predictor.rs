//! Uses a trained model: predicts class probabilities for unlabelled pictures, and evaluates labelled ones. All evaluation
//! and prediction uses this module, so a picture gives the same bits everywhere.

use std::path::Path;
use std::sync::Arc;

use tallow_comm::Comm;
use tallow_core::{Bar, Progress, StopFlag, Unit};
use tallow_dataset::{Batch, Error as DataError, ImageSet, Readable, readable_batch, readable_batches};
use tallow_metrics::{Predictions, with_temperature};
use tallow_nn::{Model, Precision, log_softmax};

use crate::company::Company;
use crate::data::Part;
use crate::error::Result;
use crate::evaluate::{check_finite, evaluate, features, images_per_pass, logits};
use crate::features::{Near, Neighbours};
use crate::feed::{Content, Feed, Input};
use crate::model_file::ModelInfo;
use crate::novelty::Novelty;
use crate::views::{Views, logits_of_views};

/// A trained model with everything needed for predictions.
pub struct Predictor {
    info: ModelInfo,
    model: Model,
    input: Input,
    precision: Precision,
    novelty: Option<Novelty>,
    neighbours: Option<Neighbours>,
    comm: Arc<Comm>,
}

/// A model's prediction for one picture.
#[derive(Debug)]
pub struct Answer {
    /// The picture's index in its set.
    pub index: u32,
    /// The natural logarithms of the class probabilities, in the order of the model's classes, calibrated by the model's
    /// temperature if it has one. `Err` if the picture could not be read.
    pub log_probs: std::result::Result<Vec<f32>, DataError>,
    /// The share of known pictures that are at least as unlike the training pictures as this one
    /// ([`typicality`](tallow_metrics::typicality)). At [`FALSE_ALARM_RATE`](tallow_metrics::FALSE_ALARM_RATE) or below, the
    /// picture is considered new. `None` if the model has no novelty detector, or the picture could not be read.
    pub typicality: Option<f64>,
    /// The training images nearest to the picture, the nearest first. Empty if [`Predictor::name_nearest`] did not succeed
    /// before, or the picture could not be read.
    pub nearest: Vec<Near>,
}

/// A model's results for a batch.
struct Seen {
    logits: Vec<f32>,
    typicalities: Option<Vec<f64>>,
    nearest: Option<Vec<Vec<Near>>>,
}

impl Predictor {
    /// Creates a predictor from `model` with its weights loaded and its description `info` (see
    /// [`read_model`](crate::read_model)).
    pub fn new(info: ModelInfo, model: Model, novelty: Option<Novelty>) -> Self {
        let input = info.input(&model);
        let precision = info.precision.resolve(model.params.device());
        // a detector for features of another network, which no run writes, is ignored
        let n_features = model.trunk.as_ref().map(|trunk| trunk.n_features);
        let novelty = novelty.filter(|novelty| Some(novelty.n_features()) == n_features);
        Self { info, model, input, precision, novelty, neighbours: None, comm: Arc::default() }
    }

    /// Shares evaluations with the other processes of `comm`, which evaluate the same images with the same model.
    pub fn share_work(&mut self, comm: &Arc<Comm>) {
        self.comm = Arc::clone(comm);
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    /// Returns the description in the model file.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// Returns whether the model can recognise pictures that belong to none of its classes.
    pub fn knows_none_of_these(&self) -> bool {
        self.novelty.is_some() && self.model.trunk.is_some()
    }

    /// Returns whether the model computes features, by which pictures can be compared.
    pub fn has_features(&self) -> bool {
        self.model.trunk.is_some()
    }

    /// Makes all later answers name the `n` images of `part` that are nearest to a picture. `part` has the images that the model
    /// was trained on. Returns false, and changes nothing, if `data_dir` does not have the features of all of them.
    ///
    /// # Errors
    /// If the model's weights cannot be read.
    pub fn name_nearest(
        &mut self,
        part: &Part,
        data_dir: &Path,
        n: usize,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let (input, precision) = (self.input.clone(), self.info.precision);
        let found = Neighbours::read(&self.model, input, precision, part, data_dir, n, progress)?;
        let is_found = found.is_some();
        self.neighbours = found.or(self.neighbours.take());
        Ok(is_found)
    }

    /// Returns how pictures become the model's input.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// Returns the uncalibrated predictions for the images of `part`, or `None` if `stop` was raised on the way. Targets are
    /// the set's own labels; the caller must ensure that its classes are the model's. `views` replace the model's own views.
    ///
    /// # Errors
    /// If an image cannot be read, or logits are not finite.
    pub fn evaluate(
        &self,
        part: &Part,
        views: Option<Views>,
        label: &str,
        progress: &dyn Progress,
        stop: &StopFlag,
    ) -> Result<Option<Predictions>> {
        let feed = Feed::Images { part: part.clone(), input: self.input.clone() };
        let views = views.unwrap_or(self.info.evaluation);
        let company = Company { comm: &self.comm, progress, stop };
        evaluate(&self.model, &feed, self.precision, views, label, company)
    }

    /// Passes the prediction for every picture of `set` to `on_answer`, in the order of the set. Returns false if `stop` was
    /// raised on the way. A picture that cannot be read does not affect the others.
    ///
    /// # Errors
    /// If images do not fit the model, logits are not finite, or `on_answer` fails.
    pub fn predict<E: From<crate::TrainingError>>(
        &self,
        set: &Arc<ImageSet>,
        progress: &dyn Progress,
        stop: &StopFlag,
        mut on_answer: impl FnMut(Answer) -> std::result::Result<(), E>,
    ) -> std::result::Result<bool, E> {
        let Input { preprocess, normalization } = &self.input;
        let n_per_pass = images_per_pass(preprocess.as_ref().map_or([1, 1], |p| p.size_px));
        let indices: Arc<[u32]> = (0..set.len() as u32).collect();
        let (set_of, preprocess) = (set.clone(), preprocess.as_ref());
        // a single pass needs no thread that prepares the next one
        let batches: Box<dyn Iterator<Item = _>> = match set.len() <= n_per_pass {
            true => Box::new(std::iter::once(readable_batch(set_of, &indices, normalization, preprocess))),
            false => Box::new(
                readable_batches(set_of, indices, n_per_pass, normalization, preprocess)
                    .map_err(crate::TrainingError::from)?,
            ),
        };
        let bar = Bar::begin(progress, "predicting", Some(set.len() as u64), Unit::Items("pictures"));
        let mut n_done = 0;
        for readable in batches {
            if stop.raised().is_some() {
                return Ok(false);
            }
            let answers =
                readable.map_err(crate::TrainingError::from).and_then(|readable| self.answers(readable, set));
            for answer in answers? {
                on_answer(answer)?;
                n_done += 1;
            }
            bar.advance(n_done);
        }
        Ok(true)
    }

    /// Returns the predictions for a batch and the errors for unreadable pictures, in the order of their indices.
    fn answers(&self, Readable { batch, failed }: Readable, set: &ImageSet) -> Result<Vec<Answer>> {
        let n_classes = self.info.class_names.len();
        let (n, indices) = (batch.n, batch.indices.clone());
        let Seen { logits, typicalities, mut nearest } = match n {
            0 => Seen { logits: Vec::new(), typicalities: None, nearest: None },
            _ => self.look(batch)?,
        };
        check_finite(&logits, n_classes, "prediction", &indices, set)?;
        let log_probs = if n == 0 { Vec::new() } else { log_softmax(&logits, n_classes) };
        let predictions = Predictions::new(n_classes, vec![0; n], log_probs, indices)?;
        let calibrated = match self.info.temperature {
            Some(temperature) => with_temperature(&predictions, temperature)?,
            None => predictions,
        };
        let rows = calibrated.log_probs().chunks_exact(n_classes);
        let mut answers: Vec<Answer> = calibrated
            .indices()
            .iter()
            .zip(rows)
            .enumerate()
            .map(|(i, (&index, row))| Answer {
                index,
                log_probs: Ok(row.to_vec()),
                typicality: typicalities.as_ref().map(|all| all[i]),
                nearest: nearest.as_mut().map(|all| std::mem::take(&mut all[i])).unwrap_or_default(),
            })
            .chain(failed.into_iter().map(|(index, error)| Answer {
                index,
                log_probs: Err(error),
                typicality: None,
                nearest: Vec::new(),
            }))
            .collect();
        answers.sort_by_key(|answer| answer.index);
        Ok(answers)
    }

    /// Returns the results for a batch. If the model has a novelty detector or training images to compare with, features are
    /// computed first. The detector, the comparison and the rest of the network then use them.
    fn look(&self, mut batch: Batch) -> Result<Seen> {
        let (novelty, neighbours) = (self.novelty.as_ref(), self.neighbours.as_ref());
        let trunk = self.model.trunk.as_ref().filter(|_| novelty.is_some() || neighbours.is_some());
        let Some(trunk) = trunk else {
            let views = self.info.evaluation;
            let logits = logits_of_views(&self.model, batch, Content::Images, self.precision, views)?;
            return Ok(Seen { logits, typicalities: None, nearest: None });
        };
        let features = features(&self.model, trunk, &mut batch, self.precision)?;
        let typicalities = novelty.map(|novelty| novelty.typicalities(&features));
        let nearest = neighbours.map(|neighbours| neighbours.nearest(features.clone()));
        let features = Batch { images: features, height: 1, width: 1, channels: trunk.n_features, ..batch };
        let logits = logits(&self.model, features, Content::Features, self.precision)?;
        Ok(Seen { logits, typicalities, nearest })
    }
}
