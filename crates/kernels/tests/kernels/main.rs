//! Compares the kernels with plain definitions, with PyTorch, and with themselves.
//!
//! * [`naive`]: the oracle, nested loops in f64;
//! * one file per group of kernels: property tests against the oracle, gradients against finite differences of it;
//! * [`goldens`]: small inputs with PyTorch's results; [`conv_goldens`]: convolutions, also in bf16;
//! * [`threads`]: the same bits for any number of threads.

mod activation;
mod attention;
mod conv;
mod conv_goldens;
mod depthwise;
mod goldens;
mod join;
mod layer_norm;
mod loss;
mod muon;
mod naive;
mod norm;
mod optim;
mod pool;
mod squeeze_excite;
mod threads;

use proptest::test_runner::{Config, RngSeed};
use tallow_core::{Purpose, Stream};

/// Returns random numbers in [-1, 1) that depend only on `seed` and on their index.
fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Test, 0, 0);
    (0..len).map(|_| stream.uniform_f32(-1.0, 1.0)).collect()
}

/// Configures `n_cases` cases, the same in each run, so that a failure repeats.
fn cases(n_cases: u32) -> Config {
    Config { cases: n_cases, rng_seed: RngSeed::Fixed(0), failure_persistence: None, ..Config::default() }
}

fn to_f64(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// Panics unless `|actual - expected| <= tolerance * |expected|` in the Euclidean norm. NaN is never close.
#[track_caller]
fn assert_close(what: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
    assert_close_against(what, actual, expected, expected, tolerance);
}

/// Like [`assert_close`], but relative to the norm of `scale`. For sums of terms that may cancel, `scale` is the sums
/// of the terms' sizes.
#[track_caller]
fn assert_close_against(what: &str, actual: &[f32], expected: &[f64], scale: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let error = norm(actual.iter().zip(expected).map(|(&a, &e)| f64::from(a) - e));
    let scale = norm(scale.iter().copied());
    assert!(
        error <= tolerance * scale,
        "{what}: error {error:e} against {scale:e}\n{actual:?}\n{expected:?}"
    );
}

/// Returns the gradient of `f` at `x` by central differences, one coordinate after the other.
fn finite_differences(x: &[f32], step: f64, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = to_f64(x);
    (0..x.len())
        .map(|i| {
            let at = x[i];
            x[i] = at + step;
            let above = f(&x);
            x[i] = at - step;
            let below = f(&x);
            x[i] = at;
            (above - below) / (2.0 * step)
        })
        .collect()
}

fn dot(x: &[f64], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, &y)| x * f64::from(y)).sum()
}

/// Returns the places of the winners of a max pooling in the image's plane, as `y * w + x`.
fn in_plane(s: &tallow_kernels::PoolShape, winners: &[u8]) -> Vec<u32> {
    let pixel = |(i, &place): (usize, &u8)| {
        let (out, place) = (i / s.c % (s.h_out() * s.w_out()), usize::from(place));
        let y = out / s.w_out() * s.stride + place / s.k_w - s.padding;
        let x = out % s.w_out() * s.stride + place % s.k_w - s.padding;
        (y * s.w + x) as u32
    };
    winners.iter().enumerate().map(pixel).collect()
}
