//! Computes metrics from predictions; the model does not matter here.
#![forbid(unsafe_code)]

use tallow_metrics::{ClassificationReport, ConfusionMatrix, Foreign, MetricsError};

fn main() -> Result<(), MetricsError> {
    let (targets, predicted) = ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]);
    let matrix = ConfusionMatrix::from_pairs(2, &targets, &predicted)?;
    print!("{}", ClassificationReport::new(&matrix).to_text(&["cat", "dog"].map(Foreign::from))?);
    Ok(())
}
