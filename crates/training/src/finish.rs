//! The end of a run: chooses the weights to keep, evaluates the test set once, and writes all results.

use std::sync::Arc;

use tallow_core::{Foreign, StopSignal};
use tallow_dataset::ImageSet;
use tallow_metrics::{
    ClassificationReport, ConfusionMatrix, Predictions, SplitScore, Summary, TestScore,
    calibration_temperature, predictions_to_csv, wilson_interval,
};
use tallow_nn::{device_name, isa};
use tallow_run_files::{
    CONFUSION_MATRIX, MODEL, NOVELTY, REPORT_JSON, REPORT_TEXT, TEST_PREDICTIONS, VAL_PREDICTIONS,
};

use crate::checkpoint::encoding;
use crate::company::Company;
use crate::ending::EndStep;
use crate::error::Result;
use crate::evaluate::evaluate;
use crate::event::Event;
use crate::feed::{Feed, Feeds};
use crate::memory::peak_rss_bytes;
use crate::model_file::{ModelInfo, Provenance, SavedModel};
use crate::novelty::Novelty;
use crate::session::{Outcome, Session, Watch};
use crate::step::Learner;

/// The confidence level of the reported intervals.
pub const CONFIDENCE: f64 = 0.95;

impl Session {
    /// Evaluates the weights to keep, writes `model.safetensors`, `evaluation/` and `summary.json`, and takes `steps`. The
    /// model file is written after validation, which gives its temperature, and after a test with finite results.
    ///
    /// Until the summary is there, a resumed run does all of this again from the last checkpoint, and every file gets the same
    /// bits again. The summary makes the results final: from then on the test images are not looked at again.
    pub(crate) fn finish(
        &mut self,
        feeds: &Feeds,
        watch: &mut Watch<'_>,
        steps: &[EndStep<'_>],
    ) -> Result<Outcome> {
        let mut epoch = self.restore_best(watch)?;
        let mut val = match self.validation(feeds, watch)? {
            Ok(val) => val,
            Err(signal) => return Ok(Outcome::Interrupted(signal)),
        };
        if let Some(earlier) = self.restore_earlier(val.as_ref().and_then(Predictions::accuracy), watch)? {
            epoch = earlier;
            val = match self.validation(feeds, watch)? {
                Ok(val) => val,
                Err(signal) => return Ok(Outcome::Interrupted(signal)),
            };
        }
        let test = match self.test(feeds, watch)? {
            Ok(test) => test,
            Err(signal) => return Ok(Outcome::Interrupted(signal)),
        };
        // if folds are the test, all images are held out once, so calibration uses the same predictions as the test
        let calibrated_by = if self.is_tested_by_folds() { Some(&test) } else { val.as_ref() };
        let temperature = calibrated_by.and_then(calibration_temperature);
        let (novelty, record) = self.novelty(feeds, &test)?.unzip();
        self.write_model(epoch, temperature, novelty)?;
        self.write_evaluation(val.as_ref(), &test)?;
        if let Some(record) = record {
            self.recorder.run.write_json(NOVELTY, &record)?;
        }
        let summary = self.summary(val.as_ref(), &test)?;
        if let Some(score) = summary.test {
            self.emit(watch, Event::Tested { epoch: self.state.epoch, score })?;
        }
        self.recorder.sync()?; // a fold's file is not written again, and the main run's manifest has its digest
        self.recorder.run.write_last_word(&summary, &self.recipe, !steps.is_empty())?;
        self.comm = Arc::default(); // the steps are not shared
        self.take_steps(steps, Vec::new())?;
        Ok(Outcome::Finished(Box::new(summary)))
    }

    /// Returns the predictions for the validation images, if any. A run with folds and a separate test set returns the
    /// predictions of the folds' models for the images they had not seen; if the folds are the test, there are none.
    fn validation(
        &self,
        feeds: &Feeds,
        watch: &Watch<'_>,
    ) -> Result<std::result::Result<Option<Predictions>, StopSignal>> {
        match (&self.folded, &feeds.val) {
            (Some(_), _) if self.is_tested_by_folds() => Ok(Ok(None)),
            (Some(folded), _) => Ok(Ok(Some(folded.predictions.clone()))),
            (None, Some(feed)) => Ok(self.look(feed, "validation", watch)?.map(Some)),
            (None, None) => Ok(Ok(None)),
        }
    }

    /// Returns the predictions for the test images: those of the folds' models if folds are the test, otherwise of the final
    /// weights.
    fn test(&self, feeds: &Feeds, watch: &Watch<'_>) -> Result<std::result::Result<Predictions, StopSignal>> {
        match &self.folded {
            Some(folded) if self.is_tested_by_folds() => Ok(Ok(folded.predictions.clone())),
            _ => self.look(&feeds.test, "test", watch),
        }
    }

    /// Writes the model file. A fold's model is not written, as it is no longer needed after its test.
    fn write_model(&self, epoch: u64, temperature: Option<f64>, novelty: Option<Novelty>) -> Result<()> {
        if self.recipe.data.fold.is_some() {
            return Ok(());
        }
        let (dataset, input, caveats) = (&self.data.dataset, self.input(), self.state.caveats.clone());
        let provenance = Provenance { dataset, input, epoch, temperature, caveats };
        let info = ModelInfo::new(&self.recipe, provenance);
        let weights = self.learner.model.params.to_tensors()?;
        self.recorder.run.write(MODEL, &SavedModel { info, weights, novelty }.to_bytes()?)
    }

    /// Returns the model's predictions for the images of `feed`, with all views that the recipe asks for, or the signal that
    /// stopped it.
    fn look(
        &self,
        feed: &Feed,
        label: &str,
        watch: &Watch<'_>,
    ) -> Result<std::result::Result<Predictions, StopSignal>> {
        let Learner { model, precision, .. } = &self.learner;
        let company = Company::new(&self.comm, watch);
        let seen = evaluate(model, feed, *precision, self.recipe.evaluation, label, company)?;
        Ok(seen.ok_or_else(|| watch.stop.raised().unwrap_or(StopSignal::Interrupt)))
    }

    /// Loads the weights to keep, and returns their epoch.
    fn restore_best(&mut self, watch: &mut Watch<'_>) -> Result<u64> {
        let Some(epoch) = self.load_best()? else { return Ok(self.state.epoch) };
        self.emit(watch, Event::BestRestored { epoch })?;
        Ok(epoch)
    }

    /// Loads the best epoch's weights if the recipe says so, and returns that epoch. Otherwise loads the averaged weights, if
    /// there are any.
    pub(crate) fn load_best(&mut self) -> Result<Option<u64>> {
        let Some((weights, best)) = self.best.take().zip(self.state.best) else {
            self.swap_weights(self.average.as_ref())?;
            return Ok(None);
        };
        self.learner.model.params.load_learned(&weights)?;
        Ok(Some(best.epoch))
    }

    fn write_evaluation(&self, val: Option<&Predictions>, test: &Predictions) -> Result<()> {
        let names = self.data.dataset.train.class_names();
        let csv = |predictions: &Predictions, set: &ImageSet| {
            let file = |&i: &u32| set.file(i as usize).cloned();
            let files: Option<Vec<Foreign>> = predictions.indices().iter().map(file).collect();
            predictions_to_csv(predictions, names, files.as_deref())
        };
        if let Some(val) = val {
            let set = self.data.val.as_ref().map_or(&self.data.train.set, |part| &part.set);
            self.recorder.run.write(VAL_PREDICTIONS, csv(val, set)?.as_bytes())?;
        }
        self.recorder.run.write(TEST_PREDICTIONS, csv(test, &self.data.test.set)?.as_bytes())?;
        let matrix = ConfusionMatrix::from_predictions(test);
        self.recorder.run.write(CONFUSION_MATRIX, matrix.to_csv(names)?.as_bytes())?;
        let report = ClassificationReport::new(&matrix);
        self.recorder.run.write(REPORT_TEXT, report.to_text(names)?.as_bytes())?;
        let json = serde_json::to_string_pretty(&report.named(names)?).map_err(encoding)?;
        self.recorder.run.write(REPORT_JSON, format!("{json}\n").as_bytes())
    }

    fn summary(&self, val: Option<&Predictions>, test: &Predictions) -> Result<Summary> {
        let (recipe, state, data) = (&self.recipe, &self.state, &self.data);
        let model_name = recipe.model.get("name").and_then(toml::Value::as_str).unwrap_or_default();
        Ok(Summary {
            run_dir: Foreign::of_path(self.recorder.run.path()),
            dataset: data.dataset.name.clone(),
            dataset_about: data.dataset.about.map(Foreign::from),
            data_digest: data.dataset.digest.clone().into(),
            n_train: data.train.len() as u64,
            n_val: val.map_or(0, Predictions::len) as u64,
            n_test: test.len() as u64,
            model: model_name.into(),
            pretrained: state.pretrained.clone(),
            n_parameters: self.learner.model.params.n_parameters() as u64,
            n_trained_parameters: Some(self.learner.model.params.n_trained() as u64),
            recipe: recipe.name.clone(),
            seed: recipe.seed,
            device: device_name(self.learner.model.params.device()).into(),
            isa: isa().as_str().into(),
            precision: recipe.precision.as_str().into(),
            threads: rayon::current_num_threads() as u64,
            epochs_run: state.epoch,
            best_epoch: state.best.map(|best| best.epoch),
            train_seconds: state.train_secs + self.folded.as_ref().map_or(0.0, |folded| folded.train_secs),
            features_seconds: self.features_secs(),
            features_own_seconds: self.features_secs().map(|_| state.features_secs),
            images_per_second: state.n_images as f64 / state.step_secs.max(f64::MIN_POSITIVE),
            peak_rss_bytes: peak_rss_bytes(),
            val: val.map(|val| SplitScore {
                accuracy: val.accuracy().unwrap_or_default(),
                loss: val.mean_nll().unwrap_or_default(),
            }),
            test: Some(TestScore {
                accuracy: test.accuracy().unwrap_or_default(),
                loss: test.mean_nll().unwrap_or_default(),
                accuracy_interval: match self.folded.as_ref().filter(|_| self.is_tested_by_folds()) {
                    Some(folded) => folded.scores.accuracy_interval,
                    None => wilson_interval(test.n_correct(), test.len() as u64, CONFIDENCE)?,
                },
            }),
            folds: self.folded.as_ref().map(|folded| folded.scores.clone()),
            caveats: state.caveats.clone(),
        })
    }
}
