//! Batch norm and channel sums.

use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, assert_close_against, cases, dot, finite_differences, naive, random, to_f64};

const EPS: f64 = 1e-5;

/// A batch with its gradient and parameters.
struct Case {
    c: usize,
    x: Vec<f32>,
    dy: Vec<f32>,
    gamma: Vec<f32>,
    beta: Vec<f32>,
}

impl Case {
    /// Returns a case with channel means from -`offset` to `offset`.
    fn new(rows: usize, c: usize, offset: f32, seed: u64) -> Self {
        let offsets = random(seed + 4, c);
        let mut x = random(seed, rows * c);
        x.iter_mut().enumerate().for_each(|(i, x)| *x += offset * offsets[i % c]);
        Self { c, x, dy: random(seed + 1, rows * c), gamma: random(seed + 2, c), beta: random(seed + 3, c) }
    }

    fn stats(&self) -> (Vec<f32>, Vec<f32>) {
        let (mut mean, mut var) = (vec![f32::NAN; self.c], vec![f32::NAN; self.c]);
        batch_norm_stats(&self.x, self.c, &mut mean, &mut var);
        (mean, var)
    }

    /// Returns the sum of `dy * y` in training, as a function of the input or of the parameters.
    fn objective(&self, x: &[f64], gamma: &[f64], beta: &[f64]) -> f64 {
        let (mean, var) = naive::stats(x, self.c);
        dot(&naive::normalise(x, (&mean, &var), EPS, (gamma, beta)), &self.dy)
    }

    /// Returns dx, dgamma and dbeta of the kernel.
    fn gradients(&self, mean: &[f32], var: &[f32], frozen: bool) -> [Vec<f32>; 3] {
        let inv_std = inv_std(var);
        let mut dx = vec![f32::NAN; self.x.len()];
        let (mut dgamma, mut dbeta) = (vec![f32::NAN; self.c], vec![f32::NAN; self.c]);
        let backward = if frozen { batch_norm_backward_frozen } else { batch_norm_backward };
        backward(&self.x, &self.dy, mean, &inv_std, &self.gamma, Some(&mut dx), &mut dgamma, &mut dbeta);
        let (mut dgamma_alone, mut dbeta_alone) = (vec![f32::NAN; self.c], vec![f32::NAN; self.c]);
        backward(&self.x, &self.dy, mean, &inv_std, &self.gamma, None, &mut dgamma_alone, &mut dbeta_alone);
        assert_eq!((&dgamma_alone, &dbeta_alone), (&dgamma, &dbeta), "with dx and without");
        [dx, dgamma, dbeta]
    }
}

fn sums_of_sizes(x: &[f64], c: usize) -> Vec<f64> {
    naive::channel_sums(&x.iter().map(|x| x.abs()).collect::<Vec<_>>(), c)
}

fn inv_std(var: &[f32]) -> Vec<f32> {
    var.iter().map(|&var| (1.0 / (f64::from(var) + EPS).sqrt()) as f32).collect()
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn sums_and_stats_are_their_definitions(rows in 1usize..=2000, c in 1usize..=40, seed in any::<u32>()) {
        let case = Case::new(rows, c, 3.0, u64::from(seed));
        let x = to_f64(&case.x);
        let mut sums = vec![f32::NAN; c];
        channel_sums(&case.x, c, &mut sums);
        assert_close_against("sums", &sums, &naive::channel_sums(&x, c), &sums_of_sizes(&x, c), 1e-6);
        let (mean, var) = naive::stats(&x, c);
        assert_close("mean", &case.stats().0, &mean, 1e-6);
        assert_close("var", &case.stats().1, &var, 1e-6);
    }

    /// The gradients written out from the definition.
    #[test]
    fn gradients_are_their_definitions(rows in 2usize..=2000, c in 1usize..=40, seed in any::<u32>()) {
        let case = Case::new(rows, c, 3.0, u64::from(seed));
        let (x, dy, gamma) = (to_f64(&case.x), to_f64(&case.dy), to_f64(&case.gamma));
        let (mean, var) = naive::stats(&x, c);
        let std: Vec<f64> = var.iter().map(|var| (var + EPS).sqrt()).collect();
        let x_hat: Vec<f64> = x.iter().enumerate().map(|(i, x)| (x - mean[i % c]) / std[i % c]).collect();
        let products: Vec<f64> = dy.iter().zip(&x_hat).map(|(dy, x_hat)| dy * x_hat).collect();
        let (dbeta, dgamma) = (naive::channel_sums(&dy, c), naive::channel_sums(&products, c));
        let dx: Vec<f64> = (0..x.len())
            .map(|i| {
                let through_stats = (dbeta[i % c] + x_hat[i] * dgamma[i % c]) / rows as f64;
                gamma[i % c] / std[i % c] * (dy[i] - through_stats)
            })
            .collect();
        let (mean, var) = case.stats();
        let [dx_here, dgamma_here, dbeta_here] = case.gradients(&mean, &var, false);
        assert_close_against("dbeta", &dbeta_here, &dbeta, &sums_of_sizes(&dy, c), 1e-6);
        assert_close_against("dgamma", &dgamma_here, &dgamma, &sums_of_sizes(&products, c), 1e-6);
        if rows > 3 { // with very few rows, dx is a difference of nearly equal numbers
            assert_close("dx", &dx_here, &dx, 3e-5);
        }
    }

    #[test]
    fn scale_and_shift_are_their_definition(rows in 1usize..=2000, c in 1usize..=40, seed in any::<u32>()) {
        let case = Case::new(rows, c, 1.0, u64::from(seed));
        let mut y = vec![f32::NAN; case.x.len()];
        scale_shift(&case.x, &case.gamma, &case.beta, &mut y);
        let expected: Vec<f64> = (0..y.len())
            .map(|i| f64::from(case.x[i]) * f64::from(case.gamma[i % c]) + f64::from(case.beta[i % c]))
            .collect();
        assert_close("y", &y, &expected, 1e-6);
    }
}

