//! `trainer export`: writes a trained model as a file that other programs read.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tallow_core::shown::shown_path;
use tallow_core::{Foreign, files};
use tallow_dataset::{Fit, Interpolation, Preprocess};
use tallow_metrics::Summary;
use tallow_nn::{Device, Graph, Model};
use tallow_onnx::{Classifier, View, WeightType};
use tallow_run_files::{ONNX, SUMMARY, WEB, record};
use tallow_training::{ModelInfo, SavedModel};

use crate::App;
use crate::args::{ExportArgs, ExportFormat, ExportWeights};
use crate::model_at::name_of;
use crate::{export_web, model, output};

/// Largest accepted size of a `summary.json`, in bytes.
const MAX_SUMMARY_BYTES: u64 = 16 << 20;

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(serialize_with = "output::path")]
    file: &'a Path,
    bytes: usize,
    format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    onnx: Option<OnnxFacts<'a>>,
}

/// Facts that a program needs to run the ONNX file.
#[derive(Serialize)]
struct OnnxFacts<'a> {
    input: &'a str,
    input_shape: [usize; 3],
    outputs: [&'a str; 2],
    classes: &'a [Foreign],
    resizing: String,
}

pub(crate) fn run(args: &ExportArgs, app: &App) -> Result<ExitCode> {
    let saved = model::read(&args.model)?;
    if args.format == ExportFormat::Safetensors {
        return safetensors(&saved, args, app);
    }
    let network = Network::of(&saved, &args.model)?;
    let bytes = network.to_onnx(args)?;
    let is_web = args.format == ExportFormat::Web;
    let [name, format] = if is_web { [WEB, "web"] } else { [ONNX, "onnx"] };
    let out = args.out.clone().unwrap_or_else(|| beside(&args.model, name));
    match is_web {
        true => export_web::write(&out, &bytes, &network.about(&args.model)?)?,
        false => files::write(&out, &bytes)?,
    }
    record(files::folder_of(&out), &[&out])?;
    let facts = network.facts();
    if app.global.json {
        output::json(&Document { file: &out, bytes: bytes.len(), format, onnx: Some(facts) })?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&sized(&out, bytes.len()))?;
    if is_web {
        let readme = out.join("README.txt");
        output::line(&format!("The page needs onnxruntime-web beside it: see {}", shown_path(&readme)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let OnnxFacts { input, input_shape: [rows, columns, _], outputs: [logits, probabilities], .. } = facts;
    output::line(&format!(
        "input   {input}: bytes (N, {rows}, {columns}, 3), red green blue; {}\n\
         output  {logits}, {probabilities}: f32 (N, {})",
        facts.resizing,
        facts.classes.len()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a copy of the model file to `--out`.
fn safetensors(saved: &SavedModel, args: &ExportArgs, app: &App) -> Result<ExitCode> {
    if args.weights == ExportWeights::F16 {
        bail!("--weights f16 is for --format onnx and web: a safetensors file keeps the weights as they are")
    }
    let Some(out) = &args.out else {
        bail!("--format safetensors needs --out FILE: the model's own file has this format already")
    };
    let bytes = saved.to_bytes()?;
    files::write(out, &bytes)?;
    record(files::folder_of(out), &[out])?;
    match app.global.json {
        true => output::json(&Document { file: out, bytes: bytes.len(), format: "safetensors", onnx: None })?,
        false => output::line(&sized(out, bytes.len()))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn sized(out: &Path, n_bytes: usize) -> String {
    format!("{}  {:.1} MB", shown_path(out), n_bytes as f64 / 1e6)
}

/// Returns the path of `name` in the run folder, or beside the model file.
fn beside(model: &Path, name: &str) -> PathBuf {
    match model.is_dir() {
        true => model.join(name),
        false => model.with_file_name(name),
    }
}

/// A trained network, recorded as a graph.
struct Network<'a> {
    info: &'a ModelInfo,
    graph: Graph,
    preprocess: Preprocess,
    licence: Option<Foreign>,
}

impl<'a> Network<'a> {
    fn of(saved: &'a SavedModel, path: &Path) -> Result<Self> {
        let (model, preprocess) = built(saved, path)?;
        let graph = model.graph(preprocess.size_px).with_context(|| shown_path(path))?;
        let licence = if files::is_folder(path)? { licence_of(path)? } else { None };
        Ok(Self { info: &saved.info, graph, preprocess, licence })
    }

    fn to_onnx(&self, args: &ExportArgs) -> Result<Vec<u8>> {
        let info = self.info;
        let views: Vec<View> = info
            .evaluation
            .maps(self.preprocess.size_px)
            .into_iter()
            .map(|map| View { rows: map.rows, columns: map.columns, weight: map.weight })
            .collect();
        let weights = match args.weights {
            ExportWeights::F32 => WeightType::F32,
            ExportWeights::F16 => WeightType::F16,
        };
        let classifier = Classifier {
            graph: &self.graph,
            mean: info.mean,
            std: info.std,
            views: &views,
            temperature: info.temperature.unwrap_or(1.0),
            weights,
            description: &self.description(),
            metadata: &self.metadata()?,
        };
        Ok(tallow_onnx::to_bytes(&classifier)?)
    }

    fn facts(&self) -> OnnxFacts<'a> {
        let [rows, columns] = self.preprocess.size_px;
        OnnxFacts {
            input: tallow_onnx::INPUT,
            input_shape: [rows, columns, 3],
            outputs: [tallow_onnx::LOGITS, tallow_onnx::PROBABILITIES],
            classes: &self.info.class_names,
            resizing: resizing(&self.preprocess),
        }
    }

    /// Returns the description of the model for the page of a web export, as JSON.
    fn about(&self, path: &Path) -> Result<String> {
        let about = serde_json::json!({
            "name": name_of(path),
            "classes": self.info.class_names,
            "calibrated": self.info.temperature.is_some(),
            "preprocess": self.preprocess,
        });
        Ok(serde_json::to_string_pretty(&about)?)
    }

    fn description(&self) -> String {
        let (info, n_classes) = (self.info, self.info.class_names.len());
        let calibrated = match info.temperature {
            Some(_) => "Probabilities are calibrated on validation images.",
            None => "Probabilities are not calibrated.",
        };
        format!(
            "Classifies images into {n_classes} classes; trained on {} with the recipe {}. Images: {}. {calibrated}",
            info.dataset.shown(),
            info.recipe.shown(),
            resizing(&self.preprocess)
        )
    }

    /// Returns the keys and values of the ONNX file's metadata.
    fn metadata(&self) -> Result<Vec<(&'static str, String)>> {
        let info = self.info;
        let mut metadata = vec![
            ("class_names", serde_json::to_string(&info.class_names)?),
            ("preprocess", serde_json::to_string(&self.preprocess)?),
            ("resizing", resizing(&self.preprocess)),
            ("calibrated", info.temperature.is_some().to_string()),
            ("architecture", architecture(info).to_owned()),
            ("dataset", info.dataset.raw().to_owned()),
            ("recipe", info.recipe.raw().to_owned()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        if let Some(licence) = &self.licence {
            metadata.push(("license", licence.raw().to_owned()));
        }
        Ok(metadata)
    }
}

fn architecture(info: &ModelInfo) -> &str {
    info.model.get("name").and_then(toml::Value::as_str).unwrap_or_default()
}

/// Builds the network of a model file with its weights. Returns it, and how pictures are fitted to its input size.
pub(crate) fn built(saved: &SavedModel, path: &Path) -> Result<(Model, Preprocess)> {
    let model = model::built(saved, path, &Device::Cpu)?;
    let Some(preprocess) = saved.info.input(&model).preprocess else {
        bail!(
            "{}: the model takes images of any size, but an exported model needs a fixed size",
            shown_path(path)
        );
    };
    Ok((model, preprocess))
}

/// Returns the licence of the pretrained weights that the run at `path` started from, read from the run's `summary.json`. `None`
/// if the file does not exist or names no licence.
fn licence_of(path: &Path) -> Result<Option<Foreign>> {
    let path = path.join(SUMMARY);
    if !files::is_file(&path)? {
        return Ok(None);
    }
    let bytes = files::read_at_most(&path, MAX_SUMMARY_BYTES)?;
    let summary: Summary = serde_json::from_slice(&bytes).with_context(|| {
        format!("{}: it cannot be read; was it written by another version?", shown_path(&path))
    })?;
    Ok(summary.pretrained.and_then(|weights| weights.licence))
}

/// Describes in words how a picture is fitted to the model's input size.
fn resizing(preprocess: &Preprocess) -> String {
    let Preprocess { size_px: [rows, columns], fit, crop_fraction, interpolation } = preprocess;
    let how = match interpolation {
        Interpolation::Bilinear => "Pillow's BILINEAR",
        Interpolation::Bicubic => "Pillow's BICUBIC",
        Interpolation::Linear => "torch.nn.functional.interpolate, mode bilinear",
    };
    match fit {
        Fit::Squash => format!("resize the whole picture to {rows} x {columns} ({how})"),
        Fit::Crop => {
            let [high, wide] = preprocess.size_px.map(|px| (px as f64 / crop_fraction) as usize);
            let resize = match high == wide {
                true => format!("resize the shorter side to {high} pixels"),
                false => format!("resize until the picture just covers {high} x {wide}"),
            };
            format!(
                "{resize} without changing the proportions ({how}), then cut {rows} x {columns} out of the centre"
            )
        }
        Fit::Pad => format!(
            "resize the whole picture to fit into {rows} x {columns} without changing its proportions \
             ({how}), centred on white"
        ),
    }
}
