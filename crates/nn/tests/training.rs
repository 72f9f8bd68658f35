//! Training of networks: they learn, their bits do not depend on the number of threads, and training from a saved state gives the
//! same bits as training without a stop.

mod common;

use common::{conv, normals};
use tallow_nn::{
    Backend, BatchNorm2d, BatchNormConfig, Conv2d, CrossEntropy, Ctx, Device, Dims, Dropout, Flatten, Linear,
    MaxPool2d, Model, Optimizer, OptimizerConfig, ParamStore, Rate, Relu, Residual, Sequential, SgdSettings,
    TrainKey, decode, encode,
};

const N_CLASSES: usize = 5;

/// Builds a small residual network for images of 3 channels and h x w pixels.
fn small_resnet(seed: u64, width: usize, (h, w): (usize, usize), dropout: f32) -> Model {
    let mut params = ParamStore::new(seed, &Device::Cpu);
    let norm = BatchNormConfig::default();
    let mut branch = Sequential::new();
    for i in 1..=2 {
        let mut root = params.root();
        let mut block = root.sub("block");
        branch.push(
            Conv2d::new(&mut block.sub(format!("conv{i}")), width, width, conv(3, 3, 1, 1, false)).unwrap(),
        );
        branch.push(BatchNorm2d::new(&mut block.sub(format!("bn{i}")), width, norm).unwrap());
        if i == 1 {
            branch.push(Relu);
        }
    }
    let mut net = Sequential::new();
    net.push(Conv2d::new(&mut params.root().sub("conv1"), 3, width, conv(3, 3, 1, 1, false)).unwrap());
    net.push(BatchNorm2d::new(&mut params.root().sub("bn1"), width, norm).unwrap());
    net.push(Relu);
    net.push(Residual::new(branch, None));
    net.push(Relu);
    net.push(MaxPool2d { k: 2, stride: 2, padding: 0 });
    net.push(Dropout::new("drop", dropout).unwrap());
    net.push(Flatten);
    net.push(Linear::new(&mut params.root().sub("fc"), width * (h / 2) * (w / 2), N_CLASSES, true).unwrap());
    Model::new(net, params)
}

/// Muon with state for all parameters: Muon updates filters and dense weights, its SGD updates biases and norms.
const MUON: OptimizerConfig = OptimizerConfig::Muon {
    lr: 0.02,
    momentum: 0.6,
    nesterov: true,
    ns_steps: 3,
    filter_norm: true,
    weight_decay: 1e-3,
    sgd: SgdSettings { lr: 0.1, momentum: 0.85, nesterov: true, weight_decay: 1e-3 },
};

const ADAM: OptimizerConfig =
    OptimizerConfig::Adam { lr: 3e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0 };

/// Takes one step on the batch of `key.epoch`, and returns the loss.
fn step(model: &Model, optimizer: &mut Optimizer, backend: Backend, dims: Dims, key: TrainKey) -> f32 {
    let mut ctx = Ctx::train(backend, &Device::Cpu, key);
    let x = ctx.input(normals(dims.len(), &format!("batch {}", key.epoch)), dims).unwrap();
    let targets: Vec<u32> = (0..dims.n).map(|i| (i * i % N_CLASSES) as u32).collect();
    let logits = model.network.forward(x, &mut ctx).unwrap();
    let loss = CrossEntropy::default().forward(&logits, &targets).unwrap();
    let grads = ctx.backward(&logits, loss.grad_logits).unwrap();
    optimizer.step(&model.params, &grads, ADAM.lr()).unwrap();
    loss.mean
}

#[test]
fn one_batch_is_learnt_by_heart() {
    for backend in [Backend::Kernels, Backend::Candle] {
        let dims = Dims { n: 12, c: 3, h: 8, w: 6 };
        let model = small_resnet(0, 8, (8, 6), 0.1);
        let mut optimizer = Optimizer::new(&ADAM, &[], &model.params).unwrap();
        let key = |first_position| TrainKey { seed: 0, epoch: 0, first_position };
        let mut losses = (0..100).map(|i| step(&model, &mut optimizer, backend, dims, key(100 * i)));
        let first = losses.next().unwrap();
        assert!(first > 1.0, "{backend:?} begins at {first}");
        assert!(losses.any(|loss| loss < 0.01), "{backend:?} does not get below 0.01 in 100 steps");
    }
}

