//! The recipe: everything that decides a run, in one TOML document. Numbers that belong here are not in code.
//!
//! `recipe_source` finds and loads recipes (built in, files, overrides).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tallow_core::Foreign;
use tallow_dataset::{Augment, Fit, Interpolation, Mix, Normalization, Preprocess};
use tallow_nn::{Device, OptimizerConfig, ParamGroup, Reduction, native_precision};

use crate::averaging::Averaging;
use crate::callbacks::{EarlyStopping, Monitor, ReduceLrOnPlateau};
use crate::class_weights::ClassWeights;
use crate::error::{Result, TrainingError};
use crate::extension::Extension;
use crate::schedule::Schedule;
use crate::views::Views;
use crate::whitening::Whitening;

/// Largest number of epochs. Its product with the steps of an epoch, which are fewer than 2^32, fits into 64 bits.
pub(crate) const MAX_EPOCHS: u64 = 1_000_000_000;

/// Largest number of shards of a batch.
const MAX_SHARDS: usize = 64;

/// All settings of a run. Unknown keys are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The recipe's name; the names of run folders contain it.
    pub name: Foreign,
    /// Passes over the training data.
    pub epochs: u64,
    /// Images per step.
    pub batch_size: usize,
    /// Number of parts that each batch is cut into, a power of two. A batch norm has statistics for each part, and gradients
    /// are added in the order of a tree over the parts. None or 1: batches are not cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// The seed of every random stream.
    #[serde(default)]
    pub seed: u64,
    /// `auto`, `cpu`, `cuda`, `cuda:N` or `metal`.
    #[serde(default = "auto")]
    pub device: String,
    /// The precision in which activations are stored and multiplied.
    #[serde(default)]
    pub precision: PrecisionSetting,
    /// Gradients with a larger global norm are scaled down to this norm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_grad_norm: Option<f64>,
    /// The run folder or model file whose weights the run starts from.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::path_text::optional")]
    pub init_from: Option<PathBuf>,
    /// The images.
    #[serde(default)]
    pub data: DataConfig,
    /// Augmentation of training images.
    #[serde(default)]
    pub augment: Augment,
    /// Mixing of the images of a batch.
    #[serde(default, skip_serializing_if = "Mix::is_none")]
    pub mix: Mix,
    /// The architecture, for `tallow-models`; this crate does not interpret it.
    pub model: toml::Table,
    /// Whitening filters for the first convolution, computed from the training images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whitening: Option<Whitening>,
    /// The loss.
    #[serde(default)]
    pub loss: LossConfig,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Separate learning rates and decays for some parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub param_groups: Vec<ParamGroup>,
    /// The learning rate over the run.
    pub schedule: Schedule,
    /// Epochs added after the run was started; a run that is extended writes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<Extension>,
    /// Averaging of the weights; validation and the finished model use the average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averaging: Option<Averaging>,
    /// The views of a picture that the finished model averages, in the test and in later use.
    #[serde(default, skip_serializing_if = "Views::is_plain")]
    pub evaluation: Views,
    /// What happens between epochs.
    #[serde(default)]
    pub callbacks: Callbacks,
}

fn auto() -> String {
    "auto".to_owned()
}

/// The precision in which activations are stored and multiplied. Accumulation, master weights, statistics and loss are always
/// f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionSetting {
    /// The best precision that the device computes natively.
    #[default]
    Auto,
    /// 32-bit floating point.
    F32,
    /// bf16 feature maps and products; emulated, and slow, if the processor has no bf16 multiplication.
    Bf16,
}

impl From<tallow_nn::Precision> for PrecisionSetting {
    fn from(precision: tallow_nn::Precision) -> Self {
        match precision {
            tallow_nn::Precision::F32 => Self::F32,
            tallow_nn::Precision::Bf16 => Self::Bf16,
        }
    }
}

impl PrecisionSetting {
    /// Returns the name used in recipes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Returns the precision that this setting means on `device`.
    pub fn resolve(self, device: &Device) -> tallow_nn::Precision {
        match self {
            Self::Auto => native_precision(device),
            Self::F32 => tallow_nn::Precision::F32,
            Self::Bf16 => tallow_nn::Precision::Bf16,
        }
    }
}

