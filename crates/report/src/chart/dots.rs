//! Dot charts: a row per class and a dot per run, so that differences between runs are easy to see.

use maud::html;

use super::axis::horizontal_ticks;
use super::{Area, Axis, Chart, Format, TITLE_PX, hover, marker, px, straight, text, text_px};

/// The values of one row, in the order of the series; `None` for a series without a value.
#[derive(Clone, Debug, PartialEq)]
pub struct DotRow {
    /// Label of the row.
    pub label: String,
    /// One share per series.
    pub values: Vec<Option<f64>>,
}

const WIDTH: f64 = 520.0;
const ROW: f64 = 24.0;

/// Draws shares: a row per entry, a marker per series, and a legend of the series at the top.
pub fn dot_chart(name: &str, title: &str, axis_label: &str, series: &[String], rows: &[DotRow]) -> Chart {
    let all = rows.iter().flat_map(|row| row.values.iter().flatten().copied());
    let x = Axis::holding(axis_label, Format::Percent, all, 5);
    let widest = rows.iter().map(|row| text_px(&super::name(&row.label, 20), 12.0)).fold(30.0, f64::max);
    let left = widest + 16.0;
    let (legend, legend_height) = legend(series);
    let top = TITLE_PX + legend_height;
    let area = Area { left, top, width: WIDTH - left - 24.0, height: ROW * rows.len() as f64 };
    let body = html! {
        @for (x, y, i, label) in &legend {
            (marker(*x, *y, *i, 4.0))
            (text(x + 9.0, y + 4.0, "label", "start", label))
        }
        (horizontal_ticks(area, &x))
        @for (i, row) in rows.iter().enumerate() {
            @let middle = area.top + ROW * (i as f64 + 0.5);
            (straight(area.left, middle, area.right(), middle, "grid"))
            (text(area.left - 8.0, middle + 4.0, "label", "end", &super::name(&row.label, 20)))
            @for (number, (value, of)) in row.values.iter().zip(series).enumerate() {
                @if let Some(value) = value {
                    @let says = format!("{}, {of}: {}", row.label, Format::Percent.write(*value, 0.001));
                    (hover(&says, &marker(area.left + x.at(*value) * area.width, middle, number, 4.0)))
                }
            }
        }
        rect x=(px(area.left)) y=(px(area.top)) width=(px(area.width)) height=(px(area.height)) class="cell" {}
    };
    let row_text = |row: &DotRow| {
        let values = series
            .iter()
            .zip(&row.values)
            .filter_map(|(name, v)| Some(format!("{name} {}", Format::Percent.write((*v)?, 0.001))));
        format!("{}: {}", row.label, values.collect::<Vec<_>>().join(", "))
    };
    Chart {
        name: name.to_owned(),
        title: title.to_owned(),
        desc: format!("{axis_label}. {}.", rows.iter().map(row_text).collect::<Vec<_>>().join("; ")),
        width_px: WIDTH,
        height_px: area.bottom() + 40.0,
        origin: String::new(),
        body,
    }
}

/// Returns the position, number and label of each series in the legend, in as many rows as needed, and the height of the
/// legend.
fn legend(series: &[String]) -> (Vec<(f64, f64, usize, String)>, f64) {
    let (mut x, mut y) = (14.0, TITLE_PX + 6.0);
    let mut entries = Vec::new();
    for (i, label) in series.iter().enumerate() {
        let label = super::name(label, 30);
        let width = text_px(&label, 12.0) + 26.0;
        if x + width > WIDTH && x > 14.0 {
            (x, y) = (14.0, y + 18.0);
        }
        entries.push((x, y, i, label));
        x += width;
    }
    (entries, y - TITLE_PX + 16.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_legend_that_is_too_long_goes_on_below() {
        let names: Vec<String> = (0..6).map(|i| format!("a run with a long name {i}")).collect();
        let (entries, height) = legend(&names);
        assert!(entries.iter().all(|(x, _, _, label)| x + 9.0 + text_px(label, 12.0) <= WIDTH));
        assert_eq!((entries[0].1, entries[5].1, height), (36.0, 36.0 + 2.0 * 18.0, 58.0));
    }

    #[test]
    fn what_is_missing_is_left_out() {
        let row = DotRow { label: "cat".into(), values: vec![Some(0.5), None] };
        let chart = dot_chart("d", "D", "recall", &["a".into(), "b".into()], &[row]);
        assert_eq!(chart.desc, "recall. cat: a 50.0 %.");
    }
}
