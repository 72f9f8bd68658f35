//! Writes every architecture as an ONNX file. If TALLOW_ONNX_OUT names a folder, the test leaves the files, images and the
//! kernels' logits there. Other programs run the files and compare the logits: `tests/tract` and `python/check_onnx.py`.

use std::path::PathBuf;

use tallow_core::{Purpose, Stream};
use tallow_models::{architectures, build};
use tallow_nn::{Backend, Ctx, Device, Dims, Model, ParamStore};
use tallow_onnx::{Classifier, View, WeightType};

const N_CLASSES: usize = 5;
const N: usize = 2;

/// Sets random weights of the size of trained ones: deviation sqrt(2 / inputs) for matrices and kernels, factors of norms near 1,
/// variances above 0.
fn randomise(params: &ParamStore) {
    let mut tensors = params.to_tensors().unwrap();
    for (index, (name, tensor)) in tensors.iter_mut().enumerate() {
        let mut stream = Stream::new(7, Purpose::Test, 0, index as u64);
        let mut unit = || stream.next_u32() as f32 / u32::MAX as f32 - 0.5;
        let n_inputs: usize = tensor.shape.iter().skip(1).product();
        let is_norm = tensor.shape.len() == 1 && !name.ends_with("bias") && !name.ends_with("running_mean");
        let scale = (6.0 / n_inputs as f32).sqrt();
        tensor.data.iter_mut().for_each(|value| {
            *value = match tensor.shape.len() {
                _ if is_norm => 1.0 + 0.5 * unit(),
                1 => 0.2 * unit(),
                _ => scale * unit(),
            }
        });
    }
    params.load_tensors(&tensors).unwrap();
}

fn pixels([h, w]: [usize; 2]) -> Vec<u8> {
    let mut stream = Stream::new(1, Purpose::Test, 0, 0);
    (0..N * h * w * 3).map(|_| stream.next_u32() as u8).collect()
}

const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Computes the logits of the view `view` of the images with the kernels, in f32.
fn logits(model: &Model, bytes: &[u8], [h, w]: [usize; 2], view: &View) -> Vec<f32> {
    let mut x = Vec::with_capacity(bytes.len());
    for image in bytes.chunks(h * w * 3) {
        for &row in &view.rows {
            for &column in &view.columns {
                for channel in 0..3 {
                    let byte = image[(row * w + column) * 3 + channel];
                    x.push((f32::from(byte) / 255.0 - MEAN[channel]) / STD[channel]);
                }
            }
        }
    }
    let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
    let x = ctx.input(x, Dims { n: N, c: 3, h, w }).unwrap();
    model.forward(x, &mut ctx).unwrap().to_vec().unwrap()
}

fn classifier<'a>(graph: &'a tallow_nn::Graph, views: &'a [View], weights: WeightType) -> Classifier<'a> {
    Classifier {
        graph,
        mean: MEAN,
        std: STD,
        views,
        temperature: 2.0,
        weights,
        description: "a test",
        metadata: &[],
    }
}

fn plain([h, w]: [usize; 2]) -> View {
    View { rows: (0..h).collect(), columns: (0..w).collect(), weight: 1.0 }
}

/// The smallest architecture of each family. The others of a family have the same layers.
const SMALLEST: [&str; 8] = [
    "cnn",
    "convnext_atto",
    "hgnetv2_b0",
    "mobilenetv4_conv_small",
    "resnet18",
    "resnet50",
    "speedrun",
    "tf_efficientnet_lite0",
];

