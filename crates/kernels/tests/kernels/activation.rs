//! Activations.

use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, cases, finite_differences, naive, random, to_f64};

proptest! {
    #![proptest_config(cases(50))]

    #[test]
    fn activations_are_their_definitions(len in 0usize..=40_000, seed in any::<u32>()) {
        let x: Vec<f32> = random(u64::from(seed), len).into_iter().map(|x| 5.0 * x).collect();
        let dy = random(u64::from(seed) + 1, len);
        let (mut y, mut dx) = (vec![f32::NAN; len], vec![f32::NAN; len]);

        relu(&x, &mut y);
        assert_eq!(y, x.iter().map(|&x| x.max(0.0)).collect::<Vec<_>>());
        relu_backward(&y, &dy, &mut dx);
        assert_eq!(dx, x.iter().zip(&dy).map(|(&x, &dy)| if x > 0.0 { dy } else { 0.0 }).collect::<Vec<_>>());

        gelu(&x, &mut y);
        assert_close("gelu", &y, &x.iter().map(|&x| naive::gelu(f64::from(x))).collect::<Vec<_>>(), 1e-7);
        gelu_backward(&x, &dy, &mut dx);
        let slope = |x: f64| (naive::gelu(x + 1e-5) - naive::gelu(x - 1e-5)) / 2e-5;
        let expected: Vec<f64> = to_f64(&x).iter().zip(&dy).map(|(&x, &dy)| slope(x) * f64::from(dy)).collect();
        assert_close("gelu's gradient", &dx, &expected, 1e-6);

        type Kernels = (&'static str, fn(f64) -> f64, fn(&[f32], &mut [f32]), fn(&[f32], &[f32], &mut [f32]));
        let others: [Kernels; 3] = [
            ("relu6", naive::relu6, relu6, relu6_backward),
            ("silu", naive::silu, silu, silu_backward),
            ("hard_swish", naive::hard_swish, hard_swish, hard_swish_backward),
        ];
        let x: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
        for (name, definition, kernel, backward) in others {
            kernel(&x, &mut y);
            assert_close(name, &y, &to_f64(&x).into_iter().map(definition).collect::<Vec<_>>(), 2e-7);
            backward(&x, &dy, &mut dx);
            // no random number is as close as 1e-7 to a corner
            let slope = |x: f64| (definition(x + 1e-7) - definition(x - 1e-7)) / 2e-7;
            let expected: Vec<f64> = to_f64(&x).iter().zip(&dy).map(|(&x, &dy)| slope(x) * f64::from(dy)).collect();
            assert_close(name, &dx, &expected, 1e-6);
        }
    }
}

#[test]
fn gradients_are_finite_differences() {
    let (x, mut dx) = ([-2.5, -0.7, -1e-3, 0.3, 1.0, 4.0], [f32::NAN; 6]);
    gelu_backward(&x, &[1.0; 6], &mut dx);
    let total = |x: &[f64]| x.iter().map(|&x| naive::gelu(x)).sum();
    assert_close("gelu", &dx, &finite_differences(&x, 1e-5, total), 1e-6);
}