/// The `[data]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `auto`, `cifar10`, `cifar100`, `cifar100-coarse`, `sample`, or the path of a folder, a table of labels or an archive, as
    /// [`path_text`](tallow_core::path_text()).
    pub dataset: String,
    /// The folder of data sets.
    #[serde(with = "crate::path_text")]
    pub data_dir: PathBuf,
    /// The share of the training images that is kept for validation; 0: none.
    pub val_fraction: f64,
    /// The images that validation uses.
    pub validate_on: ValidateOn,
    /// Number of images to train on, balanced over the classes as far as possible. Left out: all images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_subset: Option<usize>,
    /// Cross-validation: number of folds, which are held out in turn and tested by a model trained on the others; 0: none.
    #[serde(skip_serializing_if = "is_0")]
    pub folds: usize,
    /// Hold out only this fold, counted from 1, as the test.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fold: Option<usize>,
    /// Drop a last batch that is not full.
    pub drop_last: bool,
    /// Progressive resizing: the sizes of the training images in the first epochs, as shares of the model's input size. All
    /// later epochs, validation and test have the full size. Only for models that resize their images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub size_factors: Vec<f64>,
    /// How pictures are fitted to the model's input size: squashed as a whole, cropped or padded. Left out: as the weights
    /// were trained, else squashed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
    /// Interpolation when pictures are resized. Left out: as the weights were trained, else bilinear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Interpolation>,
    /// With `fit = "crop"`: the share of the shorter side that is kept, in (0, 1]. Left out: as the weights were trained,
    /// else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crop_fraction: Option<f64>,
    /// The share of the pictures for the test, in (0, 1), if a data set of files has no test part.
    pub test_fraction: f64,
    /// Whether damaged files are skipped, up to 1 % of the files of a data set.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_bad: bool,
    /// The column with the file names in a table of labels. Left out: found by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_column: Option<String>,
    /// The column with the classes in a table of labels. Left out: found by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_column: Option<String>,
    /// The column with the split (training, validation or test) in a table of labels. Left out: found by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_column: Option<String>,
    /// Mean and standard deviation for normalising pixels. Left out: as the weights were trained, else the data set's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Normalization>,
}

pub(crate) fn is_0(n: &usize) -> bool {
    *n == 0
}

impl DataConfig {
    /// Returns the share of the pictures that is split off at random for the test: 0 in cross-validation, where the folds are
    /// the test.
    pub fn test_share(&self) -> f64 {
        if self.folds > 0 { 0.0 } else { self.test_fraction }
    }

    /// Returns how pictures are fitted to `size_px`, rows and columns. Missing settings get the defaults of an untrained
    /// network.
    pub fn preprocess(&self, size_px: [usize; 2]) -> Preprocess {
        Preprocess {
            size_px,
            fit: self.fit.unwrap_or_default(),
            crop_fraction: self.crop_fraction.unwrap_or(1.0),
            interpolation: self.interpolation.unwrap_or_default(),
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            dataset: auto(),
            data_dir: PathBuf::from("data"),
            val_fraction: 0.1,
            validate_on: ValidateOn::Split,
            train_subset: None,
            folds: 0,
            fold: None,
            drop_last: false,
            size_factors: Vec::new(),
            fit: None,
            interpolation: None,
            crop_fraction: None,
            test_fraction: 0.2,
            skip_bad: false,
            file_column: None,
            label_column: None,
            split_column: None,
            normalization: None,
        }
    }
}

/// The images that validation uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValidateOn {
    /// A part split from the training images.
    #[default]
    Split,
    /// The test images, as in the Keras baseline. Decisions are then based on them, so the test score is not honest.
    Test,
}

/// The `[loss]` table: softmax cross-entropy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossConfig {
    /// The share of each target that is spread over all classes, in [0, 1).
    pub label_smoothing: f64,
    /// A weight per class: a list in the order of the classes, a table by name, or `balanced`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
    /// Whether the gradient is that of the batch's mean or of its sum; losses are always reported as means.
    #[serde(skip_serializing_if = "is_mean")]
    pub reduction: Reduction,
}

fn is_mean(reduction: &Reduction) -> bool {
    *reduction == Reduction::Mean
}

/// The `[callbacks]` table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Callbacks {
    /// Ends the run when it no longer improves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Lowers the learning rate when the run no longer improves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduce_lr_on_plateau: Option<ReduceLrOnPlateau>,
}

