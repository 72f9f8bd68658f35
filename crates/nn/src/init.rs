//! Initial values of parameters, a function of (seed, parameter name) alone.

use rayon::prelude::*;
use tallow_core::rng::key_of_name;
use tallow_core::{Purpose, Stream};

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All the same.
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
}

impl Init {
    /// Uniform with the bound `1 / sqrt(fan_in)`: what PyTorch's `Conv2d` and `Linear` give weights and biases
    /// (`kaiming_uniform_(a = sqrt(5))` is the same bound).
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform { bound: (1.0 / fan_in.max(1) as f64).sqrt() as f32 }
    }

    /// Normal with the deviation `sqrt(2 / fan)`, for layers before a ReLU (He et al. 2015,
    /// <https://arxiv.org/abs/1502.01852>). torchvision's networks take `fan = c_out * k_h * k_w` (fan out).
    pub fn he_normal(fan: usize) -> Self {
        Self::Normal { std: (2.0 / fan.max(1) as f64).sqrt() as f32 }
    }

    /// `len` initial values of the parameter called `name`.
    pub fn values(self, len: usize, seed: u64, name: &str) -> Vec<f32> {
        match self {
            Self::Constant(value) => vec![value; len],
            Self::Uniform { bound } => draw(len, seed, name, 1, |stream| stream.uniform_f32(-bound, bound)),
            Self::Normal { std } => draw(len, seed, name, 2, |stream| std * stream.normal_f32()),
        }
    }
}

/// `len` numbers, each from the next `n_words` draws of 32 bits from the parameter's stream: any number of threads draw
/// the same, and a large network would keep one busy for seconds.
fn draw(
    len: usize,
    seed: u64,
    name: &str,
    n_words: u64,
    number: impl Fn(&mut Stream) -> f32 + Sync,
) -> Vec<f32> {
    const AT_ONCE: usize = 1 << 14;
    let key = key_of_name(name);
    let mut values = vec![0.0; len];
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

    #[test]
    fn he_normal_has_its_deviation() {
        let values = Init::he_normal(50).values(100_000, 0, "w");
        let mut stream = Stream::new(0, Purpose::Init, 0, key_of_name("w"));
        assert!(values.iter().all(|v| *v == 0.2 * stream.normal_f32()), "drawn in pieces as in one go");
        let variance = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / 1e5;
        assert!((variance - 0.04).abs() < 0.001, "{variance}");
    }
}
