//! Exact nearest neighbours by dot product. The product of two matrices is computed in blocks, and only the largest
//! entries are kept.

use rayon::prelude::*;

use crate::chunks::check_len;
use crate::gemm::{Matrix, Store, multiply};

/// Number of queries that one task compares with all keys.
const QUERIES_PER_TASK: usize = 64;
/// Number of keys compared at a time: their products with one task's queries, 256 KiB, stay in the cache.
const KEYS_PER_BLOCK: usize = 1024;

/// Returns for each row of `queries` the indices of the `k` rows of `keys` with the largest dot products, each with
/// its product. The largest product is first; equal products keep the order of the keys. If there are fewer than `k`
/// keys, all are returned.
///
/// For rows of length 1 these are the nearest neighbours, by angle and by Euclidean distance.
///
/// # Shapes
/// `queries` (n, dim), `keys` (m, dim); returns (n, min(k, m)).
///
/// # Panics
/// If `dim` is 0 or a length is not a multiple of `dim`.
pub fn largest_products(queries: &[f32], keys: &[f32], dim: usize, k: usize) -> Vec<Vec<(u32, f32)>> {
    assert!(dim > 0, "largest_products: dim is 0, expected at least 1");
    let (n, m) = (queries.len() / dim, keys.len() / dim);
    check_len("largest_products", "queries", queries.len(), n * dim);
    check_len("largest_products", "keys", keys.len(), m * dim);
    let tasks = queries.par_chunks(QUERIES_PER_TASK * dim);
    tasks.flat_map_iter(|queries| largest_of_task(queries, keys, dim, k)).collect()
}

fn largest_of_task(queries: &[f32], keys: &[f32], dim: usize, k: usize) -> Vec<Vec<(u32, f32)>> {
    let n = queries.len() / dim;
    let mut largest = vec![Vec::with_capacity(k + 1); n];
    let mut products = vec![0.0; n * KEYS_PER_BLOCK];
    for (block, keys) in keys.chunks(KEYS_PER_BLOCK * dim).enumerate() {
        let m = keys.len() / dim;
        let products = &mut products[..n * m];
        let (lhs, rhs) = (Matrix::row_major(queries, n, dim), Matrix::row_major(keys, m, dim));
        multiply(products, Store::Overwrite, lhs, rhs.transposed());
        let first = block * KEYS_PER_BLOCK;
        for (largest, row) in largest.iter_mut().zip(products.chunks_exact(m)) {
            keep_largest(largest, k, first, row);
        }
    }
    largest
}

/// Inserts the large products of `row` into `largest`, which stays sorted. `row` has the products with the keys from
/// `first` on.
fn keep_largest(largest: &mut Vec<(u32, f32)>, k: usize, first: usize, row: &[f32]) {
    for (i, &product) in row.iter().enumerate() {
        if largest.len() == k && largest.last().is_none_or(|&(_, least)| product <= least) {
            continue;
        }
        let place = largest.partition_point(|&(_, kept)| kept >= product);
        largest.insert(place, ((first + i) as u32, product));
        largest.truncate(k);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, so that products are exact and many are equal.
    fn numbered(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + i / 3 * seed) % 11) as f32 - 5.0).collect()
    }

    fn naive(queries: &[f32], keys: &[f32], dim: usize, k: usize) -> Vec<Vec<(u32, f32)>> {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let sorted = |query: &[f32]| {
            let mut all: Vec<(u32, f32)> = (0..).zip(keys.chunks(dim).map(|key| dot(query, key))).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1)); // a stable sort keeps the order of equal products
            all.truncate(k);
            all
        };
        queries.chunks(dim).map(sorted).collect()
    }

    #[test]
    fn as_sorted_in_full() {
        let sizes =
            [(1, 1), (3, 2 * KEYS_PER_BLOCK + 5), (QUERIES_PER_TASK + 1, KEYS_PER_BLOCK), (0, 3), (3, 0)];
        for (n, m) in sizes {
            for k in [0, 1, 4] {
                let (queries, keys) = (numbered(n * 5, 1), numbered(m * 5, 3));
                assert_eq!(
                    largest_products(&queries, &keys, 5, k),
                    naive(&queries, &keys, 5, k),
                    "{n} {m} {k}"
                );
            }
        }
    }
}
