//! Cross-entropy and log softmax.

use proptest::prelude::*;
use tallow_core::{Purpose, Stream};
use tallow_kernels::*;

use crate::{assert_close, cases, finite_differences, naive, random, to_f64};

/// Returns logits from -6 to 6, targets, and weights from 0.5 to 1.5 if `weighted`.
fn inputs(n: usize, c: usize, weighted: bool, seed: u64) -> (Vec<f32>, Vec<u32>, Option<Vec<f32>>) {
    let logits = random(seed, n * c).into_iter().map(|x| 6.0 * x).collect();
    let mut stream = Stream::new(seed, Purpose::Test, 1, 0);
    let targets = (0..n).map(|_| stream.below(c as u32)).collect();
    let weights = weighted.then(|| random(seed + 1, c).into_iter().map(|x| 1.0 + x / 2.0).collect());
    (logits, targets, weights)
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn cross_entropy_is_its_definition(
        n in 1usize..=20, c in 1usize..=30, weighted: bool, smoothing in 0u8..=10, seed in any::<u32>(),
    ) {
        let (logits, targets, weights) = inputs(n, c, weighted, u64::from(seed));
        let smoothing = f32::from(smoothing) / 10.0;
        let weights64 = weights.as_deref().map_or(vec![1.0; c], to_f64);
        let (losses64, mean64) = naive::cross_entropy(&to_f64(&logits), &targets, &weights64, f64::from(smoothing));

        let (mut losses, mut alone) = (vec![f32::NAN; n], vec![f32::NAN; n]);
        let mut dlogits = vec![f32::NAN; n * c];
        let run = |losses: &mut [f32], dlogits| {
            softmax_cross_entropy(n, c, &logits, targets[..].into(), weights.as_deref(), smoothing, Reduction::Mean, losses, dlogits)
        };
        let means = run(&mut losses, Some(&mut dlogits));
        // with one class the loss is 0, so there is no scale to measure the error by
        if c > 1 {
            assert_close("losses", &losses, &losses64, 1e-6);
            assert_close("mean", &[means.mean], &[mean64], 1e-6);
        }
        assert_eq!((run(&mut alone, None), &alone), (means, &losses), "with gradient and without");

        let by_logits = |logits: &[f64]| {
            naive::cross_entropy(logits, &targets, &weights64, f64::from(smoothing)).1
        };
        let expected = finite_differences(&logits, 1e-4, by_logits);
        let worst = dlogits.iter().zip(&expected).map(|(&a, &e)| (f64::from(a) - e).abs()).fold(0.0, f64::max);
        prop_assert!(worst < 1e-6, "gradient off by {worst:e}");

        // the gradient of the sum; the error grows with the size of the gradient
        let (targets, weights) = (targets[..].into(), weights.as_deref());
        let of_sum = softmax_cross_entropy(
            n, c, &logits, targets, weights, smoothing, Reduction::Sum, &mut losses, Some(&mut dlogits)
        );
        assert_eq!((of_sum, &losses), (means, &alone), "losses and means are the same");
        let sum: f64 = targets.first.iter().map(|&target| weights64[target as usize]).sum();
        let worst = dlogits.iter().zip(&expected).map(|(&a, &e)| (f64::from(a) - sum * e).abs()).fold(0.0, f64::max);
        prop_assert!(worst < 1e-6 * sum.max(1.0), "gradient of the sum off by {worst:e}");
    }

    /// Compares with the mixture of the losses of both targets from the oracle. With share 1 it is the plain loss, to
    /// the bit.
    #[test]
    fn mixed_targets_are_a_mixture_of_losses(
        n in 1usize..=20, c in 2usize..=30, weighted: bool, smoothing in 0u8..10, share in 0u8..=16, seed in any::<u32>(),
    ) {
        let (logits, first, weights) = inputs(n, c, weighted, u64::from(seed));
        let second = inputs(n, c, false, u64::from(seed) + 1).1;
        let (smoothing, share) = (f32::from(smoothing) / 10.0, f32::from(share) / 16.0);
        let weights64 = weights.as_deref().map_or(vec![1.0; c], to_f64);
        let mixed = |logits: &[f64], weights: &[f64], smoothing: f64| {
            let losses = |targets| naive::cross_entropy(logits, targets, weights, smoothing).0;
            let by_share = |a: f64, b: f64| f64::from(share) * a + (1.0 - f64::from(share)) * b;
            let losses: Vec<f64> = losses(&first).iter().zip(losses(&second)).map(|(&a, b)| by_share(a, b)).collect();
            let weight = |(a, b): (&u32, &u32)| by_share(weights[*a as usize], weights[*b as usize]);
            let mean = losses.iter().sum::<f64>() / first.iter().zip(&second).map(weight).sum::<f64>();
            (losses, mean)
        };
        let run = |targets, losses: &mut [f32], dlogits: &mut [f32]| {
            softmax_cross_entropy(n, c, &logits, targets, weights.as_deref(), smoothing, Reduction::Mean, losses, Some(dlogits))
        };
        let (mut losses, mut dlogits) = (vec![f32::NAN; n], vec![f32::NAN; n * c]);
        let means = run(Targets { first: &first, second: &second, share }, &mut losses, &mut dlogits);

        let (losses64, mean64) = mixed(&to_f64(&logits), &weights64, f64::from(smoothing));
        assert_close("losses", &losses, &losses64, 1e-6);
        assert_close("mean", &[means.mean], &[mean64], 1e-6);
        let plain64 = mixed(&to_f64(&logits), &vec![1.0; c], 0.0).1;
        assert_close("plain mean", &[means.plain_mean], &[plain64], 1e-6);
        let expected = finite_differences(&logits, 1e-4, |l| mixed(l, &weights64, f64::from(smoothing)).1);
        let worst = dlogits.iter().zip(&expected).map(|(&a, &e)| (f64::from(a) - e).abs()).fold(0.0, f64::max);
        prop_assert!(worst < 1e-6, "gradient off by {worst:e}");

        let (mut plain, mut dplain) = (vec![f32::NAN; n], vec![f32::NAN; n * c]);
        let plain_means = run(first[..].into(), &mut plain, &mut dplain);
        let all = run(Targets { first: &first, second: &second, share: 1.0 }, &mut losses, &mut dlogits);
        prop_assert_eq!((all, losses, dlogits), (plain_means, plain, dplain));
    }

    #[test]
    fn log_softmax_is_its_definition(n in 1usize..=20, c in 2usize..=30, seed in any::<u32>()) {
        let logits = inputs(n, c, false, u64::from(seed)).0;
        let mut out = vec![f32::NAN; n * c];
        log_softmax(n, c, &logits, &mut out);
        let expected: Vec<f64> = to_f64(&logits).chunks(c).flat_map(naive::log_softmax).collect();
        assert_close("log softmax", &out, &expected, 1e-6);
    }
}

