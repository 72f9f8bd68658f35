//! Mean and standard deviation of the pixels of each channel, and the table that normalises bytes with them.

use serde::{Deserialize, Serialize};

use crate::source::Levels;
use crate::{Error, ImageSet};

/// Mean and standard deviation (of the whole population) per channel, for pixels scaled to 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Mean of red, green, blue.
    pub mean: [f32; 3],
    /// Standard deviation of red, green, blue; above 0.
    pub std: [f32; 3],
}

impl Normalization {
    /// Normalization of the 50,000 training images of CIFAR-10.
    pub const CIFAR10: Self = Self {
        mean: [0.491_399_68, 0.482_158_41, 0.446_530_9],
        std: [0.247_032_23, 0.243_485_13, 0.261_587_84],
    };

    /// Normalization of the 50,000 training images of CIFAR-100.
    pub const CIFAR100: Self = Self {
        mean: [0.507_075_16, 0.486_548_87, 0.440_917_84],
        std: [0.267_334_28, 0.256_438_46, 0.276_150_47],
    };

    /// Computes the normalization of the images `indices` of `set`. For images in memory it is exact: the sums are
    /// integers and are rounded once at the end. For files it is computed from the sums that the scan found, as the
    /// mean over pictures; every picture has the same weight.
    ///
    /// A channel that does not vary gets standard deviation 1, so that it normalises to 0. Channels that `set` does not
    /// have get mean 0 and standard deviation 1.
    ///
    /// # Errors
    /// If `indices` is empty or has an image that does not exist, or if a picture's levels are not known.
    pub fn of(set: &ImageSet, indices: &[u32]) -> Result<Self, Error> {
        if let Some(i) = indices.iter().find(|&&i| i as usize >= set.len()) {
            return Err(Error::Images(format!("image {i} of {} was requested", set.len())));
        }
        if indices.is_empty() {
            return Err(Error::Images("no images to take the mean of".into()));
        }
        let Some((pixels, shape)) = set.block() else { return Self::of_levels(set, indices) };
        let image_len = shape.iter().product::<usize>();
        let (mut sums, mut squares) = ([0u64; 3], [0u64; 3]);
        for &i in indices {
            let image = Levels::of(&pixels[i as usize * image_len..][..image_len], shape[2]);
            for channel in 0..3 {
                sums[channel] += image.sums[channel];
                squares[channel] += image.squares[channel];
            }
        }
        let n = (indices.len() * shape[0] * shape[1]) as u128;
        let mut result = Self { mean: [0.0; 3], std: [1.0; 3] };
        for channel in 0..shape[2] {
            let (sum, square) = (u128::from(sums[channel]), u128::from(squares[channel]));
            let n_n_variance = n * square - sum * sum; // never negative (Cauchy and Schwarz)
            result.mean[channel] = (sum as f64 / n as f64 / 255.0) as f32;
            if n_n_variance > 0 {
                result.std[channel] = ((n_n_variance as f64).sqrt() / n as f64 / 255.0) as f32;
            }
        }
        Ok(result)
    }

    fn of_levels(set: &ImageSet, indices: &[u32]) -> Result<Self, Error> {
        let (mut means, mut squares) = ([0.0f64; 3], [0.0f64; 3]);
        for &i in indices {
            let Some(facts) = set.facts(i as usize) else {
                return Err(Error::Images(format!("the levels of picture {i} are not known")));
            };
            let n = facts.levels.n.max(1) as f64;
            for channel in 0..3 {
                means[channel] += facts.levels.sums[channel] as f64 / n;
                squares[channel] += facts.levels.squares[channel] as f64 / n;
            }
        }
        let n = indices.len() as f64;
        let variance = |channel: usize| squares[channel] / n - (means[channel] / n).powi(2);
        let std = |channel| match variance(channel) {
            variance if variance > 1e-6 => (variance.sqrt() / 255.0) as f32,
            _ => 1.0,
        };
        Ok(Self { mean: means.map(|mean| (mean / n / 255.0) as f32), std: [0, 1, 2].map(std) })
    }

    /// Returns the normalised value of each byte: `table[channel][byte] = (byte / 255 - mean) / std`. Each operation is
    /// in f32, as in torchvision's `ToTensor` and `Normalize`.
    pub fn table(&self) -> [[f32; 256]; 3] {
        let mut table = [[0.0; 256]; 3];
        for (channel, row) in table.iter_mut().enumerate() {
            for (byte, value) in row.iter_mut().enumerate() {
                *value = (byte as f32 / 255.0 - self.mean[channel]) / self.std[channel];
            }
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pixels: Vec<u8>, channels: usize) -> ImageSet {
        let n = pixels.len() / (2 * channels);
        ImageSet::new(1, 2, channels, pixels, vec![0; n], ["x"].map(crate::Foreign::from).into()).unwrap()
    }

    #[test]
    fn mean_and_deviation_are_those_of_each_channel() {
        let set = set(vec![0, 51, 7, 255, 153, 7, 9, 9, 9, 9, 9, 9], 3);
        let found = Normalization::of(&set, &[0]).unwrap();
        assert_eq!(found.mean, [0.5, 0.4, 7.0 / 255.0]);
        assert_eq!(found.std, [0.5, 0.2, 1.0]);
        let message = Normalization::of(&set, &[2]).unwrap_err().to_string();
        assert!(message.contains("image 2 of 2"), "{message}");
        assert!(Normalization::of(&set, &[]).is_err());
    }

    #[test]
    fn the_table_is_what_the_formula_says() {
        let table = Normalization { mean: [0.5, 0.0, 0.2], std: [0.25, 1.0, 0.1] }.table();
        assert_eq!((table[0][0], table[0][255]), (-2.0, 2.0));
        assert_eq!((table[1][51], table[1][255]), (0.2, 1.0));
        assert_eq!(table[2][51], 0.0);
    }
}
