//! Compares the kernels with PyTorch's results for the inputs in `fixtures/pytorch.json`, which
//! `fixtures/gen_pytorch.py` wrote.
//!
//! Every result must be within [`TOLERANCE`] of PyTorch's, relative to the norm of the whole result.

use std::sync::LazyLock;

use serde_json::Value;
use tallow_kernels::optim::{AdamConfig, SgdConfig, adam_step, sgd_step};
use tallow_kernels::*;

use crate::{assert_close, in_plane};

const TOLERANCE: f64 = 1e-6;

static GOLDENS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../fixtures/pytorch.json")).unwrap());

/// One golden: named inputs and results.
#[derive(Clone, Copy)]
struct Golden(&'static Value);

impl Golden {
    fn list(name: &str) -> impl Iterator<Item = Self> {
        let goldens = GOLDENS[name].as_array().unwrap();
        assert!(!goldens.is_empty());
        goldens.iter().map(Self)
    }

    fn number(self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("no number {name}"))
    }

    fn size(self, name: &str) -> usize {
        self.0[name].as_u64().unwrap_or_else(|| panic!("no size {name}")) as usize
    }

    fn results(self, name: &str) -> Vec<f64> {
        floats(&self.0[name])
    }

    fn inputs(self, name: &str) -> Vec<f32> {
        self.results(name).iter().map(|&x| x as f32).collect()
    }

    #[track_caller]
    fn check(self, name: &str, actual: &[f32]) {
        assert_close(name, actual, &self.results(name), TOLERANCE);
    }
}

