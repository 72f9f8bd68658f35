//! Weights, statistics and images by a rule instead of from a file. `fixtures/gen_resnet.py` implements the same rule in Python,
//! with equal bits.

use tallow_core::rng::key_of_name;
use tallow_nn::{Dims, ParamStore};

/// Returns `n` numbers in `[low, high)` that depend only on `name`: the hash of the name plus the index is mixed by SplitMix64
/// (<https://prng.di.unimi.it/splitmix64.c>), and 24 bits of the result are scaled in f64.
pub(crate) fn values(name: &str, n: usize, low: f64, high: f64) -> Vec<f32> {
    let key = key_of_name(name);
    let unit = |i: usize| (mix(key, i as u64) >> 40) as f64 / f64::from(1 << 24);
    (0..n).map(|i| (low + (high - low) * unit(i)) as f32).collect()
}

fn mix(key: u64, i: u64) -> u64 {
    let x = key.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Fills a network. Weights have the variance `2 / fan_in`, and running variances are about the variances that result from it.
/// Norms called `last_norm` have small weights; if they are the last norms of the blocks, activations stay in range through 152
/// layers.
pub(crate) fn fill(params: &ParamStore, last_norm: &str) {
    let mut tensors = params.to_tensors().unwrap();
    let last_norm = format!("{last_norm}.weight");
    for (name, tensor) in &mut tensors {
        let (low, high) = match &tensor.shape[1..] {
            [] if name.ends_with("running_var") => (0.8, 1.6),
            [] if name.ends_with(&last_norm) => (0.1, 0.4),
            [] if ["weight", "scale", "gamma"].iter().any(|end| name.ends_with(end)) => (0.8, 1.2),
            [] => (-0.2, 0.2), // biases, running means
            below => {
                let bound = (6.0 / below.iter().product::<usize>() as f64).sqrt();
                (-bound, bound)
            }
        };
        tensor.data = values(name, tensor.data.len(), low, high);
    }
    params.load_tensors(&tensors).unwrap();
}

/// Returns a batch in (N, H, W, C) order; each `choice` gives another one.
pub(crate) fn images(dims: Dims, choice: usize) -> Vec<f32> {
    values(&format!("images {choice}"), dims.len(), -2.0, 2.0)
}
