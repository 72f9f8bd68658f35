//! Compares every instruction set with plain loops in f64, on shapes that reach every tail of the loops. Those that the
//! processor lacks are emulated.

use half::bf16;
use proptest::prelude::*;
use tallow_core::{Purpose, Stream};

use super::emulated::{Emulated, kernels_or_emulated};
use super::geometry::{Geometry, MIN_PIXELS, tasks};
use super::parts::Division;
use super::winograd::Scheme;
use super::*;
use crate::conv::ConvShape;
use crate::isa::Isa;
use crate::norm_act::After;
use crate::padding::Padding;

/// Random numbers, exact in `E`.
fn random<E: Element>(len: usize, seed: u64) -> Vec<E> {
    let mut stream = Stream::new(seed, Purpose::Test, 0, 0);
    (0..len).map(|_| E::from_f32(stream.uniform_f32(-1.0, 1.0))).collect()
}

/// Calls `visit(x index, w index, y index)` for each product of the convolution.
fn products(s: &ConvShape, mut visit: impl FnMut(usize, usize, usize)) {
    let ((h_out, w_out), [top, left]) = ((s.h_out(), s.w_out()), s.zeros_before());
    for n in 0..s.n {
        for oy in 0..h_out {
            for ox in 0..w_out {
                for r in 0..s.k_h {
                    for t in 0..s.k_w {
                        let (y, x) = (oy * s.stride + r, ox * s.stride + t);
                        if y < top || x < left || y - top >= s.h || x - left >= s.w {
                            continue;
                        }
                        for o in 0..s.c_out {
                            for i in 0..s.c_in {
                                visit(
                                    ((n * s.h + y - top) * s.w + x - left) * s.c_in + i,
                                    ((o * s.c_in + i) * s.k_h + r) * s.k_w + t,
                                    ((n * h_out + oy) * w_out + ox) * s.c_out + o,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

fn check(what: &str, actual: impl Iterator<Item = f32>, expected: &[f64], tolerance: f64) {
    let (mut error, mut norm) = (0.0, 1e-30);
    for (a, e) in actual.zip(expected) {
        error += (f64::from(a) - e).powi(2);
        norm += e * e;
    }
    assert!(
        error.sqrt() <= tolerance * norm.sqrt() + 1e-12,
        "{what}: relative error {}",
        (error / norm).sqrt()
    );
}

fn all_three<E: Emulated>(isa: Isa, s: &ConvShape, tolerance: f64) {
    check_all_three(&kernels_or_emulated::<E>(isa), &format!("{isa:?} {s:?}"), s, tolerance);
}

/// Checks forward convolution, input gradient and weight gradient.
fn check_all_three<E: Element>(kernels: &Kernels<E>, what: &str, s: &ConvShape, tolerance: f64) {
    let x: Vec<E> = random(s.x_len(), 1);
    let w: Vec<E> = random(s.weight_len(), 2);
    let w: Vec<f32> = w.iter().map(|w| w.to_f32()).collect();
    let dy: Vec<E> = random(s.y_len(), 3);
    let bias: Vec<f32> = random(s.c_out, 4);
    let (mut y, mut dx, mut dw) = (vec![0.0; s.y_len()], vec![0.0; s.x_len()], vec![0.0; s.weight_len()]);
    y.iter_mut().enumerate().for_each(|(i, y)| *y = f64::from(bias[i % s.c_out]));
    products(s, |ix, iw, iy| {
        let (x, w, dy) = (f64::from(x[ix].to_f32()), f64::from(w[iw]), f64::from(dy[iy].to_f32()));
        y[iy] += x * w;
        dx[ix] += dy * w;
        dw[iw] += dy * x;
    });
    let junk = E::from_f32(f32::NAN); // the previous content of the outputs must not show
    let mut actual = vec![junk; s.y_len()];
    let packed = PackedWeights::new(kernels, s, &w, None);
    let moments =
        forward(kernels, s, Input::Map(&x), &packed, &Epilogue::bias(Some(&bias)), &mut actual, true)
            .unwrap();
    check(&format!("{what} forward"), actual.iter().map(|y| y.to_f32()), &y, tolerance);
    for (o, (&sum, &square)) in moments.sums.iter().zip(&moments.squares).enumerate() {
        let values = || y.iter().skip(o).step_by(s.c_out);
        let (expected, squares) = (values().sum::<f64>(), values().map(|v| v * v).sum::<f64>());
        assert!((sum - expected).abs() <= 1e-4 * (1.0 + squares), "{what}: sum {sum}, expected {expected}");
        assert!(
            (square - squares).abs() <= 1e-4 * (1.0 + squares),
            "{what}: squares {square}, expected {squares}"
        );
    }
    let mut actual = vec![junk; s.x_len()];
    input_grad(kernels, s, &dy, &w, &mut actual);
    check(&format!("{what} input gradient"), actual.iter().map(|y| y.to_f32()), &dx, tolerance);
    let mut actual = vec![f32::NAN; s.weight_len()];
    weight_grad(kernels, s, &x, &dy, &mut actual);
    check(&format!("{what} weight gradient"), actual.iter().copied(), &dw, 1e-5);
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let padding = prop_oneof![4 => (0usize..4).prop_map(Padding::Symmetric), 1 => Just(Padding::Same)];
    let kernels = (1usize..6, 1usize..6, 1usize..4, padding);
    (1usize..6, 1usize..14, 1usize..14, 1usize..20, 1usize..40, kernels)
        .prop_map(|(n, h, w, c_in, c_out, (k_h, k_w, stride, padding))| ConvShape {
            n,
            h,
            w,
            c_in,
            c_out,
            k_h,
            k_w,
            stride,
            padding,
        })
        .prop_filter("the kernel fits", |s| s.h_out() * s.w_out() > 0)
}

/// Shapes for Winograd's transforms.
fn winograd_shapes() -> impl Strategy<Value = ConvShape> {
    (1usize..6, 1usize..14, 1usize..14, 1usize..70, 1usize..80, 0usize..4)
        .prop_map(|(n, h, w, c_in, c_out, padding)| ConvShape {
            n,
            h,
            w,
            c_in,
            c_out,
            k_h: 3,
            k_w: 3,
            stride: 1,
            padding: Padding::Symmetric(padding),
        })
        .prop_filter("the kernel fits", |s| s.h_out() * s.w_out() > 0)
}

/// Checks both schemes, also where the rule would choose neither.
fn check_winograd<E: Element>(kernels: Kernels<E>, what: &str, s: &ConvShape, tolerance: f64) {
    for scheme in [Scheme::F2, Scheme::F4] {
        let kernels = Kernels { method: Some(Method::Winograd(scheme)), ..kernels };
        check_all_three(&kernels, &format!("{what} {scheme:?} {s:?}"), s, tolerance);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn avx2_is_right(s in shapes()) {
        all_three::<f32>(Isa::Avx2, &s, 1e-5);
    }

    #[test]
    fn avx512_is_right(s in shapes()) {
        all_three::<f32>(Isa::Avx512, &s, 1e-5);
    }

    #[test]
    fn winograd_is_right(s in winograd_shapes()) {
        for isa in [Isa::Avx2, Isa::Avx512] {
            check_winograd(kernels_or_emulated::<f32>(isa), &format!("{isa:?}"), &s, 1e-5);
        }
        check_winograd(kernels_or_emulated::<bf16>(Isa::Avx512Bf16), "bf16", &s, 1e-2);
        check_winograd(emulated::f32_kernels(), "emulated", &s, 1e-5);
        check_winograd(emulated::bf16_kernels(), "emulated bf16", &s, 1e-2);
    }

    #[test]
    fn emulated_avx512_is_right(s in shapes()) {
        check_all_three(&emulated::f32_kernels(), &format!("emulated {s:?}"), &s, 1e-5);
        check_all_three(&emulated::bf16_kernels(), &format!("emulated {s:?}"), &s, 1e-2);
    }

    #[test]
    fn avx512_bf16_is_right(s in shapes()) {
        all_three::<bf16>(Isa::Avx512Bf16, &s, 1e-2);
    }
}

/// The shapes of real networks at a small size: bands of large images, groups of small images, wide layers.
#[test]
fn shapes_of_networks_are_right() {
    let shape = |n, h, c_in, c_out, k, stride, padding| ConvShape {
        n,
        h,
        w: h + 1,
        c_in,
        c_out,
        k_h: k,
        k_w: k,
        stride,
        padding: Padding::Symmetric(padding),
    };
    for s in [
        shape(1, 60, 3, 16, 7, 2, 3),
        shape(1, 90, 33, 8, 3, 2, 1),
        shape(1, 97, 40, 8, 3, 1, 1),
        shape(1, 97, 50, 49, 3, 1, 1),
        shape(30, 4, 64, 48, 3, 1, 1),
        shape(9, 1, 64, 70, 3, 1, 1),
        shape(3, 8, 64, 33, 1, 2, 0),
        shape(2, 31, 3, 24, 2, 1, 0),
    ] {
        all_three::<f32>(Isa::Avx2, &s, 1e-5);
        all_three::<f32>(Isa::Avx512, &s, 1e-5);
        all_three::<bf16>(Isa::Avx512Bf16, &s, 1e-2);
        check_all_three(&emulated::f32_kernels(), &format!("emulated {s:?}"), &s, 1e-5);
        check_all_three(&emulated::bf16_kernels(), &format!("emulated {s:?}"), &s, 1e-2);
    }
}

/// Where weights are larger than maps, the work is divided by output channels, too.
#[test]
fn small_maps_with_many_channels() {
    for (n, h, w, c_in, c_out, k, stride) in [
        (3, 2, 1, 130, 300, 1, 1),
        (2, 2, 3, 131, 140, 3, 1),
        (5, 4, 3, 36, 270, 1, 2),
        (1, 1, 1, 100, 257, 1, 1),
    ] {
        let padding = Padding::Symmetric(k / 2);
        let s = ConvShape { n, h, w, c_in, c_out, k_h: k, k_w: k, stride, padding };
        for isa in [Isa::Avx2, Isa::Avx512] {
            all_three::<f32>(isa, &s, 1e-5);
            residual_and_limits::<f32>(isa, &s, 1e-5);
        }
        all_three::<bf16>(Isa::Avx512Bf16, &s, 1e-2);
        residual_and_limits::<bf16>(Isa::Avx512Bf16, &s, 1e-2);
    }
}

/// Checks the forward convolution with a residual and ReLU, and that its channels are divided.
fn residual_and_limits<E: Emulated>(isa: Isa, s: &ConvShape, tolerance: f64) {
    let kernels = kernels_or_emulated::<E>(isa);
    let (x, residual): (Vec<E>, Vec<E>) = (random(s.x_len(), 1), random(s.y_len(), 2));
    let w: Vec<E> = random(s.weight_len(), 3);
    let w: Vec<f32> = w.iter().map(|w| w.to_f32()).collect();
    let packed = PackedWeights::new(&kernels, s, &w, None);
    let g = Geometry::of(s);
    let n_blocks = (kernels.n_blocks(s.c_out), packed.len());
    assert!(!Division::new(s.n, &g, n_blocks, tasks(s.n, &g, 1, MIN_PIXELS)).is_by_pixels(), "{isa:?} {s:?}");
    let mut expected: Vec<f64> = residual.iter().map(|r| f64::from(r.to_f32())).collect();
    products(s, |ix, iw, iy| expected[iy] += f64::from(x[ix].to_f32()) * f64::from(w[iw]));
    expected.iter_mut().for_each(|y| *y = y.max(0.0));
    let mut y = vec![E::from_f32(f32::NAN); s.y_len()];
    let epilogue = Epilogue { residual: Some(&residual), after: After::Relu, ..Epilogue::bias(None) };
    assert_eq!(forward(&kernels, s, Input::Map(&x), &packed, &epilogue, &mut y, false), None);
    check(&format!("{isa:?} {s:?}"), y.iter().map(|y| y.to_f32()), &expected, tolerance);
}

/// Returns output, moments and both gradients, computed on this number of threads.
fn run_on<E: Emulated>(isa: Isa, c_in: usize, threads: usize) -> (Vec<E>, Option<Moments>, Vec<E>, Vec<f32>) {
    let s = ConvShape {
        n: 70,
        h: 9,
        w: 7,
        c_in,
        c_out: 40,
        k_h: 3,
        k_w: 3,
        stride: 1,
        padding: Padding::Symmetric(1),
    };
    let (x, dy): (Vec<E>, Vec<E>) = (random(s.x_len(), 1), random(s.y_len(), 3));
    let w: Vec<f32> = random(s.weight_len(), 2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
        let kernels = kernels_or_emulated::<E>(isa);
        let (mut y, mut dx) = (vec![E::default(); s.y_len()], vec![E::default(); s.x_len()]);
        let mut dw = vec![0.0; s.weight_len()];
        let packed = PackedWeights::new(&kernels, &s, &w, None);
        let moments = forward(&kernels, &s, Input::Map(&x), &packed, &Epilogue::bias(None), &mut y, true);
        input_grad(&kernels, &s, &dy, &w, &mut dx);
        weight_grad(&kernels, &s, &x, &dy, &mut dw);
        (y, moments, dx, dw)
    })
}

#[test]
fn threads_do_not_change_a_bit() {
    // few channels use the direct loop, more channels Winograd's transforms in f32
    for c_in in [6, 64] {
        for isa in [Isa::Avx2, Isa::Avx512] {
            let one = run_on::<f32>(isa, c_in, 1);
            assert_eq!(one, run_on(isa, c_in, 2));
            assert_eq!(one, run_on(isa, c_in, 16));
        }
        let one = run_on::<bf16>(Isa::Avx512Bf16, c_in, 1);
        assert_eq!(one, run_on(Isa::Avx512Bf16, c_in, 2));
        assert_eq!(one, run_on(Isa::Avx512Bf16, c_in, 16));
    }
}
