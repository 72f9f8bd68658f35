//! Compares every instruction set with the plain loops; those that the processor lacks are emulated. The property tests
//! compare the plain loops with the definition.

use half::bf16;
use proptest::prelude::*;
use tallow_core::{Purpose, Stream};

use super::*;
use crate::depthwise::plain;
use crate::direct::emulated::kernels_or_emulated;
use crate::direct::{Element, emulated};
use crate::isa::Isa;

/// Random numbers, exact in `E`.
fn random<E: Element>(len: usize, seed: u64) -> Vec<E> {
    let mut stream = Stream::new(seed, Purpose::Test, 0, 0);
    (0..len).map(|_| E::from_f32(stream.uniform_f32(-1.0, 1.0))).collect()
}

fn check<E: Element>(what: &str, actual: &[E], expected: &[E], tolerance: f32) {
    let (actual, expected) = (E::as_f32(actual), E::as_f32(expected));
    let norm = expected.iter().map(|e| e * e).sum::<f32>().sqrt();
    let error = actual.iter().zip(&*expected).map(|(a, e)| (a - e).powi(2)).sum::<f32>().sqrt();
    assert!(error <= tolerance * norm + 1e-30, "{what}: error {error}, norm {norm}");
}

/// Compares the lines of `g` from the second one on, and for a forward pass also the sums over them.
fn agrees<E: Element>(kernels: &Kernels<E>, what: &str, g: &Gather, tolerance: f32) {
    let what = format!("{what} {g:?}");
    let len = |[h, w]: [usize; 2]| g.n * h * w * g.c;
    let (from, dy) = (random::<E>(len(g.from), 1), random::<E>(len(g.to), 2));
    let (weight, bias) = (random::<f32>(g.k * g.k * g.c, 3), random::<f32>(g.c, 4));
    let [mut actual, mut expected] = [0; 2].map(|_| vec![E::from_f32(f32::NAN); len(g.to) - g.line_len()]);
    fn task<'a, E>(
        g: &'a Gather,
        from: &'a [E],
        [weight, bias]: [&'a [f32]; 2],
        to: &'a mut [E],
    ) -> LinesTask<'a, E> {
        LinesTask { g, from, weight, bias: Some(bias), limits: [-0.5, 1.0], first_line: 1, to }
    }
    kernels.run_lines(task(g, &from, [&weight, &bias], &mut actual));
    plain::lines(task(g, &from, [&weight, &bias], &mut expected));
    check(&what, &actual, &expected, tolerance);
    if g.transposed {
        return;
    }
    let [mut actual, mut expected] = [0; 2].map(|_| vec![f32::NAN; weight.len()]);
    let lines = 1..g.n * g.to[0];
    kernels.run_sums(SumsTask { g, x: &from, dy: &dy, lines: lines.clone(), sums: &mut actual });
    plain::sums(SumsTask { g, x: &from, dy: &dy, lines, sums: &mut expected });
    check(&format!("sums of {what}"), &actual, &expected, 1e-5);
}

fn all_agree(g: &Gather) {
    for isa in [Isa::Avx2, Isa::Avx512] {
        agrees(&kernels_or_emulated::<f32>(isa), isa.as_str(), g, 1e-5);
    }
    agrees(&kernels_or_emulated::<bf16>(Isa::Avx512Bf16), "avx512bf16", g, 1e-2);
    agrees(&emulated::f32_kernels(), "emulated f32", g, 1e-5);
    agrees(&emulated::bf16_kernels(), "emulated bf16", g, 1e-2);
}

prop_compose! {
    /// Maps of any size: numbers beyond the source map are 0.
    fn gathers()(
        n in 1usize..=3, c in 16usize..=50, k in prop_oneof![Just(3usize), Just(5), Just(7)], stride in 1usize..=2,
        before in (0usize..=4, 0usize..=4), from in (1usize..=20, 1usize..=45), to in (1usize..=20, 1usize..=25),
        transposed in any::<bool>(),
    ) -> Gather {
        let (before, from, to) = ([before.0, before.1], [from.0, from.1], [to.0, to.1]);
        Gather { n, c, k, stride, before, from, to, transposed }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn vectors_do_what_plain_loops_do(g in gathers()) {
        all_agree(&g);
    }
}

#[test]
#[should_panic(expected = "the map that is read")]
fn a_short_map_is_refused() {
    let g =
        Gather { n: 1, c: 16, k: 3, stride: 1, before: [1, 1], from: [4, 4], to: [4, 4], transposed: false };
    let (from, weight, mut to) = (vec![0.0; 255], vec![0.0; 144], vec![0.0; 256]);
    emulated::f32_kernels().run_lines(LinesTask {
        g: &g,
        from: &from,
        weight: &weight,
        bias: None,
        limits: [0.0, 1.0],
        first_line: 0,
        to: &mut to,
    });
}
