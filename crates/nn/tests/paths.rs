//! Compares the kernel backend with the Candle backend, both on the CPU. Without a GPU there is no other test of the Candle backend. The
//! two add up sums in different orders, so the test has a tolerance, which is relative in norm.

mod common;

use common::{Case, KEY, Net, assert_close, assert_tensors_close, case, cases, conv, dims, normals, to_vec};
use tallow_nn::{
    Act, After, AvgPool2d, Backend, BatchNorm2d, BatchNormConfig, Conv2d, ConvNormAct, Ctx, DepthwiseConfig,
    DepthwiseNormAct, Device, Dims, Dropout, Flatten, Init, InvertedResidual, Layer, LayerNorm,
    LearnableAffine, Linear, MaxPool2d, NnError, Padding, ParamStore, Relu, Residual, Result, Scope,
    Sequential,
};

const TOLERANCE: f64 = 1e-5;

const NORM: BatchNormConfig = BatchNormConfig::new(1e-3, 0.3);

/// A realistic small network, with kinks.
const NETWORK: Case = case("network", dims(5, 3, 11, 14), network);

fn network(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let mut branch = Sequential::new();
    branch.push(Conv2d::new(&mut s.sub("block.conv1"), 8, 8, conv(3, 3, 1, 1, false))?);
    branch.push(BatchNorm2d::new(&mut s.sub("block.bn1"), 8, NORM)?);
    branch.push(Relu);
    let mut net = Sequential::new();
    net.push(Conv2d::new(&mut s.sub("conv"), 3, 8, conv(3, 3, 2, 1, false))?);
    net.push(BatchNorm2d::new(&mut s.sub("bn"), 8, NORM)?);
    net.push(Relu);
    net.push(Dropout::new("drop", 0.2)?);
    net.push(Residual::new(branch, None));
    net.push(MaxPool2d { k: 3, stride: 2, padding: 1 });
    net.push(Flatten);
    net.push(Linear::new(&mut s.sub("fc"), 8 * 3 * 4, 10, true)?);
    Ok(Box::new(net))
}

/// Fused blocks with an affine map after their ReLU: one with a norm, and one without. No norm may follow, because it would undo
/// the scale.
const AFFINE: Case = case("affine maps", dims(3, 3, 9, 6), affine);
const AFFINE_DEPTHWISE: Case = case("affine maps, depthwise", dims(3, 3, 9, 6), affine_depthwise);

fn affine(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let first = Conv2d::new(&mut s.sub("conv"), 3, 8, conv(3, 3, 2, 1, false))?;
    let norm = BatchNorm2d::new(&mut s.sub("bn"), 8, NORM)?;
    let affine = LearnableAffine::new(&mut s.sub("lab"))?;
    then_without_norm(s, 8, ConvNormAct::new(first, norm, After::Relu).with_affine(affine)?)
}

fn affine_depthwise(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let config = DepthwiseConfig { k: 3, stride: 1, padding: Padding::Symmetric(1) };
    let norm = BatchNorm2d::new(&mut s.sub("bn"), 3, NORM)?;
    let first = DepthwiseNormAct::new(&mut s.sub("conv"), 3, config, norm, After::Relu)?;
    let affine = LearnableAffine::new(&mut s.sub("lab"))?;
    then_without_norm(s, 3, first.with_affine(affine)?)
}

fn then_without_norm(s: &mut Scope<'_>, c: usize, first: impl Layer + 'static) -> Result<Box<dyn Layer>> {
    let last = Conv2d::new(&mut s.sub("last"), c, 5, conv(1, 1, 1, 0, true))?;
    let affine = LearnableAffine::new(&mut s.sub("last.lab"))?;
    let mut net = Sequential::new();
    net.push(first);
    net.push(ConvNormAct::without_norm(last, After::Relu).with_affine(affine)?);
    Ok(Box::new(net))
}

/// An inverted residual block of 6 channels, with 16 in the middle, which fill a vector register. It is too deep for finite
/// differences.
fn inverted_residual(s: &mut Scope<'_>) -> Result<Box<dyn Layer>> {
    let conv = |s: &mut Scope<'_>, name: &str, c_in, c_out, after| -> Result<ConvNormAct> {
        let conv = Conv2d::new(&mut s.sub(name).sub("conv"), c_in, c_out, conv(1, 1, 1, 0, false))?;
        Ok(ConvNormAct::new(conv, BatchNorm2d::new(&mut s.sub(name).sub("bn"), c_out, NORM)?, after))
    };
    let depthwise = |s: &mut Scope<'_>, name: &str, c, k, after| -> Result<DepthwiseNormAct> {
        let norm = BatchNorm2d::new(&mut s.sub(name).sub("bn"), c, NORM)?;
        let config = DepthwiseConfig { k, stride: 1, padding: Padding::Same };
        DepthwiseNormAct::new(&mut s.sub(name).sub("conv"), c, config, norm, after)
    };
    let start = depthwise(s, "start", 6, 3, After::Relu)?;
    let expand = conv(s, "expand", 6, 16, After::Silu)?;
    let middle = depthwise(s, "middle", 16, 5, After::HardSwish)?;
    let last = conv(s, "last", 16, 6, After::Nothing)?;
    Ok(Box::new(InvertedResidual::new(Some(expand), middle, last, true).with_start(start)))
}

