//! Learning rate schedules: a factor on the base rate as a pure function of the step.
//!
//! A schedule keeps no state and depends on no event: a resumed run needs only its step number. Callbacks may change the base
//! rate as well; their changes multiply with this factor.

use std::f64::consts::PI;
use std::fmt::Display;

use serde::{Deserialize, Serialize};

/// The `[schedule]` table of a recipe.
///
/// Every kind may begin with a warm-up. At step t of the warm-up, from 0, it multiplies by (t + 1) / (steps of the warm-up),
/// so that its last step has the full rate. The curve of the kind begins after the warm-up and ends at the horizon, which is
/// counted from the start of training. After the horizon the last value holds. With s steps since the warm-up and n steps
/// from the warm-up to the horizon, p = s / n. Epochs become steps by rounding to the nearest step.
///
/// Without warm-up, `step`, `cosine` and `linear` equal PyTorch's `StepLR`, `CosineAnnealingLR` (up to its `T_max`) and
/// `LinearLR`. With warm-up, they equal these schedulers after a `LinearLR` in a `SequentialLR`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The factor is always 1.
    Constant {
        /// Length of the warm-up, in epochs.
        #[serde(default, deserialize_with = "named::warmup_epochs")]
        warmup_epochs: f64,
    },
    /// The factor is gamma^k after k times `every_epochs`, counted from the end of the warm-up.
    Step {
        /// Length of the warm-up, in epochs.
        #[serde(default, deserialize_with = "named::warmup_epochs")]
        warmup_epochs: f64,
        /// Number of epochs for which each rate holds.
        #[serde(deserialize_with = "named::every_epochs")]
        every_epochs: u64,
        /// Ratio of each rate to the one before.
        #[serde(deserialize_with = "named::gamma")]
        gamma: f64,
    },
    /// Half a cosine from 1 to f = `final_factor`: f + (1 - f) (1 + cos(pi p)) / 2 (<https://arxiv.org/abs/1608.03983>).
    Cosine {
        /// Length of the warm-up, in epochs.
        #[serde(default, deserialize_with = "named::warmup_epochs")]
        warmup_epochs: f64,
        /// The epoch at which the schedule ends, counted from the start of training; by default, the end of the run.
        #[serde(default, deserialize_with = "named::horizon_epochs")]
        horizon_epochs: Option<f64>,
        /// The factor at the horizon.
        #[serde(deserialize_with = "named::final_factor")]
        final_factor: f64,
    },
    /// A straight line up from `initial_factor` to 1 at p = `peak_at`, then one down to `final_factor`.
    OneCycle {
        /// Length of a warm-up before the cycle, in epochs, from 0 to the cycle's `initial_factor`.
        #[serde(default, deserialize_with = "named::warmup_epochs")]
        warmup_epochs: f64,
        /// The epoch at which the schedule ends, counted from the start of training; by default, the end of the run.
        #[serde(default, deserialize_with = "named::horizon_epochs")]
        horizon_epochs: Option<f64>,
        /// Position of the peak, as a share of the cycle, in (0, 1).
        #[serde(deserialize_with = "named::peak_at")]
        peak_at: f64,
        /// The factor at the start of the cycle.
        #[serde(deserialize_with = "named::initial_factor")]
        initial_factor: f64,
        /// The factor at the horizon.
        #[serde(deserialize_with = "named::final_factor")]
        final_factor: f64,
    },
    /// A straight line from 1 to `final_factor`.
    Linear {
        /// Length of the warm-up, in epochs.
        #[serde(default, deserialize_with = "named::warmup_epochs")]
        warmup_epochs: f64,
        /// The epoch at which the schedule ends, counted from the start of training; by default, the end of the run.
        #[serde(default, deserialize_with = "named::horizon_epochs")]
        horizon_epochs: Option<f64>,
        /// The factor at the horizon.
        #[serde(deserialize_with = "named::final_factor")]
        final_factor: f64,
    },
}

impl Schedule {
    /// Returns the factor that multiplies the base rate at `step`, counted from 0 over the whole run.
    ///
    /// Without a horizon, given or [resolved](Self::resolve), the horizon is infinitely far away.
    pub fn factor(&self, step: u64, steps_per_epoch: u64) -> f64 {
        let (warmup, horizon) = self.warmup_and_horizon();
        let warmup_steps = to_steps(warmup, steps_per_epoch);
        let horizon_steps = to_steps(horizon.unwrap_or(f64::INFINITY), steps_per_epoch);
        let n = horizon_steps.saturating_sub(warmup_steps);
        match step.checked_sub(warmup_steps) {
            Some(s) => self.after_warmup(s, n, steps_per_epoch),
            None => self.after_warmup(0, n, steps_per_epoch) * (step + 1) as f64 / warmup_steps as f64,
        }
    }

    /// Returns the factor `s` steps after the warm-up; `n` is the number of steps from the warm-up to the horizon.
    fn after_warmup(&self, s: u64, n: u64, steps_per_epoch: u64) -> f64 {
        let p = if s < n { s as f64 / n as f64 } else { 1.0 };
        match *self {
            Self::Constant { .. } => 1.0,
            Self::Step { every_epochs, gamma, .. } => {
                let n_drops = s / every_epochs.saturating_mul(steps_per_epoch).max(1);
                libm::pow(gamma, n_drops as f64)
            }
            Self::Cosine { final_factor, .. } => between(final_factor, 1.0, (1.0 + libm::cos(PI * p)) / 2.0),
            Self::OneCycle { peak_at, initial_factor, .. } if p < peak_at => {
                between(initial_factor, 1.0, p / peak_at)
            }
            Self::OneCycle { peak_at, final_factor, .. } => {
                between(1.0, final_factor, (p - peak_at) / (1.0 - peak_at))
            }
            Self::Linear { final_factor, .. } => between(1.0, final_factor, p),
        }
    }

