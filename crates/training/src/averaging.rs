//! Averages of the weights over a run. Training always continues with the raw weights. Validation, the best epoch and the
//! finished model use the averaged weights.
//!
//! The average covers everything that learns: parameters and the running statistics of batch norms. So no pass over the data
//! is needed to compute new statistics. Averages are kept in f32 in main memory; each update is computed in f64.

use serde::{Deserialize, Serialize};
use tallow_nn::Tensors;

use crate::error::Result;
use crate::schedule::{InvalidSetting, require};
use crate::session::Session;

/// The `[averaging]` table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Averaging {
    /// An exponential moving average, after each step: `average = d * average + (1 - d) * weights`.
    ///
    /// It begins with the weights that the run starts from. After `n` steps, `d` is `min(decay, (1 + n) / (10 + n))`, so that
    /// the average soon forgets these initial weights (as TensorFlow's `ExponentialMovingAverage` with `num_updates`).
    Ema {
        /// The share of the old average that remains after a step, in [0, 1).
        decay: f64,
    },
    /// The mean of the weights at the end of each of the last epochs of the run (SWA,
    /// <https://arxiv.org/abs/1803.05407>).
    ///
    /// Nothing is averaged in earlier epochs; early stopping may end the run there. When a run is extended, it keeps its
    /// average if the new last epochs begin no later than the first added epoch. If the extension restarts the learning rate,
    /// the average restarts too, because the earlier weights do not belong to the same descent.
    LastEpochs {
        /// The number of last epochs.
        epochs: u64,
    },
}

/// The average so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Average {
    /// The averaged tensors, by name.
    pub(crate) tensors: Tensors,
    /// Number of weights in the average; the initial weights of an exponential average are not counted.
    pub(crate) n: u64,
}

impl Averaging {
    /// Checks the values.
    ///
    /// # Errors
    /// [`InvalidSetting`] names the key whose value cannot be used.
    pub fn validate(&self) -> std::result::Result<(), InvalidSetting> {
        match *self {
            Self::Ema { decay } => {
                require((0.0..1.0).contains(&decay), "averaging.decay", "must lie in [0, 1)", decay)
            }
            Self::LastEpochs { epochs } => {
                require(epochs > 0, "averaging.epochs", "must be 1 or more", epochs)
            }
        }
    }

    /// Returns the average before the first step. An exponential average begins with the initial weights.
    pub(crate) fn start(
        self,
        weights: impl FnOnce() -> tallow_nn::Result<Tensors>,
    ) -> tallow_nn::Result<Option<Average>> {
        match self {
            Self::Ema { .. } => Ok(Some(Average { tensors: weights()?, n: 0 })),
            Self::LastEpochs { .. } => Ok(None),
        }
    }

    /// Adds the weights after a step to an exponential average. Other averages do not change.
    pub(crate) fn after_step(
        self,
        average: &mut Option<Average>,
        weights: impl FnOnce() -> tallow_nn::Result<Tensors>,
    ) -> tallow_nn::Result<()> {
        if let (Self::Ema { decay }, Some(average)) = (self, average) {
            let n = average.n as f64;
            average.take_in(&weights()?, 1.0 - decay.min((1.0 + n) / (10.0 + n)));
        }
        Ok(())
    }

    /// Returns the average at the end of `epoch`, counted from 1, of `n_epochs`; `average` is the average before that.
    pub(crate) fn after_epoch(
        self,
        average: Option<Average>,
        epoch: u64,
        n_epochs: u64,
        weights: impl FnOnce() -> tallow_nn::Result<Tensors>,
    ) -> tallow_nn::Result<Option<Average>> {
        match (self, average) {
            (Self::Ema { .. }, average) => Ok(average),
            (Self::LastEpochs { epochs }, _) if epoch.saturating_add(epochs) <= n_epochs => Ok(None),
            (Self::LastEpochs { .. }, None) => Ok(Some(Average { tensors: weights()?, n: 1 })),
            (Self::LastEpochs { .. }, Some(mut average)) => {
                let share = 1.0 / (average.n + 1) as f64;
                average.take_in(&weights()?, share);
                Ok(Some(average))
            }
        }
    }
}

impl Average {
    /// `average + share * (weights - average)`.
    fn take_in(&mut self, weights: &Tensors, share: f64) {
        for (name, average) in &mut self.tensors {
            for (average, &weight) in average.data.iter_mut().zip(&weights[name].data) {
                let (old, new) = (f64::from(*average), f64::from(weight));
                *average = (old + share * (new - old)) as f32;
            }
        }
        self.n += 1;
    }
}

