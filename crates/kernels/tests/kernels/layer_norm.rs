//! Layer norm.

use half::bf16;
use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, assert_close_against, cases, dot, finite_differences, naive, random, to_f64};

const EPS: f32 = 1e-6;

/// Uses the definition of batch norm on the transpose: the rows here are the channels there.
fn definition(x: &[f64], gamma: &[f64], beta: &[f64]) -> Vec<f64> {
    let row = |x: &[f64]| -> Vec<f64> {
        let (mean, var) = naive::stats(x, 1);
        let normal = naive::normalise(x, (&mean, &var), EPS.into(), (&[1.0], &[0.0]));
        normal.iter().zip(gamma.iter().zip(beta)).map(|(x, (gamma, beta))| x * gamma + beta).collect()
    };
    x.chunks(gamma.len()).flat_map(row).collect()
}

/// Returns the gradients by x, gamma and beta, written out in f64.
fn gradients(x: &[f64], dy: &[f64], gamma: &[f64]) -> [Vec<f64>; 3] {
    let c = gamma.len();
    let [mut dx, mut dgamma, mut dbeta] = [vec![], vec![0.0; c], vec![0.0; c]];
    for (x, dy) in x.chunks(c).zip(dy.chunks(c)) {
        let (mean, var) = naive::stats(x, 1);
        let std = (var[0] + f64::from(EPS)).sqrt();
        let x_hat: Vec<f64> = x.iter().map(|x| (x - mean[0]) / std).collect();
        let g: Vec<f64> = dy.iter().zip(gamma).map(|(dy, gamma)| dy * gamma).collect();
        let mean_g = g.iter().sum::<f64>() / c as f64;
        let mean_gx = g.iter().zip(&x_hat).map(|(g, x_hat)| g * x_hat).sum::<f64>() / c as f64;
        for i in 0..c {
            dx.push((g[i] - mean_g - x_hat[i] * mean_gx) / std);
            dgamma[i] += dy[i] * x_hat[i];
            dbeta[i] += dy[i];
        }
    }
    [dx, dgamma, dbeta]
}

/// Returns y and the gradients of the kernels.
fn run<E: Element>(x: &[E], dy: &[E], gamma: &[f32], beta: &[f32]) -> (Vec<E>, Vec<E>, [Vec<f32>; 2]) {
    let (c, junk) = (gamma.len(), E::from_f32(f32::NAN));
    let (mut y, mut mean, mut inv_std) =
        (vec![junk; x.len()], vec![f32::NAN; x.len() / c], vec![f32::NAN; x.len() / c]);
    layer_norm(EPS, x, gamma, beta, &mut y, &mut mean, &mut inv_std);
    let (mut dx, mut dgamma, mut dbeta) = (vec![junk; x.len()], vec![f32::NAN; c], vec![f32::NAN; c]);
    let saved = LayerNormState { x, mean: &mean, inv_std: &inv_std, gamma };
    layer_norm_backward(&saved, dy, &mut dx, &mut dgamma, &mut dbeta);
    (y, dx, [dgamma, dbeta])
}

/// Compares with the definition on rows with means around 2.
fn check<E: Element>(rows: usize, c: usize, seed: u64, tolerance: f64) {
    let map = |seed, offset| -> Vec<E> {
        random(seed, rows * c).into_iter().map(|x| E::from_f32(x + offset)).collect()
    };
    let (x, dy) = (map(seed, 2.0), map(seed + 1, 0.0));
    let (gamma, beta) = (random(seed + 2, c), random(seed + 3, c));
    let (y, dx, [dgamma, dbeta]) = run(&x, &dy, &gamma, &beta);
    let (x64, dy64) = (to_f64(&E::as_f32(&x)), to_f64(&E::as_f32(&dy)));
    let (gamma64, beta64) = (to_f64(&gamma), to_f64(&beta));
    assert_close("y", &E::as_f32(&y), &definition(&x64, &gamma64, &beta64), tolerance);
    let expected = gradients(&x64, &dy64, &gamma64);
    // in short rows, dx is a difference of nearly equal numbers
    let scale: Vec<f64> = expected[0].iter().map(|dx| dx.abs() + 1.0).collect();
    assert_close_against("dx", &E::as_f32(&dx), &expected[0], &scale, if c > 3 { tolerance } else { 0.1 });
    let sizes = vec![(rows as f64).sqrt(); c];
    assert_close_against("dgamma", &dgamma, &expected[1], &sizes, 1e-5);
    assert_close_against("dbeta", &dbeta, &expected[2], &sizes, 1e-6);
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn layer_norm_is_its_definition(rows in 0usize..=300, c in 1usize..=200, seed in any::<u32>()) {
        check::<f32>(rows, c, u64::from(seed), 1e-5);
        check::<bf16>(rows, c, u64::from(seed), 2e-2);
    }
}

#[test]
fn gradients_are_finite_differences() {
    let (rows, c) = (3, 19);
    let (x, dy, gamma, beta) = (random(1, rows * c), random(2, rows * c), random(3, c), random(4, c));
    let (_, dx, [dgamma, dbeta]) = run(&x, &dy, &gamma, &beta);
    let (x64, gamma64, beta64) = (to_f64(&x), to_f64(&gamma), to_f64(&beta));
    let by_x = finite_differences(&x, 1e-5, |x| dot(&definition(x, &gamma64, &beta64), &dy));
    let by_gamma = finite_differences(&gamma, 1e-3, |gamma| dot(&definition(&x64, gamma, &beta64), &dy));
    let by_beta = finite_differences(&beta, 1e-3, |beta| dot(&definition(&x64, &gamma64, beta), &dy));
    assert_close("dx", &dx, &by_x, 1e-5);
    assert_close("dgamma", &dgamma, &by_gamma, 1e-5);
    assert_close("dbeta", &dbeta, &by_beta, 1e-6);
}

/// The mean is 8192 standard deviations: the mean of squares minus the square of the mean would lose the variance
/// entirely.
#[test]
fn variance_survives_a_large_mean() {
    let x: Vec<f32> = (0..40).map(|i| if i % 2 == 0 { 4095.5 } else { 4096.5 }).collect();
    let beta = random(1, 40);
    let (y, ..) = run(&x, &x, &[1.0; 40], &beta);
    let sign = |i: usize| if i.is_multiple_of(2) { -1.0 } else { 1.0 };
    let expected: Vec<f64> = (0..40).map(|i| sign(i) + f64::from(beta[i])).collect();
    assert_close("y", &y, &expected, 1e-5);
}

#[test]
#[should_panic(expected = "layer_norm: mean has 3 elements, expected 4")]
fn a_wrong_length_is_named() {
    layer_norm(EPS, &[0f32; 8], &[1.0; 2], &[0.0; 2], &mut [0.0; 8], &mut [0.0; 3], &mut [0.0; 4]);
}
