//! `EarlyStopping`: ends a run that no longer improves, and tells which epoch had the best weights.

use serde::{Deserialize, Serialize};

use super::{Monitor, reading};
use crate::schedule::{InvalidSetting, not_negative};

/// Stops a run after `patience` epochs in a row that were no better than the best epoch.
///
/// With `restore_best_weights`, every run ends with the weights of its best epoch, whether it stopped early or not. The
/// training loop keeps the weights whenever [`EarlyStoppingVerdict::improved`] is true and puts them back at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// The reading that decides.
    pub monitor: Monitor,
    /// Number of epochs in a row without a gain after which the run ends. 0 acts as 1, but a run never ends in its first
    /// epoch.
    pub patience: u64,
    /// A gain counts only if it is greater than this, in the reading's own unit.
    #[serde(default)]
    pub min_delta: f64,
    /// Whether the run ends with the weights of its best epoch instead of its last.
    pub restore_best_weights: bool,
}

/// The state of [`EarlyStopping`] between two epochs. The default is the state before the first epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStoppingState {
    /// Epochs since the best one.
    pub wait: u64,
    /// The best reading so far. If the first reading was NaN, this stays NaN, because no reading beats NaN.
    #[serde(with = "reading")]
    pub best: Option<f64>,
    /// The epoch of the best reading, from 0.
    pub best_epoch: Option<u64>,
}

/// The action for the training loop after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlyStoppingVerdict {
    /// The epoch was the best so far: keep its weights for restoring.
    pub improved: bool,
    /// Patience has run out: the run stops here.
    pub stop: bool,
}

impl EarlyStopping {
    /// Takes in the reading `value` of `epoch`, counted from 0.
    pub fn on_epoch_end(
        &self,
        state: &mut EarlyStoppingState,
        epoch: u64,
        value: f64,
    ) -> EarlyStoppingVerdict {
        if self.monitor.improves(value, state.best, self.min_delta) {
            *state = EarlyStoppingState { wait: 0, best: Some(value), best_epoch: Some(epoch) };
            return EarlyStoppingVerdict { improved: true, stop: false };
        }
        state.wait += 1;
        EarlyStoppingVerdict { improved: false, stop: state.wait >= self.patience && epoch > 0 }
    }

    /// Checks the values.
    ///
    /// # Errors
    /// If a setting makes no sense; the message names it.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        not_negative("callbacks.early_stopping.min_delta", self.min_delta)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keras::{golden, same};
    use super::*;

    #[test]
    fn as_keras_epoch_by_epoch() {
        let cases = golden().early_stopping;
        assert!(cases.len() >= 12);
        for case in cases {
            let (mut state, mut kept) = (EarlyStoppingState::default(), None);
            for (epoch, keras) in (0..).zip(&case.epochs) {
                let at = format!("{}, epoch {epoch}: {state:?}", case.name);
                let verdict = case.config.on_epoch_end(&mut state, epoch, keras.value.unwrap());
                if verdict.improved {
                    kept = Some(epoch);
                }
                assert_eq!(state.wait, keras.wait, "{at}");
                assert!(same(state.best, keras.best), "{at}");
                assert_eq!(state.best_epoch, keras.best_epoch, "{at}");
                assert_eq!(Some(verdict.stop), keras.stop, "{at}");
            }
            assert_eq!(kept, case.weights_restored_from_epoch, "{}", case.name);
        }
    }

    #[test]
    fn nothing_ends_in_the_first_epoch() {
        let settings = "monitor = 'loss'\npatience = 0\nrestore_best_weights = false";
        let settings: EarlyStopping = toml::from_str(settings).unwrap();
        let better_before = EarlyStoppingState { best: Some(0.5), ..Default::default() };
        let stops = |epoch| settings.on_epoch_end(&mut better_before.clone(), epoch, 1.0).stop;
        assert_eq!([stops(0), stops(1)], [false, true]);
    }

    /// Each epoch continues from a state that went through JSON, as a resumed run does.
    #[test]
    fn a_resumed_run_decides_as_one_left_alone() {
        for case in golden().early_stopping {
            let mut state = EarlyStoppingState::default();
            let mut resumed = "{\"wait\":0,\"best\":null,\"best_epoch\":null}".to_owned();
            for (epoch, keras) in (0..).zip(&case.epochs) {
                let mut loaded = serde_json::from_str(&resumed).unwrap();
                let verdict = case.config.on_epoch_end(&mut loaded, epoch, keras.value.unwrap());
                assert_eq!(verdict, case.config.on_epoch_end(&mut state, epoch, keras.value.unwrap()));
                resumed = serde_json::to_string(&loaded).unwrap();
                assert_eq!(resumed, serde_json::to_string(&state).unwrap(), "{}", case.name);
            }
        }
    }

    #[test]
    fn settings_are_read_strictly() {
        let minimal = "monitor = 'val_loss'\npatience = 10\nrestore_best_weights = true\n";
        let read: EarlyStopping = toml::from_str(minimal).unwrap();
        assert_eq!((read.patience, read.min_delta), (10, 0.0));
        let error = toml::from_str::<EarlyStopping>(&format!("{minimal}baseline = 1.0")).unwrap_err();
        assert!(error.to_string().contains("`baseline`"), "{error}");

        for (min_delta, shown) in [(-0.5, "-0.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
            let message = EarlyStopping { min_delta, ..read.clone() }.validate().unwrap_err().to_string();
            assert_eq!(
                message,
                format!("callbacks.early_stopping.min_delta must be 0 or more, and finite, it is {shown}")
            );
        }
        assert_eq!(read.validate(), Ok(()));
    }
}