    /// Returns the same schedule with its horizon filled in: `n_epochs`, unless it already has one. A run that is extended
    /// later then keeps its original horizon; the added epochs are an [`Extension`](crate::extension::Extension).
    pub fn resolve(mut self, n_epochs: u64) -> Self {
        match &mut self {
            Self::Constant { .. } | Self::Step { .. } => {}
            Self::Cosine { horizon_epochs, .. }
            | Self::OneCycle { horizon_epochs, .. }
            | Self::Linear { horizon_epochs, .. } => {
                horizon_epochs.get_or_insert(n_epochs as f64);
            }
        }
        self
    }

    /// Returns the horizon in epochs, if the factor runs towards a horizon and holds after it. The horizon is known once it
    /// is [resolved](Self::resolve).
    pub fn horizon_epochs(&self) -> Option<f64> {
        self.warmup_and_horizon().1
    }

    /// Whether the factor is 1 at every step.
    pub fn is_constant(&self) -> bool {
        matches!(self, Self::Constant { warmup_epochs } if *warmup_epochs == 0.0)
    }

    /// Returns the end of the warm-up and the end of the schedule, in epochs.
    fn warmup_and_horizon(&self) -> (f64, Option<f64>) {
        match *self {
            Self::Constant { warmup_epochs } | Self::Step { warmup_epochs, .. } => (warmup_epochs, None),
            Self::Cosine { warmup_epochs, horizon_epochs, .. }
            | Self::OneCycle { warmup_epochs, horizon_epochs, .. }
            | Self::Linear { warmup_epochs, horizon_epochs, .. } => (warmup_epochs, horizon_epochs),
        }
    }

    /// Checks the values. This works best after [`resolve`](Self::resolve), because only then is the horizon known.
    ///
    /// # Errors
    /// If a value makes no sense; the message names its key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let (warmup, horizon) = self.warmup_and_horizon();
        not_negative("schedule.warmup_epochs", warmup)?;
        if let Some(horizon) = horizon {
            let rule = format!("must be more than warmup_epochs, which is {warmup}");
            require(horizon > warmup && horizon.is_finite(), "schedule.horizon_epochs", rule, horizon)?;
        }
        match *self {
            Self::Constant { .. } => Ok(()),
            Self::Step { every_epochs, gamma, .. } => {
                require(every_epochs > 0, "schedule.every_epochs", "must be 1 or more", every_epochs)?;
                require(gamma > 0.0 && gamma.is_finite(), "schedule.gamma", "must be positive", gamma)
            }
            Self::OneCycle { peak_at, initial_factor, final_factor, .. } => {
                require(peak_at > 0.0 && peak_at < 1.0, "schedule.peak_at", "must lie in (0, 1)", peak_at)?;
                not_negative("schedule.initial_factor", initial_factor)?;
                not_negative("schedule.final_factor", final_factor)
            }
            Self::Cosine { final_factor, .. } | Self::Linear { final_factor, .. } => {
                not_negative("schedule.final_factor", final_factor)
            }
        }
    }
}

/// Interpolates linearly: exactly `a` at `t` = 0 and exactly `b` at `t` = 1.
fn between(a: f64, b: f64, t: f64) -> f64 {
    a * (1.0 - t) + b * t
}

fn to_steps(epochs: f64, steps_per_epoch: u64) -> u64 {
    (epochs * steps_per_epoch as f64).round() as u64
}

/// A setting with a senseless value: its key, the rule it breaks and the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {rule}, it is {value}")]
pub struct InvalidSetting {
    /// The key in the recipe: `schedule.peak_at`.
    pub key: &'static str,
    /// The rule, for example `must lie in (0, 1)`.
    pub rule: String,
    /// The value as written.
    pub value: String,
}

pub(crate) fn require(
    holds: bool,
    key: &'static str,
    rule: impl Into<String>,
    value: impl Display,
) -> Result<(), InvalidSetting> {
    match holds {
        true => Ok(()),
        false => Err(InvalidSetting { key, rule: rule.into(), value: value.to_string() }),
    }
}

pub(crate) fn not_negative(key: &'static str, value: f64) -> Result<(), InvalidSetting> {
    require(value >= 0.0 && value.is_finite(), key, "must be 0 or more, and finite", value)
}

/// Reads the value of one key and names the key in the error. This is needed because an internally tagged enum is read from a
/// buffer, where serde no longer knows the key of a value.
mod named {
    use serde::{Deserialize, Deserializer, de::Error};

    macro_rules! keys {
        ($($key:ident: $type:ty,)*) => { $(
            pub(super) fn $key<'de, D: Deserializer<'de>>(value: D) -> Result<$type, D::Error> {
                <$type>::deserialize(value).map_err(|e| D::Error::custom(format_args!("{}: {e}", stringify!($key))))
            }
        )* };
    }
    keys! {
        warmup_epochs: f64,
        horizon_epochs: Option<f64>,
        every_epochs: u64,
        gamma: f64,
        peak_at: f64,
        initial_factor: f64,
        final_factor: f64,
    }
}

#[cfg(test)]
mod tests;