impl Session {
    /// Returns the average that includes the epoch just trained. The session's own average does not change: validation may be
    /// interrupted, and then the end of the epoch is run again.
    pub(crate) fn average_at_end_of_epoch(&self) -> Result<Option<Average>> {
        let Some(averaging) = self.recipe.averaging else { return Ok(None) };
        let (epoch, n_epochs) = (self.state.epoch + 1, self.recipe.epochs);
        let weights = || self.learner.model.params.learned_tensors();
        Ok(averaging.after_epoch(self.average.clone(), epoch, n_epochs, weights)?)
    }

    /// Gives the model the averaged weights, if there are any, and returns the raw ones.
    pub(crate) fn swap_weights(&self, average: Option<&Average>) -> Result<Option<Tensors>> {
        let Some(average) = average else { return Ok(None) };
        let raw = self.learner.model.params.learned_tensors()?;
        self.learner.model.params.load_learned(&average.tensors)?;
        Ok(Some(raw))
    }

    /// Gives the model its raw weights back, if `raw` has any.
    pub(crate) fn put_back(&self, raw: Option<Tensors>) -> Result<()> {
        raw.map_or(Ok(()), |raw| Ok(self.learner.model.params.load_learned(&raw)?))
    }
}

#[cfg(test)]
mod tests {
    use tallow_nn::HostTensor;

    use super::*;

    /// A weight and a running mean, of the same value.
    fn weights(value: f32) -> tallow_nn::Result<Tensors> {
        let tensor = HostTensor { shape: vec![1], data: vec![value] };
        Ok(["bn.weight", "bn.running_mean"].map(|name| (name.to_owned(), tensor.clone())).into())
    }

    fn value(average: &Option<Average>) -> f32 {
        let tensors = &average.as_ref().unwrap().tensors;
        assert_eq!(tensors["bn.weight"], tensors["bn.running_mean"]);
        tensors["bn.weight"].data[0]
    }

    #[test]
    fn an_exponential_average_forgets_its_start_soon() {
        let averaging = Averaging::Ema { decay: 0.25 };
        let mut average = averaging.start(|| weights(10.0)).unwrap();
        // decays 1/10, 2/11, 3/12, then 0.25
        for (weight, expected) in [(0.0, 1.0), (12.0, 10.0), (2.0, 4.0), (8.0, 7.0)] {
            averaging.after_step(&mut average, || weights(weight)).unwrap();
            assert!((value(&average) - expected).abs() < 1e-6, "{average:?}");
        }
        assert_eq!(average.as_ref().unwrap().n, 4);
        let kept = average.clone();
        assert_eq!(averaging.after_epoch(average, 1, 1, || weights(99.0)).unwrap(), kept);
    }

    #[test]
    fn the_last_epochs_count_alike() {
        let averaging = Averaging::LastEpochs { epochs: 3 };
        let mut average = averaging.start(|| weights(10.0)).unwrap();
        let mut found = Vec::new();
        for (epoch, weight) in [(1, 100.0), (2, 50.0), (3, 1.0), (4, 2.0), (5, 6.0)] {
            averaging.after_step(&mut average, || weights(99.0)).unwrap();
            average = averaging.after_epoch(average, epoch, 5, || weights(weight)).unwrap();
            found.push(average.is_some().then(|| value(&average)));
        }
        assert_eq!(found, [None, None, Some(1.0), Some(1.5), Some(3.0)]);
        // extended to 10 epochs: begun anew with the eighth
        assert_eq!(averaging.after_epoch(average, 6, 10, || weights(0.0)).unwrap(), None);
    }

    #[test]
    fn recipes_say_which() {
        let parse = |text: &str| toml::from_str::<Averaging>(text);
        assert_eq!(parse("kind = \"ema\"\ndecay = 0.999").unwrap(), Averaging::Ema { decay: 0.999 });
        assert_eq!(parse("kind = \"last_epochs\"\nepochs = 3").unwrap(), Averaging::LastEpochs { epochs: 3 });
        assert!(parse("kind = \"ema\"\ndecay = 0.9\nepochs = 3").is_err());
        assert!(
            Averaging::Ema { decay: 1.0 }.validate().unwrap_err().to_string().contains("averaging.decay")
        );
        assert!(
            Averaging::LastEpochs { epochs: 0 }
                .validate()
                .unwrap_err()
                .to_string()
                .contains("averaging.epochs")
        );
    }
}