fn all_cases() -> Vec<Case> {
    let mut all = cases();
    all.extend([NETWORK, AFFINE, AFFINE_DEPTHWISE]);
    all.push(case("inverted residual", dims(3, 6, 5, 7), inverted_residual));
    all
}

#[test]
fn training_passes_agree() {
    for case in all_cases() {
        let (ours, theirs) = (Net::new(&case), Net::new(&case));
        for (step, name) in ["first batch", "second batch"].into_iter().enumerate() {
            let what = |part: &str| format!("{}, {name}, {part}", case.name);
            let x = normals(case.dims.len(), name);
            let (a, b) = (ours.train(Backend::Kernels, &x, true), theirs.train(Backend::Candle, &x, true));
            assert_eq!(a.dims, b.dims, "{}", case.name);
            assert_close(&what("output"), &a.y, &b.y, TOLERANCE);
            assert_close(&what("input gradient"), &a.input_grad.unwrap(), &b.input_grad.unwrap(), TOLERANCE);
            assert_eq!(
                a.grads.keys().collect::<Vec<_>>(),
                b.grads.keys().collect::<Vec<_>>(),
                "{}",
                case.name
            );
            for (parameter, grad) in &a.grads {
                assert_close(&what(parameter), grad, &b.grads[parameter], TOLERANCE);
            }
            let (a, b) = (ours.store.to_tensors().unwrap(), theirs.store.to_tensors().unwrap());
            assert_tensors_close(&what(&format!("state after step {step}")), &a, &b, TOLERANCE);
        }
    }
}

#[test]
fn inference_agrees_and_changes_nothing() {
    for case in all_cases() {
        let net = Net::new(&case);
        let before = net.store.to_tensors().unwrap();
        let x = normals(case.dims.len(), "batch");
        assert_close(case.name, &net.eval(Backend::Kernels, &x), &net.eval(Backend::Candle, &x), TOLERANCE);
        assert_eq!(before, net.store.to_tensors().unwrap(), "{}", case.name);
    }
}

#[test]
fn an_input_that_wants_no_gradient_gets_none_and_the_rest_stays() {
    for case in all_cases() {
        for backend in [Backend::Kernels, Backend::Candle] {
            let what = format!("{}, {backend:?}", case.name);
            let x = normals(case.dims.len(), "batch");
            let with = Net::new(&case).train(backend, &x, true);
            let without = Net::new(&case).train(backend, &x, false);
            assert_eq!(without.input_grad, None, "{what}");
            assert_eq!(with.grads, without.grads, "{what}");
            assert_eq!(with.input_grad.map(|g| g.len()), Some(case.dims.len()), "{what}");
        }
    }
}

/// Returns the output and the input gradient of a layer without parameters, to be compared number by number.
fn run(layer: &impl Layer, backend: Backend, x: &[f32], dims: Dims) -> (Vec<f32>, Vec<f32>) {
    let mut ctx = Ctx::train(backend, &Device::Cpu, KEY);
    let x = ctx.input_with_grad(x.to_vec(), dims).unwrap();
    let y = layer.forward(x, &mut ctx).unwrap();
    let grads = ctx.backward(&y, (1..=y.dims().len()).map(|i| i as f32).collect()).unwrap();
    (y.to_vec().unwrap(), grads.input().unwrap().to_vec())
}

/// Asserts that both paths give the same bits, where every NaN counts as the same.
fn assert_same(layer: &impl Layer, x: &[f32], dims: Dims) -> (Vec<f32>, Vec<f32>) {
    let bits = |values: &[f32]| {
        values.iter().map(|v| if v.is_nan() { f32::NAN } else { *v }.to_bits()).collect::<Vec<_>>()
    };
    let (ours, theirs) = (run(layer, Backend::Kernels, x, dims), run(layer, Backend::Candle, x, dims));
    assert_eq!(bits(&ours.0), bits(&theirs.0), "outputs: {:?} {:?}", ours.0, theirs.0);
    assert_eq!(bits(&ours.1), bits(&theirs.1), "gradients: {:?} {:?}", ours.1, theirs.1);
    ours
}

