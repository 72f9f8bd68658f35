//! Optimiser steps: properties that the goldens of five steps on six numbers do not show.

use tallow_kernels::optim::{AdamConfig, SgdConfig, adam_step, sgd_step};

use crate::random;

const SGD: SgdConfig = SgdConfig { lr: 0.1, momentum: 0.9, weight_decay: 0.01, nesterov: false };
const ADAM: AdamConfig =
    AdamConfig { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled: true };

/// A step on a parameter of many chunks equals steps on its pieces.
#[test]
fn a_long_parameter_is_stepped_like_its_pieces() {
    let len = 50_001;
    let (start, g) = (random(1, len), random(2, len));
    let (mut p, mut buffer) = (start.clone(), random(3, len));
    let (mut m, mut v) = (random(4, len), random(5, len).iter().map(|v| v.abs()).collect::<Vec<_>>());
    let (mut pieces, mut buffer_pieces, mut m_pieces, mut v_pieces) =
        (p.clone(), buffer.clone(), m.clone(), v.clone());
    sgd_step(&mut p, &g, Some(&mut buffer), &SGD, false);
    sgd_step(&mut p, &g, None, &SGD, false);
    adam_step(&mut p, &g, &mut m, &mut v, &ADAM, 7);
    for piece in (0..len).step_by(999).map(|i| i..(i + 999).min(len)) {
        let (p, g) = (&mut pieces[piece.clone()], &g[piece.clone()]);
        sgd_step(p, g, Some(&mut buffer_pieces[piece.clone()]), &SGD, false);
        sgd_step(p, g, None, &SGD, false);
        adam_step(p, g, &mut m_pieces[piece.clone()], &mut v_pieces[piece], &ADAM, 7);
    }
    assert_eq!(p, pieces);
    assert_eq!((buffer, m, v), (buffer_pieces, m_pieces, v_pieces));
    assert_ne!(p, start);
}

#[test]
fn the_first_step_ignores_what_the_buffer_holds() {
    let (mut p, mut buffer) = ([1.0], [f32::NAN]);
    sgd_step(&mut p, &[2.0], Some(&mut buffer), &SGD, true);
    assert_eq!(buffer, [2.01]);
    assert_eq!(p, [1.0 - 0.1 * 2.01]);
}

#[test]
#[should_panic(expected = "adam_step: v has 1 elements, expected 2")]
fn a_wrong_length_is_named() {
    adam_step(&mut [0.0; 2], &[0.0; 2], &mut [0.0; 2], &mut [0.0; 1], &ADAM, 1);
}
