//! Compares every layer's gradients, on both paths, with central differences of its own forward pass.
//!
//! The objective is `sum(r * layer(x))` for a fixed random `r`, summed in f64. A number of an f32 forward pass has a relative
//! error of about 1e-7. With a step of 1e-2, a difference has an error of about 1e-5, and more if large terms cancel in it. The
//! truncation error is of the order of step^2 / 6 = 2e-5; only batch norm and GELU have it, because the other layers are linear
//! between kinks. Inputs are 0.025 apart and at least 0.0125 from 0, so no step reaches a kink of ReLU or max pooling.

mod common;

use common::{Net, cases, output_weights, relative_error};
use tallow_nn::Backend;

const STEP: f32 = 1e-2;
const TOLERANCE: f64 = 1e-3;

/// Returns `sum(r * layer(x))` of a training pass.
fn objective(net: &Net, backend: Backend, x: &[f32]) -> f64 {
    let pass = net.train(backend, x, false);
    let weights = output_weights(pass.dims);
    pass.y.iter().zip(weights).map(|(&y, r)| f64::from(y) * f64::from(r)).sum()
}

/// Returns the derivative of `f` with respect to each of `values`.
fn differences(values: &[f32], mut f: impl FnMut(&[f32]) -> f64) -> Vec<f32> {
    let mut moved = values.to_vec();
    let mut gradient = Vec::with_capacity(values.len());
    for i in 0..values.len() {
        let (above, below) = (values[i] + STEP, values[i] - STEP);
        moved[i] = above;
        let f_above = f(&moved);
        moved[i] = below;
        let f_below = f(&moved);
        moved[i] = values[i];
        gradient.push(((f_above - f_below) / f64::from(above - below)) as f32);
    }
    gradient
}

fn check(what: &str, gradient: &[f32], differences: &[f32]) {
    assert!(differences.iter().any(|&d| d != 0.0), "{what}: nothing to compare with");
    let error = relative_error(gradient, differences);
    assert!(error <= TOLERANCE, "{what}: relative error {error:.1e}");
}

fn check_net(net: &Net, backend: Backend) {
    let x = net.input();
    let tensors = net.store.to_tensors().unwrap();
    let pass = net.train(backend, &x, true);
    let expected = differences(&x, |x| objective(net, backend, x));
    check(&format!("{}, {backend:?}, input", net.name), &pass.input_grad.unwrap(), &expected);

    let names: Vec<String> = net.store.params().map(|p| p.name().to_owned()).collect();
    assert_eq!(pass.grads.keys().cloned().collect::<Vec<_>>(), names, "{}, {backend:?}", net.name);
    for name in names {
        let expected = differences(&tensors[&name].data, |values| {
            let mut moved = tensors.clone();
            moved.get_mut(&name).unwrap().data = values.to_vec();
            net.store.load_tensors(&moved).unwrap();
            objective(net, backend, &x)
        });
        net.store.load_tensors(&tensors).unwrap();
        check(&format!("{}, {backend:?}, {name}", net.name), &pass.grads[&name], &expected);
    }
}

#[test]
fn kernel_path() {
    cases().iter().for_each(|case| check_net(&Net::new(case), Backend::Kernels));
}

#[test]
fn candle_path() {
    cases().iter().for_each(|case| check_net(&Net::new(case), Backend::Candle));
}
