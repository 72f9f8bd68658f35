//! Random streams keyed by (seed, purpose, epoch, index).
//!
//! A stream is a pure function of its key. Work can therefore be handed to any number of threads, resumed in the
//! middle or repeated alone, and still sees the same numbers. The generator is ChaCha with 8 rounds. Its 256-bit key
//! holds the four parts side by side, so different keys give unrelated streams. The draws use no function of the
//! system's mathematics library, so the bits do not depend on the platform.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};

/// Purpose of a stream. Two purposes never share numbers, whatever the rest of the key.
///
/// The discriminants are part of what a seed means: never renumber them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Initial weights; the index is [`key_of_name`] of the parameter.
    Init = 1,
    /// The split of training and validation data; the index is the class.
    Split = 2,
    /// The order of the training images in an epoch.
    Shuffle = 3,
    /// Augmentation of one image; the index is the image's index.
    Augment = 4,
    /// Dropout masks; the index mixes the layer's name and the image's position in the epoch.
    Dropout = 5,
    /// The choice of a subset of the training data; the index is the class.
    Subset = 6,
    /// Resampling for statistics.
    Bootstrap = 7,
    /// Inputs of tests and benchmarks.
    Test = 8,
    /// Mixup and cutmix; the index is the batch's number in the epoch.
    Mix = 9,
    /// The initial directions of a search for the directions of largest variance; the index is the direction's index.
    Directions = 10,
}

/// A stream of random numbers that depends on its key only.
#[derive(Clone, Debug)]
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// Returns the stream of the key (`seed`, `purpose`, `epoch`, `index`).
    pub fn new(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Self {
        let mut key = [0u8; 32];
        for (bytes, part) in key.chunks_exact_mut(8).zip([seed, purpose as u64, epoch, index]) {
            bytes.copy_from_slice(&part.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Draws 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Draws 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Draws a number in `0..n`, each with the same probability. `n = 0` gives 0.
    ///
    /// The method is Lemire's multiplication with rejection, <https://arxiv.org/abs/1805.10941>.
    pub fn below(&mut self, n: u32) -> u32 {
        let threshold = n.wrapping_neg().checked_rem(n).unwrap_or(0);
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Draws true or false, each with probability 1/2.
    pub fn coin(&mut self) -> bool {
        self.next_u32() >> 31 == 1
    }

    /// Draws a number in `[0, 1)`: a multiple of 2^-24.
    pub fn unit_f32(&mut self) -> f32 {
        unit_f32(self.next_u32())
    }

    /// Fills `out` with the numbers that `out.len()` calls of [`unit_f32`](Self::unit_f32) would give, but faster.
    pub fn fill_unit_f32(&mut self, out: &mut [f32]) {
        let mut bytes = [0; 4 * 64];
        for out in out.chunks_mut(64) {
            let bytes = &mut bytes[..4 * out.len()];
            self.0.fill_bytes(bytes);
            for (out, bits) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *out = unit_f32(u32::from_le_bytes(*bits));
            }
        }
    }

    /// Moves the stream to `n` draws of 32 bits after its beginning.
    pub fn starting_at(mut self, n: u64) -> Self {
        self.0.set_word_pos(u128::from(n));
        self
    }

    /// Draws a number in `[low, high)`.
    pub fn uniform_f32(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit_f32()
    }

    /// Draws a normally distributed number with mean 0 and standard deviation 1 (Box and Muller, the cosine half).
    pub fn normal_f32(&mut self) -> f32 {
        let u = 1.0 - f64::from(self.unit_f32()); // in (0, 1], so the logarithm is finite
        let v = f64::from(self.unit_f32());
        (libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)) as f32
    }

    /// Shuffles `items` (Fisher and Yates), with the same probability for each order.
    ///
    /// # Panics
    /// If there are more than `u32::MAX` items.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        assert!(u32::try_from(items.len()).is_ok(), "shuffle: more than u32::MAX items");
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

/// Converts the upper 24 bits to a number in `[0, 1)`.
fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / (1 << 24) as f32)
}

/// Returns the number that stands for `name` in a key: the 64-bit FNV-1a hash of the name.
pub fn key_of_name(name: &str) -> u64 {
    name.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_key_counts() {
        let first = |s, p, e, i| Stream::new(s, p, e, i).next_u64();
        let base = first(1, Purpose::Init, 2, 3);
        assert_eq!(base, first(1, Purpose::Init, 2, 3));
        assert_ne!(base, first(2, Purpose::Init, 2, 3));
        assert_ne!(base, first(1, Purpose::Split, 2, 3));
        assert_ne!(base, first(1, Purpose::Init, 3, 3));
        assert_ne!(base, first(1, Purpose::Init, 2, 4));
    }

    /// Seeds keep their meaning from one version to the next: these numbers are those of the first version.
    #[test]
    fn streams_are_pinned() {
        let mut s = Stream::new(0, Purpose::Shuffle, 0, 0);
        let drawn: Vec<u32> = (0..4).map(|_| s.below(1000)).collect();
        assert_eq!(drawn, PINNED_BELOW_1000);
        assert_eq!(key_of_name("features.0.weight"), PINNED_KEY);
    }
    const PINNED_BELOW_1000: [u32; 4] = [106, 50, 625, 910];
    const PINNED_KEY: u64 = 0xf70f941a24398456;

    #[test]
    fn a_stream_can_be_drawn_from_in_pieces() {
        let stream = || Stream::new(3, Purpose::Test, 1, 2);
        let mut one_by_one = stream();
        let expected: Vec<f32> = (0..1000).map(|_| one_by_one.unit_f32()).collect();
        let (mut filled, mut out) = (stream(), vec![0.0; 1000]);
        let (first, rest) = out.split_at_mut(333);
        filled.fill_unit_f32(first);
        rest[0] = filled.unit_f32();
        filled.fill_unit_f32(&mut rest[1..]);
        assert_eq!(out, expected);
        assert_eq!(stream().starting_at(777).unit_f32(), expected[777]);
    }

    #[test]
    fn below_is_uniform_and_in_range() {
        let mut s = Stream::new(0, Purpose::Test, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[s.below(7) as usize] += 1;
        }
        // standard deviation of a count: sqrt(70_000 * 1/7 * 6/7) = 93; the limit is five of them
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 465), "{counts:?}");
        assert_eq!(s.below(1), 0);
        assert_eq!(s.below(0), 0);
    }

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut s = Stream::new(0, Purpose::Test, 0, 1);
        let n = 100_000;
        let (mut sum, mut squares) = (0.0f64, 0.0f64);
        for _ in 0..n {
            let x = f64::from(s.normal_f32());
            sum += x;
            squares += x * x;
        }
        assert!((sum / f64::from(n)).abs() < 0.016, "mean {}", sum / f64::from(n));
        assert!((squares / f64::from(n) - 1.0).abs() < 0.023, "variance {}", squares / f64::from(n));
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Stream::new(5, Purpose::Shuffle, 1, 0).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
