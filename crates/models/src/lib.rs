//! Architectures by name: [`build`] makes a network and its parameters from a recipe's `[model]` table. An [`Architecture`]
//! holds what all of its networks have in common. [`with_model_keys`] lists the keys of the table.
//!
//! [`weights`] gets pretrained weights from files or from the hub. Layers and devices are left to `tallow-nn`, and training to
//! `tallow-training`.
//!
//! ```
//! let table = toml::from_str(
//!     r#"name = "cnn"
//!        input_px = [32, 32]
//!        widths = [8, 8, 16, 16]
//!        dropout = [0.0, 0.1]
//!        dense = 32"#,
//! )?;
//! let model = tallow_models::build(&table, 10, 0, &tallow_nn::device("cpu")?)?;
//! assert!(model.params.get("features.0.weight").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod architecture;
mod backbone;
mod cnn;
mod conv_norm;
mod convnext;
mod efficientnet_lite;
mod error;
mod head;
mod hgnetv2;
mod keys;
mod mobilenetv4;
mod registry;
mod resnet;
mod speedrun;
mod timm;
mod vit;
pub mod weights;

pub use architecture::{Architecture, InputSizes, PublishedWeights};
pub use backbone::{BatchNormMode, Unfreeze};
pub use cnn::CnnConfig;
pub use error::ModelError;
pub use head::HeadConfig;
pub use keys::with_model_keys;
pub use registry::{architecture, architecture_of, architectures, build, build_with};
pub use resnet::{ResnetConfig, Stage};
pub use speedrun::SpeedrunConfig;
pub use timm::{Map, TimmConfig};
pub use vit::VitConfig;