#[test]
fn large_logits_neither_overflow_nor_vanish() {
    let logits = [1000.0, 0.0, -1000.0, f32::MAX, f32::MAX, 0.0];
    let (mut losses, mut dlogits) = ([f32::NAN; 2], [f32::NAN; 6]);
    let targets = [1, 0][..].into();
    let means = softmax_cross_entropy(
        2,
        3,
        &logits,
        targets,
        None,
        0.0,
        Reduction::Mean,
        &mut losses,
        Some(&mut dlogits),
    );
    let ln_2 = std::f32::consts::LN_2;
    assert_eq!(losses, [1000.0, ln_2]);
    assert_eq!((means.mean, means.plain_mean), ((1000.0 + ln_2) / 2.0, (1000.0 + ln_2) / 2.0));
    assert_eq!(dlogits, [0.5, -0.5, 0.0, -0.25, 0.25, 0.0]);
}

/// A confident, correct prediction keeps a small loss, which does not round to 0.
#[test]
fn small_losses_keep_their_digits() {
    let mut losses = [f32::NAN];
    softmax_cross_entropy(1, 2, &[20.0, 0.0], [0][..].into(), None, 0.0, Reduction::Mean, &mut losses, None);
    assert_close("loss", &losses, &[(-20f64).exp().ln_1p()], 1e-6);
}

#[test]
fn a_nan_is_passed_on_and_no_samples_have_no_mean() {
    let (mut losses, mut dlogits) = ([0.0; 2], [0.0; 4]);
    let logits = [f32::NAN, 0.0, 1.0, 2.0];
    let targets = [1, 1][..].into();
    let means = softmax_cross_entropy(
        2,
        2,
        &logits,
        targets,
        None,
        0.1,
        Reduction::Mean,
        &mut losses,
        Some(&mut dlogits),
    );
    assert!(means.mean.is_nan() && means.plain_mean.is_nan());
    assert!(losses[0].is_nan() && dlogits[..2].iter().all(|d| d.is_nan()));
    assert!(losses[1].is_finite() && dlogits[2..].iter().all(|d| d.is_finite()));
    assert!(
        softmax_cross_entropy(0, 2, &[], [][..].into(), None, 0.0, Reduction::Mean, &mut [], None)
            .mean
            .is_nan()
    );
}

#[test]
#[should_panic(expected = "the target of sample 1 is 3, expected less than 3")]
fn a_target_that_is_no_class_is_named() {
    softmax_cross_entropy(
        2,
        3,
        &[0.0; 6],
        [2, 3][..].into(),
        None,
        0.0,
        Reduction::Mean,
        &mut [0.0; 2],
        None,
    );
}
