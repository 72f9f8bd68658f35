//! Convolution and the fully connected layer.

use proptest::prelude::*;
use tallow_kernels::*;

use crate::{assert_close, cases, dot, finite_differences, naive, random, to_f64};

/// Tolerance of f32 sums of up to a few thousand products.
const TOLERANCE: f64 = 1e-6;

fn check_conv(s: &ConvShape, seed: u64) {
    let (x, weight, bias) =
        (random(seed, s.x_len()), random(seed + 1, s.weight_len()), random(seed + 2, s.c_out));
    let dy = random(seed + 3, s.y_len());
    let (x64, weight64, dy64) = (to_f64(&x), to_f64(&weight), to_f64(&dy));

    let mut y = vec![f32::NAN; s.y_len()]; // a number that is not overwritten would show
    conv2d_forward(s, &x, &weight, Some(&bias), &mut y);
    assert_close("y", &y, &naive::conv2d(s, &x64, &weight64, &to_f64(&bias)), TOLERANCE);
    y.fill(f32::NAN);
    conv2d_forward(s, &x, &weight, None, &mut y);
    assert_close("y without bias", &y, &naive::conv2d(s, &x64, &weight64, &vec![0.0; s.c_out]), TOLERANCE);

    let mut dx = vec![f32::NAN; s.x_len()];
    conv2d_input_grad(s, &dy, &weight, &mut dx);
    assert_close("dx", &dx, &naive::conv2d_input_grad(s, &dy64, &weight64), TOLERANCE);

    let mut dweight = vec![f32::NAN; s.weight_len()];
    conv2d_weight_grad(s, &x, &dy, &mut dweight);
    assert_close("dweight", &dweight, &naive::conv2d_weight_grad(s, &x64, &dy64), TOLERANCE);
}

