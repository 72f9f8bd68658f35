//! Max and average pooling.

use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, cases, dot, finite_differences, in_plane, naive, random, to_f64};

prop_compose! {
    fn pool_shape()(
        n in 1usize..=5, h in 1usize..=12, w in 1usize..=12, c in 1usize..=19,
        k_h in 1usize..=7, k_w in 1usize..=7, stride in 1usize..=3, padding in 0usize..=3,
    ) -> PoolShape {
        PoolShape { n, h, w, c, k_h, k_w, stride, padding: padding.min(k_h / 2).min(k_w / 2) }
    }
}

/// Few different numbers, so that windows have ties.
fn random_with_ties(seed: u64, len: usize) -> Vec<f32> {
    random(seed, len).into_iter().map(|x| (x * 3.0).round()).collect()
}

fn check_max(s: &PoolShape, seed: u64) {
    let (x, dy) = (random_with_ties(seed, s.x_len()), random(seed + 1, s.y_len()));
    let (mut y, mut places) = (vec![f32::NAN; s.y_len()], vec![u8::MAX; s.y_len()]);
    max_pool2d(s, &x, &mut y, &mut places);
    let winners = naive::winners(s, &x);
    assert_eq!(y, winners.iter().map(|&i| x[i]).collect::<Vec<_>>());
    let plane = |i: usize| (i / s.c) % (s.h * s.w);
    assert_eq!(in_plane(s, &places), winners.iter().map(|&i| plane(i) as u32).collect::<Vec<_>>());
    let mut without_places = vec![f32::NAN; s.y_len()];
    max_pool2d(s, &x, &mut without_places, &mut []);
    assert_eq!(y, without_places);

    let mut dx = vec![f32::NAN; s.x_len()];
    max_pool2d_backward(s, &dy, &places, &mut dx);
    let mut expected = vec![0.0; s.x_len()];
    winners.iter().zip(&dy).for_each(|(&winner, &dy)| expected[winner] += f64::from(dy));
    assert_close("dx", &dx, &expected, 1e-6);
}

fn check_avg(s: &PoolShape, seed: u64) {
    let (x, dy) = (random(seed, s.x_len()), random(seed + 1, s.y_len()));
    let mut y = vec![f32::NAN; s.y_len()];
    avg_pool2d(s, &x, &mut y);
    assert_close("y", &y, &naive::avg_pool2d(s, &to_f64(&x)), 1e-6);
    let mut dx = vec![f32::NAN; s.x_len()];
    avg_pool2d_backward(s, &dy, &mut dx);
    assert_close("dx", &dx, &naive::avg_pool2d_backward(s, &to_f64(&dy)), 1e-6);
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn max_pooling_is_its_definition(s in pool_shape(), seed in any::<u32>()) {
        check_max(&s, u64::from(seed));
    }

    #[test]
    fn average_pooling_is_its_definition(s in pool_shape(), seed in any::<u32>()) {
        check_avg(&s, u64::from(seed));
    }
}

#[test]
fn nothing_in_nothing_out() {
    let s = PoolShape { n: 2, h: 2, w: 3, c: 2, k_h: 3, k_w: 3, stride: 1, padding: 0 };
    for s in [s, PoolShape { n: 0, padding: 1, ..s }, PoolShape { h: 0, ..s }] {
        check_max(&s, 1);
        check_avg(&s, 1);
    }
}

#[test]
fn gradients_are_finite_differences() {
    let s = PoolShape { n: 2, h: 5, w: 6, c: 2, k_h: 3, k_w: 2, stride: 2, padding: 1 };
    let (x, dy) = (random(1, s.x_len()), random(2, s.y_len())); // no two within a step of each other
    let (mut y, mut winners) = (vec![f32::NAN; s.y_len()], vec![0; s.y_len()]);
    max_pool2d(&s, &x, &mut y, &mut winners);
    let mut dx = vec![f32::NAN; s.x_len()];
    max_pool2d_backward(&s, &dy, &winners, &mut dx);
    let max = |x: &[f64]| {
        let x32: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        dot(&naive::winners(&s, &x32).iter().map(|&i| x[i]).collect::<Vec<_>>(), &dy)
    };
    assert_close("max", &dx, &finite_differences(&x, 1e-4, max), 1e-6);
    avg_pool2d_backward(&s, &dy, &mut dx);
    let avg = |x: &[f64]| dot(&naive::avg_pool2d(&s, x), &dy);
    assert_close("average", &dx, &finite_differences(&x, 1e-3, avg), 1e-6);
}
