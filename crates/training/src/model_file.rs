//! `model.safetensors`: weights and, under one metadata key, everything needed to use them.
//!
//! The file carries a digest of all its bytes, which `tallow-nn` writes and checks. No damage goes unnoticed: a file whose
//! description lost its digest has an unknown entry, or no description that can be read. Older files, and files that somebody
//! changed on purpose, have no digest and are accepted.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tallow_core::shown::shell_word;
use tallow_core::{Foreign, files};
use tallow_dataset::{Fit, Interpolation, Normalization, Preprocess};
use tallow_metrics::{Caveat, TEMPERATURES};
use tallow_nn::{Model, Tensors, decode, encode_with_digest, first_non_finite, has_digest};
use tallow_run_files::{CHECKPOINTS, MODEL};

use crate::checkpoint::{MAX_FILE_BYTES, encoding};
use crate::error::{Result, TrainingError};
use crate::feed::{Input, MAX_INPUT_PX};
use crate::novelty::Novelty;
use crate::recipe::{PrecisionSetting, ValidateOn, is_0};
use crate::run_folder::RunFolder;
use crate::views::Views;

/// Prefix of tensors that are not weights.
const NOVELTY: &str = "novelty.";

/// The version of [`ModelInfo`].
const VERSION: u32 = 1;

/// The description of the weights in a model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    version: u32,
    /// The architecture: the recipe's `[model]` table.
    pub model: toml::Table,
    /// The classes, in the order of the logits.
    pub class_names: Vec<Foreign>,
    /// The mean of the training pixels, per channel, in 0..1.
    pub mean: [f32; 3],
    /// The standard deviation of the training pixels, per channel.
    pub std: [f32; 3],
    /// How pictures are fitted to the model's size. `None` for a network that takes images at their own size, and in files
    /// that are older than this entry; their pictures were enlarged as [`Interpolation::Linear`] says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// The data set that the model was trained on.
    pub dataset: Foreign,
    /// The digest of that data set.
    pub data_digest: Foreign,
    /// The seed of the split into training and validation images.
    pub split_seed: u64,
    /// The share of the training images that was split off for validation.
    pub val_fraction: f64,
    /// The images that validation used.
    pub validate_on: ValidateOn,
    /// Number of images that the model was trained on, if not all.
    pub train_subset: Option<usize>,
    /// Number of folds of a run by folds, else 0. The data set of such a run keeps no pictures for a test, unless its owner
    /// did.
    #[serde(default, skip_serializing_if = "is_0")]
    pub folds: usize,
    /// The recipe's name.
    pub recipe: Foreign,
    /// The epoch that the weights are from.
    pub epoch: u64,
    /// The precision of training and of evaluation.
    pub precision: PrecisionSetting,
    /// The views of a picture over which logits are averaged.
    #[serde(default, skip_serializing_if = "Views::is_plain")]
    pub evaluation: Views,
    /// The temperature, in [`TEMPERATURES`], that logits are divided by to calibrate the probabilities. It is fitted on the
    /// validation images ([`tallow_metrics::calibration_temperature`]). `None` if there were too few of them, or in a file
    /// that is older than this entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Reasons to distrust the model's figures. Empty for a model whose test is honest, and in a file that is older than this
    /// entry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<Caveat>,
}

/// What [`ModelInfo`] takes from a run in addition to its recipe.
pub(crate) struct Provenance<'a> {
    pub(crate) dataset: &'a tallow_dataset::Dataset,
    pub(crate) input: Input,
    pub(crate) epoch: u64,
    pub(crate) temperature: Option<f64>,
    pub(crate) caveats: Vec<Caveat>,
}

impl ModelInfo {
    pub(crate) fn new(recipe: &crate::recipe::Recipe, from: Provenance<'_>) -> Self {
        Self {
            version: VERSION,
            model: recipe.model.clone(),
            class_names: from.dataset.train.class_names().to_vec(),
            mean: from.input.normalization.mean,
            std: from.input.normalization.std,
            preprocess: from.input.preprocess,
            dataset: from.dataset.name.clone(),
            data_digest: from.dataset.digest.clone().into(),
            split_seed: recipe.seed,
            val_fraction: recipe.data.val_fraction,
            validate_on: recipe.data.validate_on,
            train_subset: recipe.data.train_subset,
            folds: recipe.data.folds,
            recipe: recipe.name.clone(),
            epoch: from.epoch,
            precision: recipe.precision,
            evaluation: recipe.evaluation,
            temperature: from.temperature,
            caveats: from.caveats,
        }
    }

