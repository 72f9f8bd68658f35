//! Axes: round ticks, their labels, and the grid behind a plot.

use maud::{Markup, html};

use super::{Area, px, straight, text};

/// The format of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Plain numbers, with enough decimals to tell neighbouring ticks apart.
    Number,
    /// Shares, written as percent.
    Percent,
    /// Logarithms to base 10, written as the numbers themselves.
    PowerOf10,
}

impl Format {
    /// Writes `value` with enough decimals to tell steps of `step` apart.
    pub(crate) fn write(self, value: f64, step: f64) -> String {
        if self == Self::PowerOf10 {
            let digits = usize::from(step < 1.0);
            return format!("{:.digits$e}", 10f64.powf(value));
        }
        let (value, step) = if self == Self::Percent { (100.0 * value, 100.0 * step) } else { (value, step) };
        if self == Self::Number && value != 0.0 && !(1e-3..1e6).contains(&step) {
            let text = format!("{value:.1e}");
            return text.replace(".0e", "e");
        }
        let decimals =
            if step > 0.0 { (-(step * 1.000_001).log10().floor()).clamp(0.0, 4.0) as usize } else { 0 };
        let number = grouped(value, decimals);
        if self == Self::Percent { format!("{number} %") } else { number }
    }
}

/// Writes a number with commas between groups of three digits.
pub fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((&*text, None), |(w, f)| (w, Some(f)));
    let mut out = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    let is_zero = text.chars().all(|c| matches!(c, '0' | '.'));
    let sign = if value < 0.0 && !is_zero { "\u{2212}" } else { "" };
    fraction.map_or(format!("{sign}{out}"), |f| format!("{sign}{out}.{f}"))
}

/// Largest absolute value on an axis: the length of an axis is finite, too.
const FARTHEST: f64 = 1e300;

/// One axis: its range, its ticks and its label.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Quantity on the axis, with the unit.
    pub label: String,
    /// Value at the start of the axis.
    pub low: f64,
    /// Value at the end of the axis.
    pub high: f64,
    step: f64,
    format: Format,
}

impl Axis {
    /// Returns an axis with about `n_ticks` ticks that covers every finite value of `values` and starts and ends at a
    /// tick.
    pub fn holding(
        label: &str,
        format: Format,
        values: impl IntoIterator<Item = f64>,
        n_ticks: usize,
    ) -> Self {
        let finite = values.into_iter().filter(|v| v.is_finite()).map(|v| v.clamp(-FARTHEST, FARTHEST));
        let (low, high) =
            finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let (low, high) = if high - low < 1e-12 {
            (low - 0.5 * low.abs().max(1e-3), high + 0.5 * high.abs().max(1e-3))
        } else {
            (low, high)
        };
        let step = round_step((high - low) / n_ticks.max(1) as f64);
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Self { label: label.to_owned(), low, high, step, format }
    }

    /// Returns an axis of exactly this range, with ticks at the multiples of a round step.
    pub fn between(label: &str, format: Format, low: f64, high: f64, n_ticks: usize) -> Self {
        let step = round_step((high - low) / n_ticks.max(1) as f64);
        Self { label: label.to_owned(), low, high, step, format }
    }

    /// Returns an axis of epochs 1 to `n`, with ticks at whole numbers only.
    pub(crate) fn epochs(n: u64) -> Self {
        let step = round_step(n.saturating_sub(1) as f64 / 6.0).max(1.0);
        let high = (n as f64).max(2.0);
        Self { label: "epoch".to_owned(), low: 1.0, high, step, format: Format::Number }
    }

    /// Returns the position of `value` on the axis, from 0 at the start to 1 at the end.
    pub(super) fn at(&self, value: f64) -> f64 {
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        let (first, last) =
            (((self.low / self.step) - 1e-9).ceil() as i64, ((self.high / self.step) + 1e-9).floor() as i64);
        let mut ticks: Vec<f64> = (first..=last).map(|i| i as f64 * self.step).collect();
        if self.label == "epoch" && ticks.first() != Some(&1.0) {
            ticks.retain(|&t| t - self.low > 0.6 * self.step); // keeps the label of 1 clear of the next label
            ticks.insert(0, 1.0);
        }
        ticks
    }

