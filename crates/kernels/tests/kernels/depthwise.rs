//! Depthwise convolution.

use half::bf16;
use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, cases, dot, finite_differences, naive, random, to_f64};

/// Random maps of numbers that are exact in `E`.
fn map<E: Element>(seed: u64, len: usize) -> Vec<E> {
    random(seed, len).into_iter().map(E::from_f32).collect()
}

fn wide<E: Element>(map: &[E]) -> Vec<f64> {
    to_f64(&E::as_f32(map))
}

/// Compares all passes with the definition. `tolerance` is for maps, which are rounded to `E`.
fn check<E: Element>(s: &DepthwiseShape, seed: u64, tolerance: f64) {
    let (x, dy) = (map::<E>(seed, s.x_len()), map::<E>(seed + 3, s.y_len()));
    let (weight, bias) = (random(seed + 1, s.weight_len()), random(seed + 2, s.c));
    let (x64, weight64, dy64) = (wide(&x), to_f64(&weight), wide(&dy));
    let what = |part: &str| format!("{s:?}: {part}");
    let junk = E::from_f32(f32::NAN); // a number that is not overwritten would show

    let expected = naive::depthwise(s, &x64, &weight64, &to_f64(&bias));
    let mut y = vec![junk; s.y_len()];
    depthwise_forward(s, &x, &weight, Some(&bias), &mut y);
    assert_close(&what("y"), &E::as_f32(&y), &expected, tolerance);
    let without = naive::depthwise(s, &x64, &weight64, &vec![0.0; s.c]);
    y.fill(junk);
    depthwise_forward(s, &x, &weight, None, &mut y);
    assert_close(&what("y without bias"), &E::as_f32(&y), &without, tolerance);

    let mut again = vec![junk; s.y_len()];
    let moments = depthwise_forward_with_moments(s, &x, &weight, None, &mut again);
    assert!(again == y, "{s:?}: other numbers with moments than without");
    assert_eq!(moments.count, s.y_len() / s.c);
    let as_f32 = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<_>>();
    let squares: Vec<f64> = without.iter().map(|y| y * y).collect();
    assert_close(&what("squares"), &as_f32(moments.squares), &naive::channel_sums(&squares, s.c), tolerance);
    let (sums, scale) = (naive::channel_sums(&without, s.c), naive::channel_sums(&squares, s.c));
    let scale: Vec<f64> = scale.iter().map(|square| (square * moments.count as f64).sqrt()).collect();
    crate::assert_close_against(&what("sums"), &as_f32(moments.sums), &sums, &scale, tolerance);

    let mut dx = vec![junk; s.x_len()];
    depthwise_input_grad(s, &dy, &weight, &mut dx);
    assert_close(&what("dx"), &E::as_f32(&dx), &naive::depthwise_input_grad(s, &dy64, &weight64), tolerance);
    let mut dweight = vec![f32::NAN; s.weight_len()];
    depthwise_weight_grad(s, &x, &dy, &mut dweight);
    assert_close(&what("dweight"), &dweight, &naive::depthwise_weight_grad(s, &x64, &dy64), 1e-6);
}

fn check_both(s: &DepthwiseShape, seed: u64) {
    check::<f32>(s, seed, 1e-6);
    check::<bf16>(s, seed, 1e-2);
}

fn padding() -> impl Strategy<Value = Padding> {
    prop_oneof![Just(Padding::Same), (0usize..=4).prop_map(Padding::Symmetric)]
}

