//! What bf16 costs: how far the reference network's gradient in bf16 points away from the one in f32, on real batches of
//! 128 images, at the start and after an epoch, must be what it is with PyTorch's autocast.
//!
//! On a single batch chance decides which of the two is closer: the difference of the cosines has a deviation of 7e-4 at
//! the start and 1.2e-4 after an epoch, and PyTorch differs from itself as much with another memory format. So the mean
//! over the batches is compared, and may fall below PyTorch's by two standard errors of the mean difference.
#![forbid(unsafe_code)]

mod state;

use state::{Gradients, Images, N_BATCHES, Reference};
use tallow_nn::Precision;

/// The mean cosine of PyTorch 2.15's gradients under `torch.autocast("cpu", torch.bfloat16)` to those without, on the
/// same weights and batches, in the better of its two memory formats; and two standard errors of its difference to
/// ours. `benches/peers/gradient_cosine.py` measured them, on a processor with AVX-512-BF16.
const PYTORCH_START: (f64, f64) = (0.989_46, 3.6e-4);
const PYTORCH_EPOCH: (f64, f64) = (0.998_466, 6e-5);

/// The cosine of the angle between two gradients, all parameters in one vector.
fn cosine(a: &Gradients, b: &Gradients) -> f64 {
    assert!(a.keys().eq(b.keys()) && !a.is_empty());
    let dot = |a: &Gradients, b: &Gradients| {
        let pairs = a.values().flatten().zip(b.values().flatten());
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The mean over the batches.
fn mean_cosine(reference: &Reference, images: &Images) -> f64 {
    let cosines = images.batches().take(N_BATCHES).map(|(pixels, targets)| {
        let [f32, bf16] = [Precision::F32, Precision::Bf16]
            .map(|precision| reference.gradient(&pixels, targets, precision));
        cosine(&bf16, &f32)
    });
    cosines.sum::<f64>() / N_BATCHES as f64
}

#[track_caller]
fn check(when: &str, ours: f64, (pytorch, chance): (f64, f64)) {
    assert!(ours >= pytorch - chance, "{when} {ours:.6}, PyTorch has {pytorch}, give or take {chance}");
    assert!(ours < 1.0, "{when}: the gradient in bf16 is the one in f32, so nothing was compared");
}

#[test]
fn the_bf16_gradient_is_as_good_as_pytorchs() {
    let images = Images::sample();
    let mut reference = Reference::new();
    check("at the start", mean_cosine(&reference, &images), PYTORCH_START);
    reference.train(&images);
    check("after an epoch", mean_cosine(&reference, &images), PYTORCH_EPOCH);
}