#[test]
fn relu_at_0_gives_gradient_0_and_a_nan_goes_through() {
    let x = [0.0, -0.0, -1.0, 2.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE];
    let (y, dx) = assert_same(&Relu, &x, dims(1, 4, 2, 1));
    assert!(y[4].is_nan());
    assert_eq!(y[..4], [0.0, 0.0, 0.0, 2.0]);
    assert_eq!(dx, [0.0, 0.0, 0.0, 4.0, 5.0, 6.0, 0.0, 8.0]);
}

const POOL_2: MaxPool2d = MaxPool2d { k: 2, stride: 2, padding: 0 };
const POOL_3: MaxPool2d = MaxPool2d { k: 3, stride: 2, padding: 1 };

#[test]
fn max_pooling_pads_with_less_than_any_value() {
    let dims = dims(2, 3, 7, 10);
    let negative: Vec<f32> = normals(dims.len(), "x").iter().map(|v| -1.0 - v.abs()).collect();
    let (y, _) = assert_same(&POOL_3, &negative, dims);
    assert!(y.iter().all(|&v| v <= -1.0));
}

#[test]
fn max_pooling_gives_the_gradient_of_a_tie_to_the_first() {
    let (y, dx) = assert_same(&POOL_2, &[1.0, 3.0, 3.0, 3.0], dims(1, 1, 2, 2));
    assert_eq!((y, dx), (vec![3.0], vec![0.0, 1.0, 0.0, 0.0]));
    let coarse = |dims: Dims| normals(dims.len(), "x").iter().map(|v| v.round()).collect::<Vec<_>>();
    assert_same(&POOL_2, &coarse(dims(2, 3, 7, 10)), dims(2, 3, 7, 10));
    assert_same(&POOL_3, &coarse(dims(2, 3, 7, 10)), dims(2, 3, 7, 10));
}

#[test]
fn max_pooling_lets_a_nan_win_whatever_is_beside_it() {
    for window in
        [[1.0, f32::NAN, 2.0, 3.0], [f32::INFINITY, 1.0, f32::NAN, 0.0], [f32::NAN, 1.0, 2.0, f32::NAN]]
    {
        let (y, _) = assert_same(&POOL_2, &window, dims(1, 1, 2, 2));
        assert!(y[0].is_nan(), "{window:?}");
    }
    let sprinkled = |dims: Dims| {
        normals(dims.len(), "x").iter().map(|&v| if v > 1.0 { f32::NAN } else { v }).collect::<Vec<_>>()
    };
    assert_same(&POOL_3, &sprinkled(dims(2, 3, 7, 10)), dims(2, 3, 7, 10));
}

#[test]
fn dropout_masks_are_the_same_number_by_number() {
    let dims = dims(3, 5, 4, 7);
    let (y, dx) = assert_same(&Dropout::new("drop", 0.5).unwrap(), &vec![1.0; dims.len()], dims);
    assert!(y.contains(&0.0) && y.contains(&2.0));
    assert!(y.iter().zip(dx).enumerate().all(|(i, (y, dx))| y * (i + 1) as f32 == dx));
}

#[test]
fn batch_norm_of_one_value_per_channel_leaves_the_variance_alone() {
    let one = case("one value", dims(1, 3, 1, 1), |s| Ok(Box::new(BatchNorm2d::new(s, 3, NORM)?)));
    for backend in [Backend::Kernels, Backend::Candle] {
        let net = Net::new(&one);
        let before = net.store.to_tensors().unwrap();
        let y = net.train(backend, &[1.0, 2.0, 3.0], true).y;
        let after = net.store.to_tensors().unwrap();
        // x and mean cancel only after both are multiplied by 1 / sqrt(eps) = 32
        assert_close("a constant is normalised to 0", &y, &before["bias"].data, 1e-4);
        assert_eq!(before["running_var"], after["running_var"]);
        assert_ne!(before["running_mean"], after["running_mean"]);
    }
}

#[test]
fn gradients_are_in_the_layout_of_their_parameters() {
    for backend in [Backend::Kernels, Backend::Candle] {
        let net = Net::new(&NETWORK);
        let mut ctx = Ctx::train(backend, &Device::Cpu, KEY);
        let x = ctx.input(normals(NETWORK.dims.len(), "x"), NETWORK.dims).unwrap();
        let logits: Act = net.forward(x, &mut ctx);
        let grads = ctx.backward(&logits, vec![1.0; 5 * 10]).unwrap();
        for param in net.store.params() {
            let grad = grads.get(param.name()).unwrap();
            assert_eq!(grad.dims(), param.shape(), "{}", param.name());
            assert!(to_vec(grad).iter().all(|g| g.is_finite()));
        }
    }
}

