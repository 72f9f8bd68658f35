//! Frozen parameters and statistics: they stay unchanged, their gradients are not computed, and the rest learns as before.

mod common;

use common::{KEY, assert_close, normals, to_vec};
use tallow_nn::{
    After, Backend, BatchNorm2d, BatchNormConfig, Conv2d, Conv2dConfig, ConvNormAct, Ctx, Device, Dims,
    Flatten, Gradients, Layer, Linear, ParamStore, Precision, ResidualBlock, Scope, Sequential,
};

const DIMS: Dims = Dims { n: 4, c: 3, h: 6, w: 5 };

fn block(scope: &mut Scope<'_>, name: &str, c_in: usize, c_out: usize) -> ConvNormAct {
    let mut scope = scope.sub(name);
    let conv = Conv2d::new(&mut scope.sub("conv"), c_in, c_out, Conv2dConfig::same(3)).unwrap();
    let norm = BatchNorm2d::new(&mut scope.sub("bn"), c_out, BatchNormConfig::default()).unwrap();
    ConvNormAct::new(conv, norm, After::Relu)
}

fn network(store: &mut ParamStore) -> Sequential {
    let mut network = Sequential::new();
    let mut root = store.root();
    network.push(block(&mut root, "stem", 3, 4));
    for (name, c_in, c_out) in [("layer1", 4, 4), ("layer2", 4, 6)] {
        let mut scope = root.sub(name);
        let mut branch = Sequential::new();
        branch.push(block(&mut scope, "first", c_in, 5));
        let shortcut = (c_in != c_out).then(|| block(&mut scope, "shortcut", c_in, c_out));
        network.push(ResidualBlock::new(branch, block(&mut scope, "last", 5, c_out), shortcut));
    }
    network.push(Flatten);
    network.push(Linear::new(&mut root.sub("fc"), 6 * 6 * 5, 3, true).unwrap());
    network
}

/// Runs one training pass with the parameters and statistics of `frozen` frozen. Returns its gradients, and the store after it.
fn pass(backend: Backend, precision: Precision, frozen: impl Fn(&str) -> bool) -> (Gradients, ParamStore) {
    let mut store = ParamStore::new(3, &Device::Cpu);
    let network = network(&mut store);
    store.freeze(frozen);
    let mut ctx = Ctx::train(backend, &Device::Cpu, KEY).with_precision(precision);
    let x = ctx.input(normals(DIMS.len(), "x"), DIMS).unwrap();
    let y = network.forward(x, &mut ctx).unwrap();
    let grads = ctx.backward(&y, normals(y.dims().len(), "dy")).unwrap();
    drop(network);
    (grads, store)
}

fn names(grads: &Gradients) -> Vec<String> {
    grads.iter().map(|(name, _)| name.to_owned()).collect()
}

/// With frozen weights and live statistics, the other gradients are the same as without freezing.
#[test]
fn only_what_is_not_frozen_gets_a_gradient() {
    for backend in [Backend::Kernels, Backend::Candle] {
        let (all, _) = pass(backend, Precision::F32, |_| false);
        for pattern in
            ["stem.", "layer1.", "layer2.last.bn", "fc.bias", "stem.conv.weight", "layer2.shortcut"]
        {
            let frozen = |name: &str| name.starts_with(pattern) && !name.contains("running");
            let (some, _) = pass(backend, Precision::F32, frozen);
            let expected: Vec<String> = names(&all).into_iter().filter(|name| !frozen(name)).collect();
            assert_eq!(names(&some), expected, "{backend:?} {pattern}");
            for (name, grad) in some.iter().filter(|(name, _)| !name.ends_with("conv.bias")) {
                let expected = to_vec(all.get(name).unwrap());
                assert_close(&format!("{backend:?} {pattern}: {name}"), &to_vec(grad), &expected, 1e-6);
            }
        }
    }
}

/// Everything before layer 2 is frozen, with its statistics. It is computed as in inference, and both paths agree.
#[test]
fn a_frozen_trunk_is_inference() {
    let below = |name: &str| name.starts_with("stem.") || name.starts_with("layer1.");
    let (ours, store) = pass(Backend::Kernels, Precision::F32, below);
    let (theirs, _) = pass(Backend::Candle, Precision::F32, below);
    assert_eq!(names(&ours), names(&theirs));
    assert!(names(&ours).iter().all(|name| name.starts_with("layer2.") || name.starts_with("fc.")));
    for (name, grad) in ours.iter().filter(|(name, _)| !name.ends_with("conv.bias")) {
        assert_close(name, &to_vec(grad), &to_vec(theirs.get(name).unwrap()), 2e-5);
    }
    let tensors = store.to_tensors().unwrap();
    assert!(tensors["layer1.last.bn.running_mean"].data.iter().all(|&mean| mean == 0.0));
    assert!(tensors["layer2.last.bn.running_mean"].data.iter().all(|&mean| mean != 0.0));
    let (narrow, _) = pass(Backend::Kernels, Precision::Bf16, below);
    assert_eq!(names(&narrow), names(&ours));
    assert_close(
        "bf16",
        &to_vec(narrow.get("fc.weight").unwrap()),
        &to_vec(ours.get("fc.weight").unwrap()),
        0.02,
    );
}

/// Statistics are frozen and weights are not, as in fine-tuning. Compares gradients with Candle's, also of the biases before
/// norms.
#[test]
fn constant_statistics_have_their_own_gradients() {
    let statistics = |name: &str| name.contains("running");
    let (ours, store) = pass(Backend::Kernels, Precision::F32, statistics);
    let (theirs, _) = pass(Backend::Candle, Precision::F32, statistics);
    assert_eq!(names(&ours), names(&theirs));
    for (name, grad) in ours.iter() {
        assert_close(name, &to_vec(grad), &to_vec(theirs.get(name).unwrap()), 2e-5);
    }
    assert!(ours.get("stem.conv.bias").is_some_and(|grad| to_vec(grad).iter().all(|&g| g != 0.0)));
    assert!(store.to_tensors().unwrap()["stem.bn.running_mean"].data.iter().all(|&mean| mean == 0.0));
}