/// Writes the reference network of each architecture with a small input size, which is not square if the architecture allows
/// this. Without TALLOW_ONNX_OUT, only the vision transformers and the smallest architecture of each other family are written.
#[test]
fn every_architecture_can_be_written() {
    let leaves_all = std::env::var_os("TALLOW_ONNX_OUT").is_some();
    for architecture in architectures() {
        let name = architecture.name;
        if !leaves_all && !SMALLEST.contains(&name) && !name.starts_with("vit") {
            continue;
        }
        let size = match name {
            "cnn" | "speedrun" => [32, 32],
            _ if name.contains("patch14") => [56, 56],
            _ if name.starts_with("vit") => [64, 64],
            _ => [64, 96],
        };
        let mut table = architecture.reference_table();
        table.insert("input_px".into(), size.map(|px| toml::Value::Integer(px as i64)).to_vec().into());
        let model = build(&table, N_CLASSES, 0, &Device::Cpu).unwrap();
        let graph = model.graph(size).unwrap();
        assert_eq!(graph.shape(graph.output), [N_CLASSES], "{name}");
        let n_parameters: usize = graph.nodes.iter().map(|node| node.op.n_parameters()).sum();
        if !name.starts_with("vit") {
            assert_eq!(n_parameters, model.params.n_parameters(), "{name}"); // positions are resampled, and hold the class token
        }
        let file = tallow_onnx::to_bytes(&classifier(&graph, &[], WeightType::F32)).unwrap();
        assert!(file.len() > 4 * n_parameters && file.len() < 5 * n_parameters, "{name}: {}", file.len());
        leave(name, &model, size, &[]);
    }
    let views = [plain([32, 32]), View { columns: (0..32).rev().collect(), ..plain([32, 32]) }];
    let views = [View { weight: 0.75, ..views[0].clone() }, View { weight: 0.25, ..views[1].clone() }];
    let model = build(&architectures()[0].reference_table(), N_CLASSES, 0, &Device::Cpu).unwrap();
    leave("views", &model, [32, 32], &views);
}

/// Leaves the ONNX file, the images, and the mean of the views' logits, computed with the kernels. Does nothing without
/// TALLOW_ONNX_OUT.
fn leave(name: &str, model: &Model, size: [usize; 2], views: &[View]) {
    let Some(folder) = std::env::var_os("TALLOW_ONNX_OUT").map(PathBuf::from) else { return };
    randomise(&model.params);
    let graph = model.graph(size).unwrap();
    let file = tallow_onnx::to_bytes(&classifier(&graph, views, WeightType::F32)).unwrap();
    let (bytes, [h, w]) = (pixels(size), size);
    let looks = if views.is_empty() { vec![plain(size)] } else { views.to_vec() };
    let mut mean = vec![0.0; N * N_CLASSES];
    for view in &looks {
        let seen = logits(model, &bytes, size, view);
        mean.iter_mut().zip(seen).for_each(|(mean, seen)| *mean += view.weight * seen);
    }
    assert!(mean.iter().all(|logit| logit.is_finite()), "{name}: {mean:?}");
    let mean: Vec<u8> = mean.iter().flat_map(|logit| logit.to_le_bytes()).collect();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.onnx")), file).unwrap();
    std::fs::write(folder.join(format!("{name}.{N}x{h}x{w}x3.u8")), bytes).unwrap();
    std::fs::write(folder.join(format!("{name}.logits.f32")), mean).unwrap();
}

#[test]
fn halves_take_half_of_the_bytes() {
    let model = build(&architectures()[0].reference_table(), N_CLASSES, 0, &Device::Cpu).unwrap();
    let graph = model.graph([32, 32]).unwrap();
    let bytes = |weights| tallow_onnx::to_bytes(&classifier(&graph, &[], weights)).unwrap().len();
    let [halves, whole] = [WeightType::F16, WeightType::F32].map(bytes);
    assert!(halves < whole * 52 / 100, "{halves} of {whole}");
}

/// ResNet-50 at 224 x 224 has 4.09 billion multiply-adds, as torchvision's documentation states.
#[test]
fn multiply_adds_are_those_of_the_literature() {
    let mut table = architectures().iter().find(|a| a.name == "resnet50").unwrap().reference_table();
    table.insert("input_px".into(), vec![toml::Value::Integer(224); 2].into());
    let model = build(&table, 1000, 0, &Device::Cpu).unwrap();
    let graph = model.graph([224, 224]).unwrap();
    let total: usize = (0..graph.nodes.len()).map(|index| graph.multiply_adds(index)).sum();
    assert_eq!(total, 4_089_184_256);
}

#[test]
fn a_weight_that_f16_cannot_hold_is_named() {
    let model = build(&architectures()[0].reference_table(), N_CLASSES, 0, &Device::Cpu).unwrap();
    let mut tensors = model.params.to_tensors().unwrap();
    tensors.get_mut("features.0.weight").unwrap().data[3] = 1e6;
    model.params.load_tensors(&tensors).unwrap();
    let graph = model.graph([32, 32]).unwrap();
    let error = tallow_onnx::to_bytes(&classifier(&graph, &[], WeightType::F16)).unwrap_err().to_string();
    assert!(
        error.contains("features.0.weight") && error.contains("1000000") && error.contains("f32"),
        "{error}"
    );
}
