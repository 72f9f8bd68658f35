//! The fused passes against the separate kernels.

use half::bf16;
use tallow_core::{Purpose, Stream};

use super::*;
use crate::{
    PoolShape, batch_norm_backward, batch_norm_stats, max_pool2d, max_pool2d_backward, relu, relu_backward,
    scale_shift,
};

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut stream = Stream::new(seed, Purpose::Test, 0, 1);
    (0..len).map(|_| stream.normal_f32()).collect()
}

fn close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    let norm = b.iter().map(|b| b * b).sum::<f32>().sqrt() + 1e-6;
    let error = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    assert!(a.len() == b.len() && error <= tolerance * norm, "{what}: {}", error / norm);
}

/// The fused passes against the separate kernels, which have oracles of their own; odd sizes, many pieces.
fn agrees<E: Element>(s: NormReluShape, tolerance: f32) {
    let y: Vec<E> = random(s.y_len(), 1).into_iter().map(E::from_f32).collect();
    let da: Vec<E> = random(s.a_len(), 2).into_iter().map(E::from_f32).collect();
    let (gamma, beta) = (random(s.c, 3), random(s.c, 4));
    let (wide_y, wide_da) = (E::as_f32(&y), E::as_f32(&da));
    let (mut mean, mut var) = (vec![0.0; s.c], vec![0.0; s.c]);
    batch_norm_stats(&wide_y, s.c, &mut mean, &mut var);
    let inv_std: Vec<f32> = var.iter().map(|v| 1.0 / (v + 1e-5).sqrt()).collect();
    let scale: Vec<f32> = gamma.iter().zip(&inv_std).map(|(g, i)| g * i).collect();
    let shift: Vec<f32> = (0..s.c).map(|i| beta[i] - mean[i] * scale[i]).collect();

    let (mut z, mut r) = (vec![0.0; s.y_len()], vec![0.0; s.y_len()]);
    scale_shift(&wide_y, &scale, &shift, &mut z);
    relu(&z, &mut r);
    let pool = PoolShape { n: s.n, h: s.h, w: s.w, c: s.c, k_h: 2, k_w: 2, stride: 2, padding: 0 };
    let (mut pooled, mut argmax, mut dr) = (vec![0.0; s.a_len()], vec![0; s.a_len()], wide_da.to_vec());
    if s.pooled {
        max_pool2d(&pool, &r, &mut pooled, &mut argmax);
        dr = vec![0.0; s.y_len()];
        max_pool2d_backward(&pool, &wide_da, &argmax, &mut dr);
    }
    let expected = if s.pooled { &pooled } else { &r };
    let (mut dz, mut dx) = (vec![0.0; s.y_len()], vec![0.0; s.y_len()]);
    relu_backward(&r, &dr, &mut dz);
    let (mut dgamma, mut dbeta) = (vec![0.0; s.c], vec![0.0; s.c]);
    batch_norm_backward(&wide_y, &dz, &mean, &inv_std, &gamma, Some(&mut dx), &mut dgamma, &mut dbeta);

    let (mut a, mut winners) = (vec![E::default(); s.a_len()], vec![0; s.winners_len()]);
    norm_relu(&s, &y, &scale, &shift, &mut a, &mut winners);
    close("forward", &E::as_f32(&a), expected, tolerance);
    let state = NormState { gamma: &gamma, beta: &beta, mean: &mean, inv_std: &inv_std, frozen: false };
    let (mut dy, mut dg, mut db) = (vec![E::default(); s.y_len()], vec![0.0; s.c], vec![0.0; s.c]);
    norm_relu_backward(&s, &y, &da, &winners, &state, &mut dy, &mut dg, &mut db);
    close("dy", &E::as_f32(&dy), &dx, tolerance);
    close("dgamma", &dg, &dgamma, 1e-4);
    close("dbeta", &db, &dbeta, 1e-4);
}

#[test]
fn fused_is_separate() {
    for pooled in [false, true] {
        for (n, h, w, c) in
            [(1, 2, 2, 1), (3, 7, 5, 3), (2, 32, 30, 33), (1, 65, 64, 64), (5, 2, 3, 130), (4, 8, 8, 16)]
        {
            agrees::<f32>(NormReluShape { n, h, w, c, pooled }, 1e-5);
            agrees::<bf16>(NormReluShape { n, h, w, c, pooled }, 1e-2);
        }
    }
}
