//! Draws charts as PNG, with resvg.

use resvg::{tiny_skia, usvg};

use super::{Chart, fonts, theme};
use crate::error::ReportError;

/// Draws the chart as PNG, with `scale` pixels per unit.
pub(super) fn png(chart: &Chart, scale: f32) -> Result<Vec<u8>, ReportError> {
    encode(chart, &drawn(chart, scale)?)
}

/// Encodes the drawn `picture` of `chart` as PNG.
pub(super) fn encode(chart: &Chart, picture: &tiny_skia::Pixmap) -> Result<Vec<u8>, ReportError> {
    let failed = |problem: String| ReportError::Picture { name: chart.name.clone(), problem };
    picture.encode_png().map_err(|e| failed(e.to_string()))
}

/// Draws the chart as pixels.
pub(super) fn drawn(chart: &Chart, scale: f32) -> Result<tiny_skia::Pixmap, ReportError> {
    let failed = |problem: String| ReportError::Picture { name: chart.name.clone(), problem };
    let svg = chart.svg(Some(&theme::literal_css())).into_string();
    let svg = fonts::with_codes(&svg).replace("<U+", "&lt;U+"); // only codes begin so: a template's elements are in lower case
    let options = usvg::Options {
        fontdb: fonts::fonts_for(&svg),
        font_family: fonts::FAMILY.to_owned(),
        font_resolver: fonts::resolver(),
        ..usvg::Options::default()
    };
    let tree = usvg::Tree::from_str(&svg, &options).map_err(|e| failed(e.to_string()))?;
    let too_large = || failed(format!("cannot be drawn at scale {scale}"));
    let size = tree.size().to_int_size().scale_by(scale).ok_or_else(too_large)?;
    let mut picture = tiny_skia::Pixmap::new(size.width(), size.height()).ok_or_else(too_large)?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut picture.as_mut());
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use crate::chart::{Bar, Chart, Format, bar_chart};

    fn chart(label: &str) -> Chart {
        let bar = Bar { label: label.into(), value: 0.5, interval: None };
        bar_chart("b", "Title", "share", Format::Percent, 0, &[bar])
    }

    #[test]
    fn a_picture_has_the_size_that_was_asked_for() {
        let png = chart("Größe").to_png(2.0).unwrap();
        assert_eq!(&png[1..4], b"PNG");
        let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        assert_eq!((side(16), side(20)), (880, (chart("Größe").height_px * 2.0) as u32));
        assert!(chart("a").to_png(1e9).is_err());
    }

    #[test]
    fn text_is_drawn_and_so_is_the_code_of_what_no_font_has() {
        let png = |label: &str| chart(label).to_png(1.0).unwrap();
        assert_ne!(png("aaaa"), png("bbbb"));
        let title = |label: &str| Chart { title: label.into(), ..chart("a") }.to_png(1.0).unwrap();
        assert_eq!(title("\u{f8f0}"), title("<U+F8F0>"));
    }
}
