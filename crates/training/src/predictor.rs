//! A trained model that answers: probabilities for pictures whose class nobody needs to know, and evaluation where it is
//! known. Evaluation, prediction and whatever serves later stand on it, so that a picture gives the same bits everywhere.

use std::sync::Arc;

use tallow_core::{Bar, Progress, StopFlag, Unit};
use tallow_dataset::{Error as DataError, ImageSet, Readable, readable_batches};
use tallow_metrics::{Predictions, with_temperature};
use tallow_nn::{Model, Precision, log_softmax};

use crate::data::Part;
use crate::error::Result;
use crate::evaluate::{check_finite, evaluate, images_per_pass, logits};
use crate::feed::{Content, Feed, Input};
use crate::model_file::ModelInfo;

/// A trained model and all that is needed to ask it.
pub struct Predictor {
    info: ModelInfo,
    model: Model,
    input: Input,
    precision: Precision,
}

/// What a model says about one picture.
#[derive(Debug)]
pub struct Answer {
    /// The picture's index in its set.
    pub index: u32,
    /// The natural logarithms of the probabilities of the classes, in the order of the model's, calibrated by the model's
    /// temperature where it has one; or why the picture could not be read.
    pub log_probs: std::result::Result<Vec<f32>, DataError>,
}

impl Predictor {
    /// Of the model that `info` describes, with its weights in it (see [`read_model`](crate::read_model)).
    pub fn new(info: ModelInfo, model: Model) -> Self {
        let input = info.input(&model);
        let precision = info.precision.resolve(model.params.device());
        Self { info, model, input, precision }
    }

    /// What the model file says.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// How pictures come to what the model sees.
    pub fn input(&self) -> &Input {
        &self.input
    }

    /// What the model says about the images of `part`, not calibrated; `None` if `stop` was raised on the way. Targets are
    /// the set's own labels: whoever calls sees to it that its classes are the model's. With `flips` it is the mean of the
    /// probabilities of each image and its mirror image.
    ///
    /// # Errors
    /// If an image cannot be read, or the model's answers are no numbers.
    pub fn evaluate(
        &self,
        part: &Part,
        flips: bool,
        label: &str,
        progress: &dyn Progress,
        stop: &StopFlag,
    ) -> Result<Option<Predictions>> {
        let feed = Feed::Images { part: part.clone(), input: self.input.clone() };
        evaluate(&self.model, &feed, self.precision, flips, label, progress, stop)
    }

    /// Tells `on_answer` what the model says about every picture of `set`, in its order; false if `stop` was raised on the
    /// way. A picture that cannot be read costs no other its answer.
    ///
    /// # Errors
    /// If images and model do not fit, or `on_answer` fails.
    pub fn predict<E: From<crate::TrainingError>>(
        &self,
        set: &Arc<ImageSet>,
        progress: &dyn Progress,
        stop: &StopFlag,
        mut on_answer: impl FnMut(Answer) -> std::result::Result<(), E>,
    ) -> std::result::Result<bool, E> {
        let Input { preprocess, normalization } = &self.input;
        let size_px = preprocess.as_ref().map_or([1, 1], |p| p.size_px);
        let indices = (0..set.len() as u32).collect();
        let batches = readable_batches(
            set.clone(),
            indices,
            images_per_pass(size_px),
            normalization,
            preprocess.as_ref(),
        );
        let bar = Bar::begin(progress, "predicting", Some(set.len() as u64), Unit::Items("pictures"));
        let mut n_done = 0;
        for readable in batches.map_err(crate::TrainingError::from)? {
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

    /// What the model says about a batch, and what could not be read, in the order of their indices.
    fn answers(&self, Readable { batch, failed }: Readable, set: &ImageSet) -> Result<Vec<Answer>> {
        let n_classes = self.info.class_names.len();
        let (n, indices) = (batch.n, batch.indices.clone());
        let logits = match n {
            0 => Vec::new(),
            _ => logits(&self.model, batch, Content::Images, self.precision)?,
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
            .map(|(&index, row)| Answer { index, log_probs: Ok(row.to_vec()) })
            .chain(failed.into_iter().map(|(index, error)| Answer { index, log_probs: Err(error) }))
            .collect();
        answers.sort_by_key(|answer| answer.index);
        Ok(answers)
    }
}