    /// Returns how pictures become the input of `model`.
    pub fn input(&self, model: &Model) -> Input {
        let older = |size_px| Preprocess {
            size_px,
            fit: Fit::Squash,
            crop_fraction: 1.0,
            interpolation: Interpolation::Linear,
        };
        let preprocess = self.preprocess.or_else(|| model.input_px.map(older));
        Input { preprocess, normalization: Normalization { mean: self.mean, std: self.std } }
    }
}

/// The content of a model file.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedModel {
    /// The description of the weights.
    pub info: ModelInfo,
    /// The weights.
    pub weights: Tensors,
    /// Detects pictures that are unlike the training pictures. `None` if the model was not trained on the features of a
    /// frozen backbone, or on too few pictures.
    pub novelty: Option<Novelty>,
}

impl SavedModel {
    /// Returns the bytes of the file.
    ///
    /// # Errors
    /// If the description cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let metadata = serde_json::to_string(&self.info).map_err(encoding)?;
        let novelty = self.novelty.iter().flat_map(Novelty::to_tensors);
        let mut tensors = self.weights.clone();
        tensors.extend(novelty.map(|(name, tensor)| (format!("{NOVELTY}{name}"), tensor)));
        Ok(encode_with_digest(&tensors, &metadata)?)
    }

    /// Reads the bytes of the file `path`, which messages name.
    ///
    /// # Errors
    /// If they are damaged, were not written by this program, or have NaN or infinite numbers in a tensor.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        from_bytes(bytes, path)
    }
}

/// Reads the model of a run folder, or a model file.
///
/// # Errors
/// If the file is missing, damaged or does not match its digest, was not written by this program, or has NaN or infinite numbers
/// in a tensor.
pub fn read_model(path: &Path) -> Result<SavedModel> {
    let path = model_path(path)?;
    from_bytes(&files::read_at_most(&path, MAX_FILE_BYTES)?, &path)
}

/// Reads a model as [`read_model`] does, only to check it. Returns whether the file carries a digest of its content.
///
/// # Errors
/// The same as [`read_model`].
pub fn check_model(path: &Path) -> Result<bool> {
    let path = model_path(path)?;
    let bytes = files::read_at_most(&path, MAX_FILE_BYTES)?;
    from_bytes(&bytes, &path)?;
    Ok(has_digest(&bytes))
}

/// Reads the content of the model file at `path`.
fn from_bytes(bytes: &[u8], path: &Path) -> Result<SavedModel> {
    let damaged = |problem: String| TrainingError::Damaged { path: path.to_owned(), problem };
    let (mut tensors, metadata) = decode(bytes).map_err(|e| damaged(e.to_string()))?;
    let Some(metadata) = metadata else {
        return Err(damaged(
            "it holds weights, but no description of the model: it was not written by this program".into(),
        ));
    };
    let mut info: ModelInfo = serde_json::from_str(&metadata).map_err(|e| {
        damaged(format!("its description cannot be read ({e}): it may be from another version"))
    })?;
    if info.version != VERSION {
        return Err(damaged(format!("its description has version {}, expected {VERSION}", info.version)));
    }
    if info.class_names.is_empty() {
        return Err(damaged("its description has no class names".into()));
    }
    if let Some(temperature) = info.temperature.filter(|t| !TEMPERATURES.contains(t)) {
        let (low, high) = (TEMPERATURES.start(), TEMPERATURES.end());
        return Err(damaged(format!(
            "its description has the temperature {temperature}, expected a number from {low} to {high}"
        )));
    }
    check_ranges(&info).map_err(damaged)?;
    if info.validate_on == ValidateOn::Test && !info.caveats.contains(&Caveat::ValidatedOnTest) {
        info.caveats.push(Caveat::ValidatedOnTest); // of a file without this caveat, written before there were caveats
    }
    if let Some(broken) = first_non_finite(&tensors) {
        return Err(damaged(format!(
            "it holds {broken}: such a model cannot classify anything. Train again with a lower learning \
             rate (--lr) or in f32 (--precision f32), or name another model file"
        )));
    }
    let novelty: Tensors = tensors
        .extract_if(.., |name, _| name.starts_with(NOVELTY))
        .map(|(name, tensor)| (name[NOVELTY.len()..].to_owned(), tensor))
        .collect();
    let novelty = match novelty.is_empty() {
        true => None,
        false => Some(Novelty::from_tensors(novelty).ok_or_else(|| {
            damaged(format!("its tensors {NOVELTY}… do not fit each other: use the file that the run wrote"))
        })?),
    };
    Ok(SavedModel { info, weights: tensors, novelty })
}

