//! What the tests of this crate share: every layer with a shape it is tested on, and one pass through it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;

use tallow_core::{Purpose, Stream};
use tallow_nn::{
    Act, AvgPool2d, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, Ctx, Device, Dims, Dropout, Flatten, Gelu,
    GlobalAvgPool, HostTensor, Init, Layer, Linear, MaxPool2d, ParamStore, Path, Relu, Residual, Result, Scope,
    Sequential, Tensors, TrainKey,
};

/// The key of every training pass here that does not say otherwise.
pub(crate) const KEY: TrainKey = TrainKey { seed: 1, epoch: 2, first_position: 30 };

/// A layer and the size of what it is tested on; rows, columns, channels and images all differ.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) dims: Dims,
    pub(crate) build: fn(&mut Scope<'_>) -> Result<Box<dyn Layer>>,
}

/// Shorthand for [`Dims`].
pub(crate) const fn dims(n: usize, c: usize, h: usize, w: usize) -> Dims {
    Dims { n, c, h, w }
}

/// A convolution's settings in one line.
pub(crate) const fn conv(k_h: usize, k_w: usize, stride: usize, padding: usize, bias: bool) -> Conv2dConfig {
    Conv2dConfig { k_h, k_w, stride, padding, bias }
}

fn boxed(layer: impl Layer + 'static) -> Result<Box<dyn Layer>> {
    Ok(Box::new(layer))
}

/// Every layer of the crate. None has a kink but ReLU and max pooling, whose inputs decide how far away it is.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = convolutions();
    cases.extend(others());
    cases
}

fn convolutions() -> Vec<Case> {
    vec![
        Case { name: "conv 3x3", dims: dims(2, 3, 5, 4), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 3, 1, 1, true))?) },
        Case { name: "conv 2x3, no padding", dims: dims(2, 3, 5, 4), build: |s| boxed(Conv2d::new(s, 3, 4, conv(2, 3, 1, 0, true))?) },
        Case { name: "conv 1x1, no bias", dims: dims(2, 3, 5, 4), build: |s| boxed(Conv2d::new(s, 3, 4, conv(1, 1, 1, 0, false))?) },
        Case { name: "conv 1x1, padding 1", dims: dims(2, 3, 5, 4), build: |s| boxed(Conv2d::new(s, 3, 4, conv(1, 1, 1, 1, true))?) },
        Case { name: "conv 1x1, stride 2", dims: dims(2, 3, 7, 10), build: |s| boxed(Conv2d::new(s, 3, 4, conv(1, 1, 2, 0, false))?) },
        Case { name: "conv 3x2, stride 2, no padding", dims: dims(2, 3, 6, 5), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 2, 2, 0, true))?) },
        // the last row or column is or is not seen by a window: the four combinations of remainders
        Case { name: "conv 3x3, stride 2, 7x10", dims: dims(2, 3, 7, 10), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 3, 2, 1, false))?) },
        Case { name: "conv 3x3, stride 2, 10x7", dims: dims(2, 3, 10, 7), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 3, 2, 1, false))?) },
        Case { name: "conv 3x3, stride 2, 6x8", dims: dims(2, 3, 6, 8), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 3, 2, 1, true))?) },
        Case { name: "conv 3x3, stride 2, 7x9", dims: dims(2, 3, 7, 9), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 3, 2, 1, true))?) },
        Case { name: "conv 3x5, stride 3, padding 2", dims: dims(2, 3, 7, 9), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 5, 3, 2, true))?) },
        Case { name: "conv on 1x1 maps", dims: dims(2, 3, 1, 1), build: |s| boxed(Conv2d::new(s, 3, 4, conv(3, 3, 1, 1, true))?) },
    ]
}

