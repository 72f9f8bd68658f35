//! Chooses a recipe for a user's own pictures if none is named: the head of a pretrained backbone if weights are available,
//! else a small network at a suitable size. Reports the choice, the reason and the input size.

use std::path::Path;

use anyhow::Result;
use tallow_core::shown::shown;
use tallow_core::{Foreign, Progress as _, files, path_of};
use tallow_dataset::MAX_PICTURE_BYTES;
use tallow_dataset::decode::probe;
use tallow_dataset::folder::{self, Listing, ListingOptions, SplitName};
use tallow_models::weights::PretrainedConfig;
use tallow_training::{Override, Recipe};

use crate::App;
use crate::args::SettingsArgs;
use crate::pretrained::{Pretrained, stopped};
use crate::recipe_input::load_recipe;
use crate::source::Spec;

/// Number of pictures whose sizes are read.
const N_PROBED: usize = 64;
/// Approximate number of steps after which a head has converged; a whole network needs more.
const HEAD_STEPS: usize = 1_500;
const NETWORK_STEPS: usize = 3_000;
/// Smallest and largest number of epochs, for many and for few pictures.
const EPOCHS: std::ops::RangeInclusive<usize> = 10..=120;
/// More than [`MANY`] pictures with a typical shorter side below this are enlarged less. That costs some points of accuracy
/// and saves minutes. (With 20 and 100 pictures per class of CIFAR-10, 75.1 and 80.7 % of 10,000 are right at 128 pixels, and
/// 77.9 and 84.3 % at 224.)
const SMALL_PX: u32 = 160;
const MANY: usize = 20_000;

/// Returns the recipe for the pictures of `spec`, with `overrides` applied last.
pub(crate) fn recipe(
    settings: &SettingsArgs,
    spec: &Spec,
    overrides: &[Override],
    app: &App,
) -> Result<Recipe> {
    let Spec::Path(path) = spec else { return Ok(load_recipe("photos", overrides)?) };
    // a wrong value is told before the pictures are listed
    if let (Err(_), Err(wrong)) = (load_recipe("photos", overrides), load_recipe("photos-cnn", overrides)) {
        return Err(wrong.into());
    }
    let set = |key: &str| {
        let last = overrides.iter().rfind(|one| one.key == key)?;
        last.value.as_str().map(str::to_owned)
    };
    let data_dir = path_of(&set("data.data_dir").unwrap_or_else(|| "data".into()));
    let options = ListingOptions {
        file_column: set("data.file_column"),
        label_column: set("data.label_column"),
        split_column: set("data.split_column"),
        ..ListingOptions::default()
    };
    let weights = set("model.weights");
    let listing = folder::list(path, &options, &data_dir, &app.progress, &app.stop)?;
    let (n, n_classes) = (listing.entries.len(), listing.class_names.len());
    let side_px = typical_side_px(&listing);
    let (name, mut chosen, why) = match backbone(weights.as_deref(), settings.offline, app)? {
        Ok(model) => {
            let px: i64 = if side_px < SMALL_PX && n > MANY { 128 } else { 224 };
            let mut chosen = vec![Override::new("model.input_px", vec![px; 2])];
            chosen.extend(model.map(|model| Override::new("model.name", model)));
            let whole = seen_whole(side_px as usize, px as usize);
            let seen = if whole.is_some() { "whole" } else { "as the weights were trained" };
            chosen.extend(whole);
            let weights = match &weights {
                Some(weights) => format!("with the pretrained weights {}", shown(weights)),
                None => "pretrained weights are available".to_owned(),
            };
            let why = format!(
                "{weights}: recipe photos, a head on a frozen backbone's features at \
                 {px} pixels, with each picture seen {seen} and computed once"
            );
            ("photos", chosen, why)
        }
        Err(reason) => {
            let px: i64 = if side_px < 48 { 32 } else { 64 };
            let why = format!(
                "no pretrained weights ({reason}): recipe photos-cnn, a small network that is trained from \
                 the start at {px} pixels. With pretrained weights (--weights DIR), a few pictures give a \
                 much better model"
            );
            ("photos-cnn", vec![Override::new("model.input_px", vec![px; 2])], why)
        }
    };
    let (batch_size, n_steps) = if name == "photos" { (64, HEAD_STEPS) } else { (32, NETWORK_STEPS) };
    let is_trained =
        |entry: &&folder::ListedPicture| entry.split.is_none_or(|split| split == SplitName::Train);
    let n_trained = listing.entries.iter().filter(is_trained).count();
    chosen.push(Override::new("epochs", epochs(n_steps, n_trained, batch_size) as i64));
    chosen.extend_from_slice(overrides);
    app.progress
        .say(&format!("{n} pictures of {n_classes} classes, typically {side_px} pixels high or wide; {why}"));
    Ok(load_recipe(name, &chosen)?)
}

/// Returns an override that shows pictures whole if their shorter side `side_px` is below `input_px`: as they are enlarged
/// anyway, nothing should be cut off.
pub(crate) fn seen_whole(side_px: usize, input_px: usize) -> Option<Override> {
    (side_px < input_px).then(|| Override::new("data.fit", "squash"))
}

/// Returns the number of passes over `n` pictures in which a head on cached features converges.
pub(crate) fn head_epochs(n: usize, batch_size: usize) -> usize {
    epochs(HEAD_STEPS, n, batch_size)
}

fn epochs(n_steps: usize, n: usize, batch_size: usize) -> usize {
    (n_steps / n.div_ceil(batch_size).max(1)).clamp(*EPOCHS.start(), *EPOCHS.end())
}

/// Checks whether a pretrained backbone is available. Returns the architecture's name if the weights state one, or the reason
/// why not. A stop is an error.
fn backbone(
    weights: Option<&str>,
    offline: bool,
    app: &App,
) -> Result<std::result::Result<Option<String>, String>> {
    let recipe = load_recipe("photos", &[])?;
    let mut model = recipe.model;
    if let Some(weights) = weights {
        // weights that the user names are used; an error is reported when they are loaded
        let config = path_of(weights).join("config.json");
        let config = config.is_file().then(|| PretrainedConfig::read(&config).ok()).flatten();
        let name = config.and_then(|config| config.architecture).map(Foreign::into_raw);
        return Ok(Ok(name.filter(|name| tallow_models::architecture(name).is_ok())));
    }
    if let Some(architecture) = tallow_models::architecture_of(&model).ok().and_then(|a| a.weights.as_ref()) {
        model.insert("weights".into(), architecture.source.into());
    }
    match Pretrained::find(&model, offline, app) {
        Ok(_) => Ok(Ok(None)),
        Err(e) if stopped(&e).is_some() => Err(e),
        Err(e) => Ok(Err(first_sentence(&format!("{e:#}")))),
    }
}

/// Returns the first sentence of an error. The sentences after it are remedies, and the caller gives another one.
fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split(". ").next().unwrap_or(line).to_owned()
}

/// Returns the median of the shorter sides of some pictures, spread over the list.
fn typical_side_px(listing: &Listing) -> u32 {
    let step = listing.entries.len().div_ceil(N_PROBED).max(1);
    let shorter = |path: &Path| {
        let probe = probe(&files::read_at_most(path, MAX_PICTURE_BYTES).ok()?).ok()?;
        Some((probe.height).min(probe.width) as u32)
    };
    let mut sides: Vec<u32> = listing.entries.iter().step_by(step).filter_map(|e| shorter(&e.path)).collect();
    sides.sort_unstable();
    sides.get(sides.len() / 2).copied().unwrap_or(0)
}
