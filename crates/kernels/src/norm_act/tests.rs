//! Compares the fused passes with the separate kernels.

use half::bf16;
use tallow_core::{Purpose, Stream};

use super::*;
use crate::{
    PoolShape, batch_norm_backward, batch_norm_stats, gelu, gelu_backward, hard_swish, hard_swish_backward,
    max_pool2d, max_pool2d_backward, relu, relu_backward, relu6, relu6_backward, scale_shift, silu,
    silu_backward,
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

/// Compares the fused passes with the separate kernels, which other tests check, on odd sizes and many pieces.
fn agrees<E: Element>(s: NormActShape, with_residual: bool, tolerance: f32) {
    let map = |len, seed| random(len, seed).into_iter().map(E::from_f32).collect::<Vec<E>>();
    let (y, residual, da) = (map(s.y_len(), 1), map(s.y_len(), 5), map(s.a_len(), 2));
    // wide enough to reach all parts of a ReLU6
    let gamma: Vec<f32> = random(s.c, 3).iter().map(|gamma| 4.0 * gamma).collect();
    let beta = random(s.c, 4);
    let (wide_y, wide_da) = (E::as_f32(&y), E::as_f32(&da));
    let (mut mean, mut var) = (vec![0.0; s.c], vec![0.0; s.c]);
    batch_norm_stats(&wide_y, s.c, &mut mean, &mut var);
    let inv_std: Vec<f32> = var.iter().map(|v| 1.0 / (v + 1e-5).sqrt()).collect();
    let scale: Vec<f32> = gamma.iter().zip(&inv_std).map(|(g, i)| g * i).collect();
    let shift: Vec<f32> = (0..s.c).map(|i| beta[i] - mean[i] * scale[i]).collect();

    let (mut z, mut r) = (vec![0.0; s.y_len()], vec![0.0; s.y_len()]);
    scale_shift(&wide_y, &scale, &shift, &mut z);
    if with_residual {
        z.iter_mut().zip(&*E::as_f32(&residual)).for_each(|(z, r)| *z += r);
    }
    let pool = PoolShape { n: s.n, h: s.h, w: s.w, c: s.c, k_h: 2, k_w: 2, stride: 2, padding: 0 };
    let (mut dr, mut dz) = (wide_da.to_vec(), vec![0.0; s.y_len()]);
    match s.after {
        After::Nothing => (r, dz) = (z.clone(), dr),
        After::Gelu => {
            gelu(&z, &mut r);
            gelu_backward(&z, &dr, &mut dz);
        }
        After::Relu6 => {
            relu6(&z, &mut r);
            relu6_backward(&z, &dr, &mut dz);
        }
        After::Silu => {
            silu(&z, &mut r);
            silu_backward(&z, &dr, &mut dz);
        }
        After::HardSwish => {
            hard_swish(&z, &mut r);
            hard_swish_backward(&z, &dr, &mut dz);
        }
        After::Relu | After::ReluPool => {
            relu(&z, &mut r);
            let relu_output = r.clone();
            if s.after == After::ReluPool {
                let mut winners = vec![0; s.a_len()];
                r = vec![0.0; s.a_len()];
                max_pool2d(&pool, &relu_output, &mut r, &mut winners);
                dr = vec![0.0; s.y_len()];
                max_pool2d_backward(&pool, &wide_da, &winners, &mut dr);
            }
            relu_backward(&relu_output, &dr, &mut dz);
        }
    }
    let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; s.y_len()], vec![0.0; s.c], vec![0.0; s.c]);
    batch_norm_backward(&wide_y, &dz, &mean, &inv_std, &gamma, Some(&mut dx), &mut dgamma, &mut dbeta);

    let what = |part: &str| format!("{s:?}, {with_residual}: {part}");
    let (mut a, mut winners) = (vec![E::default(); s.a_len()], vec![0; s.winners_len()]);
    norm_act(&s, &y, &scale, &shift, with_residual.then_some(&residual[..]), &mut a, &mut winners);
    close(&what("forward"), &E::as_f32(&a), &r, tolerance);
    let norm = NormState { gamma: &gamma, beta: &beta, mean: &mean, inv_std: &inv_std, frozen: false };
    let masked = with_residual && s.after == After::Relu;
    let saved = Saved { y: &y, a: masked.then_some(&a[..]), winners: &winners, norm };
    let (mut dy, mut dg, mut db) = (vec![E::default(); s.y_len()], vec![0.0; s.c], vec![0.0; s.c]);
    let mut dresidual = vec![E::default(); if masked { s.y_len() } else { 0 }];
    norm_act_backward(&s, &saved, &da, &mut dy, &mut dresidual, &mut dg, &mut db);
    close(&what("dy"), &E::as_f32(&dy), &dx, tolerance);
    close(&what("dgamma"), &dg, &dgamma, tolerance);
    close(&what("dbeta"), &db, &dbeta, tolerance);
    if masked {
        close(&what("dresidual"), &E::as_f32(&dresidual), &dz, tolerance);
    }
}

#[test]
fn fused_is_separate() {
    for (after, with_residual) in [
        (After::Nothing, false),
        (After::Nothing, true),
        (After::Relu, false),
        (After::Relu, true),
        (After::ReluPool, false),
        (After::Gelu, false),
        (After::Relu6, false),
        (After::Silu, false),
        (After::HardSwish, false),
    ] {
        for (n, h, w, c) in
            [(1, 2, 2, 1), (3, 7, 5, 3), (2, 32, 30, 33), (1, 65, 64, 64), (5, 2, 3, 130), (4, 8, 8, 16)]
        {
            let s = NormActShape { n, h, w, c, after };
            agrees::<f32>(s, with_residual, 1e-4);
            agrees::<bf16>(s, with_residual, 2e-2);
        }
    }
}

#[test]
#[should_panic(expected = "norm_act: a residual before Relu6")]
fn a_residual_before_relu6_is_refused() {
    let s = NormActShape { n: 1, h: 1, w: 1, c: 1, after: After::Relu6 };
    norm_act(&s, &[1.0], &[1.0], &[1.0], Some(&[1.0]), &mut [0.0], &mut []);
}

/// With a constant mean and standard deviation, only the slope and the scale remain.
#[test]
fn frozen_statistics_pass_the_gradient_through() {
    let s = NormActShape { n: 1, h: 2, w: 2, c: 1, after: After::Relu };
    let norm = NormState { gamma: &[3.0], beta: &[1.0], mean: &[0.0], inv_std: &[2.0], frozen: true };
    let saved = Saved { y: &[1.0, -1.0, 2.0, 0.0], a: None, winners: &[], norm };
    let (mut dy, mut dgamma, mut dbeta) = ([9.0; 4], [0.0], [0.0]);
    norm_act_backward(&s, &saved, &[1.0, 2.0, 3.0, 4.0], &mut dy, &mut [], &mut dgamma, &mut dbeta);
    assert_eq!((dy, dgamma, dbeta), ([6.0, 0.0, 18.0, 24.0], [14.0], [8.0]));
}
