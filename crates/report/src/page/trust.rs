//! The part on calibration: how far to trust a probability.

use maud::html;
use tallow_metrics::{MIN_CALIBRATION_PREDICTIONS, TEMPERATURES};

use super::{Number, Section, Text, figures, percent, plain, table};
use crate::analysis::{N_BINS, Trust};
use crate::chart::reliability_chart;

pub(super) fn section(trust: &Trust) -> Section {
    let chart = reliability_chart("reliability", "Share of right answers, by confidence", &trust.states);
    let columns = [("probabilities", Text), ("expected calibration error", Number), ("loss", Number)];
    let rows: Vec<_> = trust
        .states
        .iter()
        .zip(&trust.losses)
        .map(|(state, loss)| {
            vec![plain(&state.label), plain(percent(state.ece)), plain(format!("{loss:.4}"))]
        })
        .collect();
    let body = html! {
        div class="columns" {
        (figures(std::slice::from_ref(&chart)))
        div {
        (table("Calibration on the test images", &columns, &rows))
        p {
            "Of answers given with 80 % confidence, 80 % should be right. The expected calibration error is the mean gap, over " (N_BINS) " bins of equal width, between confidence and share of right answers; bins of fewer than 10 images count, but are not drawn. "
            @match trust.temperature {
                Some(t) => {
                    "The logits are divided by the temperature " strong { (format!("{t:.3}")) } ", fitted on " (if trust.is_by_folds { "the answers of the folds, which are also tested here (one fitted number makes the figures only slightly too good)" } else { "the validation images" }) ": " (meaning(t)) " Which class is the most probable does not change. "
                    @if trust.states.len() == 2 && trust.states[1].ece > trust.states[0].ece {
                        "On the test images the error did not fall, so the temperature brings nothing there. "
                    }
                }
                None => {
                    @match &trust.val {
                        Some(val) => { (val.len()) " validation images are too few to fit a temperature (" (MIN_CALIBRATION_PREDICTIONS) " are needed), so the model’s probabilities are not calibrated. " },
                        None => { "There are no validation predictions, so no temperature could be fitted. " },
                    }
                }
            }
        }
        }
        }
    };
    Section { id: "trust", heading: "How far to trust a probability", body, charts: vec![chart] }
}

fn meaning(temperature: f64) -> &'static str {
    if temperature <= *TEMPERATURES.start() || temperature >= *TEMPERATURES.end() {
        "the validation images do not determine it, so take calibrated probabilities with care."
    } else if temperature > 1.0 {
        "the model is surer than it should be."
    } else {
        "the model is less sure than it could be."
    }
}
