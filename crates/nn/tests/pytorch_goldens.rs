//! Compares layers and a small network with PyTorch, on both paths. `fixtures/gen_pytorch.py` writes the fixtures, with the
//! versions of its libraries. The settings of the cases are the same there and here.

mod common;

use common::{KEY, assert_close, conv};
use tallow_nn::{
    AvgPool2d, Backend, BatchNorm2d, BatchNormConfig, Conv2d, Ctx, Device, Dims, Dropout, Flatten, Gelu,
    GlobalAvgPool, HostTensor, Layer, Linear, MaxPool2d, ParamStore, Relu, Residual, Result, Scope,
    Sequential, Tensors, decode,
};

/// Tolerance, relative in norm: f32 sums are in different orders.
const TOLERANCE: f64 = 1e-5;

type Build = fn(&mut Scope<'_>) -> Result<Box<dyn Layer>>;

const LAYERS: [(&str, Build); 20] = [
    ("conv 3x3", |s| Ok(Box::new(Conv2d::new(s, 3, 4, conv(3, 3, 1, 1, true))?))),
    ("conv 3x3, stride 2", |s| Ok(Box::new(Conv2d::new(s, 3, 4, conv(3, 3, 2, 1, false))?))),
    ("conv 2x3", |s| Ok(Box::new(Conv2d::new(s, 3, 4, conv(2, 3, 1, 0, true))?))),
    ("conv 1x1, stride 2", |s| Ok(Box::new(Conv2d::new(s, 3, 4, conv(1, 1, 2, 0, false))?))),
    ("relu", |_| Ok(Box::new(Relu))),
    ("relu, special values", |_| Ok(Box::new(Relu))),
    ("gelu", |_| Ok(Box::new(Gelu))),
    ("max pool 2/2", |_| Ok(Box::new(MaxPool2d { k: 2, stride: 2, padding: 0 }))),
    ("max pool 3/2", |_| Ok(Box::new(MaxPool2d { k: 3, stride: 2, padding: 1 }))),
    ("max pool 3/2, ties", |_| Ok(Box::new(MaxPool2d { k: 3, stride: 2, padding: 1 }))),
    ("max pool 3/2, NaNs", |_| Ok(Box::new(MaxPool2d { k: 3, stride: 2, padding: 1 }))),
    ("avg pool 2/2", |_| Ok(Box::new(AvgPool2d { k: 2, stride: 2 }))),
    ("avg pool 3/2", |_| Ok(Box::new(AvgPool2d { k: 3, stride: 2 }))),
    ("global avg pool", |_| Ok(Box::new(GlobalAvgPool))),
    ("flatten", |_| Ok(Box::new(Flatten))),
    ("linear", |s| Ok(Box::new(Linear::new(s, 6, 5, true)?))),
    ("linear, no bias", |s| Ok(Box::new(Linear::new(s, 6, 5, false)?))),
    ("batch norm", |s| Ok(Box::new(BatchNorm2d::new(s, 3, BatchNormConfig::default())?))),
    ("batch norm, own settings", |s| Ok(Box::new(BatchNorm2d::new(s, 3, BatchNormConfig::new(1e-2, 0.3))?))),
    ("residual", residual),
];

fn residual(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let norm = BatchNormConfig::default();
    let mut branch = Sequential::new();
    branch.push(Conv2d::new(&mut s.sub("conv1"), 3, 4, conv(3, 3, 2, 1, false))?);
    branch.push(BatchNorm2d::new(&mut s.sub("bn1"), 4, norm)?);
    branch.push(Relu);
    branch.push(Conv2d::new(&mut s.sub("conv2"), 4, 4, conv(3, 3, 1, 1, false))?);
    branch.push(BatchNorm2d::new(&mut s.sub("bn2"), 4, norm)?);
    let mut shortcut = Sequential::new();
    shortcut.push(Conv2d::new(&mut s.sub("downsample.0"), 3, 4, conv(1, 1, 2, 0, false))?);
    shortcut.push(BatchNorm2d::new(&mut s.sub("downsample.1"), 4, norm)?);
    Ok(Box::new(Residual::new(branch, Some(Box::new(shortcut)))))
}

/// Builds a network with the names of torchvision's VGG.
fn network(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let mut net = Sequential::new();
    net.push(Conv2d::new(&mut s.sub("features").sub(0), 3, 4, conv(3, 3, 1, 1, false))?);
    net.push(BatchNorm2d::new(&mut s.sub("features").sub(1), 4, BatchNormConfig::default())?);
    net.push(Relu);
    net.push(MaxPool2d { k: 2, stride: 2, padding: 0 });
    net.push(Dropout::new("features.4", 0.0)?);
    net.push(Conv2d::new(&mut s.sub("features").sub(5), 4, 5, conv(3, 3, 1, 0, true))?);
    net.push(Flatten);
    net.push(Linear::new(&mut s.sub("classifier"), 5 * 2 * 3, 7, true)?);
    Ok(Box::new(net))
}

/// Returns the tensors with names that begin with `prefix`, under the rest of their names.
fn below(tensors: &Tensors, prefix: &str) -> Tensors {
    let names =
        tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t.clone())));
    names.collect()
}