prop_compose! {
    /// Mostly kernels and strides that networks have, and numbers of channels that fill vectors.
    fn shape()(
        n in 1usize..=3, h in 1usize..=20, w in 1usize..=45, c in 1usize..=70,
        k in prop_oneof![4 => prop_oneof![Just(3usize), Just(5), Just(7)], 1 => 1usize..=8],
        stride in prop_oneof![3 => Just(1usize), 3 => Just(2), 1 => Just(3)], padding in padding(),
    ) -> DepthwiseShape {
        DepthwiseShape { n, h, w, c, k, stride, padding }
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn depthwise_convolution_is_its_definition(s in shape(), seed in any::<u32>()) {
        check_both(&s, u64::from(seed));
    }
}

#[test]
fn depthwise_convolution_at_chosen_shapes() {
    let s = DepthwiseShape { n: 2, h: 9, w: 11, c: 40, k: 3, stride: 1, padding: Padding::Symmetric(1) };
    for shape in [
        s,
        DepthwiseShape { n: 3, h: 50, w: 40, c: 24, ..s }, // many tasks, the last one smaller
        DepthwiseShape { h: 1, w: 1, k: 7, padding: Padding::Symmetric(3), ..s },
        DepthwiseShape { h: 2, w: 1, k: 3, padding: Padding::Symmetric(5), ..s }, // windows that see only padding
        DepthwiseShape { h: 2, w: 1, k: 3, padding: Padding::Symmetric(5), stride: 2, ..s },
        DepthwiseShape { padding: Padding::Symmetric(0), k: 5, stride: 2, ..s }, // a row that no window sees
        DepthwiseShape { n: 0, ..s },
        DepthwiseShape { k: 13, ..s }, // does not fit: no output, gradients 0
        DepthwiseShape { h: 0, ..s },  // nothing but padding
        DepthwiseShape { w: 0, ..s },
        DepthwiseShape { w: 0, padding: Padding::Same, ..s },
    ] {
        check_both(&shape, 1);
    }
}

/// `SAME` is the padding of TensorFlow's `conv_ops.cc`. For a 3x3 kernel with stride 2 on 224 pixels, it has no zeros
/// before the first pixel and a column of zeros after the last one.
#[test]
fn same_padding_is_tensorflows() {
    let shape = |len, k, stride| {
        let s = DepthwiseShape { n: 1, h: len, w: len + 1, c: 1, k, stride, padding: Padding::Same };
        (s.h_out(), s.w_out(), s.zeros_before())
    };
    assert_eq!(shape(224, 3, 2), (112, 113, [0, 1]));
    assert_eq!(shape(112, 3, 1), (112, 113, [1, 1]));
    assert_eq!(shape(56, 5, 2), (28, 29, [1, 2]));
    assert_eq!(shape(7, 5, 1), (7, 8, [2, 2]));
    assert_eq!(shape(6, 2, 1), (6, 7, [0, 0])); // an even kernel: the odd zero comes after
    assert_eq!(shape(5, 1, 3), (2, 2, [0, 0])); // windows farther apart than they are wide
}

#[test]
fn gradients_are_finite_differences() {
    for (k, stride, padding) in [
        (3, 1, Padding::Symmetric(1)),
        (3, 2, Padding::Same),
        (5, 2, Padding::Symmetric(2)),
        (2, 3, Padding::Same),
    ] {
        let s = DepthwiseShape { n: 2, h: 5, w: 6, c: 17, k, stride, padding };
        let (x, weight, dy) = (random(1, s.x_len()), random(2, s.weight_len()), random(3, s.y_len()));
        let no_bias = vec![0.0; s.c];
        let (mut dx, mut dweight) = (vec![f32::NAN; s.x_len()], vec![f32::NAN; s.weight_len()]);
        depthwise_input_grad(&s, &dy, &weight, &mut dx);
        depthwise_weight_grad(&s, &x, &dy, &mut dweight);
        let by_x = |x: &[f64]| dot(&naive::depthwise(&s, x, &to_f64(&weight), &no_bias), &dy);
        let by_weight = |weight: &[f64]| dot(&naive::depthwise(&s, &to_f64(&x), weight, &no_bias), &dy);
        assert_close("dx", &dx, &finite_differences(&x, 1e-3, by_x), 1e-6);
        assert_close("dweight", &dweight, &finite_differences(&weight, 1e-3, by_weight), 1e-6);
    }
}

/// Compares with a convolution of several channels whose weights across channels are 0.
#[test]
fn it_is_a_convolution_without_products_across_channels() {
    let s = DepthwiseShape { n: 2, h: 10, w: 13, c: 20, k: 5, stride: 2, padding: Padding::Symmetric(2) };
    let conv = ConvShape {
        n: 2,
        h: 10,
        w: 13,
        c_in: 20,
        c_out: 20,
        k_h: 5,
        k_w: 5,
        stride: 2,
        padding: Padding::Symmetric(2),
    };
    let (x, weight) = (random(1, s.x_len()), random(2, s.weight_len()));
    let mut dense = vec![0.0; conv.weight_len()];
    for (channel, weight) in weight.chunks_exact(25).enumerate() {
        dense[(channel * 20 + channel) * 25..][..25].copy_from_slice(weight);
    }
    let (mut y, mut expected) = (vec![f32::NAN; s.y_len()], vec![f32::NAN; conv.y_len()]);
    depthwise_forward(&s, &x, &weight, None, &mut y);
    conv2d_forward(&conv, &x, &dense, None, &mut expected);
    assert_close("y", &y, &to_f64(&expected), 1e-6);
}
