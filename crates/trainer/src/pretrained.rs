//! Pretrained weights for a recipe's model: where they come from, and what they say about strides and input.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use tallow_core::Progress;
use tallow_dataset::Normalization;
use tallow_metrics::PretrainedWeights;
use tallow_models::weights::{
    HubOptions, PretrainedConfig, PretrainedInput, WeightFiles, WeightsSource, load_into, read, resolve,
};
use tallow_models::{Architecture, PublishedWeights};
use tallow_training::{Model, Recipe};

use crate::App;

/// Weights that a recipe's model starts from.
pub(crate) struct Pretrained {
    files: WeightFiles,
    config: PretrainedConfig,
    /// The architecture that they are for.
    name: &'static str,
    /// The layer that tells classes apart.
    classifier: &'static str,
    /// The images that they want to see, as they say themselves or as the architecture's published ones do.
    input: PretrainedInput,
}

/// Under which licence weights of the hub are, before they are got; once, however often they are looked for.
pub(crate) fn tell_licence(source: &WeightsSource, architecture: &Architecture, app: &App) {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let WeightsSource::Hub(model) = source else { return };
    if !TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(source.to_string()) {
        return;
    }
    let is_this = |weights: &&PublishedWeights| weights.source == format!("hf:{}", model.id());
    let licence = match architecture.weights.as_ref().filter(is_this) {
        Some(weights) => format!("under the licence {}", weights.licence),
        None => "whose licence its page on the hub names".to_owned(),
    };
    app.progress.say(&format!("Weights {source}, {licence}"));
}

impl Pretrained {
    /// The weights that `model.weights` names, if it names any; fetched if need be, unless `offline`.
    pub(crate) fn find(model: &toml::Table, offline: bool, app: &App) -> Result<Option<Self>> {
        let Some(text) = model.get("weights").and_then(toml::Value::as_str) else { return Ok(None) };
        let source: WeightsSource = text.parse()?;
        let mut options = HubOptions::from_env()?;
        if offline {
            options.offline = Some("--offline was given");
        }
        let architecture = tallow_models::architecture_of(model)?;
        tell_licence(&source, architecture, app);
        let files = resolve(&source, &options, &app.progress, &app.stop)?;
        let config = match &files.config {
            Some(path) => PretrainedConfig::read(path)?,
            None => PretrainedConfig::default(),
        };
        let (classifier, input) = (architecture.classifier, architecture.pretrained_input(&config));
        Ok(Some(Self { files, config, name: architecture.name, classifier, input }))
    }

    /// [`find`](Self::find) for a run that goes on: its checkpoints hold all that it learnt, so that it needs these weights only
    /// where some stay as they are. The error comes second, for [`still_needed`](Self::still_needed).
    pub(crate) fn find_again(
        recipe: &Recipe,
        offline: bool,
        app: &App,
    ) -> Result<(Option<Self>, Option<anyhow::Error>)> {
        match Self::find(&recipe.model, offline, app) {
            Ok(found) => Ok((found, None)),
            // an older run did not write down what the weights say about pixels
            Err(e) if recipe.data.normalization.is_none() || app.stop.raised().is_some() => Err(e),
            Err(e) => Ok((None, Some(e))),
        }
    }

    /// Refuses to go on without weights that stay as they are; `error` says why they cannot be had.
    pub(crate) fn still_needed(error: Option<anyhow::Error>, model: &Model) -> Result<()> {
        match error {
            Some(error) if model.params.params().any(|param| param.is_frozen()) => Err(error.context(
                "--resume: the pretrained weights that stay as they are cannot be had where the run had them: name their \
                 new place with --weights",
            )),
            _ => Ok(()),
        }
    }

    /// Checks that the weights are of this architecture, and writes into the table where its strides are.
    pub(crate) fn describe(&self, model: &mut toml::Table) -> Result<()> {
        let name = model.get("name").and_then(toml::Value::as_str).unwrap_or_default();
        if let Some(architecture) = &self.config.architecture {
            ensure!(
                architecture == name,
                "{}: the weights are of a {architecture}, the recipe's model.name is {name}: add --set \
                 model.name={architecture}, or name other weights",
                self.files.origin
            );
        }
        if self.config.downsample_in_bottleneck {
            model.insert("downsample_in_bottleneck".into(), true.into());
        }
        Ok(())
    }

    /// The images that the weights want to see.
    pub(crate) fn input(&self) -> &PretrainedInput {
        &self.input
    }

    /// What names the same weights for ever: a path, or a commit on the hub.
    pub(crate) fn origin(&self) -> &str {
        &self.files.origin
    }

    /// What the run's record says of them.
    pub(crate) fn told(&self) -> PretrainedWeights {
        let published = tallow_models::architecture(self.name).ok().and_then(|known| known.weights.as_ref());
        let is_published = |weights: &&PublishedWeights| {
            let rest = self.origin().strip_prefix(weights.source);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('@'))
        };
        let licence = published.filter(is_published).map(|weights| weights.licence.to_owned());
        PretrainedWeights {
            origin: self.origin().to_owned(),
            licence: licence.or(self.config.licence.clone()),
        }
    }

    /// What pixels are normalised by, where the weights or their architecture say so.
    pub(crate) fn normalization(&self) -> Option<Normalization> {
        self.input.mean.zip(self.input.std).map(|(mean, std)| Normalization { mean, std })
    }

    /// Overwrites the model's parameters, and says what was not taken over.
    pub(crate) fn load_into(&self, model: &Model, progress: &dyn Progress) -> Result<()> {
        let path: &Path = &self.files.model;
        let report = load_into(&model.params, read(path)?, self.classifier).with_context(|| {
            format!(
                "{} holds no weights of a {}: name others, or another model.name",
                path.display(),
                self.name
            )
        })?;
        progress.say(&format!("{} tensors from {}", report.n_loaded, self.files.origin));
        if let Some(change) = report.replaced_classifier {
            progress.say(&format!("Note: {change}"));
        }
        Ok(())
    }
}
