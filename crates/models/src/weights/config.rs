//! Reads `config.json` beside weights, as timm and Hugging Face's transformers write it.

use std::borrow::Cow;
use std::path::Path;

use serde_json::Value;
use tallow_core::{Foreign, files};

use super::error::WeightsError;
use super::input::PretrainedInput;

/// Largest `config.json` that is read, in bytes.
pub(super) const MAX_CONFIG_BYTES: u64 = 1 << 20;
/// Largest number of rows or columns that a configuration may state.
const MAX_INPUT_PX: usize = 4096;

/// The content of `config.json`: the network, and the images that it expects. Values that the file does not state are `None`.
/// Keys that are not listed here are ignored.
///
/// timm writes the keys of the input in a table `pretrained_cfg`. Its older files have all keys at the top level.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PretrainedConfig {
    /// `architecture`, or `model_type` if that is absent; for example `resnet50`.
    pub architecture: Option<Foreign>,
    /// `license` of `pretrained_cfg`, or of the top level if that is absent: an SPDX identifier in lower case, as on hubs.
    pub licence: Option<Foreign>,
    /// `num_classes`: the classifier's width.
    pub n_classes: Option<usize>,
    /// `downsample_in_bottleneck`: whether a bottleneck that halves the map has the stride in its first 1x1 convolution (the
    /// original ResNet) and not in its 3x3 convolution (torchvision). `false` if the file does not state it.
    pub downsample_in_bottleneck: bool,
    /// `input_size` (channels, rows, columns; channels must be 3), `crop_pct`, `interpolation`, `mean` and `std`.
    pub input: PretrainedInput,
}

impl PretrainedConfig {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read, or a value is not of the expected form. The message names the file and the field.
    pub fn read(path: &Path) -> Result<Self, WeightsError> {
        Self::from_bytes(&files::read_at_most(path, MAX_CONFIG_BYTES)?, path)
    }

    /// Reads the bytes of the file `path`, which messages name.
    ///
    /// # Errors
    /// If a value is not of the expected form. The message names the file and the field.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, WeightsError> {
        let refuse = |(field, problem)| WeightsError::Config { path: path.to_owned(), field, problem };
        Self::parse(bytes).map_err(refuse)
    }

    fn parse(bytes: &[u8]) -> Result<Self, (String, String)> {
        let problem = |problem: String| ("the whole file".to_owned(), problem);
        let root: Value =
            serde_json::from_slice(bytes).map_err(|e| problem(format!("not valid JSON ({e})")))?;
        if !root.is_object() {
            return Err(problem(format!("expected an object, found {root}")));
        }
        let top = Table { name: "", value: &root };
        let stated = match root.get("pretrained_cfg") {
            Some(value) => Table { name: "pretrained_cfg.", value },
            None => Table { name: "", value: &root },
        };
        let rgb = "three numbers, for red, green and blue";
        let is_size = |px: &usize| (1..=MAX_INPUT_PX).contains(px);
        Ok(Self {
            architecture: match top.get("architecture", "a text", foreign)? {
                None => top.get("model_type", "a text", foreign)?,
                architecture => architecture,
            },
            licence: match stated.get("license", "a text", foreign)? {
                None => top.get("license", "a text", foreign)?,
                licence => licence,
            },
            n_classes: top.get("num_classes", "a number of classes", size)?,
            downsample_in_bottleneck: top
                .get("downsample_in_bottleneck", "true or false", Value::as_bool)?
                .unwrap_or(false),
            input: PretrainedInput {
                input_px: stated.get(
                    "input_size",
                    "[3, rows, columns], at most 4096",
                    |value| match triple(value, size)? {
                        [3, h, w] if [h, w].iter().all(is_size) => Some([h, w]),
                        _ => None,
                    },
                )?,
                crop_fraction: stated.get("crop_pct", "a number above 0, at most 1", |value| {
                    number(value).filter(|fraction| *fraction > 0.0 && *fraction <= 1.0)
                })?,
                interpolation: stated.get("interpolation", "a text", text)?.map(Cow::Owned),
                mean: stated.get("mean", rgb, |value| triple(value, number))?,
                std: stated.get("std", "three numbers above 0", |value| {
                    triple(value, number).filter(|std| std.iter().all(|s| *s > 0.0))
                })?,
            },
        })
    }
}