/// Takes three steps, with maps large enough to be split among threads.
fn three_steps(config: &OptimizerConfig, n_threads: usize) -> (Vec<u32>, Vec<u8>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    pool.install(|| {
        let dims = Dims { n: 24, c: 3, h: 18, w: 20 };
        let model = small_resnet(0, 16, (18, 20), 0.2);
        let mut optimizer = Optimizer::new(config, &[], &model.params).unwrap();
        let key = |epoch| TrainKey { seed: 3, epoch, first_position: 0 };
        let losses = (0..3).map(|i| step(&model, &mut optimizer, Backend::Kernels, dims, key(i)).to_bits());
        (losses.collect(), encode(&model.params.to_tensors().unwrap(), "").unwrap())
    })
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for config in [ADAM, MUON] {
        let one = three_steps(&config, 1);
        assert_eq!(one, three_steps(&config, 2));
        assert_eq!(one, three_steps(&config, 16));
    }
}

#[test]
fn a_saved_run_goes_on_bit_for_bit() {
    let configs = [
        OptimizerConfig::Sgd { lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-3 },
        OptimizerConfig::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 1e-3 },
        ADAM,
        OptimizerConfig::AdamW { lr: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-3 },
        MUON,
    ];
    let dims = Dims { n: 6, c: 3, h: 8, w: 6 };
    let key = |epoch| TrainKey { seed: 3, epoch, first_position: 0 };
    for config in configs {
        let model = small_resnet(0, 4, (8, 6), 0.2);
        let mut optimizer = Optimizer::new(&config, &[], &model.params).unwrap();
        (0..2).for_each(|i| _ = step(&model, &mut optimizer, Backend::Kernels, dims, key(i)));
        let saved = encode(&model.params.to_tensors().unwrap(), "").unwrap();
        let state = encode(&optimizer.state(&model.params).unwrap(), "").unwrap();
        let n_steps = optimizer.n_steps();
        (2..4).for_each(|i| _ = step(&model, &mut optimizer, Backend::Kernels, dims, key(i)));

        let resumed = small_resnet(1, 4, (8, 6), 0.2);
        resumed.params.load_tensors(&decode(&saved).unwrap().0).unwrap();
        let mut optimizer_2 = Optimizer::new(&config, &[], &resumed.params).unwrap();
        optimizer_2.load_state(&resumed.params, n_steps, &decode(&state).unwrap().0).unwrap();
        (2..4).for_each(|i| _ = step(&resumed, &mut optimizer_2, Backend::Kernels, dims, key(i)));

        assert_eq!(model.params.to_tensors().unwrap(), resumed.params.to_tensors().unwrap(), "{config:?}");
        let states = (optimizer.state(&model.params).unwrap(), optimizer_2.state(&resumed.params).unwrap());
        assert_eq!(states.0, states.1, "{config:?}");
        assert_eq!(optimizer_2.n_steps(), 4);
    }
}

/// From a group's `until_epoch` on, its parameters and their optimiser state do not change; those of other groups do.
#[test]
fn a_group_that_has_come_to_its_end_stays() {
    let model = small_resnet(0, 4, (8, 6), 0.2);
    let groups =
        [serde_json::from_value(serde_json::json!({"pattern": "conv1.*", "until_epoch": 0.5})).unwrap()];
    let mut optimizer = Optimizer::new(&MUON, &groups, &model.params).unwrap();
    let grads = || {
        let dims = Dims { n: 6, c: 3, h: 8, w: 6 };
        let mut ctx =
            Ctx::train(Backend::Kernels, &Device::Cpu, TrainKey { seed: 3, epoch: 0, first_position: 0 });
        let x = ctx.input(normals(dims.len(), "batch"), dims).unwrap();
        let logits = model.network.forward(x, &mut ctx).unwrap();
        let loss = CrossEntropy::default().forward(&logits, &[0, 1, 2, 3, 4, 0]).unwrap();
        ctx.backward(&logits, loss.grad_logits).unwrap()
    };
    let mut learns = |epochs: f64| {
        let seen = |optimizer: &Optimizer| {
            let (weights, state) =
                (model.params.to_tensors().unwrap(), optimizer.state(&model.params).unwrap());
            let of = |name: &str| (weights[name].clone(), state[&format!("{name}.momentum_buffer")].clone());
            ["conv1.weight", "block.conv1.weight"].map(of)
        };
        let before = seen(&optimizer);
        optimizer.step(&model.params, &grads(), Rate { lr: 0.01, base_lr: 0.02, epochs }).unwrap();
        let after = seen(&optimizer);
        [0, 1].map(|i| (before[i].0 != after[i].0, before[i].1 != after[i].1))
    };
    let (all, nothing) = ((true, true), (false, false));
    assert_eq!(learns(0.0), [all, all]);
    assert_eq!(learns(0.25), [all, all]);
    assert_eq!(learns(0.5), [nothing, all]);
    assert_eq!(learns(0.75), [nothing, all]);
}

