//! Computes eigenvalues and eigenvectors of a small symmetric matrix.

/// Largest number of sweeps. Matrices of a few dozen rows converge long before, as convergence is quadratic.
const MAX_SWEEPS: usize = 64;

/// Returns the eigenvalues of the symmetric matrix `a`, (n, n) row-major, the largest first, each with its eigenvector of
/// length 1.
///
/// Each rotation turns two axes so that their common off-diagonal element becomes 0. Sweeps run over all pairs in row order
/// until the off-diagonal elements are negligible. The sign of an eigenvector makes its element of the largest magnitude
/// positive.
///
/// # Panics
/// If `a` does not have `n * n` elements.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 4th edition, algorithm 8.4.3 (cyclic Jacobi).
pub(super) fn eigenvectors(mut a: Vec<f64>, n: usize) -> Vec<(f64, Vec<f64>)> {
    assert_eq!(a.len(), n * n, "a matrix of {n} rows and columns");
    let mut vectors: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i / n == i % n))).collect();
    let whole: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..MAX_SWEEPS {
        let rest: f64 = (0..n * n).filter(|i| i / n != i % n).map(|i| a[i] * a[i]).sum();
        if rest <= whole * f64::EPSILON * f64::EPSILON {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p * n + q] != 0.0 {
                    let (c, s) = rotation(a[p * n + p], a[q * n + q], a[p * n + q]);
                    turn(&mut a, &mut vectors, n, [p, q], c, s);
                }
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> =
        (0..n).map(|i| (a[i * n + i], upright((0..n).map(|row| vectors[row * n + i]).collect()))).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

/// Returns cosine and sine of the smaller angle that makes `a_pq` 0.
fn rotation(a_pp: f64, a_qq: f64, a_pq: f64) -> (f64, f64) {
    let tau = (a_qq - a_pp) / (2.0 * a_pq);
    let t = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let c = 1.0 / (1.0 + t * t).sqrt();
    (c, t * c)
}

/// Rotates the axes p and q: `a` becomes `J^T a J`, `vectors` become `vectors J`.
fn turn(a: &mut [f64], vectors: &mut [f64], n: usize, [p, q]: [usize; 2], c: f64, s: f64) {
    let turned = |x: f64, y: f64| (c * x - s * y, s * x + c * y);
    for k in 0..n {
        (a[k * n + p], a[k * n + q]) = turned(a[k * n + p], a[k * n + q]);
        (vectors[k * n + p], vectors[k * n + q]) = turned(vectors[k * n + p], vectors[k * n + q]);
    }
    for k in 0..n {
        (a[p * n + k], a[q * n + k]) = turned(a[p * n + k], a[q * n + k]);
    }
    (a[p * n + q], a[q * n + p]) = (0.0, 0.0);
}

fn upright(vector: Vec<f64>) -> Vec<f64> {
    let largest = vector.iter().fold(0.0f64, |largest, &x| if x.abs() > largest.abs() { x } else { largest });
    vector.into_iter().map(|x| if largest < 0.0 { -x } else { x }).collect()
}

#[cfg(test)]
mod tests {
    use tallow_core::{Purpose, Stream};

    use super::*;

    /// Returns a symmetric matrix: sums of products of random rows.
    fn random(n: usize, rank: usize) -> Vec<f64> {
        let mut stream = Stream::new(7, Purpose::Init, 0, n as u64);
        let rows: Vec<f64> = (0..rank * n).map(|_| f64::from(stream.normal_f32())).collect();
        let product = |i: usize, j: usize| (0..rank).map(|r| rows[r * n + i] * rows[r * n + j]).sum();
        (0..n * n).map(|k| product(k / n, k % n)).collect()
    }

    #[test]
    fn a_times_an_eigenvector_is_its_eigenvalue_times_it() {
        for (n, rank) in [(1, 2), (2, 3), (12, 40), (12, 5), (17, 60)] {
            let a = random(n, rank);
            let pairs = eigenvectors(a.clone(), n);
            assert!(pairs.is_sorted_by(|x, y| x.0 >= y.0));
            let scale = pairs[0].0.max(1.0);
            for (i, (value, vector)) in pairs.iter().enumerate() {
                for row in 0..n {
                    let product: f64 = (0..n).map(|k| a[row * n + k] * vector[k]).sum();
                    assert!((product - value * vector[row]).abs() < 1e-12 * scale, "{n}, {rank}");
                }
                for (j, (_, other)) in pairs.iter().enumerate() {
                    let product: f64 = vector.iter().zip(other).map(|(x, y)| x * y).sum();
                    assert!((product - f64::from(u8::from(i == j))).abs() < 1e-13, "orthonormal");
                }
            }
        }
    }

    #[test]
    fn known_ones() {
        let pairs = eigenvectors(vec![2.0, -1.0, -1.0, 2.0], 2);
        let half = 0.5f64.sqrt();
        assert!((pairs[0].0 - 3.0).abs() < 1e-15 && (pairs[1].0 - 1.0).abs() < 1e-15);
        assert!((pairs[1].1[0] - half).abs() < 1e-15 && (pairs[1].1[1] - half).abs() < 1e-15);
        assert!((pairs[0].1[0] + pairs[0].1[1]).abs() < 1e-15);
        let diagonal = eigenvectors(vec![1.0, 0.0, 0.0, 4.0], 2);
        assert_eq!(diagonal, [(4.0, vec![0.0, 1.0]), (1.0, vec![1.0, 0.0])]);
    }
}