/// Converts PyTorch's (n, c, h, w) or (n, c) to our (n, h, w, c) order.
fn to_nhwc(t: &HostTensor) -> (Dims, Vec<f32>) {
    let (n, c, h, w) = match t.shape[..] {
        [n, c, h, w] => (n, c, h, w),
        [n, c] => (n, c, 1, 1),
        _ => panic!("a tensor with the shape {:?}", t.shape),
    };
    let at = |i: usize, y: usize, x: usize, k: usize| t.data[((i * c + k) * h + y) * w + x];
    let order = (0..n * h * w * c).map(|j| at(j / (h * w * c), j / (w * c) % h, j / c % w, j % c));
    (Dims { n, c, h, w }, order.collect())
}

/// Compares a training pass with `golden`: the output, and the gradients of the input and of each parameter.
fn check_pass(what: &str, layer: &dyn Layer, backend: Backend, golden: &Tensors) {
    let mut ctx = Ctx::train(backend, &Device::Cpu, KEY);
    let (dims, x) = to_nhwc(&golden["x"]);
    let x = ctx.input_with_grad(x, dims).unwrap();
    let y = layer.forward(x, &mut ctx).unwrap();
    let (dims, expected) = to_nhwc(&golden["y"]);
    assert_eq!(y.dims(), dims, "{what}");
    assert_close(&format!("{what}: output"), &y.to_vec().unwrap(), &expected, TOLERANCE);
    let grads = ctx.backward(&y, to_nhwc(&golden["dy"]).1).unwrap();
    assert_close(
        &format!("{what}: input gradient"),
        grads.input().unwrap(),
        &to_nhwc(&golden["dx"]).1,
        TOLERANCE,
    );
    let expected = below(golden, "grad.");
    assert_eq!(grads.iter().count(), expected.len(), "{what}");
    for (name, grad) in grads.iter() {
        assert_eq!(grad.dims(), expected[name].shape, "{what}: {name}");
        assert_close(
            &format!("{what}: gradient of {name}"),
            &common::to_vec(grad),
            &expected[name].data,
            TOLERANCE,
        );
    }
}

fn check_inference(what: &str, layer: &dyn Layer, backend: Backend, x: &HostTensor, y: &HostTensor) {
    let mut ctx = Ctx::eval(backend, &Device::Cpu);
    let (dims, x) = to_nhwc(x);
    let x = ctx.input(x, dims).unwrap();
    let found = layer.forward(x, &mut ctx).unwrap().to_vec().unwrap();
    assert_close(&format!("{what}: inference"), &found, &to_nhwc(y).1, TOLERANCE);
}

fn check_layer(name: &str, build: Build, backend: Backend, golden: &Tensors) {
    let mut store = ParamStore::new(0, &Device::Cpu);
    let layer = build(&mut store.root()).unwrap();
    let case = below(golden, &format!("{name}/"));
    let what = format!("{name}, {backend:?}");
    store.load_tensors(&below(&case, "state.")).unwrap();
    check_pass(&what, &*layer, backend, &case);
    if let Some(y) = case.get("eval") {
        let second = below(golden, &format!("{name}, second batch/"));
        check_pass(&format!("{what}, second batch"), &*layer, backend, &second);
        let state = store.to_tensors().unwrap();
        common::assert_tensors_close(&what, &state, &below(&case, "after."), TOLERANCE);
        check_inference(&what, &*layer, backend, &case["x"], y);
    }
}

#[test]
fn layers() {
    let (golden, versions) = decode(include_bytes!("fixtures/layers.safetensors")).unwrap();
    assert!(versions.unwrap().contains("torch"));
    for (name, build) in LAYERS {
        check_layer(name, build, Backend::Kernels, &golden);
        check_layer(name, build, Backend::Candle, &golden);
    }
    let is_tested = |key: &&String| LAYERS.iter().any(|(name, _)| key.starts_with(&format!("{name}/")));
    let forgotten: Vec<_> =
        golden.keys().filter(|key| !is_tested(key) && !key.contains(", second batch/")).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// Loads the file of a PyTorch `state_dict` unchanged. The dense layer reads features in PyTorch's order.
#[test]
fn a_network_from_pytorch() {
    let (weights, metadata) = decode(include_bytes!("fixtures/network.safetensors")).unwrap();
    assert_eq!(metadata, None);
    let (golden, _) = decode(include_bytes!("fixtures/network_passes.safetensors")).unwrap();
    for backend in [Backend::Kernels, Backend::Candle] {
        let mut store = ParamStore::new(0, &Device::Cpu);
        let net = network(&mut store.root()).unwrap();
        store.load_tensors(&weights).unwrap();
        check_inference(&format!("{backend:?}"), &*net, backend, &golden["eval/x"], &golden["eval/y"]);
        check_pass(&format!("{backend:?}"), &*net, backend, &below(&golden, "train/"));
        let state = store.to_tensors().unwrap();
        common::assert_tensors_close(&format!("{backend:?}"), &state, &below(&golden, "after/"), TOLERANCE);
    }
}
