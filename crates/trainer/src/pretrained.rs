//! Pretrained weights for a recipe's model: finds them, and takes strides and input settings from their configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use tallow_core::shown::{shown, shown_path};
use tallow_core::{Foreign, Progress, StopSignal};
use tallow_dataset::Normalization;
use tallow_metrics::PretrainedWeights;
use tallow_models::weights::{
    HubOptions, PretrainedConfig, PretrainedInput, WeightFiles, WeightsError, WeightsSource, WidthChange,
    load_into, read, resolve,
};
use tallow_models::{Architecture, PublishedWeights};
use tallow_training::{Model, Recipe};

use crate::App;

/// Pretrained weights for a recipe's model.
pub(crate) struct Pretrained {
    files: WeightFiles,
    config: PretrainedConfig,
    /// The architecture of the weights.
    name: &'static str,
    /// The name of the classification layer.
    classifier: &'static str,
    /// The input that the weights expect, as their configuration states it or as for the architecture's published weights.
    input: PretrainedInput,
}

/// Prints the licence of weights on the hub before they are downloaded; once per source, even if it is looked up again.
pub(crate) fn tell_licence(source: &WeightsSource, architecture: &Architecture, app: &App) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let WeightsSource::Hub(model) = source else { return };
    if !TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_string()) {
        return;
    }
    let is_this = |weights: &&PublishedWeights| weights.source == format!("hf:{}", model.id());
    let licence = match architecture.weights.as_ref().filter(is_this) {
        Some(weights) => format!("under the licence {}", weights.licence),
        None => "for the licence see their page on the hub".to_owned(),
    };
    app.progress.say(&format!("Weights {source}, {licence}"));
}

/// Returns the signal if the error is that a stop ended a download of weights.
pub(crate) fn stopped(error: &anyhow::Error) -> Option<StopSignal> {
    match error.downcast_ref() {
        Some(WeightsError::Stopped(signal)) => Some(*signal),
        _ => None,
    }
}

impl Pretrained {
    /// Finds the weights that `model.weights` names, if any; downloads them if necessary, unless `offline`.
    pub(crate) fn find(model: &toml::Table, offline: bool, app: &App) -> Result<Option<Self>> {
        let Some(text) = model.get("weights").and_then(toml::Value::as_str) else { return Ok(None) };
        let source: WeightsSource = text.parse()?;
        let mut options = HubOptions::from_env()?;
        if offline {
            options.offline = Some("--offline was given");
        }
        let architecture = tallow_models::architecture_of(model)?;
        if options.offline.is_none() {
            tell_licence(&source, architecture, app);
        }
        let files = resolve(&source, &options, &app.progress, &app.stop)?;
        let config = match &files.config {
            Some(path) => PretrainedConfig::read(path)?,
            None => PretrainedConfig::default(),
        };
        let (classifier, input) = (architecture.classifier, architecture.pretrained_input(&config));
        tracing::debug!(file = %shown_path(&files.model), architecture = architecture.name, "pretrained weights");
        Ok(Some(Self { files, config, name: architecture.name, classifier, input }))
    }

    /// Does the same as [`find`](Self::find) for a resumed run. Its checkpoints hold everything that it learnt, so it needs
    /// the weights only if some of them are frozen, or if a fold is trained again. An error is returned as the second value,
    /// for [`still_needed`](Self::still_needed).
    pub(crate) fn find_again(
        recipe: &Recipe,
        offline: bool,
        app: &App,
    ) -> Result<(Option<Self>, Option<anyhow::Error>)> {
        match Self::find(&recipe.model, offline, app) {
            Ok(found) => Ok((found, None)),
            // an older run did not record the normalisation that the weights state
            Err(e) if recipe.data.normalization.is_none() || app.stop.raised().is_some() => Err(e),
            Err(e) => Ok((None, Some(e))),
        }
    }

    /// Refuses to resume without weights that are needed; `error` tells why they are not available, and `remedy` why they are
    /// needed and what to do.
    pub(crate) fn still_needed(error: Option<anyhow::Error>, remedy: &str) -> Result<()> {
        let what = "--resume: the pretrained weights are no longer where the run had them";
        error.map_or(Ok(()), |error| Err(error.context(format!("{what}, and {remedy}"))))
    }

    /// Checks that the weights are for this architecture, and writes the position of its strides into the table.
    pub(crate) fn describe(&self, model: &mut toml::Table) -> Result<()> {
        let name = model.get("name").and_then(toml::Value::as_str).unwrap_or_default();
        if let Some(architecture) = &self.config.architecture {
            let theirs = architecture.shown();
            ensure!(
                architecture == name,
                "{}: the weights are of a {theirs}, but the recipe's model.name is {}: add --set \
                 model.name={theirs}, or name other weights",
                shown(&self.files.origin),
                shown(name)
            );
        }
        if self.config.downsample_in_bottleneck {
            model.insert("downsample_in_bottleneck".into(), true.into());
        }
        Ok(())
    }

    /// Returns the input that the weights expect.
    pub(crate) fn input(&self) -> &PretrainedInput {
        &self.input
    }

    /// Returns a permanent name of the weights: a path, or a commit on the hub.
    pub(crate) fn origin(&self) -> &str {
        &self.files.origin
    }

    /// Returns the description of the weights for the run's record.
    pub(crate) fn told(&self) -> PretrainedWeights {
        let published = tallow_models::architecture(self.name).ok().and_then(|known| known.weights.as_ref());
        let is_published = |weights: &&PublishedWeights| {
            let rest = self.origin().strip_prefix(weights.source);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        let licence = published.filter(is_published).map(|weights| Foreign::from(weights.licence));
        PretrainedWeights { origin: self.origin().into(), licence: licence.or(self.config.licence.clone()) }
    }

    /// Returns the normalisation of pixels, if the weights or their architecture state it.
    pub(crate) fn normalization(&self) -> Option<Normalization> {
        self.input.mean.zip(self.input.std).map(|(mean, std)| Normalization { mean, std })
    }

    /// Loads the weights into the model and reports a replaced classifier.
    pub(crate) fn load_into(&self, model: &Model, progress: &dyn Progress) -> Result<()> {
        let path: &Path = &self.files.model;
        let report = load_into(&model.params, read(path)?, self.classifier).with_context(|| {
            format!(
                "{} holds no weights of a {}: name other weights, or another model.name",
                shown_path(path),
                self.name
            )
        })?;
        progress.say(&format!("{} tensors from {}", report.n_loaded, shown(&self.files.origin)));
        // that a backbone, which ends in features, leaves out a classifier is no news to its user
        let is_left_out = |change: &WidthChange| change.n_file > 0 && change.n_network == 0;
        if let Some(change) = report.replaced_classifier.filter(|change| !is_left_out(change)) {
            progress.say(&format!("Note: {change}"));
        }
        Ok(())
    }
}
