//! Self-attention: each token gets the mean of all tokens' values, weighted by how well its query matches their keys.
//!
//! ```text
//! for each image, in parallel:
//!     pack the keys (times 1 / sqrt(d)) and values of each head for the products
//!     for each block of ROWS tokens, in parallel:
//!         for each head:
//!             scores = queries * keys^T                       (ROWS, tokens), which stays in L2
//!             e      = exp(scores - the largest of the row)
//!             y      = e * values / the sum of e's row
//! ```
//!
//! The products run in the convolutions' own loop, as if keys and values were the weights of a 1x1 convolution.
//! Without such a loop they run in the `gemm` crate. Products, scores and sums are f32 for maps of either type. Work
//! is divided by the number of tokens alone.

use rayon::prelude::*;

use super::element::Element;
use super::kernel::{ForwardTask, Kernels};
use super::scratch;
use crate::chunks::check_len;
use crate::gemm::{Matrix, Store, multiply};
use crate::isa::{Isa, isa};
use crate::math::exp_f32;
use crate::norm_act::lanes::{LANES, at, at_mut, for_lanes, total};
use crate::profile;
use crate::vectorise::vectorised;

/// Number of tokens with scores computed together: they fill whole tiles of the loop, and with 1,370 tokens the
/// scores take 256 KiB.
const ROWS: usize = 48;

/// The shape of [`attention`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionShape {
    /// Number of images.
    pub n: usize,
    /// Number of tokens per image.
    pub tokens: usize,
    /// Number of heads.
    pub heads: usize,
    /// Length of a query, a key and a value.
    pub head_width: usize,
}

impl AttentionShape {
    /// Returns the number of channels of a token.
    pub fn width(&self) -> usize {
        self.heads * self.head_width
    }
}

/// Overwrites `y` with `softmax(q * k^T / sqrt(head_width)) * v` of each image and head, as
/// `torch.nn.functional.scaled_dot_product_attention`.
///
/// # Shapes
/// `qkv` (n, tokens, 3 * heads * head_width): the queries of all heads, then their keys, then their values, as in
/// timm's `qkv` layer; `y` (n, tokens, heads * head_width).
///
/// # Panics
/// If a length does not fit, or if a size other than `n` is 0.
///
/// # Source
/// Vaswani et al. 2017, <https://arxiv.org/abs/1706.03762>.
pub fn attention<E: Element>(s: &AttentionShape, qkv: &[E], y: &mut [E]) {
    let _span = profile::attention("attention", s);
    let len = s.tokens * s.width();
    assert!(len > 0, "attention: tokens, heads and their width must be at least 1: {s:?}");
    check_len("attention", "qkv", qkv.len(), 3 * s.n * len);
    check_len("attention", "y", y.len(), s.n * len);
    let products = Products::of(isa());
    let images = y.par_chunks_mut(len).zip(qkv.par_chunks(3 * len));
    images.for_each(|(y, qkv)| attend(s, &products, qkv, y));
}

/// Computes the attention of one image.
fn attend<E: Element>(s: &AttentionShape, products: &Products, qkv: &[E], y: &mut [E]) {
    let (d, tokens) = (s.head_width, s.tokens);
    let n_keys = products.whole_blocks(tokens);
    let keys_len = n_keys * d;
    let head_len = keys_len + products.whole_blocks(d) * tokens;
    scratch::with(|scratch| {
        let [packed] = scratch.buffers([s.heads * head_len]);
        packed.par_chunks_mut(head_len).enumerate().for_each(|(head, packed)| {
            let (keys, values) = packed.split_at_mut(keys_len);
            pack_keys(s, &qkv[s.width() + head * d..], products.block(tokens), keys);
            pack_values(s, &qkv[2 * s.width() + head * d..], products.block(d), values);
        });
        let packed = &*packed;
        let blocks = y.par_chunks_mut(ROWS * s.width()).zip(qkv.par_chunks(3 * ROWS * s.width()));
        blocks.for_each(|(y, qkv)| {
            for (head, packed) in packed.chunks_exact(head_len).enumerate() {
                let (keys, values) = packed.split_at(keys_len);
                attend_rows(s, products, [keys, values], &qkv[head * d..], &mut y[head * d..]);
            }
        });
    });
}

/// Computes one head for a block of tokens. `queries` and `y` begin at the head's numbers of the block's first token.
fn attend_rows<E: Element>(
    s: &AttentionShape,
    products: &Products,
    [keys, values]: [&[f32]; 2],
    queries: &[E],
    y: &mut [E],
) {
    let (d, tokens, width) = (s.head_width, s.tokens, s.width());
    let (rows, n_keys) = (y.len().div_ceil(width), products.whole_blocks(tokens));
    let mut sums = [0.0; ROWS];
    scratch::with(|scratch| {
        let [scores, wide, means] = scratch.buffers([rows * n_keys, rows * d, rows * d]);
        for (wide, query) in wide.chunks_exact_mut(d).zip(queries.chunks(3 * width)) {
            wide.iter_mut().zip(query).for_each(|(wide, q)| *wide = q.to_f32());
        }
        products.multiply(Rows { x: wide, step: d, k: d }, keys, n_keys, scores);
        exponentials::<f32>(n_keys, tokens, scores, &mut sums[..rows]);
        products.multiply(Rows { x: scores, step: n_keys, k: tokens }, values, d, means);
        for ((y, mean), sum) in y.chunks_mut(width).zip(means.chunks_exact(d)).zip(sums) {
            let factor = 1.0 / sum;
            y.iter_mut().zip(mean).for_each(|(y, mean)| *y = E::from_f32(mean * factor));
        }
    });
}