#[test]
fn another_optimizers_state_is_refused_and_changes_nothing() {
    let model = small_resnet(0, 4, (8, 6), 0.2);
    let dims = Dims { n: 6, c: 3, h: 8, w: 6 };
    let mut optimizer = Optimizer::new(&ADAM, &[], &model.params).unwrap();
    step(&model, &mut optimizer, Backend::Kernels, dims, TrainKey { seed: 0, epoch: 0, first_position: 0 });
    let good = optimizer.state(&model.params).unwrap();

    let mut bad = good.clone();
    bad.values_mut().for_each(|t| t.data.fill(7.0));
    bad.remove("fc.bias.exp_avg");
    bad.get_mut("fc.weight.exp_avg").unwrap().shape.reverse();
    bad.insert("fc.bias.momentum_buffer".to_owned(), good["fc.bias.exp_avg"].clone());
    let message = optimizer.load_state(&model.params, 5, &bad).unwrap_err().to_string();
    for name in ["fc.bias.exp_avg", "fc.weight.exp_avg", "fc.bias.momentum_buffer"] {
        assert!(message.contains(name), "{message}");
    }
    assert_eq!(optimizer.state(&model.params).unwrap(), good);
    assert_eq!(optimizer.n_steps(), 1);

    let plain = OptimizerConfig::Sgd { lr: 0.1, momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    assert!(Optimizer::new(&plain, &[], &model.params).unwrap().load_state(&model.params, 1, &good).is_err());

    // Muon with momentum and SGD without, and the other way round
    let (mut of_matrices, mut of_the_rest) = (MUON, MUON);
    if let OptimizerConfig::Muon { sgd, .. } = &mut of_matrices {
        *sgd = SgdSettings { momentum: 0.0, nesterov: false, ..*sgd };
    }
    if let OptimizerConfig::Muon { momentum, nesterov, .. } = &mut of_the_rest {
        (*momentum, *nesterov) = (0.0, false);
    }
    let names = |config: &OptimizerConfig| -> Vec<String> {
        let optimizer = Optimizer::new(config, &[], &model.params).unwrap();
        optimizer.state(&model.params).unwrap().into_keys().collect()
    };
    assert!(
        names(&of_matrices)
            .iter()
            .all(|name| name.ends_with("weight.momentum_buffer") && !name.contains("bn"))
    );
    assert_eq!(names(&of_matrices).len(), 4);
    assert_eq!(names(&of_the_rest).len(), 7);
    assert_eq!(names(&MUON).len(), 11);
}

#[test]
fn weights_that_do_not_fit_are_named_and_change_nothing() {
    let model = small_resnet(0, 4, (8, 6), 0.2);
    let before = model.params.to_tensors().unwrap();
    let mut other = before.clone();
    other.values_mut().for_each(|t| t.data.fill(7.0));
    other.remove("block.bn2.running_var");
    other.get_mut("fc.weight").unwrap().shape.reverse();
    other.get_mut("fc.bias").unwrap().data.pop();
    other.insert("head.weight".to_owned(), before["fc.weight"].clone());
    let message = model.params.load_tensors(&other).unwrap_err().to_string();
    for part in [
        "block.bn2.running_var is missing",
        "fc.weight has the shape",
        "fc.bias has 4",
        "head.weight is unexpected",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(message.contains("2 tensors have a different shape (") && message.len() < 300, "{message}");
    assert_eq!(model.params.to_tensors().unwrap(), before);
}

#[test]
fn parameters_come_in_name_order_and_buffers_are_none() {
    let model = small_resnet(0, 4, (8, 6), 0.2);
    let names: Vec<&str> = model.params.params().map(|p| p.name()).collect();
    let expected = [
        "block.bn1.bias",
        "block.bn1.weight",
        "block.bn2.bias",
        "block.bn2.weight",
        "block.conv1.weight",
        "block.conv2.weight",
        "bn1.bias",
        "bn1.weight",
        "conv1.weight",
        "fc.bias",
        "fc.weight",
    ];
    assert_eq!(names, expected);
    let (convs, norms, dense) = (3 * 4 * 9 + 2 * (4 * 4 * 9), 3 * (4 + 4), 5 * (4 * 4 * 3) + 5);
    assert_eq!(model.params.n_parameters(), convs + norms + dense);
    let tensors = model.params.to_tensors().unwrap();
    assert_eq!(tensors.len(), expected.len() + 3 * 2, "and what is saved holds the running statistics too");
    assert!(model.params.get("bn1.running_mean").is_some());
}
