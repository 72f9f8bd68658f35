//! Computes the mean of an epoch from the means of its batches.
//!
//! The mean is kept as a sum in f64 and a weight. A checkpoint in the middle of an epoch can store both, and a resumed
//! run reaches the same bits.

use serde::{Deserialize, Serialize};

/// A running weighted mean: `sum(value_i * weight_i) / sum(weight_i)`.
///
/// Adding the mean of each batch with the batch size as its weight gives the mean over the images, even if the last batch
/// is shorter. The sum is f64 and depends only on the values, the weights and their order.
///
/// The sum is serialised as decimal text (`"12.25"`), which every format reads back to the last bit, including infinities
/// and NaN. Not every JSON reader would do that with numbers.
///
/// ```
/// let mut loss = tallow_metrics::WeightedMean::default();
/// loss.add(2.0, 32); // a batch of 32 with mean loss 2.0
/// loss.add(1.0, 16); // the last, shorter one
/// assert_eq!(loss.mean(), Some(80.0 / 48.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightedMean {
    #[serde(with = "exact")]
    sum: f64,
    weight: u64,
}

impl WeightedMean {
    /// Adds `value`, the mean of `weight` items.
    pub fn add(&mut self, value: f64, weight: u64) {
        self.sum += value * weight as f64;
        self.weight += weight;
    }

    /// Returns the mean of everything added; `None` if the total weight is 0.
    pub fn mean(&self) -> Option<f64> {
        (self.weight > 0).then(|| self.sum / self.weight as f64)
    }

    /// Returns the total weight: the number of items in the mean.
    pub fn weight(&self) -> u64 {
        self.weight
    }
}

/// Serialises an f64 as the shortest decimal text that reads back to the same bits.
mod exact {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|_| D::Error::custom(format_args!("expected a number as text, found {text:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weighs_batches_by_their_size() {
        let mut mean = WeightedMean::default();
        assert_eq!(mean.mean(), None);
        mean.add(5.0, 0);
        assert_eq!(mean.mean(), None);
        mean.add(0.5, 128);
        mean.add(0.25, 64);
        assert_eq!((mean.mean(), mean.weight()), (Some((64.0 + 16.0) / 192.0), 192));
    }

    #[test]
    fn goes_on_from_a_checkpoint_to_the_same_bits() {
        let values = [0.1, 1.0 / 3.0, 0.7, 1e-17, 7e11];
        let mut whole = WeightedMean::default();
        let mut resumed = WeightedMean::default();
        for (i, &value) in values.iter().enumerate() {
            whole.add(value, 3 + i as u64);
            resumed.add(value, 3 + i as u64);
            let text = serde_json::to_string(&resumed).unwrap();
            resumed = serde_json::from_str(&text).unwrap();
        }
        assert_eq!(whole.sum.to_bits(), resumed.sum.to_bits());
        assert_eq!(whole.weight, resumed.weight);
    }

    #[test]
    fn keeps_what_json_numbers_cannot_hold() {
        for value in [f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, -0.0, f64::MAX] {
            let mean = WeightedMean { sum: value, weight: 1 };
            let back: WeightedMean = serde_json::from_str(&serde_json::to_string(&mean).unwrap()).unwrap();
            assert_eq!(back.sum.to_bits(), value.to_bits());
        }
        let nan = WeightedMean { sum: f64::NAN, weight: 1 };
        let back: WeightedMean = serde_json::from_str(&serde_json::to_string(&nan).unwrap()).unwrap();
        assert!(back.sum.is_nan());
        let error = serde_json::from_str::<WeightedMean>(r#"{"sum":"x","weight":1}"#).unwrap_err();
        assert!(error.to_string().contains("expected a number as text"), "{error}");
    }
}