#[test]
fn gradients_are_finite_differences() {
    let case = Case::new(7, 3, 2.0, 1);
    let (x, gamma, beta) = (to_f64(&case.x), to_f64(&case.gamma), to_f64(&case.beta));
    let (mean, var) = case.stats();

    let [dx, dgamma, dbeta] = case.gradients(&mean, &var, false);
    let by_x = finite_differences(&case.x, 1e-5, |x| case.objective(x, &gamma, &beta));
    let by_gamma = finite_differences(&case.gamma, 1e-3, |gamma| case.objective(&x, gamma, &beta));
    let by_beta = finite_differences(&case.beta, 1e-3, |beta| case.objective(&x, &gamma, beta));
    assert_close("dx", &dx, &by_x, 1e-5);
    assert_close("dgamma", &dgamma, &by_gamma, 1e-5);
    assert_close("dbeta", &dbeta, &by_beta, 1e-6);

    let [dx, dgamma, _] = case.gradients(&mean, &var, true);
    let stats = (to_f64(&mean), to_f64(&var));
    let frozen = |x: &[f64]| dot(&naive::normalise(x, (&stats.0, &stats.1), EPS, (&gamma, &beta)), &case.dy);
    assert_close("frozen dx", &dx, &finite_differences(&case.x, 1e-3, frozen), 1e-6);
    assert_close("frozen dgamma", &dgamma, &by_gamma, 1e-5);
}

/// The mean is 4096 standard deviations: naive sums of squares in f32 would lose the variance entirely.
#[test]
fn variance_survives_a_large_mean() {
    let case = Case::new(5000, 3, 4096.0, 1);
    let (mean, var) = naive::stats(&to_f64(&case.x), 3);
    assert_close("mean", &case.stats().0, &mean, 1e-7);
    assert_close("var", &case.stats().1, &var, 1e-6);
    let constant = vec![0.1f32; 999];
    let (mut mean, mut var) = ([f32::NAN; 3], [f32::NAN; 3]);
    batch_norm_stats(&constant, 3, &mut mean, &mut var);
    assert_eq!(mean, [0.1; 3]);
    assert!(var.iter().all(|var| (0.0..1e-20).contains(var)), "{var:?}");
}

/// More channels than a chunk has elements: a chunk is one row.
#[test]
fn many_channels() {
    let case = Case::new(3, 20_000, 1.0, 1);
    let x = to_f64(&case.x);
    let (mean, var) = naive::stats(&x, case.c);
    assert_close("mean", &case.stats().0, &mean, 1e-6);
    assert_close("var", &case.stats().1, &var, 1e-6);
}

#[test]
#[should_panic(expected = "batch_norm_stats: x has 10 elements, expected a multiple of the 3 channels")]
fn half_a_row_is_named() {
    batch_norm_stats(&[0.0; 10], 3, &mut [0.0; 3], &mut [0.0; 3]);
}