    pub(super) fn tick_label(&self, value: f64) -> String {
        self.format.write(value, self.step)
    }

    /// Writes `value` with one decimal more than the ticks have.
    pub(super) fn fine_label(&self, value: f64) -> String {
        self.format.write(value, self.step / 10.0)
    }
}

/// Returns 1, 2 or 5 times a power of ten: the least such number that is at least `step`.
fn round_step(step: f64) -> f64 {
    if !(step > 0.0 && step.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|f| f * power >= step * 0.999_999).unwrap_or(10.0);
    factor * power
}

/// Draws the grid, the tick labels and the axis labels around `area`.
pub(super) fn frame(area: Area, x: &Axis, y: &Axis) -> Markup {
    html! {
        (horizontal_ticks(area, x))
        @for tick in y.ticks() {
            @let at = area.bottom() - y.at(tick) * area.height;
            (straight(area.left, at, area.right(), at, "grid"))
            (text(area.left - 6.0, at + 4.0, "tick", "end", &y.tick_label(tick)))
        }
        (straight(area.left, area.bottom(), area.right(), area.bottom(), "axis"))
        (text(8.0, area.top - 9.0, "tick", "start", &y.label))
    }
}

/// Draws the vertical grid lines of `x` with their labels, and the axis label, below `area`.
pub(super) fn horizontal_ticks(area: Area, x: &Axis) -> Markup {
    html! {
        @for tick in x.ticks() {
            @let at = area.left + x.at(tick) * area.width;
            (straight(at, area.top, at, area.bottom(), "grid"))
            (text(at, area.bottom() + 15.0, "tick", "middle", &x.tick_label(tick)))
        }
        text x=(px(area.left + area.width / 2.0)) y=(px(area.bottom() + 31.0)) class="tick" text-anchor="middle" { (x.label) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_the_values() {
        let axis = Axis::holding("", Format::Percent, [0.531, 0.8548], 5);
        let labels: Vec<String> = axis.ticks().iter().map(|&t| axis.tick_label(t)).collect();
        assert_eq!(labels, ["50 %", "60 %", "70 %", "80 %", "90 %"]);
        assert_eq!((axis.at(0.5), axis.at(2.0)), (0.0, 1.0));
        assert!((axis.at(0.7) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn small_numbers_keep_their_decimals() {
        let axis = Axis::holding("", Format::Number, [0.0, 0.0032], 4);
        let labels: Vec<String> = axis.ticks().iter().map(|&t| axis.tick_label(t)).collect();
        assert_eq!(labels, ["0.000", "0.001", "0.002", "0.003", "0.004"]);
        assert_eq!(Format::Number.write(2e-5, 1e-5), "2e-5");
        assert_eq!(Format::Percent.write(0.125, 0.005), "12.5 %");
        assert_eq!(Format::PowerOf10.write(-3.0, 1.0), "1e-3");
        assert_eq!(Format::PowerOf10.write(-2.5, 0.5), "3.2e-3");
    }

    #[test]
    fn a_single_value_and_none_still_have_an_axis() {
        for values in [vec![], vec![0.5], vec![0.0], vec![f64::NAN]] {
            let axis = Axis::holding("", Format::Number, values, 4);
            assert!(axis.low < axis.high && axis.ticks().len() >= 2, "{axis:?}");
        }
    }

    #[test]
    fn the_largest_numbers_have_few_ticks() {
        for values in [[f64::MIN, f64::MAX], [f64::MAX, f64::MAX], [0.0, f64::MIN_POSITIVE]] {
            let axis = Axis::holding("", Format::Number, values, 5);
            assert!(axis.low < axis.high && (2..20).contains(&axis.ticks().len()), "{axis:?}");
        }
    }

    #[test]
    fn epochs_are_whole() {
        let ticks = |n| Axis::epochs(n).ticks();
        assert_eq!(ticks(5), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(ticks(20), [1.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(ticks(1), [1.0, 2.0]);
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!(grouped(551_466.0, 0), "551,466");
        assert_eq!(grouped(1234.5, 1), "1,234.5");
        assert_eq!((grouped(-12.0, 0), grouped(-0.001, 1)), ("\u{2212}12".to_owned(), "0.0".to_owned()));
    }
}
