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
  trainer export runs/cnn-1 --format web
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
    /// The file, or for web the folder, to write [default: model.onnx or web, in the run folder or beside the model file]
    #[arg(long, value_name = "PATH")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// For ONNX Runtime, OpenVINO, browsers and phones
    Onnx,
    /// A folder with the ONNX file and a page that runs it in a browser
    Web,
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
Each picture is drawn as the model sees it, beside the same in grey under the colours of the map: red places speak most for the \
class, grey ones do not. The map has the size of the network's last map, so it is coarse. The report has such maps of the surest \
wrong answers.

Examples:
  trainer explain runs/photos-1 cat.jpg
  trainer explain runs/photos-1 cat.jpg --class dog
  trainer explain runs/photos-1 holiday/ --out maps/")]
pub(crate) struct ExplainArgs {
    /// A run folder, or a model file
    #[arg(value_name = "RUN|MODEL")]
    pub(crate) model: PathBuf,
    /// Pictures, folders of pictures, or - for a picture on standard input
    #[arg(required = true, value_name = "IMAGE|FOLDER|-")]
    pub(crate) images: Vec<PathBuf>,
    /// The class to explain [default: of each picture, the most probable]
    #[arg(long, value_name = "NAME")]
    pub(crate) class: Option<String>,
    /// The folder for the maps [default: explanations, in the run folder or beside the model file]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Multiply-adds are counted for one image, in convolutions, dense layers and attention.

Examples:
  trainer summary runs/cnn-1
  trainer summary --recipe cnn --set model.dense=256
  trainer summary --recipe speedrun --classes 100 --json")]
pub(crate) struct SummaryArgs {
    /// A run folder, or a model file
    #[arg(value_name = "RUN|MODEL", required_unless_present = "recipe", conflicts_with = "recipe")]
    pub(crate) model: Option<PathBuf>,
    /// The network of a built-in recipe, or of a file ending in .toml
    #[arg(long)]
    pub(crate) recipe: Option<PathBuf>,
    /// Set a value of the recipe, such as model.dense=256; may be given more than once
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "model")]
    pub(crate) set: Vec<String>,
    /// Classes of a recipe's network
    #[arg(long, value_name = "N", default_value_t = 10, conflicts_with = "model")]
    pub(crate) classes: usize,
}