/// Packs keys in blocks: the keys of a block lie side by side, number by number, each times `1 / sqrt(head_width)`.
/// Places beyond the last key are 0.
fn pack_keys<E: Element>(s: &AttentionShape, keys: &[E], block: usize, packed: &mut [f32]) {
    let (d, step) = (s.head_width, 3 * s.width());
    let scale = 1.0 / (d as f32).sqrt();
    for (keys, packed) in keys.chunks(block * step).zip(packed.chunks_exact_mut(block * d)) {
        packed.fill(0.0);
        for (lane, key) in keys.chunks(step).enumerate() {
            let column = packed[lane..].iter_mut().step_by(block);
            column.zip(&key[..d]).for_each(|(packed, k)| *packed = k.to_f32() * scale);
        }
    }
}

/// Packs values in blocks of their numbers: each block goes value by value. Places beyond the last number are 0.
fn pack_values<E: Element>(s: &AttentionShape, values: &[E], block: usize, packed: &mut [f32]) {
    for (first, packed) in (0..s.head_width).step_by(block).zip(packed.chunks_exact_mut(block * s.tokens)) {
        let n = block.min(s.head_width - first);
        for (value, packed) in values.chunks(3 * s.width()).zip(packed.chunks_exact_mut(block)) {
            packed[n..].fill(0.0);
            packed.iter_mut().zip(&value[first..first + n]).for_each(|(packed, v)| *packed = v.to_f32());
        }
    }
}

vectorised! {
    /// Overwrites the first `n` of each `step` numbers with `e^(x - the largest of them)`, and `sums` with the sums
    /// of these exponentials.
    fn exponentials<E: Element>(step: usize, n: usize, rows: &mut [E], sums: &mut [f32]) {
        for (row, sum) in rows.chunks_exact_mut(step).zip(sums) {
            let row = &mut row[..n];
            let mut largest = [f32::NEG_INFINITY; LANES];
            for_lanes!(n, i, N, {
                let x = at::<E, N>(row, i);
                for j in 0..N {
                    let x = x[j].to_f32();
                    largest[j] = if x > largest[j] { x } else { largest[j] };
                }
            });
            let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
            let mut partial = [0.0; LANES];
            for_lanes!(n, i, N, {
                let x = at_mut::<E, N>(row, i);
                for j in 0..N {
                    let e = exp_f32(x[j].to_f32() - largest);
                    x[j] = E::from_f32(e);
                    partial[j] += e;
                }
            });
            *sum = total(partial);
        }
    }
}

/// Products of rows with packed matrices, in the convolutions' loop if there is one.
struct Products(Option<Kernels<f32>>);

/// Rows of `k` numbers, `step` apart.
struct Rows<'a> {
    x: &'a [f32],
    step: usize,
    k: usize,
}

impl Products {
    fn of(isa: Isa) -> Self {
        Self(Kernels::of(isa))
    }

    /// Returns the number of columns packed together, for a matrix with `n` columns. The `gemm` crate takes all
    /// columns together.
    fn block(&self, n: usize) -> usize {
        self.0.as_ref().map_or(n, |kernels| kernels.block)
    }

    /// Returns `n`, rounded up to whole blocks.
    fn whole_blocks(&self, n: usize) -> usize {
        n.next_multiple_of(self.block(n))
    }

    /// Overwrites `y` (rows, n) with the product of `rows` and `packed`, which has blocks of (k, block).
    fn multiply(&self, Rows { x, step, k }: Rows<'_>, packed: &[f32], n: usize, y: &mut [f32]) {
        let n_rows = y.len() / n;
        let Some(kernels) = &self.0 else {
            let rows = Matrix::row_major(x, n_rows, step).columns(0..k);
            return multiply(y, Store::Overwrite, rows, Matrix::row_major(packed, k, n));
        };
        let offsets = |step: usize| -> [u32; ROWS] { std::array::from_fn(|row| (row * step) as u32) };
        kernels.run_forward(ForwardTask {
            x,
            x_offsets: &offsets(step)[..n_rows],
            row: step,
            k_h: 1,
            n_units: k,
            weights: packed,
            bias: None,
            residual: None,
            limits: None,
            c_out: n,
            y,
            y_offsets: &offsets(n)[..n_rows],
            moments: None,
        });
    }
}
