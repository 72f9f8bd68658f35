//! The end of a run: chooses the weights to keep, evaluates the test set once, and writes all results.

use tallow_core::StopSignal;
use tallow_dataset::ImageSet;
use tallow_metrics::{
    ClassificationReport, ConfusionMatrix, Predictions, SplitScore, Summary, TestScore,
    calibration_temperature, predictions_to_csv, wilson_interval,
};
use tallow_nn::{device_name, isa};

use crate::checkpoint::encoding;
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
    /// Evaluates the weights to keep, and writes `model.safetensors`, `evaluation/` and `summary.json`. The model file is
    /// written after validation, which gives its temperature, and after a test with finite results.
    pub(crate) fn finish(&mut self, feeds: &Feeds, watch: &mut Watch<'_>) -> Result<Outcome> {
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
            self.recorder.run.write_json("evaluation/novelty.json", &record)?;
        }
        let summary = self.summary(val.as_ref(), &test)?;
        if let Some(score) = summary.test {
            self.emit(watch, Event::Tested { epoch: self.state.epoch, score })?;
        }
        self.recorder.run.write_json("summary.json", &summary)?;
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
        self.recorder.run.write("model.safetensors", &SavedModel { info, weights, novelty }.to_bytes()?)
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
        let seen =
            evaluate(model, feed, *precision, self.recipe.evaluation, label, watch.progress, watch.stop)?;
        Ok(seen.ok_or_else(|| watch.stop.raised().unwrap_or(StopSignal::Interrupt)))
    }

    /// Loads the best epoch's weights if the recipe says so, otherwise the averaged weights, if there are any. Returns the
    /// epoch of the weights.
    fn restore_best(&mut self, watch: &mut Watch<'_>) -> Result<u64> {
        let Some((weights, best)) = self.best.take().zip(self.state.best) else {
            self.swap_weights(self.average.as_ref())?;
            return Ok(self.state.epoch);
        };
        self.learner.model.params.load_learned(&weights)?;
        self.emit(watch, Event::BestRestored { epoch: best.epoch })?;
        Ok(best.epoch)
    }

    fn write_evaluation(&self, val: Option<&Predictions>, test: &Predictions) -> Result<()> {
        let names = self.data.dataset.train.class_names();
        let csv = |predictions: &Predictions, set: &ImageSet| {
            let file = |&i: &u32| set.file(i as usize).map(str::to_owned);
            let files: Option<Vec<String>> = predictions.indices().iter().map(file).collect();
            predictions_to_csv(predictions, names, files.as_deref())
        };
        if let Some(val) = val {
            let set = self.data.val.as_ref().map_or(&self.data.train.set, |part| &part.set);
            self.recorder.run.write("evaluation/predictions_val.csv", csv(val, set)?.as_bytes())?;
        }
        self.recorder
            .run
            .write("evaluation/predictions_test.csv", csv(test, &self.data.test.set)?.as_bytes())?;
        let matrix = ConfusionMatrix::from_predictions(test);
        self.recorder.run.write("evaluation/confusion_matrix.csv", matrix.to_csv(names)?.as_bytes())?;
        let report = ClassificationReport::new(&matrix);
        self.recorder.run.write("evaluation/report.txt", report.to_text(names)?.as_bytes())?;
        let json = serde_json::to_string_pretty(&report.named(names)?).map_err(encoding)?;
        self.recorder.run.write("evaluation/report.json", format!("{json}\n").as_bytes())
    }

    fn summary(&self, val: Option<&Predictions>, test: &Predictions) -> Result<Summary> {
        let (recipe, state, data) = (&self.recipe, &self.state, &self.data);
        let model_name = recipe.model.get("name").and_then(toml::Value::as_str).unwrap_or_default();
        Ok(Summary {
            run_dir: self.recorder.run.path().display().to_string(),
            dataset: data.dataset.name.clone(),
            dataset_about: data.dataset.about.map(str::to_owned),
            data_digest: data.dataset.digest.clone(),
            n_train: data.train.len() as u64,
            n_val: val.map_or(0, Predictions::len) as u64,
            n_test: test.len() as u64,
            model: model_name.to_owned(),
            pretrained: state.pretrained.clone(),
            n_parameters: self.learner.model.params.n_parameters() as u64,
            n_trained_parameters: Some(self.learner.model.params.n_trained() as u64),
            recipe: recipe.name.clone(),
            seed: recipe.seed,
            device: device_name(self.learner.model.params.device()),
            isa: isa().as_str().to_owned(),
            precision: recipe.precision.as_str().to_owned(),
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
