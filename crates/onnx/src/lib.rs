//! Writes trained networks as ONNX files, which compute probabilities from the bytes of images.
//!
//! The input is images of the model's size, as bytes (N, H, W, 3). The file does not resize. Its nodes are the normalisation, the
//! test-time views, the network, and softmax with the calibration temperature. [`to_bytes`] writes the file; [`Graph`] describes
//! the network. Reading ONNX files is left to others.
//!
//! Opset 17, IR version 9, weights as raw data, N free.
//!
//! # Source
//! <https://github.com/onnx/onnx/blob/main/docs/IR.md>, <https://onnx.ai/onnx/operators/>
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod builder;
mod ends;
mod operators;
mod proto;

use prost::Message as _;
use tallow_nn::Graph;

use self::builder::Builder;
use self::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// The version of ONNX's operators.
const OPSET: i64 = 17;

/// The version of ONNX's file format.
const IR_VERSION: i64 = 9;

/// The name of the input: bytes (N, H, W, 3), red, green, blue.
pub const INPUT: &str = "images";

/// The name of the output (N, classes) before softmax, not divided by the temperature.
pub const LOGITS: &str = "logits";

/// The name of the output (N, classes) after softmax.
pub const PROBABILITIES: &str = "probabilities";

/// How weights are stored. Everything is computed in f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightType {
    /// All weights in f32, unchanged.
    #[default]
    F32,
    /// Matrices and kernels of linear layers and convolutions are rounded to f16: half of the bytes. The rest stays f32.
    F16,
}

/// A view of an image for test-time augmentation: its pixel (row, column) is the image's pixel (`rows[row]`, `columns[column]`).
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// The image's row for each row of the view.
    pub rows: Vec<usize>,
    /// The image's column for each column of the view.
    pub columns: Vec<usize>,
    /// The weight of the view's logits in the sum over all views.
    pub weight: f32,
}

/// A network with its normalisation, views, calibration and metadata.
#[derive(Clone, Debug)]
pub struct Classifier<'a> {
    /// The network, from normalised images to logits.
    pub graph: &'a Graph,
    /// Mean of each channel, for pixel values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation of each channel, for pixel values in [0, 1].
    pub std: [f32; 3],
    /// The views for test-time augmentation; empty if the network gets only the image itself.
    pub views: &'a [View],
    /// Calibration temperature: the logits are divided by it before softmax.
    pub temperature: f64,
    /// How weights are stored.
    pub weights: WeightType,
    /// The file's description for people (`doc_string`), in one or a few sentences.
    pub description: &'a str,
    /// Keys and values of the file's metadata (`metadata_props`), such as the class names.
    pub metadata: &'a [(&'a str, String)],
}

/// Why a network cannot be written as ONNX.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file would exceed protobuf's limit.
    #[error("the ONNX file would have {bytes} bytes, more than the {limit} that its format allows")]
    TooLarge {
        /// Size of the file, in bytes.
        bytes: usize,
        /// Largest size of a protobuf message, in bytes.
        limit: usize,
    },
    /// The network's images do not have 3 channels.
    #[error("the images have {0} channels, expected 3")]
    Channels(usize),
    /// A weight is too large for f16.
    #[error("{name} has the weight {value}, which f16 cannot hold: export with f32 weights")]
    F16Range {
        /// The name of the parameter.
        name: String,
        /// The weight.
        value: f32,
    },
}

/// Protobuf's limit on the size of a message, in bytes.
const MAX_BYTES: usize = i32::MAX as usize;

/// Returns the bytes of the ONNX file of `classifier`.
///
/// # Errors
/// If the images do not have 3 channels, a weight does not fit into f16, or the file would exceed 2 GiB.
pub fn to_bytes(classifier: &Classifier<'_>) -> Result<Vec<u8>, OnnxError> {
    let graph = classifier.graph;
    let [channels, height, width] = graph.input;
    if channels != 3 {
        return Err(OnnxError::Channels(channels));
    }
    let mut builder = Builder::new(classifier.weights);
    let images = ends::normalised(&mut builder, classifier);
    let views = ends::views(&mut builder, &images, classifier.views);
    let logits = operators::write(&mut builder, graph, views)?;
    let n_classes = graph.shape(graph.output).iter().product();
    ends::answers(&mut builder, &logits, n_classes, classifier);

    let (nodes, initializers) = builder.finish();
    let model = ModelProto {
        ir_version: IR_VERSION,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        producer_name: "tallow".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: classifier.description.to_owned(),
        graph: Some(GraphProto {
            node: nodes,
            name: "classifier".to_owned(),
            initializer: initializers,
            input: vec![proto::tensor_info(INPUT, proto::UINT8, &[height, width, 3])],
            output: vec![
                proto::tensor_info(LOGITS, proto::FLOAT, &[n_classes]),
                proto::tensor_info(PROBABILITIES, proto::FLOAT, &[n_classes]),
            ],
        }),
        metadata_props: classifier
            .metadata
            .iter()
            .map(|(key, value)| StringStringEntryProto { key: (*key).to_owned(), value: value.clone() })
            .collect(),
    };
    match model.encoded_len() {
        bytes if bytes > MAX_BYTES => Err(OnnxError::TooLarge { bytes, limit: MAX_BYTES }),
        _ => Ok(model.encode_to_vec()),
    }
}
