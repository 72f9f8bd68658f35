//! Finds the directions along which rows of numbers vary most, by a randomised method.
//!
//! Source: N. Halko, P. G. Martinsson, J. A. Tropp, "Finding Structure with Randomness", SIAM Review 53 (2011),
//! <https://arxiv.org/abs/0909.4061>.

use rayon::prelude::*;
use tallow_core::rng::{Purpose, Stream};
use tallow_nn::{linear_forward, linear_weight_grad};

use super::triangle::inverse_cholesky;

/// Number of power iterations, which turn random directions into those of the largest variance.
const N_TURNS: usize = 2;

/// Returns orthonormal directions, (rank, width), along which the rows of `x` vary most, approximately. Returns `None` if the
/// rows are all zero.
pub(super) fn directions(x: &[f32], width: usize, rank: usize) -> Option<Vec<f32>> {
    let n = x.len() / width;
    let start = |i: usize| {
        let mut stream = Stream::new(0, Purpose::Directions, 0, i as u64);
        (0..width).map(|_| stream.unit_f32() - 0.5).collect::<Vec<_>>()
    };
    let mut basis: Vec<f32> = (0..rank).flat_map(start).collect();
    for _ in 0..N_TURNS {
        let z = product(x, &basis, width);
        linear_weight_grad(n, width, rank, x, &z, &mut basis);
        orthonormalise(&mut basis, width);
    }
    basis.iter().any(|v| *v != 0.0).then_some(basis)
}

/// Makes rows orthonormal by the Cholesky factor of their inner products. This is done twice, because once leaves nearly
/// parallel rows not quite orthogonal. Rows that depend linearly on others become zero.
fn orthonormalise(rows: &mut Vec<f32>, width: usize) {
    let n = rows.len() / width;
    for _ in 0..2 {
        let product = |at: usize| {
            let (a, b) = (&rows[at / n * width..][..width], &rows[at % n * width..][..width]);
            dot(a, b)
        };
        let below: Vec<f64> =
            (0..n * n).into_par_iter().map(|at| if at % n <= at / n { product(at) } else { 0.0 }).collect();
        let products: Vec<f64> = (0..n * n).map(|at| below[at.max(at % n * n + at / n)]).collect();
        let turn = inverse_cholesky(&products, n);
        let turned = turn.par_chunks(n).flat_map_iter(|weights| {
            let mut sum = vec![0.0; width];
            for (weight, row) in
                weights.iter().zip(rows.chunks_exact(width)).filter(|(weight, _)| **weight != 0.0)
            {
                sum.iter_mut().zip(row).for_each(|(sum, v)| *sum += weight * f64::from(*v));
            }
            sum.into_iter().map(|v| v as f32)
        });
        *rows = turned.collect();
    }
}

/// Returns the inner product in f64, with enough independent sums to keep the processor busy.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for lane in 0..8 {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Returns `x * rows^T`.
pub(super) fn product(x: &[f32], rows: &[f32], width: usize) -> Vec<f32> {
    let (n, n_rows) = (x.len() / width, rows.len() / width);
    let mut y = vec![0.0; n * n_rows];
    linear_forward(n, width, n_rows, x, rows, None, &mut y);
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns rows that vary along three directions, by 9, 3 and 1, and hardly along the others.
    fn rows(n: usize, width: usize) -> Vec<f32> {
        let mut stream = Stream::new(7, Purpose::Test, 0, 0);
        let mut rows: Vec<f32> = (0..n * width).map(|_| (stream.unit_f32() - 0.5) * 0.01).collect();
        for row in rows.chunks_exact_mut(width) {
            for (along, size) in [(2, 9.0), (5, 3.0), (11, 1.0)] {
                row[along] += size * (stream.unit_f32() - 0.5);
            }
        }
        rows
    }

    #[test]
    fn the_largest_directions_are_found() {
        let (n, width, rank) = (301, 17, 4);
        let basis = directions(&rows(n, width), width, rank).unwrap();
        for along in [2, 5, 11] {
            let held: f32 = basis.chunks_exact(width).map(|row| row[along] * row[along]).sum();
            assert!(held > 0.999, "direction {along} lies in the basis by {held}");
        }
        for (i, a) in basis.chunks_exact(width).enumerate() {
            for (j, b) in basis.chunks_exact(width).enumerate() {
                let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-5, "{i} {j}: {dot}");
            }
        }
    }

    #[test]
    fn what_does_not_differ_has_no_directions() {
        assert_eq!(directions(&[0.0; 60], 6, 3), None);
        let two: Vec<f32> =
            rows(40, 17).iter().enumerate().map(|(i, v)| if i % 17 == 2 { *v } else { 0.0 }).collect();
        let basis = directions(&two, 17, 3).unwrap();
        let lengths: Vec<f32> =
            basis.chunks_exact(17).map(|row| row.iter().map(|v| v * v).sum::<f32>().round()).collect();
        assert_eq!(lengths, [1.0, 0.0, 0.0], "more directions than there are");
    }
}
