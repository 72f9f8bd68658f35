//! Pictures for TensorBoard: adds the charts that `tallow-report` draws to the event file that `tallow-training` wrote.

use anyhow::{Context as _, Result};
use tallow_core::Progress as _;
use tallow_metrics::{Bands, ConfusionMatrix};
use tallow_report::{RunRecord, chart::heat_map, sample_grids};
use tallow_training::Session;

use crate::App;

/// Pixels per unit of the chart.
const PNG_SCALE: f32 = 1.5;

/// Adds the pictures of a run that has just ended. The run is complete without them, so an error is only reported.
pub(crate) fn log(session: &Session, app: &App) {
    if let Err(error) = of_session(session) {
        app.progress.say(&format!("Note: TensorBoard will show no pictures of the run: {error:#}"));
    }
}

fn of_session(session: &Session) -> Result<()> {
    let run = RunRecord::read(session.run_dir())?;
    let test = run.test.as_ref().context("it has no test predictions")?;
    let matrix = ConfusionMatrix::from_predictions(&test.predictions);
    let chart =
        heat_map("confusion", "Confusion on the test images", &matrix, &Bands::default(), &test.class_names);
    session.log_image("confusion matrix/test", &chart.to_png(PNG_SCALE)?)?;
    for (name, png) in sample_grids(&run, PNG_SCALE)? {
        session.log_image(&format!("images/{name}"), &png)?;
    }
    Ok(())
}
