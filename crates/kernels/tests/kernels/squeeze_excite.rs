//! Scaling of channels by gates, and the functions of the gates.

use half::bf16;
use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, cases, random, to_f64};

fn check<E: Element>([n, hw, c]: [usize; 3], seed: u64, tolerance: f64) {
    let map = |seed| random(seed, n * hw * c).into_iter().map(E::from_f32).collect::<Vec<E>>();
    let (x, dy, gate) = (map(seed), map(seed + 1), random(seed + 2, n * c));
    let wide = |map: &[E]| to_f64(&E::as_f32(map));
    let (x64, dy64) = (wide(&x), wide(&dy));
    let gate_of = |i: usize| i / (hw * c) * c + i % c;
    let times_gate = |map: &[f64]| -> Vec<f64> {
        map.iter().enumerate().map(|(i, x)| x * f64::from(gate[gate_of(i)])).collect()
    };
    let junk = E::from_f32(f32::NAN);
    let mut y = vec![junk; x.len()];
    scale_channels(n, hw, c, &x, &gate, &mut y);
    assert_close("y", &E::as_f32(&y), &times_gate(&x64), tolerance);

    let (mut dx, mut dgate) = (vec![junk; x.len()], vec![f32::NAN; n * c]);
    scale_channels_backward(n, hw, c, &x, &gate, &dy, &mut dx, &mut dgate);
    assert_close("dx", &E::as_f32(&dx), &times_gate(&dy64), tolerance);
    let mut sums = vec![0.0; n * c];
    x64.iter().zip(&dy64).enumerate().for_each(|(i, (x, dy))| sums[gate_of(i)] += x * dy);
    assert_close("dgate", &dgate, &sums, 2e-6);
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn scaled_channels_are_their_definition(
        n in 1usize..=4, hw in 1usize..=700, c in 1usize..=70, seed in any::<u32>(),
    ) {
        check::<f32>([n, hw, c], u64::from(seed), 1e-6);
        check::<bf16>([n, hw, c], u64::from(seed), 1e-2);
    }

    #[test]
    fn gates_are_their_definitions(len in 0usize..=2000, seed in any::<u32>()) {
        let x: Vec<f32> = random(u64::from(seed), len).into_iter().map(|x| 5.0 * x).collect();
        let (dy, x64) = (random(u64::from(seed) + 1, len), to_f64(&x));
        let (mut y, mut dx) = (vec![f32::NAN; len], vec![f32::NAN; len]);
        let sigmoid64 = |x: f64| 1.0 / (1.0 + (-x).exp());
        let hard64 = |x: f64| (x + 3.0).clamp(0.0, 6.0) / 6.0;
        let gradient = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let slope = |x: f64| (f(x + 1e-7) - f(x - 1e-7)) / 2e-7;
            x64.iter().zip(&dy).map(|(&x, &dy)| slope(x) * f64::from(dy)).collect()
        };
        sigmoid(&x, &mut y);
        assert_close("sigmoid", &y, &x64.iter().map(|&x| sigmoid64(x)).collect::<Vec<_>>(), 2e-7);
        sigmoid_backward(&y, &dy, &mut dx);
        assert_close("sigmoid's gradient", &dx, &gradient(&sigmoid64), 2e-6);
        hard_sigmoid(&x, &mut y);
        assert_close("hard sigmoid", &y, &x64.iter().map(|&x| hard64(x)).collect::<Vec<_>>(), 2e-7);
        hard_sigmoid_backward(&x, &dy, &mut dx);
        assert_close("hard sigmoid's gradient", &dx, &gradient(&hard64), 1e-6);
    }
}

#[test]
fn nothing_in_nothing_out() {
    for shape in [[0, 3, 4], [2, 0, 4]] {
        check::<f32>(shape, 1, 1e-6);
    }
}