fn floats(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn convolution() {
    for golden in Golden::list("conv2d") {
        let shape = Golden(&golden.0["shape"]);
        let [n, h, w, c_in] = ["n", "h", "w", "c_in"].map(|name| shape.size(name));
        let [c_out, k_h, k_w] = ["c_out", "k_h", "k_w"].map(|name| shape.size(name));
        let (stride, padding) = (shape.size("stride"), shape.size("padding"));
        let s = ConvShape { n, h, w, c_in, c_out, k_h, k_w, stride, padding: Padding::Symmetric(padding) };
        let [x, weight, bias, dy] = ["x", "weight", "bias", "dy"].map(|name| golden.inputs(name));
        let (mut y, mut dx) = (vec![f32::NAN; s.y_len()], vec![f32::NAN; s.x_len()]);
        let (mut dweight, mut dbias) = (vec![f32::NAN; s.weight_len()], vec![f32::NAN; c_out]);
        conv2d_forward(&s, &x, &weight, Some(&bias), &mut y);
        conv2d_input_grad(&s, &dy, &weight, &mut dx);
        conv2d_weight_grad(&s, &x, &dy, &mut dweight);
        channel_sums(&dy, c_out, &mut dbias);
        golden.check("y", &y);
        golden.check("dx", &dx);
        golden.check("dweight", &dweight);
        golden.check("dbias", &dbias);
    }
}

#[test]
fn linear() {
    for golden in Golden::list("linear") {
        let [n, f_in, f_out] = ["n", "f_in", "f_out"].map(|name| golden.size(name));
        let [x, weight, bias, dy] = ["x", "weight", "bias", "dy"].map(|name| golden.inputs(name));
        let (mut y, mut dx) = (vec![f32::NAN; n * f_out], vec![f32::NAN; n * f_in]);
        let (mut dweight, mut dbias) = (vec![f32::NAN; f_out * f_in], vec![f32::NAN; f_out]);
        linear_forward(n, f_in, f_out, &x, &weight, Some(&bias), &mut y);
        linear_input_grad(n, f_in, f_out, &dy, &weight, &mut dx);
        linear_weight_grad(n, f_in, f_out, &x, &dy, &mut dweight);
        channel_sums(&dy, f_out, &mut dbias);
        golden.check("y", &y);
        golden.check("dx", &dx);
        golden.check("dweight", &dweight);
        golden.check("dbias", &dbias);
    }
}

/// Combines the operations like a layer.
fn batch_norm(golden: Golden, training: bool) {
    let [x, gamma, beta, dy] = ["x", "gamma", "beta", "dy"].map(|name| golden.inputs(name));
    let (mut mean, mut var) = (golden.inputs("mean"), golden.inputs("var"));
    let c = gamma.len();
    if training {
        batch_norm_stats(&x, c, &mut mean, &mut var);
        golden.check("mean", &mean);
        golden.check("var", &var);
    }
    let eps = golden.number("eps") as f32;
    let inv_std: Vec<f32> = var.iter().map(|var| 1.0 / (var + eps).sqrt()).collect();
    let scale: Vec<f32> = (0..c).map(|i| gamma[i] * inv_std[i]).collect();
    let shift: Vec<f32> = (0..c).map(|i| beta[i] - mean[i] * scale[i]).collect();
    let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
    let (mut dgamma, mut dbeta) = (vec![f32::NAN; c], vec![f32::NAN; c]);
    scale_shift(&x, &scale, &shift, &mut y);
    let backward = if training { batch_norm_backward } else { batch_norm_backward_frozen };
    backward(&x, &dy, &mean, &inv_std, &gamma, Some(&mut dx), &mut dgamma, &mut dbeta);
    golden.check("y", &y);
    golden.check("dx", &dx);
    golden.check("dgamma", &dgamma);
    golden.check("dbeta", &dbeta);
}

#[test]
fn batch_norm_in_training_and_inference() {
    batch_norm(Golden(&GOLDENS["batch_norm_training"]), true);
    batch_norm(Golden(&GOLDENS["batch_norm_inference"]), false);
}

fn pool_shape(golden: Golden) -> PoolShape {
    let shape = Golden(&golden.0["shape"]);
    let [n, h, w, c] = ["n", "h", "w", "c"].map(|name| shape.size(name));
    let [k_h, k_w, stride, padding] = ["k_h", "k_w", "stride", "padding"].map(|name| shape.size(name));
    PoolShape { n, h, w, c, k_h, k_w, stride, padding }
}

#[test]
fn max_pooling_with_ties() {
    for golden in Golden::list("max_pool2d") {
        let s = pool_shape(golden);
        let (mut y, mut winners) = (vec![f32::NAN; s.y_len()], vec![0; s.y_len()]);
        let mut dx = vec![f32::NAN; s.x_len()];
        max_pool2d(&s, &golden.inputs("x"), &mut y, &mut winners);
        max_pool2d_backward(&s, &golden.inputs("dy"), &winners, &mut dx);
        golden.check("y", &y);
        let argmax: Vec<u32> = golden.results("argmax").iter().map(|&i| i as u32).collect();
        assert_eq!(in_plane(&s, &winners), argmax);
        golden.check("dx", &dx);
    }
}

#[test]
fn average_pooling() {
    for golden in Golden::list("avg_pool2d") {
        let s = pool_shape(golden);
        let (mut y, mut dx) = (vec![f32::NAN; s.y_len()], vec![f32::NAN; s.x_len()]);
        avg_pool2d(&s, &golden.inputs("x"), &mut y);
        avg_pool2d_backward(&s, &golden.inputs("dy"), &mut dx);
        golden.check("y", &y);
        golden.check("dx", &dx);
    }
}

#[test]
fn activations() {
    for (name, forward) in [("relu", relu as fn(&[f32], &mut [f32])), ("gelu", gelu)] {
        let golden = Golden(&GOLDENS[name]);
        let (x, dy) = (golden.inputs("x"), golden.inputs("dy"));
        let (mut y, mut dx) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
        forward(&x, &mut y);
        golden.check("y", &y);
        match name {
            "relu" => relu_backward(&y, &dy, &mut dx),
            _ => gelu_backward(&x, &dy, &mut dx),
        }
        golden.check("dx", &dx);
    }
}

#[test]
fn cross_entropy_with_weights_and_smoothing() {
    for golden in Golden::list("cross_entropy") {
        let (n, c, logits) = (golden.size("n"), golden.size("c"), golden.inputs("logits"));
        let targets: Vec<u32> = golden.results("targets").iter().map(|&target| target as u32).collect();
        let weights = (!golden.0["weight"].is_null()).then(|| golden.inputs("weight"));
        let smoothing = golden.number("label_smoothing") as f32;
        let (mut losses, mut dlogits) = (vec![f32::NAN; n], vec![f32::NAN; n * c]);
        let means = softmax_cross_entropy(
            n,
            c,
            &logits,
            targets[..].into(),
            weights.as_deref(),
            smoothing,
            Reduction::Mean,
            &mut losses,
            Some(&mut dlogits),
        );
        assert_close("mean", &[means.mean], &[golden.number("mean")], TOLERANCE);
        golden.check("losses", &losses);
        golden.check("dlogits", &dlogits);
        let mut log_p = vec![f32::NAN; n * c];
        log_softmax(n, c, &logits, &mut log_p);
        golden.check("log_softmax", &log_p);
    }
}

/// Replays the five steps of `golden`; `step(p, g, t)` makes one.
fn replay(golden: Golden, mut step: impl FnMut(&mut [f32], &[f32], u64)) {
    let mut p = golden.inputs("start");
    let (gradients, after) =
        (golden.0["gradients"].as_array().unwrap(), golden.0["after"].as_array().unwrap());
    assert_eq!((gradients.len(), after.len()), (5, 5));
    for (t, (g, after)) in (1..).zip(gradients.iter().zip(after)) {
        let g: Vec<f32> = floats(g).iter().map(|&g| g as f32).collect();
        step(&mut p, &g, t);
        assert_close(&format!("after step {t} of {}", golden.0["settings"]), &p, &floats(after), TOLERANCE);
    }
}

#[test]
fn five_steps_of_sgd() {
    for golden in Golden::list("sgd") {
        let settings = &golden.0["settings"];
        let setting = |name: &str| settings[name].as_f64().unwrap_or(0.0);
        let cfg = SgdConfig {
            lr: setting("lr"),
            momentum: setting("momentum"),
            weight_decay: setting("weight_decay"),
            nesterov: settings["nesterov"].as_bool().unwrap_or(false),
        };
        let mut buffer = (cfg.momentum > 0.0).then(|| vec![f32::NAN; 6]);
        replay(golden, |p, g, t| sgd_step(p, g, buffer.as_deref_mut(), &cfg, t == 1));
    }
}

#[test]
fn five_steps_of_adam_and_adamw() {
    for (name, decoupled) in [("adam", false), ("adamw", true)] {
        for golden in Golden::list(name) {
            let settings = &golden.0["settings"];
            let setting = |name: &str, default: f64| settings[name].as_f64().unwrap_or(default);
            let cfg = AdamConfig {
                lr: setting("lr", f64::NAN),
                beta1: settings["betas"][0].as_f64().unwrap_or(0.9),
                beta2: settings["betas"][1].as_f64().unwrap_or(0.999),
                eps: setting("eps", 1e-8),
                weight_decay: setting("weight_decay", 0.0),
                decoupled,
            };
            let (mut m, mut v) = (vec![0.0; 6], vec![0.0; 6]);
            replay(golden, |p, g, t| adam_step(p, g, &mut m, &mut v, &cfg, t));
        }
    }
}
