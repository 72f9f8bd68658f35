//! The cost of bf16: compares the reference network's gradient in bf16 with the gradient in f32 by the cosine of their angle, on
//! real batches of 128 images, at the start and after an epoch. The cosine must be as large as with PyTorch's autocast.
//!
//! On a single batch, chance decides which of the two libraries has the larger cosine. The difference has a standard deviation of
//! 7e-4 at the start and 1.2e-4 after an epoch, and PyTorch differs from itself as much with another memory format. Therefore the
//! test compares the mean over the batches. It may be below PyTorch's by two standard errors of the mean difference.
#![forbid(unsafe_code)]

mod state;

use state::{Gradients, Images, N_BATCHES, Reference};
use tallow_nn::Precision;

/// Two numbers: the mean cosine between PyTorch 2.15's gradients with and without `torch.autocast("cpu", torch.bfloat16)`, on the
/// same weights and batches, in the better of its two memory formats; and two standard errors of its difference from Tallow's
/// mean. `benches/peers/gradient_cosine.py` measured them, on a processor with AVX-512-BF16.
const PYTORCH_START: (f64, f64) = (0.989_46, 3.6e-4);
const PYTORCH_EPOCH: (f64, f64) = (0.998_466, 6e-5);

/// Returns the cosine of the angle between two gradients, with all parameters in one vector.
fn cosine(a: &Gradients, b: &Gradients) -> f64 {
    assert!(a.keys().eq(b.keys()) && !a.is_empty());
    let dot = |a: &Gradients, b: &Gradients| {
        let pairs = a.values().flatten().zip(b.values().flatten());
        pairs.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Returns the mean cosine over the batches.
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
