//! Training: a recipe, a model and data come in; a run folder with a trained, evaluated model comes out.
//!
//! * [`Recipe`] and [`load_recipe`]: everything that decides a run; [`recipe_keys`] lists its keys;
//! * [`TrainData`]: the data set, split as the recipe says;
//! * [`Session`]: the run itself; it starts, or resumes from its last checkpoint with the same bits as an uninterrupted run;
//! * [`read_model`] and [`Predictor`]: the trained model and its predictions.
//!
//! The crate knows no architecture: the caller brings a [`tallow_nn::Model`], for example from `tallow-models`. The crate
//! prints nothing: it reports what happens as [`Event`]s.
//!
//! ```
//! use tallow_core::{Silent, StopFlag};
//! use tallow_dataset::load_sample;
//! use tallow_nn::{Flatten, Linear, Model, ParamStore, Sequential};
//! use tallow_training::{Outcome, Override, RunPlace, Session, TrainData, Watch, load_recipe};
//!
//! let recipe = load_recipe("cnn", &[Override::new("epochs", 1), Override::new("optimizer.lr", 1e-3)])?;
//! let mut params = ParamStore::new(recipe.seed, &tallow_nn::device("cpu")?);
//! let mut network = Sequential::new();
//! network.push(Flatten);
//! network.push(Linear::new(&mut params.root().sub("fc"), 32 * 32 * 3, 10, true)?);
//!
//! let data = TrainData::new(load_sample()?, &recipe)?;
//! let runs = tempfile::tempdir()?;
//! let place = RunPlace::Under(runs.path().to_owned());
//! let mut session = Session::start(recipe, Model::new(network, params), data, &place)?;
//! let outcome = session.run(&mut Watch {
//!     on_event: &mut |_| {},
//!     progress: &Silent,
//!     stop: &StopFlag::default(),
//! })?;
//! let Outcome::Finished(summary) = outcome else { panic!("nobody asked to stop") };
//! assert!(summary.test.unwrap().accuracy > 0.2); // ten classes: chance is 0.1
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod averaging;
mod beginning;
mod callbacks;
mod checkpoint;
mod checks;
mod class_weights;
mod company;
mod cross_validation;
mod data;
mod ending;
mod error;
mod evaluate;
mod event;
mod exchange;
mod explanation;
mod extension;
mod features;
mod feed;
mod finish;
mod fit;
mod keys;
mod last_word;
mod lr_finder;
mod memory;
mod model_file;
mod novelty;
mod pace;
mod path_text;
mod pictures;
mod predictor;
mod program;
mod recipe;
mod recipe_source;
mod recorder;
mod rotation;
mod run_folder;
mod schedule;
mod session;
mod shards;
mod state;
mod step;
mod step_points;
mod tensorboard;
mod views;
mod whitening;

pub use averaging::Averaging;
pub use callbacks::{
    EarlyStopping, EarlyStoppingState, EarlyStoppingVerdict, Monitor, ReduceLrOnPlateau,
    ReduceLrOnPlateauState,
};
pub use checkpoint::{Checkpoint, check_checkpoint};
pub use checks::settings as recipe_settings;
pub use class_weights::{Balanced, ClassWeights};
pub use data::{Part, TrainData};
pub use ending::EndStep;
pub use error::{Result, TrainingError};
pub use event::Event;
pub use exchange::GradientOrder;
pub use explanation::Explanation;
pub use extension::Extension;
pub use features::{AboutFeatures, FeatureCache, FeatureKey, Near, feature_caches};
pub use feed::{Content, Input, train_loader};
pub use finish::CONFIDENCE;
pub use keys::recipe_keys;
pub use memory::peak_rss_bytes;
pub use model_file::{ModelInfo, SavedModel, check_model, read_model};
pub use novelty::Novelty;
pub use predictor::{Answer, Predictor};
pub use program::Program;
pub use recipe::{Callbacks, DataConfig, LossConfig, PrecisionSetting, Recipe, ValidateOn};
pub use recipe_source::{Override, load_recipe, load_recipe_with, parse_recipe, recipe_names, recipe_text};
pub use run_folder::{RunFolder, RunPlace};
pub use schedule::{InvalidSetting, Schedule};
pub use session::{Outcome, Session, Watch};
pub use shards::SHARED_SHARDS;
pub use step::{Learner, StepFigures};
pub use step_points::StepPoint;
/// The items of `tallow-nn` that a binary needs to bring a model.
pub use tallow_nn::{CONV_VARIABLE, Device, Model, check_conv_method, detect_isa, device, device_name};
pub use views::{ViewMap, Views};
pub use whitening::Whitening;

/// Returns the name of the instruction set in use.
pub fn isa_name() -> &'static str {
    tallow_nn::isa().as_str()
}
