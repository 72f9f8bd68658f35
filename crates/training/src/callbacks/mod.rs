//! Callbacks that watch a reading at the end of each epoch, with exactly Keras' semantics.
//!
//! A callback is two plain values: its settings, which a recipe holds, and its state, which a checkpoint holds. A callback
//! only returns its decision; the training loop stops the run, keeps weights and sets rates. Keras compares readings in f32
//! whatever their type, and so does this module: a gain that is too small for f32 does not count.
//!
//! # Source
//! Keras 3, `keras/src/callbacks/{monitor_callback,early_stopping,reduce_lr_on_plateau}.py`.

mod early_stopping;
mod reduce_lr_on_plateau;

pub use early_stopping::{EarlyStopping, EarlyStoppingState, EarlyStoppingVerdict};
pub use reduce_lr_on_plateau::{ReduceLrOnPlateau, ReduceLrOnPlateauState};

use std::fmt;

use serde::{Deserialize, Serialize};
use tallow_metrics::EpochRecord;

/// The reading that a callback watches. Its name implies which direction is better, as Keras' `mode="auto"` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// The mean training loss of the epoch; less is better.
    Loss,
    /// The training accuracy of the epoch, in `[0, 1]`; more is better.
    Accuracy,
    /// The mean validation loss after the epoch; less is better.
    ValLoss,
    /// The validation accuracy after the epoch, in `[0, 1]`; more is better.
    ValAccuracy,
}

impl Monitor {
    /// Whether the reading exists only if part of the data is kept for validation.
    pub fn needs_validation(self) -> bool {
        matches!(self, Self::ValLoss | Self::ValAccuracy)
    }

    /// Returns the reading after an epoch, or NaN if the reading needs validation and the epoch had none.
    pub(crate) fn read(self, record: &EpochRecord) -> f64 {
        match self {
            Self::Loss => record.loss,
            Self::Accuracy => record.accuracy,
            Self::ValLoss => record.val_loss.unwrap_or(f64::NAN),
            Self::ValAccuracy => record.val_accuracy.unwrap_or(f64::NAN),
        }
    }

    /// Whether `value` beats `best` by more than `min_delta`. Any value beats `None`; no value beats NaN.
    fn improves(self, value: f64, best: Option<f64>, min_delta: f64) -> bool {
        let Some(best) = best else { return true };
        match self {
            Self::Loss | Self::ValLoss => ((value + min_delta) as f32) < best as f32,
            Self::Accuracy | Self::ValAccuracy => (value - min_delta) as f32 > best as f32,
        }
    }
}

impl fmt::Display for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Accuracy => "accuracy",
            Self::ValLoss => "val_loss",
            Self::ValAccuracy => "val_accuracy",
        })
    }
}

/// Writes readings as JSON. JSON has no numbers for NaN and the infinities, so those are written as text. A first reading
/// that is NaN stays the best, as nothing beats it; a resumed run must know that as well.
mod reading {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(String),
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        let written = |x: f64| if x.is_finite() { Written::Number(x) } else { Written::Text(x.to_string()) };
        value.map(written).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        Ok(match Option::<Written>::deserialize(from)? {
            None => None,
            Some(Written::Number(x)) => Some(x),
            Some(Written::Text(text)) => Some(text.parse().map_err(de::Error::custom)?),
        })
    }
}

/// Keras' decisions on sequences of readings, recorded by `tests/fixtures/gen_keras_callbacks.py`.
#[cfg(test)]
mod keras {
    use super::*;

    #[derive(Deserialize)]
    pub(super) struct Golden {
        pub(super) early_stopping: Vec<Case<EarlyStopping>>,
        pub(super) reduce_lr_on_plateau: Vec<Case<ReduceLrOnPlateau>>,
    }

    #[derive(Deserialize)]
    pub(super) struct Case<Config> {
        pub(super) name: String,
        pub(super) config: Config,
        pub(super) initial_lr: Option<f64>,
        pub(super) epochs: Vec<Epoch>,
        pub(super) weights_restored_from_epoch: Option<u64>,
    }

    #[derive(Deserialize)]
    pub(super) struct Epoch {
        #[serde(with = "reading")]
        pub(super) value: Option<f64>,
        pub(super) wait: u64,
        #[serde(with = "reading")]
        pub(super) best: Option<f64>,
        pub(super) best_epoch: Option<u64>,
        pub(super) stop: Option<bool>,
        pub(super) cooldown: Option<u64>,
        pub(super) lr: Option<f64>,
    }

    pub(super) fn golden() -> Golden {
        serde_json::from_str(include_str!("../../tests/fixtures/keras_callbacks.json")).unwrap()
    }

    /// Equality that holds for NaN as well.
    pub(super) fn same(a: Option<f64>, b: Option<f64>) -> bool {
        a.map(f64::to_bits) == b.map(f64::to_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Monitor; 4] = [Monitor::Loss, Monitor::Accuracy, Monitor::ValLoss, Monitor::ValAccuracy];

    #[test]
    fn a_monitor_is_written_as_keras_names_it() {
        for monitor in ALL {
            assert_eq!(serde_json::to_string(&monitor).unwrap(), format!("\"{monitor}\""));
            assert_eq!(monitor.needs_validation(), monitor.to_string().starts_with("val_"));
        }
        let error = serde_json::from_str::<Monitor>("\"val_acc\"").unwrap_err().to_string();
        assert!(error.contains("`val_acc`") && error.contains("`val_accuracy`"), "{error}");
    }

    #[test]
    fn loss_falls_and_accuracy_grows() {
        for monitor in ALL {
            let falls = matches!(monitor, Monitor::Loss | Monitor::ValLoss);
            assert!(monitor.improves(7.0, None, 1.0), "anything beats nothing");
            assert_eq!(monitor.improves(0.4, Some(0.5), 0.0), falls);
            assert_eq!(monitor.improves(0.6, Some(0.5), 0.0), !falls);
            assert!(!monitor.improves(0.5, Some(0.5), 0.0), "the same is no gain");
            assert!(!monitor.improves(0.25, Some(0.5), 0.25), "a gain must exceed min_delta");
            assert!(
                !monitor.improves(0.5, Some(f64::NAN), 0.0) && !monitor.improves(f64::NAN, Some(0.5), 0.0)
            );
        }
    }
}
