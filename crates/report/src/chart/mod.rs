//! Charts. Each kind of chart has a file of its own; this file has what they share, and the output as SVG and PNG.

mod axis;
mod bars;
mod class_bars;
mod dots;
mod fonts;
mod grid;
mod heat_map;
mod lines;
mod marks;
mod raster;
mod reliability;
mod theme;

use maud::{Markup, PreEscaped, html};

pub use axis::{Axis, Format, grouped};
pub use bars::{Bar, bar_chart, interval_chart};
pub use class_bars::{ClassBar, class_bars};
pub use dots::{DotRow, dot_chart};
pub use grid::picture_grid;
pub use heat_map::heat_map;
pub use lines::{Line, LineChart, Mark};
pub use reliability::{Calibration, reliability_chart};
pub(crate) use theme::{chart_css, colors_css};

/// A chart as SVG. Its colours come from a style sheet, so that it follows the dark mode of a page.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Name of the chart's files and prefix of its element ids, of lower-case letters, digits and hyphens.
    pub name: String,
    /// The heading, drawn at the top.
    pub title: String,
    /// Description of the chart for people who cannot see it.
    pub desc: String,
    /// Natural width, in px.
    pub width_px: f64,
    /// Natural height, in px.
    pub height_px: f64,
    /// The run and data set of the chart, written at the bottom of the chart's own files. If empty, nothing is written.
    pub origin: String,
    body: Markup,
}

/// Height of the heading.
const TITLE_PX: f64 = 30.0;
/// Height of the line at the bottom that names the origin.
const ORIGIN_PX: f64 = 20.0;
/// Width of the average character, in parts of the font size; generous, so that a text that fits here fits with every
/// font.
const CHAR_EM: f64 = 0.6;

/// A rectangle of the chart.
#[derive(Clone, Copy, Debug)]
struct Area {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn right(&self) -> f64 {
        self.left + self.width
    }

    fn bottom(&self) -> f64 {
        self.top + self.height
    }
}

impl Chart {
    /// Returns the chart as a part of a page that includes the style sheets of charts.
    pub(crate) fn inline(&self) -> Markup {
        self.svg(None)
    }

    /// Returns the chart as an SVG file of its own, which follows the reader's light or dark mode.
    pub fn to_svg(&self) -> String {
        let css = format!("{}{}", colors_css(), chart_css());
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", self.svg(Some(&css)).into_string())
    }

    /// Draws the chart as PNG, with `scale` pixels per unit, in light colours on white.
    ///
    /// # Errors
    /// If the chart is too large for a picture.
    pub fn to_png(&self, scale: f32) -> crate::error::Result<Vec<u8>> {
        raster::png(self, scale)
    }

    fn svg(&self, css: Option<&str>) -> Markup {
        // a page names the origin of its charts elsewhere
        let origin = css.map_or("", |_| &self.origin);
        let height = self.height_px + if origin.is_empty() { 0.0 } else { ORIGIN_PX };
        let (w, h) = (px(self.width_px), px(height));
        let (title_id, desc_id) = (format!("{}-title", self.name), format!("{}-desc", self.name));
        let size = if self.width_px > 500.0 { "chart large" } else { "chart" };
        html! {
            svg xmlns="http://www.w3.org/2000/svg" class=(size) width=(w) height=(h) viewBox={ "0 0 " (w) " " (h) }
                role="img" aria-labelledby={ (title_id) " " (desc_id) } {
                title id=(title_id) { (self.title) }
                desc id=(desc_id) { (self.desc) }
                @if let Some(css) = css {
                    style { (PreEscaped(css)) }
                    rect class="paper" width="100%" height="100%" {}
                }
                text class="heading" x="8" y="18" { (self.title) }
                (self.body)
                @if !origin.is_empty() { (text(8.0, self.height_px + 10.0, "tick", "start", &name(origin, 64))) }
            }
        }
    }
}

/// Shows `says` while a pointer rests on `marks`.
fn hover(says: &str, marks: &Markup) -> Markup {
    html! { g { title { (says) } (marks) } }
}

/// Formats a length or a coordinate, to a tenth of a pixel.
fn px(x: f64) -> String {
    let rounded = (x * 10.0).round() / 10.0 + 0.0; // no -0
    rounded.to_string()
}

/// Returns a name cut to `max_columns`, in a picture too. A name with codes is cut to twice that, because a cut code says
/// little. The middle is left out, because names of many classes often begin alike.
fn name(text: &str, max_columns: usize) -> String {
    let text = tallow_core::shown(text).into_owned();
    let max_columns = if text.chars().all(fonts::can_draw) { max_columns } else { 2 * max_columns };
    if fonts::drawn_columns(&text) <= max_columns {
        return text;
    }
    let of_end = max_columns / 3;
    let start: String = within(text.chars(), max_columns - 1 - of_end);
    let end: String = within(text.chars().rev(), of_end);
    format!("{start}…{}", end.chars().rev().collect::<String>())
}

/// Returns the first characters that fit into `max_columns`.
fn within(text: impl Iterator<Item = char>, max_columns: usize) -> String {
    let mut used = 0;
    text.take_while(|c| {
        used += fonts::drawn_columns(c.encode_utf8(&mut [0; 4]));
        used <= max_columns
    })
    .collect()
}

/// Returns an upper bound of the length of a text in this font size.
fn text_px(text: &str, font_px: f64) -> f64 {
    fonts::drawn_columns(text) as f64 * font_px * CHAR_EM
}

/// Draws text at a position; `class` sets its look, `anchor` sets which end of the text is there.
fn text(x: f64, y: f64, class: &str, anchor: &str, content: &str) -> Markup {
    html! { text x=(px(x)) y=(px(y)) class=(class) text-anchor=(anchor) { (content) } }
}

fn straight(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> Markup {
    html! { line x1=(px(x1)) y1=(px(y1)) x2=(px(x2)) y2=(px(y2)) class=(class) {} }
}

/// Draws a bar of a series, unless its area is 0: the PNG renderer refuses a rectangle without area.
fn filled(x: f64, y: f64, width: f64, height: f64, series: usize) -> Markup {
    html! {
        @if width >= 0.05 && height >= 0.05 {
            rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) class={ "bar fill-" (series % theme::N_SERIES) } {}
        }
    }
}

/// Draws a marker. The first four series differ in shape, so that colour is not the only difference.
fn marker(x: f64, y: f64, series: usize, radius: f64) -> Markup {
    let class = format!("fill-{}", series % theme::N_SERIES);
    let r = radius;
    match series % 4 {
        0 => html! { circle cx=(px(x)) cy=(px(y)) r=(px(r)) class=(class) {} },
        1 => {
            html! { rect x=(px(x - r)) y=(px(y - r)) width=(px(2.0 * r)) height=(px(2.0 * r)) class=(class) {} }
        }
        2 => {
            html! { path d={ "M" (px(x)) " " (px(y - 1.3 * r)) "l" (px(1.3 * r)) " " (px(2.3 * r)) "h" (px(-2.6 * r)) "z" } class=(class) {} }
        }
        _ => {
            html! { path d={ "M" (px(x)) " " (px(y - 1.4 * r)) "l" (px(1.4 * r)) " " (px(1.4 * r)) "l" (px(-1.4 * r)) " " (px(1.4 * r)) "l" (px(-1.4 * r)) " " (px(-1.4 * r)) "z" } class=(class) {} }
        }
    }
}
