//! Compares folded convolutions with the separate layers.

use half::bf16;
use tallow_core::{Purpose, Stream};

use super::*;
use crate::conv2d_forward;
use crate::norm_act::{Affine, norm_affine};
use crate::padding::Padding;

fn random<E: Element>(len: usize, seed: u64) -> Vec<E> {
    let mut stream = Stream::new(seed, Purpose::Test, 0, 2);
    (0..len).map(|_| E::from_f32(stream.normal_f32())).collect()
}

/// Compares with convolution, norm, residual, activation and pooling one after another.
fn agrees<E: Element>(s: ConvShape, after: After, with_residual: bool, tolerance: f32) {
    let (x, weight): (Vec<E>, Vec<f32>) = (random(s.x_len(), 1), random(s.weight_len(), 2));
    let (scale, bias): (Vec<f32>, Vec<f32>) = (random(s.c_out, 3), random(s.c_out, 4));
    let residual: Vec<E> = random(s.y_len(), 5);
    let residual = with_residual.then_some(&residual[..]);
    let mut y = vec![E::default(); s.y_len()];
    conv2d_forward(&s, &x, &weight, None, &mut y);
    let out = NormActShape { n: s.n, h: s.h_out(), w: s.w_out(), c: s.c_out, after };
    let (mut expected, mut winners) = (vec![E::default(); out.a_len()], vec![0; out.winners_len()]);
    norm_act(&out, &y, &scale, &bias, residual, &mut expected, &mut winners);
    let mut a = vec![E::from_f32(f32::NAN); out.a_len()];
    let folded = FoldedConv::new(&s, &weight, &scale, bias);
    folded.forward(&s, &x, &FoldedEpilogue { residual, after }, &mut a);
    let (a, expected) = (E::as_f32(&a), E::as_f32(&expected));
    let norm = expected.iter().map(|e| e * e).sum::<f32>().sqrt() + 1e-6;
    let error = a.iter().zip(&*expected).map(|(a, e)| (a - e).powi(2)).sum::<f32>().sqrt();
    assert!(error <= tolerance * norm, "{s:?} {after:?} {with_residual}: {}", error / norm);
}

#[test]
fn folding_changes_only_the_rounding() {
    let shape = |n, h, w, c_in, c_out, k, stride, padding| ConvShape {
        n,
        h,
        w,
        c_in,
        c_out,
        k_h: k,
        k_w: k,
        stride,
        padding: Padding::Symmetric(padding),
    };
    for s in [
        shape(3, 9, 7, 5, 33, 3, 1, 1),
        shape(3, 9, 7, 70, 50, 3, 1, 1),
        shape(2, 8, 8, 4, 64, 1, 1, 0),
        shape(5, 4, 6, 3, 20, 1, 2, 0),
        shape(1, 130, 61, 16, 40, 3, 1, 1),
        shape(2, 31, 29, 3, 8, 7, 2, 3),
    ] {
        for (after, with_residual) in [
            (After::Nothing, false),
            (After::Nothing, true),
            (After::Relu, false),
            (After::Relu, true),
            (After::ReluPool, false),
            (After::Relu6, false),
            (After::Gelu, false),
            (After::Silu, false),
            (After::HardSwish, false),
        ] {
            agrees::<f32>(s, after, with_residual, 1e-5);
            agrees::<bf16>(s, after, with_residual, 1e-2);
        }
    }
}

/// Compares with convolution, norm and the affine map one after another.
fn agrees_with_affine<E: Element>(s: ConvShape, affine: Affine, tolerance: f32) {
    let (x, weight): (Vec<E>, Vec<f32>) = (random(s.x_len(), 1), random(s.weight_len(), 2));
    let (scale, bias): (Vec<f32>, Vec<f32>) = (random(s.c_out, 3), random(s.c_out, 4));
    let (mut y, mut expected) = (vec![E::default(); s.y_len()], vec![E::default(); s.y_len()]);
    conv2d_forward(&s, &x, &weight, None, &mut y);
    let out = NormActShape { n: s.n, h: s.h_out(), w: s.w_out(), c: s.c_out, after: After::Relu };
    norm_affine(&out, &y, &scale, &bias, affine, &mut expected);
    let (scale, bias) = affine.folded(&scale, &bias);
    let folded = FoldedConv::new(&s, &weight, &scale, bias);
    let mut a = vec![E::from_f32(f32::NAN); s.y_len()];
    let epilogue = FoldedEpilogue { residual: None, after: After::Relu };
    folded.with_limits(affine.limits()).forward(&s, &x, &epilogue, &mut a);
    let (a, expected) = (E::as_f32(&a), E::as_f32(&expected));
    let norm = expected.iter().map(|e| e * e).sum::<f32>().sqrt();
    let error = a.iter().zip(&*expected).map(|(a, e)| (a - e).powi(2)).sum::<f32>().sqrt();
    assert!(error <= tolerance * norm, "{s:?} {affine:?}: {}", error / norm);
}