prop_compose! {
    fn conv_shape()(
        n in 1usize..=5, h in 1usize..=12, w in 1usize..=12, c_in in 1usize..=9, c_out in 1usize..=9,
        k_h in 1usize..=7, k_w in 1usize..=7, stride in 1usize..=3,
        padding in prop_oneof![4 => (0usize..=3).prop_map(Padding::Symmetric), 1 => Just(Padding::Same)],
    ) -> ConvShape {
        ConvShape { n, h, w, c_in, c_out, k_h, k_w, stride, padding }
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn convolution_is_its_definition(s in conv_shape(), seed in any::<u32>()) {
        check_conv(&s, u64::from(seed));
    }

    #[test]
    fn linear_is_its_definition(n in 1usize..=70, f_in in 1usize..=40, f_out in 1usize..=40, seed in any::<u32>()) {
        check_linear(n, f_in, f_out, u64::from(seed));
    }
}

/// Shapes with several tiles and chunks, shapes that tiles and chunks do not divide, and unusual shapes.
#[test]
fn convolution_at_chosen_shapes() {
    let s = ConvShape {
        n: 3,
        h: 23,
        w: 29,
        c_in: 33,
        c_out: 18,
        k_h: 3,
        k_w: 3,
        stride: 1,
        padding: Padding::Symmetric(1),
    };
    for shape in [
        s,
        ConvShape { stride: 2, ..s },
        ConvShape { k_h: 1, k_w: 1, padding: Padding::Symmetric(0), ..s },
        ConvShape { k_h: 1, k_w: 1, padding: Padding::Symmetric(0), stride: 2, ..s },
        ConvShape { k_h: 7, k_w: 5, padding: Padding::Symmetric(3), c_in: 20, ..s },
        ConvShape { h: 1, w: 1, ..s }, // the kernel fits only thanks to the padding
        ConvShape { h: 2, w: 1, k_h: 2, k_w: 1, padding: Padding::Symmetric(3), ..s }, // windows that see only padding
        ConvShape { h: 2, w: 1, k_h: 2, k_w: 1, padding: Padding::Symmetric(3), stride: 2, ..s },
        ConvShape { n: 0, ..s },
        ConvShape { k_h: 26, ..s }, // does not fit: no output, gradients 0
        ConvShape { k_h: 26, stride: 2, ..s },
        ConvShape { h: 0, ..s }, // nothing but padding
    ] {
        check_conv(&shape, 1);
    }
}

/// More rows than 8 chunks of one tile: each chunk of the weight gradient has several tiles, and the last chunk is
/// shorter.
#[test]
fn weight_gradient_of_many_rows() {
    check_conv(
        &ConvShape {
            n: 5,
            h: 50,
            w: 60,
            c_in: 3,
            c_out: 4,
            k_h: 3,
            k_w: 2,
            stride: 1,
            padding: Padding::Symmetric(1),
        },
        2,
    );
}

#[test]
fn gradients_are_finite_differences() {
    let cases =
        [(1, 0), (1, 2), (2, 1), (3, 2)].map(|(stride, padding)| (stride, Padding::Symmetric(padding)));
    for (stride, padding) in cases.into_iter().chain([(2, Padding::Same)]) {
        let s = ConvShape { n: 2, h: 5, w: 6, c_in: 2, c_out: 3, k_h: 3, k_w: 2, stride, padding };
        let (x, weight, dy) = (random(1, s.x_len()), random(2, s.weight_len()), random(3, s.y_len()));
        let no_bias = vec![0.0; s.c_out];
        let (mut dx, mut dweight) = (vec![f32::NAN; s.x_len()], vec![f32::NAN; s.weight_len()]);
        conv2d_input_grad(&s, &dy, &weight, &mut dx);
        conv2d_weight_grad(&s, &x, &dy, &mut dweight);
        let by_x = |x: &[f64]| dot(&naive::conv2d(&s, x, &to_f64(&weight), &no_bias), &dy);
        let by_weight = |weight: &[f64]| dot(&naive::conv2d(&s, &to_f64(&x), weight, &no_bias), &dy);
        assert_close("dx", &dx, &finite_differences(&x, 1e-3, by_x), TOLERANCE);
        assert_close("dweight", &dweight, &finite_differences(&weight, 1e-3, by_weight), TOLERANCE);
    }
}

fn check_linear(n: usize, f_in: usize, f_out: usize, seed: u64) {
    let s = naive::linear_shape(n, f_in, f_out);
    let (x, weight, bias) = (random(seed, n * f_in), random(seed + 1, f_in * f_out), random(seed + 2, f_out));
    let dy = random(seed + 3, n * f_out);
    let (x64, weight64, dy64) = (to_f64(&x), to_f64(&weight), to_f64(&dy));

    let mut y = vec![f32::NAN; n * f_out];
    linear_forward(n, f_in, f_out, &x, &weight, Some(&bias), &mut y);
    assert_close("y", &y, &naive::conv2d(&s, &x64, &weight64, &to_f64(&bias)), TOLERANCE);
    y.fill(f32::NAN);
    linear_forward(n, f_in, f_out, &x, &weight, None, &mut y);
    assert_close("y without bias", &y, &naive::conv2d(&s, &x64, &weight64, &vec![0.0; f_out]), TOLERANCE);

    let mut dx = vec![f32::NAN; n * f_in];
    linear_input_grad(n, f_in, f_out, &dy, &weight, &mut dx);
    assert_close("dx", &dx, &naive::conv2d_input_grad(&s, &dy64, &weight64), TOLERANCE);

    let mut dweight = vec![f32::NAN; f_in * f_out];
    linear_weight_grad(n, f_in, f_out, &x, &dy, &mut dweight);
    assert_close("dweight", &dweight, &naive::conv2d_weight_grad(&s, &x64, &dy64), TOLERANCE);
}

#[test]
fn linear_at_chosen_shapes() {
    check_linear(0, 3, 4, 1);
    check_linear(67, 300, 130, 1);
}
