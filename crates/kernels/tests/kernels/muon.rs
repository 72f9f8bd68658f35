//! Compares Muon with its definition in f64: steps with the results in `fixtures/muon.json`, which
//! `fixtures/gen_muon.py` wrote, and the Newton-Schulz iteration with the loops here. Errors of f32 grow by the
//! iteration's slope at 0, which is 3.4 for each iteration.

use std::f64::consts::PI;

use proptest::prelude::*;
use serde_json::Value;
use tallow_kernels::optim::{MuonConfig, muon_step, orthogonalize};

use crate::{assert_close, cases, norm, random, to_f64};

const PLAIN: MuonConfig =
    MuonConfig { lr: 0.1, momentum: 0.9, nesterov: true, ns_steps: 5, filter_norm: false, weight_decay: 0.0 };

type Rows = Vec<Vec<f64>>;

fn transposed(a: &Rows) -> Rows {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

fn product(a: &Rows, b: &Rows) -> Rows {
    let columns = transposed(b);
    let dot = |row: &Vec<f64>, column: &Vec<f64>| row.iter().zip(column).map(|(x, y)| x * y).sum();
    a.iter().map(|row| columns.iter().map(|column| dot(row, column)).collect()).collect()
}

/// The iteration as in its formula, X (a I + b X^T X + c (X^T X)^2), without a transposition, whichever side is
/// longer.
fn newton_schulz(matrix: &[f32], rows: usize, ns_steps: usize) -> Vec<f64> {
    let size = norm(matrix.iter().map(|&x| f64::from(x)));
    let cols = matrix.len() / rows;
    let mut x: Rows =
        matrix.chunks(cols).map(|row| row.iter().map(|&x| f64::from(x) / size).collect()).collect();
    for _ in 0..ns_steps {
        let once = product(&x, &product(&transposed(&x), &x));
        let twice = product(&once, &product(&transposed(&x), &x));
        for ((x, once), twice) in
            x.iter_mut().flatten().zip(once.iter().flatten()).zip(twice.iter().flatten())
        {
            *x = 3.4445 * *x - 4.7750 * once + 2.0315 * twice;
        }
    }
    x.concat()
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_iteration_is_its_definition(
        rows in 1usize..=75, cols in 1usize..=75, ns_steps in 1usize..=5, seed in any::<u32>(),
    ) {
        let matrix = random(u64::from(seed), rows * cols);
        let expected = newton_schulz(&matrix, rows, ns_steps);
        assert_close("orthogonalize", &orthogonalize(&matrix, rows, ns_steps), &expected, 1e-5);
    }
}

/// Builds a matrix from two known bases (cosines) and singular values from 0.02 to 1.
#[test]
fn singular_values_come_near_1_and_their_vectors_stay() {
    /// Returns an orthonormal basis of n dimensions, one vector per row.
    fn cosines(n: usize) -> Rows {
        let row = |k: usize| {
            let scale = if k == 0 { 1.0 } else { 2f64.sqrt() } / (n as f64).sqrt();
            (0..n).map(|i| scale * (PI * k as f64 * (i as f64 + 0.5) / n as f64).cos()).collect()
        };
        (0..n).map(row).collect()
    }
    for (rows, cols) in [(12, 40), (40, 12), (12, 12)] {
        let (left, right) = (cosines(rows), cosines(cols));
        let values = |i: usize, j: usize| if i == j { 1.0 - 0.98 * i as f64 / 11.0 } else { 0.0 };
        let middle: Rows = (0..rows).map(|i| (0..cols).map(|j| values(i, j)).collect()).collect();
        let matrix = product(&product(&transposed(&left), &middle), &right).concat();
        let matrix: Vec<f32> = matrix.iter().map(|&x| x as f32).collect();
        let result = orthogonalize(&matrix, rows, 5);
        let result: Rows = result.chunks(cols).map(to_f64).collect();
        let seen = product(&product(&left, &result), &transposed(&right));
        for (i, row) in seen.iter().enumerate() {
            for (j, &value) in row.iter().enumerate() {
                let range = if i == j { 0.6..1.25 } else { -1e-4..1e-4 };
                assert!(range.contains(&value), "{rows} x {cols}: {value} at ({i}, {j})");
            }
        }
    }
}

#[test]
fn four_steps_as_pytorch_makes_them() {
    let goldens: Value = serde_json::from_str(include_str!("../fixtures/muon.json")).unwrap();
    let floats =
        |list: &Value| -> Vec<f64> { list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    let narrow = |list: &Value| -> Vec<f32> { floats(list).iter().map(|&x| x as f32).collect() };
    let (mut n_cases, mut n_of_torch) = (0, 0);
    for golden in goldens["muon"].as_array().unwrap() {
        let setting = |name: &str| golden[name].as_f64().unwrap();
        let cfg = MuonConfig {
            lr: setting("lr"),
            momentum: setting("momentum"),
            nesterov: golden["nesterov"].as_bool().unwrap(),
            ns_steps: golden["ns_steps"].as_u64().unwrap() as usize,
            filter_norm: golden["filter_norm"].as_bool().unwrap(),
            weight_decay: setting("weight_decay"),
        };
        let rows = golden["rows"].as_u64().unwrap() as usize;
        let start = floats(&golden["start"]);
        let mut p = narrow(&golden["start"]);
        let mut buffer = vec![0.0; p.len()];
        let steps = golden["gradients"].as_array().unwrap().iter().zip(golden["after"].as_array().unwrap());
        for (t, (g, after)) in (1..).zip(steps) {
            muon_step(&mut p, &narrow(g), Some(&mut buffer), rows, &cfg);
            assert_close(&format!("after step {t} of {rows} rows, {cfg:?}"), &p, &floats(after), 1e-5);
        }
        n_cases += 1;
        // torch.optim.Muon itself iterates in bf16, so the change of the parameter has 8 bits
        if let Some(of_torch) = golden.get("torch_after").map(floats) {
            let change: Vec<f32> =
                p.iter().zip(&start).map(|(&p, &start)| (f64::from(p) - start) as f32).collect();
            let of_torch: Vec<f64> = of_torch.iter().zip(&start).map(|(p, start)| p - start).collect();
            assert_close(&format!("torch.optim.Muon, {cfg:?}"), &change, &of_torch, 0.03);
            n_of_torch += 1;
        }
    }
    assert_eq!((n_cases, n_of_torch), (9, 4));
}

#[test]
fn nothing_learnt_is_nothing_changed() {
    let (start, mut buffer) = (random(1, 12), vec![0.0; 12]);
    let mut p = start.clone();
    muon_step(&mut p, &[0.0; 12], Some(&mut buffer), 3, &PLAIN);
    assert_eq!((&p, buffer), (&start, vec![0.0; 12]), "a gradient of 0 has no direction");
    let filters = MuonConfig { filter_norm: true, ..PLAIN };
    let mut zero = [0.0; 12];
    muon_step(&mut zero, &[0.0; 12], None, 3, &filters);
    assert_eq!(zero, [0.0; 12], "filters of 0 have no norm to be brought to");
    muon_step(&mut p, &[0.0; 12], None, 3, &filters);
    assert_close("norm", &[norm(p.iter().map(|&p| f64::from(p))) as f32], &[3f64.sqrt()], 1e-6);
}

/// Only the direction of a gradient counts: the step does not depend on its size.
#[test]
fn large_and_small_gradients_make_one_step() {
    let g = random(1, 60);
    let after = |size: f32| {
        let mut p = vec![0.0; 60];
        muon_step(&mut p, &g.iter().map(|g| size * g).collect::<Vec<_>>(), None, 5, &PLAIN);
        p
    };
    for size in [1e-4, 1e4, 1e15] {
        assert_close("another size", &after(size), &to_f64(&after(1.0)), 1e-5);
    }
}

#[test]
#[should_panic(expected = "muon_step: p has 7 elements, expected a multiple of the 3 rows")]
fn what_is_no_matrix_is_named() {
    muon_step(&mut [0.0; 7], &[0.0; 7], None, 3, &PLAIN);
}

#[test]
#[should_panic(expected = "muon_step: momentum_buffer has 5 elements, expected 6")]
fn a_wrong_length_is_named() {
    muon_step(&mut [0.0; 6], &[0.0; 6], Some(&mut [0.0; 5]), 3, &PLAIN);
}
