//! Shared code of this crate's tests: one pass through a layer, random numbers, and comparisons.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

mod cases;

use std::collections::BTreeMap;

use tallow_core::{Purpose, Stream};
use tallow_nn::{Act, Backend, Ctx, Device, Dims, HostTensor, Init, Layer, ParamStore, Tensors, TrainKey};

pub(crate) use cases::{Case, case, cases, conv, dims};

/// The default key of a training pass.
pub(crate) const KEY: TrainKey = TrainKey { seed: 1, epoch: 2, first_position: 30 };

/// A layer with random parameters and running statistics.
pub(crate) struct Net {
    pub(crate) name: &'static str,
    pub(crate) dims: Dims,
    pub(crate) store: ParamStore,
    layer: Box<dyn Layer>,
}

/// The result of a training pass: the output, and the gradients of `sum(r * output)` for a fixed random `r`.
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

    /// Returns an input without ties and without values near 0.
    pub(crate) fn input(&self) -> Vec<f32> {
        spaced(self.dims.len(), self.name)
    }

    pub(crate) fn train(&self, backend: Backend, x: &[f32], input_grad: bool) -> Pass {
        let mut ctx = Ctx::train(backend, &Device::Cpu, KEY);
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

    pub(crate) fn eval(&self, backend: Backend, x: &[f32]) -> Vec<f32> {
        let mut ctx = Ctx::eval(backend, &Device::Cpu);
        let x = ctx.input(x.to_vec(), self.dims).unwrap();
        self.forward(x, &mut ctx).to_vec().unwrap()
    }

    pub(crate) fn forward(&self, x: Act, ctx: &mut Ctx) -> Act {
        self.layer.forward(x, ctx).unwrap_or_else(|e| panic!("{}, {:?}: {e}", self.name, ctx.backend()))
    }
}

fn randomise(name: &str, tensor: &mut HostTensor) {
    tensor.data = normals(tensor.data.len(), name);
    if name.ends_with("running_var") {
        tensor.data.iter_mut().for_each(|v| *v = 0.5 + v.abs());
    }
}

/// Returns the fixed random `r` of `sum(r * output)`.
pub(crate) fn output_weights(dims: Dims) -> Vec<f32> {
    normals(dims.len(), "output weights")
}

/// Returns `len` normally distributed numbers, which depend only on `key`.
pub(crate) fn normals(len: usize, key: &str) -> Vec<f32> {
    Init::Normal { std: 1.0 }.values(len, 0, key)
}

/// Returns `len` numbers in random order. They are 0.025 apart, and the smallest absolute value is 0.0125.
pub(crate) fn spaced(len: usize, key: &str) -> Vec<f32> {
    let mut values: Vec<f32> = (0..len).map(|i| 0.025 * (i as f32 - (len / 2) as f32 + 0.5)).collect();
    Stream::new(0, Purpose::Test, 0, tallow_core::rng::key_of_name(key)).shuffle(&mut values);
    values
}

pub(crate) fn to_vec(tensor: &candle_core::Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

/// Returns the 2-norm of the difference divided by the 2-norm of `expected`, or the norm of the difference if the divisor is 0.
/// Two NaNs count as equal, and so do two infinities of the same sign.
pub(crate) fn relative_error(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let (mut difference, mut size) = (0.0, 0.0);
    for (&a, &e) in actual.iter().zip(expected) {
        let fits = a == e || (a.is_nan() && e.is_nan());
        difference += if fits { 0.0 } else { (f64::from(a) - f64::from(e)).powi(2) };
        size += if e.is_finite() { f64::from(e).powi(2) } else { 0.0 };
    }
    if size == 0.0 { difference.sqrt() } else { (difference / size).sqrt() }
}

/// Fails unless `actual` is within `tolerance` of `expected`, relative in norm.
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
