//! Self-attention, and the tokens before and after it.

use half::bf16;
use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, cases, random, to_f64};

/// Computes `softmax(q * k^T / sqrt(d)) * v`, token by token.
fn definition(s: &AttentionShape, qkv: &[f64]) -> Vec<f64> {
    let (c, d) = (s.width(), s.head_width);
    let mut y = vec![0.0; s.n * s.tokens * c];
    let part = |image: usize, token: usize, part: usize, head: usize| {
        &qkv[((image * s.tokens + token) * 3 + part) * c + head * d..][..d]
    };
    for image in 0..s.n {
        for token in 0..s.tokens {
            for head in 0..s.heads {
                let q = part(image, token, 0, head);
                let score = |other| -> f64 {
                    let dot: f64 = q.iter().zip(part(image, other, 1, head)).map(|(q, k)| q * k).sum();
                    dot / (d as f64).sqrt()
                };
                let scores: Vec<f64> = (0..s.tokens).map(score).collect();
                let largest = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                let y = &mut y[(image * s.tokens + token) * c + head * d..][..d];
                for (other, weight) in weights.iter().enumerate() {
                    y.iter_mut().zip(part(image, other, 2, head)).for_each(|(y, v)| *y += weight / sum * v);
                }
            }
        }
    }
    y
}

/// Random numbers, with queries and keys `size` times as large as values, so that the scores differ widely.
fn numbers<E: Element>(s: &AttentionShape, size: f32, seed: u64) -> Vec<E> {
    let mut qkv = random(seed, 3 * s.n * s.tokens * s.width());
    for token in qkv.chunks_mut(3 * s.width()) {
        token[..2 * s.width()].iter_mut().for_each(|x| *x *= size);
    }
    qkv.into_iter().map(E::from_f32).collect()
}

fn run<E: Element>(s: &AttentionShape, qkv: &[E]) -> Vec<E> {
    let mut y = vec![E::from_f32(f32::NAN); s.n * s.tokens * s.width()];
    attention(s, qkv, &mut y);
    y
}

fn check<E: Element>(s: &AttentionShape, size: f32, seed: u64, tolerance: f64) {
    let qkv = numbers::<E>(s, size, seed);
    let expected = definition(s, &to_f64(&E::as_f32(&qkv)));
    assert_close(&format!("{s:?}"), &E::as_f32(&run(s, &qkv)), &expected, tolerance);
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn attention_is_its_definition(
        n in 0usize..=3, tokens in 1usize..=130, heads in 1usize..=4, head_width in 1usize..=70, seed in any::<u32>(),
    ) {
        let s = AttentionShape { n, tokens, heads, head_width };
        check::<f32>(&s, 3.0, u64::from(seed), 1e-5);
        check::<bf16>(&s, 3.0, u64::from(seed), 4e-3);
    }
}

/// Exponentials of 400 would be infinite if the largest score were not subtracted.
#[test]
fn large_scores_are_no_infinities() {
    let s = AttentionShape { n: 1, tokens: 53, heads: 2, head_width: 64 };
    check::<f32>(&s, 30.0, 1, 1e-4);
}

#[test]
fn an_image_has_the_same_bits_alone_and_among_others() {
    let s = AttentionShape { n: 3, tokens: 101, heads: 3, head_width: 20 };
    let qkv = numbers::<f32>(&s, 2.0, 1);
    let alone: Vec<f32> =
        qkv.chunks(qkv.len() / 3).flat_map(|qkv| run(&AttentionShape { n: 1, ..s }, qkv)).collect();
    assert_eq!(run(&s, &qkv), alone);
}

#[test]
fn a_nan_stays_in_its_head_and_image() {
    let s = AttentionShape { n: 2, tokens: 5, heads: 2, head_width: 3 };
    let mut qkv = numbers::<f32>(&s, 1.0, 1);
    qkv[2 * s.width() - 1] = f32::NAN; // the second head's key of the first image's first token
    let y = run(&s, &qkv);
    for (i, y) in y.iter().enumerate() {
        assert_eq!(y.is_nan(), i < 5 * 6 && i % 6 >= 3, "{i}");
    }
}

#[test]
#[should_panic(expected = "attention: qkv has 5 elements, expected 6")]
fn a_wrong_length_is_named() {
    let s = AttentionShape { n: 1, tokens: 2, heads: 1, head_width: 1 };
    attention(&s, &[0f32; 5], &mut [0.0; 2]);
}

#[test]
fn tokens_begin_with_the_class_and_have_their_positions() {
    let patches: Vec<f32> = (0..8).map(|i| i as f32).collect(); // 2 images of 2 patches of 2 channels
    let mut y = [f32::NAN; 12];
    embed_tokens(&patches, &[0.5, 0.25], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0], &mut y);
    assert_eq!(y, [10.5, 20.25, 30.0, 41.0, 52.0, 63.0, 10.5, 20.25, 34.0, 45.0, 56.0, 67.0]);
    let mut narrow = [bf16::NAN; 12];
    let patches: Vec<bf16> = patches.into_iter().map(bf16::from_f32).collect();
    embed_tokens(&patches, &[0.5, 0.25], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0], &mut narrow);
    assert_eq!(bf16::as_f32(&narrow)[..], y);

    let mut features = [f32::NAN; 8];
    class_and_mean_token(3, 2, &y, &mut features);
    assert_eq!(features, [10.5, 20.25, 41.0, 52.0, 10.5, 20.25, 45.0, 56.0]);
}
