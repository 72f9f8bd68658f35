//! Horizontal bar charts: bars from 0, whiskers for values with an interval, and the value at the end of the row.

use maud::html;

use super::axis::horizontal_ticks;
use super::{Area, Axis, Chart, Format, TITLE_PX, filled, hover, marker, straight, text, text_px};

/// One bar.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Label of the bar.
    pub label: String,
    /// Value of the bar, which is its length.
    pub value: f64,
    /// Interval of the value, low and high, drawn as whiskers; `None` for a value without an interval.
    pub interval: Option<[f64; 2]>,
}

const WIDTH: f64 = 440.0;
const ROW: f64 = 22.0;

/// Draws a bar per entry, in the order of the entries. The axis of shares ends at 1, the axis of numbers at or above the
/// largest value.
pub fn bar_chart(
    name: &str,
    title: &str,
    axis_label: &str,
    format: Format,
    series: usize,
    bars: &[Bar],
) -> Chart {
    let x = match format {
        Format::Percent => Axis::between(axis_label, format, 0.0, 1.0, 5),
        Format::Number | Format::PowerOf10 => {
            Axis::holding(axis_label, format, bars.iter().map(|bar| bar.value).chain([0.0]), 4)
        }
    };
    draw(name, title, x, format, series, bars, true)
}

/// Draws a marker per entry, with its interval. The axis covers only the values and intervals, which suits shares that
/// lie close together.
pub fn interval_chart(name: &str, title: &str, axis_label: &str, rows: &[Bar]) -> Chart {
    let values = rows.iter().flat_map(|row| row.interval.into_iter().flatten().chain([row.value]));
    let x = Axis::holding(axis_label, Format::Percent, values, 4);
    draw(name, title, x, Format::Percent, 0, rows, false)
}

fn draw(
    name: &str,
    title: &str,
    x: Axis,
    format: Format,
    series: usize,
    bars: &[Bar],
    from_zero: bool,
) -> Chart {
    let step = match (format, from_zero) {
        (Format::Number | Format::PowerOf10, _) => 1.0,
        (Format::Percent, true) => 0.001,
        (Format::Percent, false) => 0.0001,
    };
    let value = |bar: &Bar| format.write(bar.value, step);
    let says = |bar: &Bar| match bar.interval {
        Some([low, high]) => {
            let interval = format!("{} to {}", format.write(low, step), format.write(high, step));
            format!("{}: {} ({interval})", bar.label, value(bar))
        }
        None => format!("{}: {}", bar.label, value(bar)),
    };
    let widest = bars.iter().map(|bar| text_px(&super::name(&bar.label, 20), 12.0)).fold(30.0, f64::max);
    let left = widest + 16.0;
    let area =
        Area { left, top: TITLE_PX + 4.0, width: WIDTH - left - 64.0, height: ROW * bars.len() as f64 };
    let body = html! {
        (horizontal_ticks(area, &x))
        @for (i, bar) in bars.iter().enumerate() {
            @let middle = area.top + ROW * (i as f64 + 0.5);
            @let end = area.left + x.at(bar.value) * area.width;
            (text(area.left - 8.0, middle + 4.0, "label", "end", &super::name(&bar.label, 20)))
            @let marks = html! {
                @if from_zero {
                    (filled(area.left, middle - 7.0, end - area.left, 14.0, series))
                }
                @if let Some(interval) = bar.interval {
                    @let [low, high] = interval.map(|v| area.left + x.at(v) * area.width);
                    (straight(low, middle, high, middle, "whisker"))
                    (straight(low, middle - 4.0, low, middle + 4.0, "whisker"))
                    (straight(high, middle - 4.0, high, middle + 4.0, "whisker"))
                }
                @if !from_zero { (marker(end, middle, series, 4.0)) }
            };
            (hover(&says(bar), &marks))
            (text(WIDTH - 6.0, middle + 4.0, "count", "end", &value(bar)))
        }
        (straight(area.left, area.top, area.left, area.bottom(), "axis"))
    };
    let listed = bars.iter().map(|bar| format!("{} {}", bar.label, value(bar)));
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        desc: format!("{}: {}.", x.label, listed.collect::<Vec<_>>().join(", ")),
        width_px: WIDTH,
        height_px: area.bottom() + 40.0,
        origin: String::new(),
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::super::px;
    use super::*;

    #[test]
    fn lengths_are_shares_of_the_axis() {
        let bar = |label: &str, value| Bar { label: label.into(), value, interval: Some([0.0, 1.0]) };
        let chart = bar_chart("b", "B", "recall", Format::Percent, 0, &[bar("a", 0.5), bar("<b>", 1.0)]);
        assert_eq!(chart.desc, "recall: a 50.0 %, <b> 100.0 %.");
        let svg = chart.to_svg();
        let width = WIDTH - 46.0 - 64.0;
        assert!(svg.contains(&format!("width=\"{}\" height=\"14\"", px(width / 2.0))), "{svg}");
        assert!(svg.contains(&format!("width=\"{}\" height=\"14\"", px(width))));
        assert!(svg.contains("&lt;b&gt;"));
        let none = bar_chart("b", "B", "recall", Format::Percent, 0, &[bar("a", 0.0)]).to_svg();
        assert!(!none.contains("height=\"14\""), "a bar of no length is no rectangle");
    }
}
