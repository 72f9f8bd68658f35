//! Line charts: lines over a common axis, each labelled at its end.

use maud::{Markup, html};

use super::axis::frame;
use super::marks::{Label, rows};
use super::{Area, Axis, Chart, TITLE_PX, hover, marker, px, straight, text, text_px, theme};

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Label of the line, written at its end.
    pub label: String,
    /// Points from left to right; points that are not finite are left out.
    pub points: Vec<(f64, f64)>,
    /// Number of the series, which sets colour and marker.
    pub series: usize,
    /// Whether the line is dashed.
    pub dashed: bool,
    /// Whether the line is thin, as a background to others.
    pub thin: bool,
}

/// A marked position on the x axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// The position.
    pub x: f64,
    /// The label.
    pub label: String,
}

/// The content of a line chart.
#[derive(Clone, Debug)]
pub struct LineChart<'a> {
    /// The chart's [`name`](Chart::name).
    pub name: &'a str,
    /// The heading of the chart.
    pub title: &'a str,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines, drawn in reverse order, so that the first ones are on top.
    pub lines: &'a [Line],
    /// Vertical marks, with a label each.
    pub marks: &'a [Mark],
    /// Single points with a label.
    pub spots: &'a [(f64, f64, String)],
}

const WIDTH: f64 = 440.0;
const PLOT_HEIGHT: f64 = 200.0;
const LABEL_GAP: f64 = 14.0;
const MARK_ROW: f64 = 14.0;
/// Largest number of points of a line that has a marker at each point.
const MAX_MARKERS: usize = 30;
/// Largest number of points of a line that shows a value when a pointer rests on a point.
const MAX_HOVERS: usize = 200;

impl LineChart<'_> {
    /// Draws the chart.
    pub fn draw(&self) -> Chart {
        let longest =
            self.lines.iter().map(|line| text_px(&line.label, 12.0)).fold(40.0, f64::max).min(150.0);
        let (left, width) = (52.0, WIDTH - 52.0 - 22.0 - longest);
        let marks = self.place_marks(left, width);
        let n_rows = marks.iter().map(|label| label.row + 1).max().unwrap_or(0);
        let top = TITLE_PX + 24.0 + MARK_ROW * n_rows as f64;
        let area = Area { left, top, width, height: PLOT_HEIGHT };
        let body = html! {
            (frame(area, &self.x, &self.y))
            (self.draw_marks(area, &marks))
            @for line in self.lines.iter().rev() { (self.draw_line(area, line)) }
            @for (x, y, label) in self.spots { (self.draw_spot(area, *x, *y, label)) }
            (self.labels(area))
        };
        Chart {
            name: self.name.to_owned(),
            title: self.title.to_owned(),
            desc: self.description(),
            width_px: WIDTH,
            height_px: area.bottom() + 40.0,
            origin: String::new(),
            body,
        }
    }

    fn place(&self, area: Area, (x, y): (f64, f64)) -> (f64, f64) {
        (area.left + self.x.at(x) * area.width, area.bottom() - self.y.at(y) * area.height)
    }

    fn draw_line(&self, area: Area, line: &Line) -> Markup {
        let places: Vec<(f64, f64)> = finite(line).map(|point| self.place(area, point)).collect();
        let path: String = places
            .iter()
            .enumerate()
            .map(|(i, (x, y))| format!("{}{} {}", if i == 0 { 'M' } else { 'L' }, px(*x), px(*y)))
            .collect();
        let dashed = if line.dashed { " dashed" } else { "" };
        let weight = if line.thin { "thin" } else { "series" };
        html! {
            path d=(path) class={ (weight) " line-" (line.series % theme::N_SERIES) (dashed) } {}
            @if places.len() <= MAX_HOVERS {
                @for ((x, y), point) in places.iter().zip(finite(line)) {
                    @let marks = html! {
                        @if places.len() <= MAX_MARKERS { (marker(*x, *y, line.series, 3.0)) }
                        circle cx=(px(*x)) cy=(px(*y)) r="6" class="hover" {}
                    };
                    (hover(&self.says(line, point), &marks))
                }
            }
        }
    }

    /// Draws the labels at the ends of the lines, moved apart if they would touch.
    fn labels(&self, area: Area) -> Markup {
        let end = |line| Some(self.place(area, finite(line).last()?).1);
        let mut ends: Vec<(f64, &Line)> =
            self.lines.iter().filter_map(|line| Some((end(line)?, line))).collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let heights =
            spread(&ends.iter().map(|e| e.0).collect::<Vec<_>>(), LABEL_GAP, area.top, area.bottom());
        html! {
            @for (at, (_, line)) in heights.iter().zip(&ends) {
                (marker(area.right() + 9.0, *at, line.series, 3.0))
                (text(area.right() + 16.0, at + 4.0, "label", "start", &super::name(&line.label, 19)))
            }
        }
    }

    fn place_marks(&self, left: f64, width: f64) -> Vec<Label> {
        let place = |mark: &Mark| (left + self.x.at(mark.x) * width, text_px(&mark.label, 11.0));
        rows(&self.marks.iter().map(place).collect::<Vec<_>>(), WIDTH - 4.0)
    }

    fn draw_marks(&self, area: Area, labels: &[Label]) -> Markup {
        html! {
            @for (mark, label) in self.marks.iter().zip(labels) {
                @let at = area.left + self.x.at(mark.x) * area.width;
                @let up = area.top - 22.0 - MARK_ROW * label.row as f64; // above the label of the y axis
                (straight(at, up - 8.0, at, area.bottom(), "mark"))
                @if label.from > at {
                    (text(label.from, up, "note", "start", &mark.label))
                } @else {
                    (text(label.to, up, "note", "end", &mark.label))
                }
            }
        }
    }

    fn draw_spot(&self, area: Area, x: f64, y: f64, label: &str) -> Markup {
        let (at_x, at_y) = self.place(area, (x, y));
        let anchor = if self.x.at(x) > 0.5 { "end" } else { "start" };
        let below = if self.y.at(y) > 0.15 { 20.0 } else { -12.0 };
        html! {
            circle cx=(px(at_x)) cy=(px(at_y)) r="5.5" class="whisker" {}
            (text(at_x, at_y + below, "bold halo", anchor, label))
        }
    }

    /// Describes a point in words.
    fn says(&self, line: &Line, (x, y): (f64, f64)) -> String {
        let at = self.x.tick_label(x);
        format!("{}, {} {at}: {}", line.label, self.x.label, self.y.fine_label(y))
    }

    fn description(&self) -> String {
        let ends = self.lines.iter().filter_map(|line| {
            let ((first_x, first), (last_x, last)) = (finite(line).next()?, finite(line).last()?);
            let (x, y) = (|v| self.x.tick_label(v), |v| self.y.fine_label(v));
            Some(format!(
                "{} goes from {} at {} to {} at {}.",
                line.label,
                y(first),
                x(first_x),
                y(last),
                x(last_x)
            ))
        });
        let marks =
            self.marks.iter().map(|mark| format!("Marked at {}: {}.", self.x.tick_label(mark.x), mark.label));
        let spots = self.spots.iter().map(|(.., label)| format!("Marked: {label}."));
        let what = format!("{} by {}.", self.y.label, self.x.label);
        [what].into_iter().chain(ends).chain(marks).chain(spots).collect::<Vec<_>>().join(" ")
    }
}

