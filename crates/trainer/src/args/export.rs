//! What can be typed to take a model elsewhere, or to look at its layers.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(after_help = "\
The ONNX file takes images as bytes (N, rows, columns, 3) of the model's size and returns logits and probabilities (N, classes). \
It includes normalisation, test-time views and the calibrated softmax. Its metadata describes how pictures are resized to \
this size, and names the classes.

Examples:
  trainer export runs/cnn-1 --format onnx
  trainer export runs/cnn-1 --format onnx --weights f16 --out small.onnx
  trainer export runs/cnn-1 --format safetensors --out model.safetensors")]
pub(crate) struct ExportArgs {
    /// A run folder, or a model file
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) model: PathBuf,
    /// The format of the file
    #[arg(long, default_value = "onnx")]
    pub(crate) format: ExportFormat,
    /// How the file stores weights; everything is computed in f32
    #[arg(long, default_value = "f32")]
    pub(crate) weights: ExportWeights,
    /// The file to write [default: beside the model, with the format's ending]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// For ONNX Runtime, OpenVINO, browsers and phones
    Onnx,
    /// The weights with Tallow's description of them, as in the run folder
    Safetensors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportWeights {
    /// As they are
    F32,
    /// Half of the bytes: kernels and matrices rounded to f16
    F16,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Multiply-adds are counted for one image, in convolutions, dense layers and attention.

Examples:
  trainer summary runs/cnn-1
  trainer summary --recipe cnn
  trainer summary --recipe speedrun --classes 100 --json")]
pub(crate) struct SummaryArgs {
    /// A run folder, or a model file
    #[arg(value_name = "RUN|MODEL", required_unless_present = "recipe", conflicts_with = "recipe")]
    pub(crate) model: Option<PathBuf>,
    /// The network of a built-in recipe, or of a file ending in .toml
    #[arg(long)]
    pub(crate) recipe: Option<String>,
    /// Classes of a recipe's network
    #[arg(long, value_name = "N", default_value_t = 10, requires = "recipe")]
    pub(crate) classes: usize,
}
