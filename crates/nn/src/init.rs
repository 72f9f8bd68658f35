//! Initial values of parameters. They depend only on the seed and the parameter's name.

use rayon::prelude::*;
use tallow_core::memory::filled;
use tallow_core::rng::key_of_name;
use tallow_core::{Purpose, Stream};

/// The initial values of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value for all elements.
    Constant(f32),
    /// Uniform in `[-bound, bound)`.
    Uniform {
        /// The bound.
        bound: f32,
    },
    /// Normal with mean 0.
    Normal {
        /// The standard deviation.
        std: f32,
    },
    /// Filters (c_out, c_in, k_h, k_w). Each of the first `c_in` filters passes one channel on unchanged, as with
    /// `torch.nn.init.dirac_`; the others have PyTorch's default values ([`torch_default`](Self::torch_default)). Source:
    /// Zagoruyko and Komodakis 2017, <https://arxiv.org/abs/1706.00388>.
    Dirac {
        /// Channels that a filter reads.
        c_in: usize,
        /// Rows and columns of a filter.
        k: [usize; 2],
    },
}

impl Init {
    /// Uniform with the bound `1 / sqrt(fan_in)`: the default of weights and biases in PyTorch's `Conv2d` and `Linear`
    /// (`kaiming_uniform_(a = sqrt(5))` has the same bound).
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform { bound: (1.0 / fan_in.max(1) as f64).sqrt() as f32 }
    }

    /// Normal with the standard deviation `sqrt(2 / fan)`, for layers before a ReLU (He et al. 2015,
    /// <https://arxiv.org/abs/1502.01852>). torchvision's networks use `fan = c_out * k_h * k_w` (fan out).
    pub fn he_normal(fan: usize) -> Self {
        Self::Normal { std: (2.0 / fan.max(1) as f64).sqrt() as f32 }
    }

    /// Returns `len` initial values of the parameter called `name`.
    pub fn values(self, len: usize, seed: u64, name: &str) -> Vec<f32> {
        match self {
            Self::Constant(value) => filled(value, len),
            Self::Uniform { bound } => draw(len, seed, name, 1, |stream| stream.uniform_f32(-bound, bound)),
            Self::Normal { std } => draw(len, seed, name, 2, |stream| std * stream.normal_f32()),
            Self::Dirac { c_in, k: [k_h, k_w] } => {
                let mut values = Self::torch_default(c_in * k_h * k_w).values(len, seed, name);
                let middle = k_h / 2 * k_w + k_w / 2;
                let filters = values.chunks_exact_mut((c_in * k_h * k_w).max(1));
                for (channel, filter) in filters.take(c_in).enumerate() {
                    filter.fill(0.0);
                    filter[channel * k_h * k_w + middle] = 1.0;
                }
                values
            }
        }
    }
}

/// Draws `len` numbers. Each is made from the next `n_words` words of 32 bits of the parameter's stream, so the result does not
/// depend on the number of threads. Several threads are used because one would take seconds for a large network.
fn draw(
    len: usize,
    seed: u64,
    name: &str,
    n_words: u64,
    number: impl Fn(&mut Stream) -> f32 + Sync,
) -> Vec<f32> {
    const AT_ONCE: usize = 1 << 14;
    let key = key_of_name(name);
    let mut values = filled(0.0, len);
    values.par_chunks_mut(AT_ONCE).enumerate().for_each(|(i, values)| {
        let first = (i * AT_ONCE) as u64 * n_words;
        let mut stream = Stream::new(seed, Purpose::Init, 0, key).starting_at(first);
        values.iter_mut().for_each(|value| *value = number(&mut stream));
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_depend_on_seed_and_name_only() {
        let init = Init::torch_default(4);
        let values = init.values(1000, 1, "a.weight");
        assert_eq!(values, init.values(1000, 1, "a.weight"));
        assert_ne!(values, init.values(1000, 2, "a.weight"));
        assert_ne!(values, init.values(1000, 1, "b.weight"));
        let many = init.values(40_000, 1, "a.weight");
        let mut stream = Stream::new(1, Purpose::Init, 0, key_of_name("a.weight"));
        assert!(many.iter().all(|v| *v == stream.uniform_f32(-0.5, 0.5)), "drawn in pieces as in one go");
        assert!(values.iter().all(|v| v.abs() <= 0.5));
        assert!(values.iter().any(|v| *v > 0.45) && values.iter().any(|v| *v < -0.45));
    }

    /// Compares with `torch.nn.init.dirac_(weight[:2])` of a weight (3, 2, 3, 2).
    #[test]
    fn the_first_filters_of_dirac_hand_on_their_channel() {
        let values = Init::Dirac { c_in: 2, k: [3, 2] }.values(36, 1, "a.weight");
        let ones: Vec<usize> = (0..24).filter(|&i| values[i] == 1.0).collect();
        assert_eq!(ones, [3, 12 + 6 + 3]);
        assert_eq!(values[..24].iter().filter(|&&v| v == 0.0).count(), 22);
        assert_eq!(values[24..], Init::torch_default(12).values(36, 1, "a.weight")[24..]);
        let fewer = Init::Dirac { c_in: 2, k: [1, 1] }.values(2, 1, "b.weight");
        assert_eq!(fewer, [1.0, 0.0], "fewer filters than channels");
    }

    #[test]
    fn he_normal_has_its_deviation() {
        let values = Init::he_normal(50).values(100_000, 0, "w");
        let mut stream = Stream::new(0, Purpose::Init, 0, key_of_name("w"));
        assert!(values.iter().all(|v| *v == 0.2 * stream.normal_f32()), "drawn in pieces as in one go");
        let variance = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / 1e5;
        assert!((variance - 0.04).abs() < 0.001, "{variance}");
    }
}