fn others() -> Vec<Case> {
    let map = dims(2, 3, 5, 4);
    vec![
        Case { name: "batch norm", dims: map, build: |s| boxed(BatchNorm2d::new(s, 3, BatchNormConfig::default())?) },
        Case { name: "batch norm on vectors", dims: dims(6, 5, 1, 1), build: |s| boxed(BatchNorm2d::new(s, 5, BatchNormConfig { eps: 1e-3, momentum: 0.3 })?) },
        Case { name: "relu", dims: map, build: |_| boxed(Relu) },
        Case { name: "gelu", dims: map, build: |_| boxed(Gelu) },
        Case { name: "max pool 2/2", dims: map, build: |_| boxed(MaxPool2d { k: 2, stride: 2, padding: 0 }) },
        Case { name: "max pool 3/2, padding 1", dims: dims(2, 3, 7, 10), build: |_| boxed(MaxPool2d { k: 3, stride: 2, padding: 1 }) },
        Case { name: "avg pool 2/2", dims: map, build: |_| boxed(AvgPool2d { k: 2, stride: 2 }) },
        Case { name: "avg pool 3/2", dims: dims(2, 3, 7, 10), build: |_| boxed(AvgPool2d { k: 3, stride: 2 }) },
        Case { name: "global avg pool", dims: map, build: |_| boxed(GlobalAvgPool) },
        Case { name: "flatten", dims: map, build: |_| boxed(Flatten) },
        Case { name: "linear", dims: dims(3, 5, 1, 1), build: |s| boxed(Linear::new(s, 5, 4, true)?) },
        Case { name: "linear, no bias", dims: dims(3, 5, 1, 1), build: |s| boxed(Linear::new(s, 5, 4, false)?) },
        Case { name: "dropout", dims: map, build: |_| boxed(Dropout::new("drop", 0.4)?) },
        Case { name: "dropout on vectors", dims: dims(3, 50, 1, 1), build: |_| boxed(Dropout::new("drop", 0.4)?) },
        Case { name: "residual, identity", dims: map, build: |s| boxed(Residual::new(branch(s, 3, 1)?, None)) },
        Case { name: "residual, shortcut", dims: dims(2, 3, 5, 8), build: residual_with_shortcut },
        Case { name: "a layer used twice", dims: map, build: |s| boxed(Twice(Conv2d::new(s, 3, 3, conv(3, 3, 1, 1, true))?)) },
        Case { name: "sequential, empty", dims: map, build: |_| boxed(Sequential::new()) },
        Case { name: "sequential", dims: dims(3, 2, 7, 5), build: sequential },
        Case { name: "sequential down to 1x1 maps", dims: dims(3, 2, 2, 2), build: down_to_one_pixel },
    ]
}

fn branch(s: &mut Scope<'_>, c_out: usize, stride: usize) -> Result<Sequential> {
    let mut branch = Sequential::new();
    branch.push(Conv2d::new(&mut s.sub("conv1"), 3, c_out, conv(3, 3, stride, 1, false))?);
    branch.push(BatchNorm2d::new(&mut s.sub("bn1"), c_out, BatchNormConfig::default())?);
    branch.push(Gelu);
    branch.push(Conv2d::new(&mut s.sub("conv2"), c_out, c_out, conv(3, 3, 1, 1, false))?);
    Ok(branch)
}

fn residual_with_shortcut(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let branch = branch(s, 4, 2)?;
    let mut shortcut = Sequential::new();
    shortcut.push(Conv2d::new(&mut s.sub("downsample.0"), 3, 4, conv(1, 1, 2, 0, false))?);
    shortcut.push(BatchNorm2d::new(&mut s.sub("downsample.1"), 4, BatchNormConfig::default())?);
    boxed(Residual::new(branch, Some(Box::new(shortcut))))
}

/// A layer of the user's own, made of ours: one set of parameters, two gradients for each.
struct Twice(Conv2d);

impl Layer for Twice {
    fn forward(&self, x: Act, ctx: &mut Ctx) -> Result<Act> {
        let x = self.0.forward(x, ctx)?;
        self.0.forward(x, ctx)
    }
}

fn sequential(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let mut net = Sequential::new();
    net.push(Conv2d::new(&mut s.sub("0"), 2, 4, conv(3, 3, 1, 1, false))?);
    net.push(BatchNorm2d::new(&mut s.sub("1"), 4, BatchNormConfig::default())?);
    net.push(Gelu);
    net.push(AvgPool2d { k: 2, stride: 2 });
    net.push(Dropout::new("4", 0.2)?);
    net.push(Flatten);
    net.push(Linear::new(&mut s.sub("6"), 4 * 3 * 2, 5, true)?);
    boxed(net)
}

/// Maps of one pixel are still maps: everything that takes maps or vectors goes on from there.
fn down_to_one_pixel(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let mut net = Sequential::new();
    net.push(Conv2d::new(&mut s.sub("0"), 2, 4, conv(2, 2, 1, 0, true))?);
    net.push(Dropout::new("1", 0.2)?);
    net.push(BatchNorm2d::new(&mut s.sub("2"), 4, BatchNormConfig::default())?);
    net.push(Conv2d::new(&mut s.sub("3"), 4, 6, conv(1, 1, 1, 0, true))?);
    net.push(Linear::new(&mut s.sub("4"), 6, 5, true)?);
    boxed(net)
}

/// A layer with random parameters and running statistics.
pub(crate) struct Net {
    pub(crate) name: &'static str,
    pub(crate) dims: Dims,
    pub(crate) store: ParamStore,
    layer: Box<dyn Layer>,
}

