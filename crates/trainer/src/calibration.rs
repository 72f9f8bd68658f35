//! Measures how well a model's probabilities are calibrated, before and after its temperature is applied.

use std::fmt;

use anyhow::Result;
use serde::Serialize;
use tallow_metrics::{Predictions, TEMPERATURES, expected_calibration_error, with_temperature};
use tallow_report::N_BINS;

/// Calibration errors of the most probable class, over [`N_BINS`] bins of equal width.
#[derive(Debug, Serialize)]
pub(crate) struct Calibration {
    /// The temperature of the model file; `None` if it has none.
    temperature: Option<f64>,
    /// The expected calibration error of the model's own probabilities.
    ece: f64,
    /// The expected calibration error with the logits divided by the temperature.
    ece_calibrated: Option<f64>,
    /// The mean negative log-likelihood, with the logits divided by the temperature.
    loss_calibrated: Option<f64>,
}

impl Calibration {
    pub(crate) fn new(predictions: &Predictions, temperature: Option<f64>) -> Result<Self> {
        let ece = |p: &Predictions| expected_calibration_error(p, N_BINS).unwrap_or_default();
        let calibrated = temperature.map(|t| with_temperature(predictions, t)).transpose()?;
        Ok(Self {
            temperature,
            ece: ece(predictions),
            ece_calibrated: calibrated.as_ref().map(ece),
            loss_calibrated: calibrated.as_ref().and_then(Predictions::mean_nll),
        })
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expected calibration error {:.2} %", 100.0 * self.ece)?;
        let (Some(temperature), Some(ece), Some(loss)) =
            (self.temperature, self.ece_calibrated, self.loss_calibrated)
        else {
            return f.write_str("; the model file has no temperature to calibrate with");
        };
        let ece = 100.0 * ece;
        write!(f, ", with the model's temperature of {temperature:.3}: {ece:.2} % with loss {loss:.4}")?;
        let is_at_an_end = temperature == *TEMPERATURES.start() || temperature == *TEMPERATURES.end();
        f.write_str(if is_at_an_end {
            "; its validation images did not determine the temperature"
        } else {
            ""
        })
    }
}
