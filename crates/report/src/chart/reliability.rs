//! Reliability diagrams: the share of correct answers by confidence, and below it the number of images by confidence.

use maud::html;
use tallow_metrics::{ReliabilityBin, wilson_interval};

use super::axis::frame;
use super::{Area, Axis, Chart, Format, TITLE_PX, filled, hover, marker, px, straight, text, theme};

/// The calibration of one state of a model.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// Name of the state: "as trained", "calibrated".
    pub label: String,
    /// The reliability bins of the state.
    pub bins: Vec<ReliabilityBin>,
    /// The expected calibration error of the state.
    pub ece: f64,
}

const WIDTH: f64 = 440.0;
/// Bins with fewer images are not drawn: they say nothing, but would attract attention.
const FEW: u64 = 10;

/// Draws the states over one another. Only the last state gets the intervals of its bins and a histogram.
pub fn reliability_chart(name: &str, title: &str, states: &[Calibration]) -> Chart {
    let area = Area {
        left: 52.0,
        top: TITLE_PX + 24.0 + 18.0 * (states.len() + 1) as f64,
        width: 300.0,
        height: 260.0,
    };
    let x = Axis::between("confidence", Format::Percent, 0.0, 1.0, 5);
    let y = Axis::between("share of right answers", Format::Percent, 0.0, 1.0, 5);
    let bottom = Area { left: area.left, top: area.bottom() + 58.0, width: area.width, height: 50.0 };
    let place =
        |cx: f64, cy: f64| (area.left + x.at(cx) * area.width, area.bottom() - y.at(cy) * area.height);
    let body = html! {
        @for (i, state) in states.iter().enumerate() {
            @let at = TITLE_PX + 5.0 + 18.0 * i as f64;
            (marker(16.0, at, i, 4.0))
            (text(25.0, at + 4.0, "label", "start", &legend(state)))
        }
        @let at = TITLE_PX + 5.0 + 18.0 * states.len() as f64;
        (straight(8.0, at, 22.0, at, "reference"))
        (text(25.0, at + 4.0, "label", "start", "perfectly calibrated"))
        (frame(area, &x, &y))
        (straight(area.left, area.bottom(), area.right(), area.top, "reference"))
        @for (i, state) in states.iter().enumerate() {
            @let places = || state.bins.iter().filter(|bin| bin.n >= FEW).filter_map(|bin| Some((bin, place(bin.mean_confidence, bin.accuracy()?))));
            @let path: String = places().enumerate().map(|(k, (_, (cx, cy)))| format!("{}{} {}", if k == 0 { 'M' } else { 'L' }, px(cx), px(cy))).collect();
            @let dashed = if i + 1 < states.len() { " dashed" } else { "" };
            path d=(path) class={ "series line-" (i % theme::N_SERIES) (dashed) } {}
            @for (bin, (cx, cy)) in places() {
                @if i + 1 == states.len() && let Ok([low, high]) = wilson_interval(bin.n_correct, bin.n, 0.95) {
                    (straight(cx, place(0.0, low).1, cx, place(0.0, high).1, "whisker"))
                }
                @let share = Format::Percent.write(bin.accuracy().unwrap_or(0.0), 0.001);
                @let sure = Format::Percent.write(bin.mean_confidence, 0.001);
                (hover(&format!("{}, {} images: {sure} sure, {share} right", state.label, bin.n), &marker(cx, cy, i, 3.5)))
            }
        }
        (histogram(bottom, states))
    };
    let listed = states.iter().map(|state| format!("{}.", legend(state)));
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        desc: format!(
            "Share of right answers by confidence, in {} bins. {}",
            states.first().map_or(0, |s| s.bins.len()),
            listed.collect::<Vec<_>>().join(" ")
        ),
        width_px: WIDTH,
        height_px: bottom.bottom() + 12.0,
        origin: String::new(),
        body,
    }
}

fn legend(state: &Calibration) -> String {
    format!("{}: expected calibration error {}", state.label, Format::Percent.write(state.ece, 0.0001))
}

fn histogram(area: Area, states: &[Calibration]) -> maud::Markup {
    let Some((i, last)) = states.iter().enumerate().next_back() else { return html! {} };
    let most = last.bins.iter().map(|bin| bin.n).max().unwrap_or(0).max(1) as f64;
    html! {
        (text(8.0, area.top - 10.0, "tick", "start", &format!("images, {}", last.label)))
        @for bin in &last.bins {
            @let (left, width) = (area.left + bin.low * area.width, (bin.high - bin.low) * area.width);
            @let height = bin.n as f64 / most * area.height;
            (filled(left + 0.5, area.bottom() - height, width - 1.0, height, i))
        }
        (straight(area.left, area.bottom(), area.right(), area.bottom(), "axis"))
        @if let Some(bin) = last.bins.iter().max_by_key(|bin| bin.n) {
            (text(area.right() + 5.0, area.top + 8.0, "note", "start", &format!("most: {}", super::axis::grouped(bin.n as f64, 0))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_bins_are_left_out() {
        let bin = |low, n, n_correct| ReliabilityBin {
            low,
            high: low + 0.5,
            n,
            n_correct,
            mean_confidence: low + 0.25,
        };
        let state = Calibration {
            label: "as trained".into(),
            bins: vec![bin(0.0, 0, 0), bin(0.5, 10, 8)],
            ece: 0.0512,
        };
        let chart = reliability_chart("r", "Reliability", &[state]);
        assert!(chart.desc.ends_with("as trained: expected calibration error 5.12 %."), "{}", chart.desc);
        let svg = chart.to_svg();
        assert_eq!(svg.matches("<circle").count(), 2); // one bin and the legend
    }
}