/// Expects the same bits, because the same loops run on the same numbers.
fn joins<E: Element>(s: ConvShape, widths: &[usize]) {
    let parts: Vec<Vec<E>> = (10..).zip(widths).map(|(seed, w)| random(s.n * s.h * s.w * w, seed)).collect();
    let parts: Vec<_> = parts.iter().zip(widths).map(|(part, &width)| (&part[..], width)).collect();
    let mut x = vec![E::default(); s.x_len()];
    concat_channels(&parts, &mut x);
    let (weight, scale, bias) =
        (random::<f32>(s.weight_len(), 2), random::<f32>(s.c_out, 3), random(s.c_out, 4));
    let folded = FoldedConv::<E>::new(&s, &weight, &scale, bias);
    let epilogue = FoldedEpilogue { residual: None, after: After::Relu };
    let (mut y, mut expected) = (vec![E::from_f32(f32::NAN); s.y_len()], vec![E::default(); s.y_len()]);
    folded.forward(&s, &x, &epilogue, &mut expected);
    folded.forward_joined(&s, &parts, &epilogue, &mut y);
    assert_eq!(y, expected, "{s:?}");
}

#[test]
fn parts_are_joined_on_the_way() {
    for (n, h, w, widths) in [
        (3, 7, 5, &[16, 8, 3][..]),
        (2, 56, 56, &[24, 24, 24, 16]),
        (9, 4, 4, &[32, 5]),
        (1, 30, 61, &[300, 200]),
    ] {
        let (c_in, padding) = (widths.iter().sum(), Padding::Symmetric(0));
        let s = ConvShape { n, h, w, c_in, c_out: 33, k_h: 1, k_w: 1, stride: 1, padding };
        joins::<f32>(s, widths);
        joins::<bf16>(s, widths);
    }
}

#[test]
fn an_affine_map_is_folded_as_well() {
    for (h, w, c_in, c_out, k, stride) in [(9, 7, 5, 33, 3, 1), (8, 8, 16, 24, 1, 1), (13, 6, 3, 17, 3, 2)] {
        let padding = Padding::Symmetric(k / 2);
        let s = ConvShape { n: 2, h, w, c_in, c_out, k_h: k, k_w: k, stride, padding };
        for (gain, offset) in [(0.7, 0.3), (1.4, -0.6), (-0.8, 0.2)] {
            agrees_with_affine::<f32>(s, Affine { gain, offset }, 1e-5);
            agrees_with_affine::<bf16>(s, Affine { gain, offset }, 2e-2);
        }
    }
}

#[test]
#[should_panic(expected = "FoldedConv: a residual before Relu6")]
fn a_residual_before_relu6_is_refused() {
    let s = ConvShape {
        n: 1,
        h: 1,
        w: 1,
        c_in: 1,
        c_out: 1,
        k_h: 1,
        k_w: 1,
        stride: 1,
        padding: Padding::Symmetric(0),
    };
    let folded = FoldedConv::<f32>::new(&s, &[1.0], &[1.0], vec![0.0]);
    let epilogue = FoldedEpilogue { residual: Some(&[0.0; 1][..]), after: After::Relu6 };
    folded.forward(&s, &[0.0], &epilogue, &mut [0.0]);
}

#[test]
#[should_panic(expected = "FoldedConv: weights of another size")]
fn other_weights_are_refused() {
    let s = ConvShape {
        n: 1,
        h: 1,
        w: 1,
        c_in: 2,
        c_out: 2,
        k_h: 1,
        k_w: 1,
        stride: 1,
        padding: Padding::Symmetric(0),
    };
    let folded = FoldedConv::<f32>::new(&ConvShape { c_in: 1, ..s }, &[1.0; 2], &[1.0; 2], vec![0.0; 2]);
    let epilogue = FoldedEpilogue { residual: None, after: After::Nothing };
    folded.forward(&s, &[0.0; 2], &epilogue, &mut [0.0; 2]);
}
