//! Mixup and cutmix: comparison with a naive oracle, and distributions of the draws.

use tallow_dataset::{Blend, Mix};

/// `n` images of 3 rows, 4 columns, 2 channels, and their classes.
fn batch(n: usize) -> (Vec<f32>, Vec<u32>) {
    ((0..n * 24).map(|i| (i * 37 % 101) as f32 - 50.0).collect(), (0..n as u32).map(|i| i * 3).collect())
}

/// Does what timm does: returns `x * share + x.flip(0) * (1 - share)`, or `x` with the rectangle of `x.flip(0)` pasted
/// in.
fn oracle(blend: &Blend, images: &[f32]) -> Vec<f32> {
    let n = images.len() / 24;
    let mixed = |i: usize| {
        let (image, row, column) = (i / 24, i % 24 / 8, i % 8 / 2);
        let (own, other) = (images[i], images[(n - 1 - image) * 24 + i % 24]);
        match blend {
            Blend::Mixup { share } => own * share + other * (1.0 - share),
            Blend::Cutmix { rows, columns } if rows.contains(&row) && columns.contains(&column) => other,
            Blend::Cutmix { .. } => own,
        }
    };
    (0..images.len()).map(mixed).collect()
}

#[test]
fn images_are_mixed_with_those_of_the_reversed_batch() {
    for blend in [
        Blend::Mixup { share: 0.3 },
        Blend::Mixup { share: 1.0 },
        Blend::Cutmix { rows: 1..3, columns: 0..3 },
        Blend::Cutmix { rows: 0..3, columns: 0..4 },
        Blend::Cutmix { rows: 2..2, columns: 1..4 },
    ] {
        for n in [0, 1, 2, 5, 6] {
            let (mut images, targets) = batch(n);
            let (before, expected) = (images.clone(), oracle(&blend, &images));
            let mixed = blend.apply(&mut images, [3, 4, 2], &targets);
            assert!(images.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{blend:?} {n}");
            assert_eq!(mixed.targets, targets.iter().rev().copied().collect::<Vec<_>>());
            if n % 2 == 1 {
                let middle = n / 2 * 24..(n / 2 + 1) * 24;
                assert_eq!(images[middle.clone()], before[middle]);
            }
        }
    }
}

#[test]
fn the_share_of_cutmix_is_the_area_that_stays() {
    let share = |rows, columns| {
        let (mut images, targets) = batch(2);
        let share = Blend::Cutmix { rows, columns }.apply(&mut images, [3, 4, 2], &targets).share;
        let own = oracle(&Blend::Mixup { share: 1.0 }, &batch(2).0);
        let n_own = images.iter().zip(own).filter(|&(a, b)| *a == b).count();
        assert_eq!(n_own as f32, share * 48.0);
        share
    };
    assert_eq!(share(1..3, 0..3), 0.5);
    assert_eq!(share(0..1, 0..3), 0.75);
    assert_eq!(share(0..3, 0..4), 0.0);
    assert_eq!(share(2..2, 0..4), 1.0);
}

/// The mean is 1/2 and the variance 1 / (4 (2 alpha + 1)), within five standard deviations of the estimates from 20,000
/// draws.
#[test]
fn shares_of_mixup_are_beta_distributed() {
    for alpha in [0.001, 0.1, 0.2, 0.8, 1.0, 3.0, 200.0] {
        let mix = Mix { mixup_alpha: alpha, cutmix_alpha: 0.0 };
        let n = 20_000;
        let shares: Vec<f64> = (0..n)
            .map(|batch| match mix.draw(7, 1, batch, 8, 8) {
                Some(Blend::Mixup { share }) => f64::from(share),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{alpha}");
        let variance = 1.0 / (4.0 * (2.0 * alpha + 1.0));
        let mean = shares.iter().sum::<f64>() / n as f64;
        let found = shares.iter().map(|share| (share - 0.5).powi(2)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 5.0 * (variance / n as f64).sqrt(), "{alpha}: {mean}");
        // the standard deviation of a squared deviation is at most sqrt(2) times its mean, the value of a normal
        // distribution
        assert!(
            (found / variance - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt(),
            "{alpha}: {found} {variance}"
        );
        // the third moment about 1/2 is 0, because the distribution is symmetric
        let third = shares.iter().map(|share| (share - 0.5).powi(3)).sum::<f64>() / n as f64;
        assert!(third.abs() < 5.0 * (15.0 / n as f64).sqrt() * variance.powf(1.5), "{alpha}: {third}");
    }
}

/// Beta(1, 1) is uniform: every tenth of the range has a tenth of the draws.
#[test]
fn alpha_1_is_uniform() {
    let mix = Mix { mixup_alpha: 1.0, cutmix_alpha: 0.0 };
    let mut counts = [0u32; 10];
    for batch in 0..20_000 {
        if let Some(Blend::Mixup { share }) = mix.draw(3, 0, batch, 8, 8) {
            counts[(share * 10.0).min(9.0) as usize] += 1;
        }
    }
    assert!(counts.iter().all(|&count| count.abs_diff(2_000) < 215), "{counts:?}"); // standard deviation 42
}

#[test]
fn rectangles_lie_within_and_have_the_drawn_area_or_less() {
    let mix = Mix { mixup_alpha: 0.0, cutmix_alpha: 1.0 };
    let (mut sum, n) = (0.0, 20_000);
    let mut touched = [[0u32; 4]; 2];
    for batch in 0..n {
        let Some(Blend::Cutmix { rows, columns }) = mix.draw(1, 2, batch, 30, 50) else { panic!() };
        assert!(
            rows.end <= 30 && columns.end <= 50 && rows.start <= rows.end && columns.start <= columns.end
        );
        sum += (rows.len() * columns.len()) as f64 / 1500.0;
        for (axis, (side, length)) in [(rows, 30), (columns, 50)].into_iter().enumerate() {
            (0..4).filter(|i| side.contains(&(i * (length - 1) / 3))).for_each(|i| touched[axis][i] += 1);
        }
    }
    // E[u (1 - sqrt(u)/4)^2] for uniform u is 1/2 - 1/5 + 1/48 = 0.3208. Rounding sides to even integers shortens each
    // by about 3 %.
    let mean = sum / n as f64;
    assert!((0.285..0.325).contains(&mean), "{mean}");
    let even = |a: u32, b: u32| a.abs_diff(b) < a / 10;
    assert!(touched.iter().all(|t| even(t[0], t[3]) && even(t[1], t[2]) && t[1] > t[0]), "{touched:?}");
}

#[test]
fn both_toss_a_coin_and_neither_does_nothing() {
    let both = Mix { mixup_alpha: 0.2, cutmix_alpha: 1.0 };
    let n_mixup = (0..10_000)
        .filter(|&batch| matches!(both.draw(0, 4, batch, 8, 8), Some(Blend::Mixup { .. })))
        .count();
    assert!(n_mixup.abs_diff(5_000) < 250, "{n_mixup}"); // standard deviation 50
    assert_eq!(Mix::default().draw(0, 0, 0, 8, 8), None);
    assert!(Mix::default().is_none() && !both.is_none());
    assert_eq!(both.draw(1, 2, 3, 8, 8), both.draw(1, 2, 3, 8, 8));
    let draws = [both.draw(1, 2, 3, 8, 8), both.draw(2, 2, 3, 8, 8), both.draw(1, 3, 3, 8, 8)];
    assert!(draws[0] != draws[1] && draws[0] != draws[2] && draws[0] != both.draw(1, 2, 4, 8, 8));
}

#[test]
fn a_recipe_names_what_it_wants_and_what_cannot_be_is_refused() {
    assert_eq!(toml::from_str::<Mix>("").unwrap(), Mix::default());
    let mix: Mix = toml::from_str("mixup_alpha = 0.8\ncutmix_alpha = 1.0").unwrap();
    assert_eq!(mix, Mix { mixup_alpha: 0.8, cutmix_alpha: 1.0 });
    mix.validate().unwrap();
    assert!(toml::from_str::<Mix>("alpha = 1.0").is_err());
    for alpha in [-0.1, 1e-9, 1001.0, f64::NAN, f64::INFINITY] {
        let said = |mix: Mix| mix.validate().unwrap_err().to_string();
        let message = said(Mix { mixup_alpha: alpha, cutmix_alpha: 0.0 });
        assert!(message.starts_with("mix.mixup_alpha") && message.contains("0.001 to 1000"), "{message}");
        assert!(said(Mix { mixup_alpha: 0.0, cutmix_alpha: alpha }).starts_with("mix.cutmix_alpha"));
    }
}