/// Refuses numbers that decide how large pictures and batches become, or that no picture can be normalised with. Whether the
/// weights are those of the network that the table describes is checked where that is built, before memory is requested for it.
fn check_ranges(info: &ModelInfo) -> std::result::Result<(), String> {
    if let Some(preprocess) = &info.preprocess {
        preprocess.validate().map_err(|e| format!("its description: {e}"))?;
        if preprocess.size_px.iter().any(|px| *px > MAX_INPUT_PX) {
            return Err(format!(
                "its description has pictures of {:?} pixels, expected at most {MAX_INPUT_PX} rows and columns: use the file \
                 that the run wrote",
                preprocess.size_px
            ));
        }
    }
    let of_std = |std: &f32| *std > 0.0 && std.is_finite();
    if !info.mean.iter().all(|mean| mean.is_finite()) || !info.std.iter().all(of_std) {
        return Err(format!(
            "its description has the mean {:?} and the standard deviation {:?}, expected finite numbers, and \
             deviations above 0: use the file that the run wrote",
            info.mean, info.std
        ));
    }
    info.evaluation.validate().map_err(|e| format!("its description: {e}"))
}

/// Returns the model file for `path`, a run folder or a model file.
fn model_path(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let file = path.join(MODEL);
    if file.is_file() {
        return Ok(file);
    }
    let is_of_fold = RunFolder::recipe_of(path).is_ok_and(|recipe| recipe.data.fold.is_some());
    let problem = match path.join(CHECKPOINTS).is_dir() {
        _ if is_of_fold => format!("it has no {MODEL}: the run of a fold keeps no model"),
        true => format!("it has no {MODEL} yet: finish the run with --resume {}", shell_word(path)),
        false => format!("it has no {MODEL}"),
    };
    Err(TrainingError::NotARun { path: path.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use tallow_nn::HostTensor;

    use super::*;

    fn sample() -> SavedModel {
        let info = ModelInfo {
            version: VERSION,
            model: toml::Table::from_iter([("name".to_owned(), "cnn".into())]),
            class_names: vec!["cat".into(), "dog".into()],
            mean: [0.5; 3],
            std: [0.25; 3],
            preprocess: None,
            dataset: "pets".into(),
            data_digest: "d1".into(),
            split_seed: 7,
            val_fraction: 0.1,
            validate_on: ValidateOn::Split,
            train_subset: None,
            folds: 0,
            recipe: "cnn".into(),
            epoch: 3,
            precision: PrecisionSetting::F32,
            evaluation: Views::default(),
            temperature: Some(1.5),
            caveats: Vec::new(),
        };
        let tensor = HostTensor { shape: vec![2, 1], data: vec![0.5, -1.25] };
        SavedModel { info, weights: Tensors::from([("fc.weight".to_owned(), tensor)]), novelty: None }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (whole, path) = (sample().to_bytes().unwrap(), Path::new("model.safetensors"));
        assert!(from_bytes(&whole, path).unwrap() == sample() && has_digest(&whole));
        assert_eq!(from_bytes(&whole, path).unwrap().to_bytes().unwrap(), whole, "a copy has the same bytes");
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(from_bytes(&bytes, path).is_err(), "byte {at}, bit {bit}");
            }
            assert!(from_bytes(&whole[..at], path).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_file_of_an_older_program_has_no_digest_and_is_read() {
        let metadata = serde_json::to_string(&sample().info).unwrap();
        let bytes = tallow_nn::encode(&sample().weights, &metadata).unwrap();
        assert!(from_bytes(&bytes, Path::new("old")).unwrap() == sample() && !has_digest(&bytes));
    }
}
