//! Small symmetric matrices in f64: inverts their Cholesky factors, which whiten a covariance.

/// Returns the inverse of the lower Cholesky factor of `a`: the lower triangular matrix M with `M a M^T = I`.
///
/// A direction along which `a` is zero, to twelve digits, becomes a row of zeros.
///
/// # Shapes
/// `a` (n, n), symmetric; the result (n, n); both row-major.
pub(super) fn inverse_cholesky(a: &[f64], n: usize) -> Vec<f64> {
    let largest = (0..n).map(|i| a[i * n + i]).fold(0.0, f64::max);
    let mut lower = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let sum = dot(&lower[i * n..][..j], &lower[j * n..][..j]);
            let rest = a[i * n + j] - sum;
            let pivot = lower[j * n + j];
            lower[i * n + j] = match i == j {
                true if rest > largest * 1e-12 => rest.sqrt(),
                false if pivot > 0.0 => rest / pivot,
                _ => 0.0,
            };
        }
    }
    // row i of the inverse M, from L M = I, by forward substitution
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        let pivot = lower[i * n + i];
        if pivot == 0.0 {
            continue;
        }
        let (above, row) = inverse.split_at_mut(i * n);
        for (j, row_above) in above.chunks_exact(n).enumerate() {
            let weight = lower[i * n + j] / pivot;
            row.iter_mut().zip(&row_above[..=j]).for_each(|(entry, above)| *entry -= weight * above);
        }
        row[i] = 1.0 / pivot;
    }
    inverse
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn multiply(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
        (0..n * n).map(|at| (0..n).map(|k| a[at / n * n + k] * b[k * n + at % n]).sum()).collect()
    }

    #[test]
    fn a_covariance_becomes_the_identity() {
        let n = 5;
        let root: Vec<f64> = (0..n * n).map(|i| ((i * i * 37 % 101) as f64 - 50.0) / 30.0).collect();
        let transposed: Vec<f64> = (0..n * n).map(|at| root[at % n * n + at / n]).collect();
        let a = multiply(&root, &transposed, n);
        let m = inverse_cholesky(&a, n);
        let m_transposed: Vec<f64> = (0..n * n).map(|at| m[at % n * n + at / n]).collect();
        let identity = multiply(&multiply(&m, &a, n), &m_transposed, n);
        for (at, entry) in identity.iter().enumerate() {
            let expected = f64::from(u8::from(at / n == at % n));
            assert!((entry - expected).abs() < 1e-9, "{identity:?}");
        }
        assert!((0..n * n).all(|at| at % n <= at / n || m[at] == 0.0), "{m:?}");
    }

    #[test]
    fn what_has_no_extent_is_left_out() {
        // the second row is twice the first
        let m = inverse_cholesky(&[1.0, 2.0, 0.0, 2.0, 4.0, 0.0, 0.0, 0.0, 9.0], 3);
        assert_eq!(m, [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0 / 3.0]);
    }
}