fn finite(line: &Line) -> impl Iterator<Item = (f64, f64)> + '_ {
    line.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite())
}

/// Moves sorted positions apart until neighbours are at least `gap` apart, within `low..=high` if they fit there.
fn spread(places: &[f64], gap: f64, low: f64, high: f64) -> Vec<f64> {
    let mut out = places.to_vec();
    for i in 1..out.len() {
        out[i] = out[i].max(out[i - 1] + gap);
    }
    let mut limit = high;
    for place in out.iter_mut().rev() {
        *place = place.min(limit);
        limit = *place - gap;
    }
    let below = out.first().map_or(0.0, |first| (low - first).max(0.0));
    out.iter().map(|place| place + below).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::Format;

    #[test]
    fn labels_never_touch() {
        let found = spread(&[10.0, 12.0, 13.0, 90.0, 99.0], 14.0, 0.0, 100.0);
        assert!(found.windows(2).all(|pair| pair[1] - pair[0] >= 14.0 - 1e-9), "{found:?}");
        assert_eq!(found[4], 100.0);
        assert_eq!(spread(&[50.0], 14.0, 0.0, 100.0), [50.0]);
        assert!(spread(&[], 14.0, 0.0, 100.0).is_empty());
    }

    #[test]
    fn the_description_says_what_the_lines_do() {
        let line = Line {
            label: "training".into(),
            points: vec![(1.0, 0.5), (2.0, 0.75)],
            series: 0,
            dashed: false,
            thin: false,
        };
        let chart = LineChart {
            name: "a",
            title: "Accuracy",
            x: Axis::epochs(2),
            y: Axis::holding("accuracy", Format::Percent, [0.5, 0.75], 5),
            lines: &[line],
            marks: &[Mark { x: 2.0, label: "best <epoch>".into() }],
            spots: &[],
        };
        let drawn = chart.draw();
        assert_eq!(
            drawn.desc,
            "accuracy by epoch. training goes from 50.0 % at 1 to 75.0 % at 2. Marked at 2: best <epoch>."
        );
        let svg = drawn.to_svg();
        assert!(svg.contains("best &lt;epoch&gt;") && !svg.contains("<epoch>"));
    }
}
