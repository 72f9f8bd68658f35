//! Finds the backbones of a race: those that the user names, or those with available pretrained weights.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tallow_core::{Foreign, files, path_of, shown};
use tallow_models::weights::{HubOptions, PretrainedConfig, WeightsSource, resolve};
use tallow_models::{Architecture, InputSizes, architecture, architectures};
use tallow_training::Override;

use crate::App;
use crate::pretrained::stopped;

/// The value of `--backbone` that asks for a race.
pub(super) const AUTO: &str = "auto";
/// The sizes at which a backbone is tried if none is given.
const SIZES_PX: [usize; 2] = [128, 224];
/// Backbones that are downloaded from the hub if no candidates are named: small, and good for their size.
const FROM_THE_HUB: [&str; 3] = ["tf_efficientnet_lite0", "mobilenetv4_conv_medium", "hgnetv2_b0"];

/// Candidates that are not taken, each with the reason.
pub(super) type LeftOut = Vec<(Foreign, Foreign)>;

/// A backbone at one size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    pub(super) architecture: &'static str,
    /// Source of the weights, as text for a [`WeightsSource`].
    pub(super) weights: String,
    pub(super) input_px: usize,
    /// Size of its weights in bytes; larger backbones are slower.
    n_bytes: u64,
}

impl Candidate {
    /// Returns a name such as "tf_efficientnet_lite0 at 128 px".
    pub(super) fn label(&self) -> String {
        format!("{} at {} px", self.architecture, self.input_px)
    }

    /// Returns the overrides that put the candidate into a recipe.
    pub(super) fn overrides(&self) -> Result<Vec<Override>> {
        let mut overrides = vec![
            Override::new("model.name", self.architecture),
            Override::new("model.weights", self.weights.as_str()),
            Override::new("model.input_px", vec![self.input_px as i64; 2]),
        ];
        let maps = architecture(self.architecture)?.feature_maps();
        overrides.extend((!maps.is_empty()).then(|| Override::new("model.features", maps.to_vec())));
        Ok(overrides)
    }
}

/// Returns the candidates, the fastest first, and the unavailable ones with the reason.
pub(super) fn find(
    backbone: Option<&str>,
    named: &[String],
    weights: Option<&str>,
    offline: bool,
    app: &App,
) -> Result<(Vec<Candidate>, LeftOut)> {
    let named: Vec<String> = match (backbone, weights) {
        _ if !named.is_empty() => named.to_vec(),
        (None | Some(AUTO), Some(weights)) => vec![weights.to_owned()],
        (None | Some(AUTO), None) => return of_themselves(offline, app),
        (Some(name), Some(weights)) => {
            let known = architecture(name)?;
            return Ok((at_sizes(known, weights, None, 0)?, Vec::new()));
        }
        (Some(name), None) => vec![name.to_owned()],
    };
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for text in &named {
        match of_text(text, offline, app) {
            Ok(candidates) => found.extend(candidates),
            Err(e) if stopped(&e).is_some() => return Err(e),
            Err(e) if named.len() > 1 => left_out.push((text.as_str().into(), format!("{e:#}").into())),
            Err(e) => return Err(e.context(format!("{} cannot be tried", shown(text)))),
        }
    }
    found.sort_by_key(cost);
    Ok((found, left_out))
}

/// Returns the candidates for a user's text: an architecture, or weights with a `config.json` that names one. A size may
/// follow, as in `NAME:128`.
fn of_text(text: &str, offline: bool, app: &App) -> Result<Vec<Candidate>> {
    let (source, px) = match text.rsplit_once(':') {
        Some((source, px)) if !px.is_empty() && px.bytes().all(|c| c.is_ascii_digit()) => {
            (source, Some(px.parse().with_context(|| format!("{px} is not a size"))?))
        }
        _ => (text, None),
    };
    if let Some(known) = architectures().iter().find(|known| known.name == source) {
        let Some(published) = &known.weights else { bail!("there are no published weights of a {source}") };
        return had(known, published.source, px, offline, app);
    }
    if !source.starts_with("hf:") && !files::exists(&path_of(source))? {
        architecture(source)?; // its error lists the known names
    }
    let files = resolve(&source.parse()?, &hub(offline)?, &app.progress, &app.stop)?;
    let config = files.config.context("it has no config.json, so its architecture is unknown")?;
    let name = PretrainedConfig::read(&config)?
        .architecture
        .context("its config.json does not name an architecture")?;
    at_sizes(architecture(name.raw())?, source, px, size_of(&files.model))
}

/// Returns the candidates of published weights, if the weights are available.
fn had(
    known: &'static Architecture,
    source: &str,
    px: Option<usize>,
    offline: bool,
    app: &App,
) -> Result<Vec<Candidate>> {
    let weights: WeightsSource = source.parse()?;
    let hub = hub(offline)?;
    if hub.offline.is_none() {
        crate::pretrained::tell_licence(&weights, known, app);
    }
    let files = resolve(&weights, &hub, &app.progress, &app.stop)?;
    at_sizes(known, source, px, size_of(&files.model))
}

/// Returns the backbones on disk and, if the network may be used, a few small ones from the hub.
fn of_themselves(offline: bool, app: &App) -> Result<(Vec<Candidate>, LeftOut)> {
    let (mut found, mut left_out) = (Vec::new(), LeftOut::new());
    for known in architectures() {
        let Some(published) = &known.weights else { continue };
        let may_fetch = !offline && FROM_THE_HUB.contains(&known.name);
        match had(known, published.source, None, !may_fetch, app) {
            Ok(candidates) => found.extend(candidates),
            Err(e) if stopped(&e).is_some() => return Err(e),
            Err(e) if FROM_THE_HUB.contains(&known.name) => {
                left_out.push((known.name.into(), format!("{e:#}").into()))
            }
            Err(_) => {} // it was never downloaded
        }
        if app.stop.raised().is_some() {
            break;
        }
    }
    if found.is_empty() && app.stop.raised().is_none() {
        let reason =
            left_out.first().map(|(_, reason): &(Foreign, Foreign)| reason.shown()).unwrap_or_default();
        bail!("no pretrained weights are available ({reason}): name some with --candidates or --weights");
    }
    found.sort_by_key(cost);
    Ok((found, left_out))
}

fn hub(offline: bool) -> Result<HubOptions> {
    let mut options = HubOptions::from_env()?;
    if offline {
        options.offline.get_or_insert("--offline was given");
    }
    Ok(options)
}

fn at_sizes(
    known: &'static Architecture,
    weights: &str,
    px: Option<usize>,
    n_bytes: u64,
) -> Result<Vec<Candidate>> {
    let whole = |px: usize| match known.sizes {
        InputSizes::Patches { patch_px, max_px } => (px / patch_px * patch_px).clamp(patch_px, max_px),
        InputSizes::Own | InputSizes::OwnOrSmaller | InputSizes::Any => px,
    };
    let sizes = match px {
        Some(px) => vec![px],
        None => SIZES_PX.map(whole).to_vec(),
    };
    let of_size =
        |input_px| Candidate { architecture: known.name, weights: weights.to_owned(), input_px, n_bytes };
    Ok(sizes.into_iter().map(of_size).collect())
}

/// Returns a rough measure of the time for a picture, by which candidates are sorted: each weight counts once per pixel.
fn cost(candidate: &Candidate) -> (u64, usize) {
    ((candidate.input_px as u64).pow(2).saturating_mul(candidate.n_bytes), candidate.input_px)
}

fn size_of(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}
