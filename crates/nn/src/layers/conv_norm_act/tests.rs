//! Compares the fused blocks with their separate layers, on both paths and in both precisions.

use candle_core::Device;

use super::*;
use crate::act::Dims;
use crate::layers::{
    BatchNormConfig, Conv2dConfig, Gelu, MaxPool2d, NormAct, Relu, Residual, ResidualBlock, Sequential,
};
use crate::map::Precision;
use crate::params::Scope;
use crate::{Ctx, Init, ParamStore, TrainKey};

const DIMS: Dims = Dims { n: 3, c: 5, h: 9, w: 6 };

/// Builds a network from fused blocks (`true`) or from separate layers (`false`).
type Build = fn(&mut Scope<'_>, bool) -> Sequential;

fn conv(scope: &mut Scope<'_>, name: &str, c_in: usize, c_out: usize, k: usize) -> Conv2d {
    let config = Conv2dConfig { bias: k == 3, ..Conv2dConfig::same(k) };
    Conv2d::new(&mut scope.sub(name), c_in, c_out, config).unwrap()
}

fn norm(scope: &mut Scope<'_>, name: &str, c: usize) -> BatchNorm2d {
    BatchNorm2d::new(&mut scope.sub(name), c, BatchNormConfig::default()).unwrap()
}

fn block(after: After, fused: bool, scope: &mut Scope<'_>) -> Sequential {
    let (conv, norm) = (conv(scope, "conv", 5, 7, 3), norm(scope, "norm", 7));
    let mut network = Sequential::new();
    if fused {
        network.push(ConvNormAct::new(conv, norm, after));
        return network;
    }
    network.push(conv);
    if matches!(after, After::Relu6 | After::Silu | After::HardSwish) {
        network.push(NormAct { norm, after });
        return network;
    }
    network.push(norm);
    match after {
        After::Nothing => {}
        After::Relu | After::ReluPool => network.push(Relu),
        After::Gelu => network.push(Gelu),
        After::Relu6 | After::Silu | After::HardSwish => unreachable!("they have no layer of their own"),
    }
    if after == After::ReluPool {
        network.push(MaxPool2d { k: 2, stride: 2, padding: 0 });
    }
    network
}

/// Builds convolution, pooling, norm and GELU: the pooling is before the norm.
fn pooled_first(scope: &mut Scope<'_>, fused: bool) -> Sequential {
    let (conv, norm) = (conv(scope, "conv", 5, 7, 3), norm(scope, "norm", 7));
    let mut network = Sequential::new();
    network.push(conv);
    network.push(MaxPool2d { k: 2, stride: 2, padding: 0 });
    if fused {
        network.push(NormAct { norm, after: After::Gelu });
    } else {
        network.push(norm);
        network.push(Gelu);
    }
    network
}

fn residual(scope: &mut Scope<'_>, fused: bool, c_out: usize) -> Sequential {
    let first = (conv(scope, "conv1", 5, 4, 3), norm(scope, "norm1", 4));
    let last = (conv(scope, "conv2", 4, c_out, 3), norm(scope, "norm2", c_out));
    let shortcut = (c_out != 5).then(|| (conv(scope, "conv3", 5, c_out, 1), norm(scope, "norm3", c_out)));
    let (mut network, mut branch) = (Sequential::new(), Sequential::new());
    if fused {
        branch.push(ConvNormAct::new(first.0, first.1, After::Relu));
        let last = ConvNormAct::new(last.0, last.1, After::Relu);
        let shortcut = shortcut.map(|(conv, norm)| ConvNormAct::new(conv, norm, After::Nothing));
        network.push(ResidualBlock::new(branch, last, shortcut));
    } else {
        branch.push(first.0);
        branch.push(first.1);
        branch.push(Relu);
        branch.push(last.0);
        branch.push(last.1);
        let shortcut = shortcut.map(|(conv, norm)| {
            let mut shortcut = Sequential::new();
            shortcut.push(conv);
            shortcut.push(norm);
            Box::new(shortcut) as Box<dyn Layer>
        });
        network.push(Residual::new(branch, shortcut));
        network.push(Relu);
    }
    network
}

/// Returns output, input gradient and parameter gradients of a training pass, the state after it, and the output of inference
/// before and after it.
fn run(build: Build, fused: bool, backend: Backend, precision: Precision) -> Vec<(String, Vec<f32>)> {
    let mut params = ParamStore::new(1, &Device::Cpu);
    let network = build(&mut params.root(), fused);
    let values = |len: usize, name: &str| Init::Normal { std: 1.0 }.values(len, 2, name);
    let infer = || {
        let mut ctx = Ctx::eval(backend, &Device::Cpu).with_precision(precision);
        let x = ctx.input(values(DIMS.len(), "x"), DIMS).unwrap();
        network.forward(x, &mut ctx).unwrap().to_vec().unwrap()
    };
    let mut out = vec![("inference before".into(), infer())];
    let key = TrainKey { seed: 0, epoch: 0, first_position: 0 };
    let mut ctx = Ctx::train(backend, &Device::Cpu, key).with_precision(precision);
    let x = ctx.input_with_grad(values(DIMS.len(), "x"), DIMS).unwrap();
    let y = network.forward(x, &mut ctx).unwrap();
    out.push(("y".to_owned(), y.to_vec().unwrap()));
    let grads = ctx.backward(&y, values(y.dims().len(), "dy")).unwrap();
    out.push(("dx".into(), grads.input().unwrap().to_vec()));
    // the gradient of a bias before a batch norm is 0, or only rounding errors
    let of_biases = |name: &str| name.starts_with("conv") && name.ends_with("bias");
    for (name, grad) in grads.iter().filter(|(name, _)| !of_biases(name)) {
        out.push((name.to_owned(), grad.flatten_all().unwrap().to_vec1().unwrap()));
    }
    for (name, tensor) in params.to_tensors().unwrap() {
        out.push((format!("after {name}"), tensor.data));
    }
    out.push(("inference".into(), infer()));
    out
}

/// Returns the 2-norm of each part's difference divided by the 2-norm of the part in `b`.
fn distances(a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)]) -> Vec<(String, f32)> {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b).map(|((name, a), (other, b))| {
        assert!(name == other && a.len() == b.len(), "{name} {other}");
        let norm = b.iter().map(|b| b * b).sum::<f32>().sqrt() + 1e-6;
        let error = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
        (name.clone(), error / norm)
    });
    pairs.collect()
}