#[test]
fn what_cannot_be_differentiated_is_refused() {
    let shape_error = |result: Result<_>| matches!(result, Err(NnError::Shape { .. }));
    for backend in [Backend::Kernels, Backend::Candle] {
        let mut ctx = Ctx::eval(backend, &Device::Cpu);
        let x = ctx.input_with_grad(vec![1.0, 2.0], dims(1, 2, 1, 1)).unwrap();
        assert!(shape_error(ctx.backward(&x, vec![1.0, 1.0])));
        let mut ctx = Ctx::train(backend, &Device::Cpu, KEY);
        let x = ctx.input_with_grad(vec![1.0, 2.0], dims(1, 2, 1, 1)).unwrap();
        assert!(shape_error(ctx.backward(&x, vec![1.0])));
    }
}

#[test]
fn a_batch_of_another_size_or_of_nothing_is_refused() {
    for backend in [Backend::Kernels, Backend::Candle] {
        let mut ctx = Ctx::eval(backend, &Device::Cpu);
        for (len, dims) in [(5, dims(1, 3, 2, 1)), (7, dims(1, 3, 2, 1)), (0, dims(0, 3, 2, 1))] {
            assert!(ctx.input(vec![0.0; len], dims).is_err());
            assert!(ctx.input_with_grad(vec![0.0; len], dims).is_err());
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused_with_the_layers_name() {
    let refused = |name: &'static str, x: Dims, build: fn(&mut Scope<'_>) -> Result<Box<dyn Layer>>| {
        for backend in [Backend::Kernels, Backend::Candle] {
            let mut ctx = Ctx::eval(backend, &Device::Cpu);
            let layer = build(&mut ParamStore::new(0, &Device::Cpu).root().sub(name)).unwrap();
            let x = ctx.input(vec![0.0; x.len()], x).unwrap();
            let message = layer.forward(x, &mut ctx).unwrap_err().to_string();
            assert!(message.contains(name), "{backend:?}: {message}");
        }
    };
    refused("conv", dims(1, 2, 5, 5), |s| Ok(Box::new(Conv2d::new(s, 3, 4, conv(3, 3, 1, 0, true))?)));
    refused("conv", dims(1, 3, 5, 2), |s| Ok(Box::new(Conv2d::new(s, 3, 4, conv(3, 3, 1, 0, true))?)));
    refused("bn", dims(1, 2, 5, 5), |s| Ok(Box::new(BatchNorm2d::new(s, 3, NORM)?)));
    refused("ln", dims(1, 2, 5, 5), |s| Ok(Box::new(LayerNorm::new(s, 3, 1e-6)?)));
    refused("fc", dims(1, 3, 2, 2), |s| Ok(Box::new(Linear::new(s, 12, 4, true)?)));
    refused("fc", dims(1, 11, 1, 1), |s| Ok(Box::new(Linear::new(s, 12, 4, true)?)));
    refused("max_pool2d", dims(1, 3, 1, 4), |_| Ok(Box::new(POOL_2)));
    refused("max_pool2d", dims(1, 3, 4, 4), |_| Ok(Box::new(MaxPool2d { stride: 0, ..POOL_2 })));
    refused("max_pool2d", dims(1, 3, 4, 4), |_| Ok(Box::new(MaxPool2d { padding: 2, ..POOL_2 })));
    refused("avg_pool2d", dims(1, 3, 1, 4), |_| Ok(Box::new(AvgPool2d { k: 2, stride: 2 })));
    refused("residual", dims(1, 3, 4, 4), |_| Ok(Box::new(Residual::new(POOL_2, None))));
}

#[test]
fn a_scale_of_another_width_is_refused() {
    let mut store = ParamStore::new(0, &Device::Cpu);
    let conv = Conv2d::new(&mut store.root().sub("conv"), 3, 4, conv(1, 1, 1, 0, false)).unwrap();
    let scale = store.root().param("gamma", &[3], Init::Constant(1.0)).unwrap();
    let refused = ConvNormAct::with_scale(conv, scale, After::Nothing);
    assert!(refused.err().unwrap().to_string().contains("gamma"));
}

#[test]
fn an_affine_map_of_anything_but_a_relu_is_refused() {
    let mut store = ParamStore::new(0, &Device::Cpu);
    let conv = Conv2d::new(&mut store.root().sub("conv"), 3, 4, conv(1, 1, 1, 0, false)).unwrap();
    let affine = LearnableAffine::new(&mut store.root().sub("lab")).unwrap();
    let refused = ConvNormAct::without_norm(conv, After::Gelu).with_affine(affine);
    assert!(refused.err().unwrap().to_string().contains("lab.scale"));
}
