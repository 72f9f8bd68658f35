//! Sums in NumPy's order. scikit-learn prints means that NumPy summed. Where a mean lies on a rounding tie, only the same
//! order of summation gives the same text.
//!
//! Fewer than eight values are summed in order. Up to 128 values are added to eight running sums, which are combined as a
//! tree. More values are split in halves (at a multiple of eight), which are summed separately.
//! Source: `@TYPE@_pairwise_sum` in NumPy's `numpy/_core/src/umath/loops_utils.h.src`.

const LANES: usize = 8;
const BLOCK: usize = 128;

/// Returns the sum of `values`, bit for bit the result of `numpy.sum` for a contiguous float64 array.
pub(crate) fn numpy_sum(values: &[f64]) -> f64 {
    let n = values.len();
    if n < LANES {
        return values.iter().sum();
    }
    if n > BLOCK {
        let (left, right) = values.split_at(n / 2 / LANES * LANES);
        return numpy_sum(left) + numpy_sum(right);
    }
    let (chunks, rest) = values.as_chunks::<LANES>();
    let r = chunks[1..].iter().fold(chunks[0], |sums, chunk| std::array::from_fn(|i| sums[i] + chunk[i]));
    let tree = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    rest.iter().fold(tree, |sum, value| sum + value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Value `i` of a sequence that the generator of the fixture computes exactly the same way.
    fn value(i: u64) -> f64 {
        ((i * 7919 + 13) % 1009) as f64 / 1009.0
    }

    #[test]
    fn numpy_agrees_to_the_last_bit() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/numpy_sums.json")).unwrap();
        let sums = golden["sums"].as_array().unwrap();
        assert!(sums.len() > 20);
        for case in sums {
            let n = case["n"].as_u64().unwrap();
            let values: Vec<f64> = (0..n).map(value).collect();
            assert_eq!(numpy_sum(&values), case["sum"].as_f64().unwrap(), "{n} values");
        }
    }
}