fn compare(what: &str, a: &[(String, Vec<f32>)], b: &[(String, Vec<f32>)], tolerance: f32) {
    for (part, distance) in distances(a, b) {
        assert!(distance <= tolerance, "{what}, {part}: {distance}");
    }
}

#[test]
fn blocks_are_their_layers() {
    let builds: [(&str, Build); 10] = [
        ("norm", |scope, fused| block(After::Nothing, fused, scope)),
        ("relu", |scope, fused| block(After::Relu, fused, scope)),
        ("relu and pooling", |scope, fused| block(After::ReluPool, fused, scope)),
        ("gelu", |scope, fused| block(After::Gelu, fused, scope)),
        ("relu6", |scope, fused| block(After::Relu6, fused, scope)),
        ("silu", |scope, fused| block(After::Silu, fused, scope)),
        ("hard swish", |scope, fused| block(After::HardSwish, fused, scope)),
        ("pooling before the norm", pooled_first),
        ("residual", |scope, fused| residual(scope, fused, 5)),
        ("residual with a shortcut", |scope, fused| residual(scope, fused, 6)),
    ];
    for (name, build) in builds {
        let separate = run(build, false, Backend::Kernels, Precision::F32);
        compare(name, &run(build, true, Backend::Kernels, Precision::F32), &separate, 2e-5);
        compare(name, &run(build, true, Backend::Candle, Precision::F32), &separate, 2e-5);
        // in bf16 a number near 0 may round to the other side of a ReLU, so the block may have the error of its separate layers
        let far = distances(&run(build, false, Backend::Kernels, Precision::Bf16), &separate);
        let fused = distances(&run(build, true, Backend::Kernels, Precision::Bf16), &separate);
        for ((part, fused), (_, far)) in fused.iter().zip(&far) {
            assert!(*fused <= 1.2 * far + 0.02, "{name} in bf16, {part}: {fused}, layers {far}");
        }
    }
}

/// Weights folded before a change are not used after it.
#[test]
fn a_change_of_weights_is_noticed() {
    let mut params = ParamStore::new(1, &Device::Cpu);
    let network = block(After::Relu, true, &mut params.root());
    let infer = || {
        let mut ctx = Ctx::eval(Backend::Kernels, &Device::Cpu);
        let x = ctx.input(vec![1.0; DIMS.len()], DIMS).unwrap();
        network.forward(x, &mut ctx).unwrap().to_vec().unwrap()
    };
    let (before, again) = (infer(), infer());
    assert_eq!(before, again);
    let mut tensors = params.to_tensors().unwrap();
    tensors.get_mut("norm.running_mean").unwrap().data.fill(-7.0);
    params.load_tensors(&tensors).unwrap();
    assert_ne!(before, infer());
}
