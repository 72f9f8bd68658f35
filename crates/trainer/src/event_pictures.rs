//! Pictures for TensorBoard: adds the charts that `tallow-report` draws to the event file that `tallow-training` wrote.

use anyhow::{Context as _, Result};
use tallow_metrics::{Bands, ConfusionMatrix};
use tallow_report::{chart::heat_map, sample_grids};
use tallow_training::Session;

use crate::report;

/// Pixels per unit of the chart.
const PNG_SCALE: f32 = 1.5;

/// Writes the pictures of a run that has its results.
pub(crate) fn write(session: &Session) -> Result<()> {
    let run = report::whole(session)?;
    let test = run.test.as_ref().context("it has no test predictions")?;
    let matrix = ConfusionMatrix::from_predictions(&test.predictions);
    let chart =
        heat_map("confusion", "Confusion on the test images", &matrix, &Bands::default(), &test.class_names);
    let mut pictures = vec![("confusion matrix/test".to_owned(), chart.to_png(PNG_SCALE)?)];
    pictures.extend(
        sample_grids(&run, PNG_SCALE)?.into_iter().map(|(name, png)| (format!("images/{name}"), png)),
    );
    Ok(session.log_pictures(&pictures)?)
}
