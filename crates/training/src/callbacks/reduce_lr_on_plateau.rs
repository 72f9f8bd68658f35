//! `ReduceLROnPlateau`: lowers the learning rate when a reading no longer improves.

use serde::{Deserialize, Serialize};

use super::{Monitor, reading};
use crate::schedule::{InvalidSetting, not_negative, require};

/// Multiplies the learning rate by `factor` after `patience` epochs in a row without a gain.
///
/// Rates are f64 here and f32 variables in Keras: after k reductions they agree to a relative `(k + 1) * 2^-24`. Both treat a
/// rate that equals `min_lr` in f32 as having reached it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReduceLrOnPlateau {
    /// The reading that decides.
    pub monitor: Monitor,
    /// The factor that multiplies the rate, in (0, 1).
    pub factor: f64,
    /// Number of epochs in a row without a gain after which the rate is lowered. 0 acts as 1.
    pub patience: u64,
    /// A gain counts only if it is greater than this, in the reading's own unit.
    #[serde(default = "default_min_delta")]
    pub min_delta: f64,
    /// Number of epochs after a reduction that are not counted.
    #[serde(default)]
    pub cooldown: u64,
    /// Lower bound of the rate.
    #[serde(default)]
    pub min_lr: f64,
}

fn default_min_delta() -> f64 {
    1e-4
}

/// The state of [`ReduceLrOnPlateau`] between two epochs. The default is the state before the first epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReduceLrOnPlateauState {
    /// Epochs without a gain, since the last gain, reduction or cool-down.
    pub wait: u64,
    /// Epochs of cool-down left.
    pub cooldown_left: u64,
    /// The best reading so far. If the first reading was NaN, this stays NaN, because no reading beats NaN.
    #[serde(with = "reading")]
    pub best: Option<f64>,
}

impl ReduceLrOnPlateau {
    /// Takes in the reading `value` of an epoch that ended with the rate `lr`. Returns the new rate if it changes.
    ///
    /// At `min_lr` the rate no longer changes and no cool-down begins, but `wait` continues to count.
    pub fn on_epoch_end(&self, state: &mut ReduceLrOnPlateauState, value: f64, lr: f64) -> Option<f64> {
        state.cooldown_left = state.cooldown_left.saturating_sub(1);
        if self.monitor.improves(value, state.best, self.min_delta) {
            state.best = Some(value);
            state.wait = 0;
            return None;
        }
        if state.cooldown_left > 0 {
            return None;
        }
        state.wait += 1;
        if state.wait < self.patience || lr as f32 <= self.min_lr as f32 {
            return None;
        }
        state.cooldown_left = self.cooldown;
        state.wait = 0;
        Some((lr * self.factor).max(self.min_lr))
    }

    /// Checks the values.
    ///
    /// # Errors
    /// If a setting makes no sense; the message names it.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let inside = self.factor > 0.0 && self.factor < 1.0;
        require(inside, "callbacks.reduce_lr_on_plateau.factor", "must lie in (0, 1)", self.factor)?;
        not_negative("callbacks.reduce_lr_on_plateau.min_delta", self.min_delta)?;
        not_negative("callbacks.reduce_lr_on_plateau.min_lr", self.min_lr)
    }
}

#[cfg(test)]
mod tests {
    use super::super::keras::{golden, same};
    use super::*;

    /// Keras' rates are f32: 2^-24 for the first rate and for each reduction. No sequence has more than 8 reductions.
    const RELATIVE_TOLERANCE: f64 = 9.0 / 16_777_216.0;

    #[test]
    fn as_keras_epoch_by_epoch() {
        let cases = golden().reduce_lr_on_plateau;
        assert!(cases.len() >= 12);
        for case in cases {
            let (mut state, mut lr) = (ReduceLrOnPlateauState::default(), case.initial_lr.unwrap());
            let mut keras_lr = f64::from(lr as f32);
            for (epoch, keras) in case.epochs.iter().enumerate() {
                let at = format!("{}, epoch {epoch}: {state:?}", case.name);
                let new_lr = case.config.on_epoch_end(&mut state, keras.value.unwrap(), lr);
                let before = std::mem::replace(&mut keras_lr, keras.lr.unwrap());
                assert_eq!(new_lr.is_some(), keras_lr != before, "{at}");
                lr = new_lr.unwrap_or(lr);
                assert!((lr / keras_lr - 1.0).abs() <= RELATIVE_TOLERANCE, "{at}: {lr}, Keras {keras_lr}");
                assert_eq!(state.wait, keras.wait, "{at}");
                assert_eq!(Some(state.cooldown_left), keras.cooldown, "{at}");
                assert!(same(state.best, keras.best), "{at}");
            }
        }
    }

    /// Each epoch continues from a state that went through JSON, as a resumed run does.
    #[test]
    fn a_resumed_run_decides_as_one_left_alone() {
        for case in golden().reduce_lr_on_plateau {
            let mut state = ReduceLrOnPlateauState::default();
            let mut resumed = "{\"wait\":0,\"cooldown_left\":0,\"best\":null}".to_owned();
            for keras in &case.epochs {
                let (value, lr) = (keras.value.unwrap(), keras.lr.unwrap());
                let mut loaded = serde_json::from_str(&resumed).unwrap();
                let new_lr = case.config.on_epoch_end(&mut loaded, value, lr);
                assert_eq!(new_lr, case.config.on_epoch_end(&mut state, value, lr));
                resumed = serde_json::to_string(&loaded).unwrap();
                assert_eq!(resumed, serde_json::to_string(&state).unwrap(), "{}", case.name);
            }
        }
    }

    #[test]
    fn the_rate_ends_at_min_lr_exactly() {
        let settings = "monitor = 'val_loss'\nfactor = 0.2\npatience = 1\nmin_lr = 1e-5\n";
        let settings: ReduceLrOnPlateau = toml::from_str(settings).unwrap();
        assert_eq!((settings.min_delta, settings.cooldown), (1e-4, 0));
        let mut state = ReduceLrOnPlateauState::default();
        let rates = [1e-3, 1e-3, 2e-4, 4e-5, 1e-5].map(|lr| settings.on_epoch_end(&mut state, 1.0, lr));
        assert_eq!(rates, [None, Some(2e-4), Some(4e-5), Some(1e-5), None]);
    }

    #[test]
    fn settings_are_read_strictly() {
        let minimal = "monitor = 'loss'\nfactor = 0.5\npatience = 3\n";
        let good: ReduceLrOnPlateau = toml::from_str(minimal).unwrap();
        assert_eq!(good.validate(), Ok(()));
        let error = toml::from_str::<ReduceLrOnPlateau>(&format!("{minimal}min_rate = 1e-5")).unwrap_err();
        assert!(error.to_string().contains("`min_rate`"), "{error}");

        let refused = |settings: ReduceLrOnPlateau| settings.validate().unwrap_err().to_string();
        let message = refused(ReduceLrOnPlateau { factor: 1.0, ..good.clone() });
        assert_eq!(message, "callbacks.reduce_lr_on_plateau.factor must lie in (0, 1), it is 1");
        assert!(refused(ReduceLrOnPlateau { factor: f64::NAN, ..good.clone() }).contains("it is NaN"));
        assert!(refused(ReduceLrOnPlateau { min_delta: -1.0, ..good.clone() }).contains(".min_delta must"));
        assert!(refused(ReduceLrOnPlateau { min_lr: -1e-5, ..good }).contains(".min_lr must"));
    }
}
