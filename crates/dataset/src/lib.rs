//! Image sources, and the pipeline that turns images into batches.
//!
//! The sources are CIFAR-10 and CIFAR-100, in the binary and in the Python version ([`cifar`]), and a small sample of
//! CIFAR-10 that is embedded in the program (`load_sample`, feature `sample`, on by default). `fetch` (feature `fetch`)
//! downloads the official archives. `folder` (feature `files`) lists a user's own pictures. Every source gives an
//! [`ImageSet`]. The set is split ([`stratified_split`], [`stratified_folds`]), shuffled, augmented ([`Augment`]),
//! normalised, and returned as [`Batch`]es ([`train_batches`], [`eval_batches`]).
//!
//! [`Fitter`] resizes pictures of any size to a model's input size. [`Mix`] mixes the images of a batch.
//!
//! [`descriptors`] and [`Detail`] find images that are the same photograph.
//!
//! Every random choice of an epoch is a function of (seed, epoch, image or batch). It depends neither on threads nor on
//! the batch at which the epoch was resumed.
//!
//! ```
//! # #[cfg(feature = "sample")] {
//! use tallow_dataset::{Augment, Flip, Mix, TrainLoader, load_sample, stratified_split, train_batches};
//! let data = load_sample()?;
//! let split = stratified_split(data.train.labels(), data.train.class_names().len(), 0.1, 0, 42)?;
//! let loader = TrainLoader {
//!     batch_size: 64,
//!     drop_last: false,
//!     augment: Augment { flip: Flip::Random, crop_padding_px: 4, ..Augment::default() },
//!     mix: Mix::default(),
//!     normalization: data.normalization,
//!     preprocess: None,
//!     seed: 42,
//!     share: None,
//! };
//! let batches = train_batches(data.train.clone(), split.train.into(), &loader, 0, 0)?;
//! let n = batches.map(|batch| Ok(batch?.n)).sum::<Result<usize, tallow_dataset::Error>>()?;
//! assert_eq!(n, 1_800);
//! # }
//! # Ok::<(), tallow_dataset::Error>(())
//! ```
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod augment;
#[cfg(any(feature = "fetch", feature = "files"))]
mod capped;
pub mod cifar;
#[cfg(feature = "files")]
pub mod decode;
mod error;
#[cfg(feature = "fetch")]
pub mod fetch;
#[cfg(feature = "files")]
mod files;
mod fit;
#[cfg(feature = "files")]
pub mod folder;
mod folds;
mod image_set;
mod kept;
mod loader;
mod mix;
mod near_duplicates;
mod normalization;
#[cfg(feature = "files")]
mod photographs;
#[cfg(feature = "picture")]
mod picture;
mod pipeline;
mod resize;
#[cfg(feature = "sample")]
mod sample;
#[cfg(feature = "files")]
mod scan;
mod source;
mod split;
#[cfg(any(feature = "fetch", feature = "files"))]
mod staging;

pub use augment::{Augment, CropFill, Flip, Jitter, RandomResizedCrop, Transform, Warp};
pub use error::{BadPicture, Error};
#[cfg(feature = "files")]
pub use files::{Files, MAX_PICTURE_BYTES};
pub use fit::{Fit, Fitter, Interpolation, Preprocess};
pub use folds::stratified_folds;
pub use image_set::{Dataset, ImageSet};
pub use loader::{
    Batch, BatchIter, Readable, Share, TrainLoader, epoch_order, eval_batches, n_batches, readable_batch,
    readable_batches, train_batches,
};
pub use mix::{Blend, Mix, Mixed};
pub use near_duplicates::{
    Detail, MAX_DUPLICATE_DISTANCE, MIN_CANDIDATE_SIMILARITY, descriptor_len, descriptors,
};
pub use normalization::Normalization;
#[cfg(feature = "files")]
pub use photographs::{Photographs, PhotographsRequest, load_photographs};
#[cfg(feature = "picture")]
pub use picture::{as_seen, denormalized, images_to_show, to_png};
#[cfg(feature = "sample")]
pub use sample::load_sample;
pub use source::{Facts, Identity, ImageSource, Levels, Picture};
pub use split::{Split, stratified_split, stratified_subset};
/// Text from outside: the type of the names of classes and files.
pub use tallow_core::Foreign;