/// A JSON object, and the prefix of its fields' names in messages.
struct Table<'a> {
    name: &'static str,
    value: &'a Value,
}

impl Table<'_> {
    /// Converts the field `key` by `read`. Returns `None` if the field is absent or null.
    fn get<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, (String, String)> {
        match self.value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(read) => Ok(Some(read)),
                None => {
                    let problem = format!("expected {expected}, found {value}");
                    Err((format!("{}{key}", self.name), problem))
                }
            },
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn foreign(value: &Value) -> Option<Foreign> {
    value.as_str().map(Foreign::from)
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}

fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32).filter(|number| number.is_finite())
}

fn triple<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<[T; 3]> {
    let elements: Option<Vec<T>> = value.as_array()?.iter().map(read).collect();
    elements?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of timm, shortened.
    const TIMM: &str = r#"{
        "architecture": "resnet18", "num_classes": 1000, "num_features": 512,
        "pretrained_cfg": {
            "tag": "a1_in1k", "custom_load": false, "input_size": [3, 224, 192], "test_input_size": [3, 288, 288],
            "interpolation": "bicubic", "crop_pct": 0.95, "crop_mode": "center", "pool_size": [7, 7],
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
            "first_conv": "conv1", "classifier": "fc", "url": null, "license": "apache-2.0"
        }
    }"#;

    fn parse(text: &str) -> PretrainedConfig {
        PretrainedConfig::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn timms_layout() {
        let expected = PretrainedConfig {
            architecture: Some("resnet18".into()),
            licence: Some("apache-2.0".into()),
            n_classes: Some(1000),
            downsample_in_bottleneck: false,
            input: PretrainedInput { input_px: Some([224, 192]), ..PretrainedInput::imagenet(224, 0.95) },
        };
        assert_eq!(parse(TIMM), expected);
    }

    #[test]
    fn older_and_other_layouts() {
        let old = parse(
            r#"{"architecture": "resnet34", "input_size": [3, 8, 9], "mean": [0, 0, 0], "std": [1, 1, 1]}"#,
        );
        assert_eq!(
            (old.input.input_px, old.input.mean, old.input.std),
            (Some([8, 9]), Some([0.0; 3]), Some([1.0; 3]))
        );
        let other =
            parse(r#"{"model_type": "resnet", "downsample_in_bottleneck": true, "num_classes": null}"#);
        assert_eq!((other.architecture, other.n_classes), (Some("resnet".into()), None));
        assert!(other.downsample_in_bottleneck);
        assert_eq!(parse("{}"), PretrainedConfig::default());
    }

    #[test]
    fn a_message_names_file_field_and_expectation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        for (text, parts) in [
            ("<html>", ["the whole file", "not valid JSON"]),
            ("[]", ["the whole file", "expected an object"]),
            (r#"{"num_classes": -1}"#, ["num_classes", "found -1"]),
            (r#"{"downsample_in_bottleneck": "yes"}"#, ["downsample_in_bottleneck", "true or false"]),
            (r#"{"pretrained_cfg": {"std": [1, 0, 1]}}"#, ["pretrained_cfg.std", "above 0"]),
            (r#"{"pretrained_cfg": {"mean": [1, 1]}}"#, ["pretrained_cfg.mean", "three numbers"]),
            (r#"{"pretrained_cfg": {"mean": [1, 1, 1e99]}}"#, ["pretrained_cfg.mean", "three numbers"]),
            (r#"{"pretrained_cfg": {"input_size": [1, 28, 28]}}"#, ["pretrained_cfg.input_size", "[3, rows"]),
            (r#"{"pretrained_cfg": {"input_size": [3, 0, 9999]}}"#, ["pretrained_cfg.input_size", "4096"]),
            (r#"{"crop_pct": 1.5}"#, ["crop_pct", "at most 1"]),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = PretrainedConfig::read(&path).unwrap_err().to_string();
            assert!(message.contains("config.json: "), "{message}");
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
