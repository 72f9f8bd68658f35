//! The tokens of a vision transformer before its first block and after its last block.
//!
//! ```text
//! y[image][0]     = class + positions[0]
//! y[image][1 + i] = patches[image][i] + positions[1 + i]
//! ```
//!
//! Source: Dosovitskiy et al. 2021, <https://arxiv.org/abs/2010.11929>.

use rayon::prelude::*;

use crate::chunks::{check_len, check_rows};
use crate::direct::Element;
use crate::profile;

/// Overwrites `y` with the class token and the patches of each image, with their positions added.
///
/// # Shapes
/// `patches` (n, tokens - 1, c), `class` (c), `positions` (tokens, c), `y` (n, tokens, c).
///
/// # Panics
/// If a length does not fit, or if there are no channels or no patches.
pub fn embed_tokens<E: Element>(patches: &[E], class: &[f32], positions: &[f32], y: &mut [E]) {
    let c = class.len();
    let _span = profile::channels("embed_tokens", y.len(), c);
    check_rows("embed_tokens", positions, c);
    let len = positions.len();
    assert!(len > c, "embed_tokens: {len} numbers of positions, expected at least two tokens of {c}");
    let n = y.len() / len;
    check_len("embed_tokens", "y", y.len(), n * len);
    check_len("embed_tokens", "patches", patches.len(), n * (len - c));
    let (of_class, of_patches) = positions.split_at(c);
    y.par_chunks_mut(len).zip(patches.par_chunks(len - c)).for_each(|(y, patches)| {
        let (y_class, y_patches) = y.split_at_mut(c);
        for (y, (class, position)) in y_class.iter_mut().zip(class.iter().zip(of_class)) {
            *y = E::from_f32(class + position);
        }
        for (y, (patch, position)) in y_patches.iter_mut().zip(patches.iter().zip(of_patches)) {
            *y = E::from_f32(patch.to_f32() + position);
        }
    });
}

/// Overwrites `y` with each image's class token and the mean of its other tokens. Sums are f32.
///
/// # Shapes
/// `x` (n, tokens, c), `y` (n, 2, c).
///
/// # Panics
/// If a length does not fit, if there are no channels, or if there are fewer than two tokens.
pub fn class_and_mean_token(tokens: usize, c: usize, x: &[f32], y: &mut [f32]) {
    let _span = profile::channels("class_and_mean_token", x.len(), c);
    assert!(tokens > 1 && c > 0, "class_and_mean_token: {tokens} tokens of {c}, expected at least 2 of 1");
    let n = x.len() / (tokens * c);
    check_len("class_and_mean_token", "x", x.len(), n * tokens * c);
    check_len("class_and_mean_token", "y", y.len(), n * 2 * c);
    y.par_chunks_mut(2 * c).zip(x.par_chunks(tokens * c)).for_each(|(y, x)| {
        let (class, patches) = x.split_at(c);
        let (y_class, y_mean) = y.split_at_mut(c);
        y_class.copy_from_slice(class);
        y_mean.fill(0.0);
        for patch in patches.chunks_exact(c) {
            y_mean.iter_mut().zip(patch).for_each(|(sum, x)| *sum += x);
        }
        let factor = 1.0 / (tokens - 1) as f32;
        y_mean.iter_mut().for_each(|sum| *sum *= factor);
    });
}