impl Recipe {
    /// Checks every value that can be checked without data.
    ///
    /// # Errors
    /// The error has the key, the expected value and the actual one.
    pub fn validate(&self) -> Result<()> {
        let value = |key, problem: String| Err(TrainingError::Value { key, problem });
        if self.epochs == 0 {
            return value("epochs", "must be at least 1, it is 0".into());
        }
        if self.epochs > MAX_EPOCHS {
            return value("epochs", format!("must be at most {MAX_EPOCHS}, it is {}", self.epochs));
        }
        if self.batch_size == 0 {
            return value("batch_size", "must be at least 1, it is 0".into());
        }
        if self.shards.is_some_and(|shards| !shards.is_power_of_two() || shards > MAX_SHARDS) {
            let shards = self.shards.unwrap_or_default();
            return value("shards", format!("must be a power of two up to {MAX_SHARDS}, it is {shards}"));
        }
        let name = self.name.raw();
        if name.is_empty() || name.contains(['/', '\\', '\0']) || name.starts_with('.') {
            return value("name", format!("must be usable as a folder's name, it is {:?}", self.name));
        }
        let fraction = self.data.val_fraction;
        if !(0.0..1.0).contains(&fraction) {
            return value("data.val_fraction", format!("must lie in [0, 1), it is {fraction}"));
        }
        let fraction = self.data.test_fraction;
        if !(fraction > 0.0 && fraction < 1.0) {
            return value("data.test_fraction", format!("must lie between 0 and 1, it is {fraction}"));
        }
        if let Some(fraction) = self.data.crop_fraction.filter(|f| !(*f > 0.0 && *f <= 1.0)) {
            return value("data.crop_fraction", format!("must be above 0 and at most 1, it is {fraction}"));
        }
        if self.data.normalization.is_some_and(|n| n.std.iter().any(|s| !(*s > 0.0 && s.is_finite()))) {
            return value("data.normalization.std", "must be three numbers above 0".into());
        }
        if self.data.train_subset == Some(0) {
            return value("data.train_subset", "must be at least 1, it is 0".into());
        }
        self.validate_folds()?;
        if let Some(factor) = self.data.size_factors.iter().find(|f| !(**f > 0.0 && **f <= 1.0)) {
            return value("data.size_factors", format!("must be above 0 and at most 1, one is {factor}"));
        }
        if let Some(norm) = self.max_grad_norm.filter(|n| !(*n > 0.0 && n.is_finite())) {
            return value("max_grad_norm", format!("must be above 0, it is {norm}"));
        }
        let smoothing = self.loss.label_smoothing;
        if !(0.0..1.0).contains(&smoothing) {
            return value("loss.label_smoothing", format!("must lie in [0, 1), it is {smoothing}"));
        }
        if let Some(w) = self.loss.class_weights.as_ref().and_then(ClassWeights::out_of_range) {
            return value("loss.class_weights", format!("must be 0 or more and at most 3.4e38, one is {w}"));
        }
        self.whitening.map_or(Ok(()), Whitening::validate)?;
        self.evaluation.validate()?;
        self.optimizer.validate()?;
        self.schedule.validate()?;
        self.extensions.iter().try_for_each(Extension::validate)?;
        self.averaging.map_or(Ok(()), |averaging| averaging.validate())?;
        self.validate_callbacks()
    }

    fn validate_folds(&self) -> Result<()> {
        let DataConfig { folds, fold, validate_on, .. } = self.data;
        let value = |key, problem: String| Err(TrainingError::Value { key, problem });
        match fold {
            _ if folds == 1 => value("data.folds", "must be 0 or at least 2, it is 1".into()),
            Some(fold) if !(1..=folds).contains(&fold) => {
                value("data.fold", format!("must be from 1 to data.folds, which is {folds}; it is {fold}"))
            }
            _ if folds > 0 && validate_on == ValidateOn::Test => value(
                "data.folds",
                "cannot be combined with data.validate_on = \"test\", because the folds are held out in \
                 turn: leave out data.validate_on"
                    .into(),
            ),
            _ if folds > 0 && self.init_from.is_some() => value(
                "data.folds",
                "cannot be combined with init_from, because those weights may have seen the images of the \
                 folds"
                    .into(),
            ),
            _ => Ok(()),
        }
    }

    fn validate_callbacks(&self) -> Result<()> {
        let Callbacks { early_stopping, reduce_lr_on_plateau } = &self.callbacks;
        if let Some(callback) = early_stopping {
            callback.validate()?;
        }
        if let Some(callback) = reduce_lr_on_plateau {
            callback.validate()?;
            if !self.schedule.is_constant() {
                let problem = "needs schedule.kind = \"constant\" without warm-up, because both would set \
                               the learning rate: add --set schedule.kind=constant";
                return Err(TrainingError::Value {
                    key: "callbacks.reduce_lr_on_plateau",
                    problem: problem.into(),
                });
            }
        }
        match self.watched_validation() {
            Some((key, monitor)) if !self.has_validation() => {
                let problem = format!("is {monitor}, but there is no validation: data.val_fraction is 0");
                Err(TrainingError::Value { key, problem })
            }
            _ => Ok(()),
        }
    }

    /// Returns the key of a callback that watches a figure of validation, with that figure, if there is one.
    pub(crate) fn watched_validation(&self) -> Option<(&'static str, Monitor)> {
        let Callbacks { early_stopping, reduce_lr_on_plateau } = &self.callbacks;
        let stopping = early_stopping.as_ref().map(|callback| callback.monitor);
        let plateau = reduce_lr_on_plateau.as_ref().map(|callback| callback.monitor);
        let watched = [
            ("callbacks.early_stopping.monitor", stopping),
            ("callbacks.reduce_lr_on_plateau.monitor", plateau),
        ];
        let mut watched = watched.into_iter().filter_map(|(key, monitor)| Some((key, monitor?)));
        watched.find(|(_, monitor)| monitor.needs_validation())
    }

    /// Whether the recipe asks for validation. The data may have no image for it.
    pub fn has_validation(&self) -> bool {
        self.data.validate_on == ValidateOn::Test || self.data.val_fraction != 0.0
    }

    /// Returns the recipe as a TOML document that can be read back.
    ///
    /// # Errors
    /// If a value cannot be written as TOML: a seed above 2^63 - 1.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| TrainingError::Recipe { origin: self.name.raw().to_owned(), problem: e.to_string() })
    }
}