/// What a training pass gives: the output, the gradients of `sum(r * output)` for a fixed random `r`.
pub(crate) struct Pass {
    pub(crate) dims: Dims,
    pub(crate) y: Vec<f32>,
    pub(crate) input_grad: Option<Vec<f32>>,
    pub(crate) grads: BTreeMap<String, Vec<f32>>,
}

impl Net {
    pub(crate) fn new(case: &Case) -> Self {
        let mut store = ParamStore::new(0, &Device::Cpu);
        let layer = (case.build)(&mut store.root()).unwrap();
        let mut tensors = store.to_tensors().unwrap();
        for (name, tensor) in &mut tensors {
            randomise(name, tensor);
        }
        store.load_tensors(&tensors).unwrap();
        Self { name: case.name, dims: case.dims, store, layer }
    }

    /// An input without ties and without values near 0.
    pub(crate) fn input(&self) -> Vec<f32> {
        spaced(self.dims.len(), self.name)
    }

    pub(crate) fn train(&self, path: Path, x: &[f32], input_grad: bool) -> Pass {
        let mut ctx = Ctx::train(path, &Device::Cpu, KEY);
        let x = match input_grad {
            true => ctx.input_with_grad(x.to_vec(), self.dims),
            false => ctx.input(x.to_vec(), self.dims),
        };
        let y = self.forward(x.unwrap(), &mut ctx);
        let r = output_weights(y.dims());
        let grads = ctx.backward(&y, r).unwrap();
        let by_name = grads.iter().map(|(name, grad)| (name.to_owned(), to_vec(grad)));
        Pass {
            dims: y.dims(),
            y: y.to_vec().unwrap(),
            input_grad: grads.input().map(<[f32]>::to_vec),
            grads: by_name.collect(),
        }
    }

    pub(crate) fn eval(&self, path: Path, x: &[f32]) -> Vec<f32> {
        let mut ctx = Ctx::eval(path, &Device::Cpu);
        let x = ctx.input(x.to_vec(), self.dims).unwrap();
        self.forward(x, &mut ctx).to_vec().unwrap()
    }

    fn forward(&self, x: Act, ctx: &mut Ctx) -> Act {
        self.layer.forward(x, ctx).unwrap_or_else(|e| panic!("{}, {:?}: {e}", self.name, ctx.path()))
    }
}

fn randomise(name: &str, tensor: &mut HostTensor) {
    tensor.data = normals(tensor.data.len(), name);
    if name.ends_with("running_var") {
        tensor.data.iter_mut().for_each(|v| *v = 0.5 + v.abs());
    }
}

/// The fixed random `r` of `sum(r * output)`.
pub(crate) fn output_weights(dims: Dims) -> Vec<f32> {
    normals(dims.len(), "output weights")
}

/// `len` normally distributed numbers that `key` decides.
pub(crate) fn normals(len: usize, key: &str) -> Vec<f32> {
    Init::Normal { std: 1.0 }.values(len, 0, key)
}

/// `len` numbers in random order that lie 0.025 apart, the least of them 0.0125 from 0.
pub(crate) fn spaced(len: usize, key: &str) -> Vec<f32> {
    let mut values: Vec<f32> = (0..len).map(|i| 0.025 * (i as f32 - (len / 2) as f32 + 0.5)).collect();
    Stream::new(0, Purpose::Test, 0, tallow_core::rng::key_of_name(key)).shuffle(&mut values);
    values
}

pub(crate) fn to_vec(tensor: &candle_core::Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// The 2-norm of the difference over the 2-norm of `expected`; the difference itself where that is 0.
pub(crate) fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - f64::from(e)));
    let size = norm(&mut expected.iter().map(|&e| f64::from(e)));
    if size == 0.0 { difference } else { difference / size }
}

/// Fails unless `actual` is within `tolerance` of `expected`, relative in norm; a NaN fails.
#[track_caller]
pub(crate) fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let error = relative_error(actual, expected);
    assert!(error <= tolerance, "{what}: relative error {error:.1e}, tolerance {tolerance:.0e}");
}

/// Fails unless both hold the same names and, for each, the same shape and close numbers.
#[track_caller]
pub(crate) fn assert_tensors_close(what: &str, actual: &Tensors, expected: &Tensors, tolerance: f64) {
    let names = |tensors: &Tensors| tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(actual), names(expected), "{what}");
    for (name, tensor) in expected {
        assert_eq!(actual[name].shape, tensor.shape, "{what}: {name}");
        assert_close(&format!("{what}: {name}"), &actual[name].data, &tensor.data, tolerance);
    }
}
