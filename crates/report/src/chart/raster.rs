//! Charts as PNG: drawn by resvg with the font that is compiled in, and the system's fonts for what that lacks.

use std::sync::{Arc, LazyLock};

use resvg::usvg::fontdb::{Database, ID};
use resvg::{tiny_skia, usvg};

use super::{Chart, theme};
use crate::error::ReportError;
use crate::shown::code;

const REGULAR: &[u8] = include_bytes!("../../../../assets/font/DejaVuSans.ttf");
const BOLD: &[u8] = include_bytes!("../../../../assets/font/DejaVuSans-Bold.ttf");
const FAMILY: &str = "DejaVu Sans";

/// The compiled-in font alone: what most charts need, and there at once.
static OURS: LazyLock<Arc<Database>> = LazyLock::new(|| Arc::new(ours()));

/// With the fonts of the system, which take a moment to find.
static WITH_SYSTEM: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = ours();
    fonts.load_system_fonts();
    Arc::new(fonts)
});

fn ours() -> Database {
    let mut fonts = Database::new();
    fonts.load_font_data(REGULAR.to_vec());
    fonts.load_font_data(BOLD.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    fonts
}

/// The chart as PNG, `scale` pixels per unit.
pub(super) fn png(chart: &Chart, scale: f32) -> Result<Vec<u8>, ReportError> {
    let failed = |problem: String| ReportError::Picture { name: chart.name.clone(), problem };
    let svg = chart.svg(Some(&theme::literal_css())).into_string();
    let strange = strange_characters(&svg);
    let (fonts, svg) = if strange.is_empty() {
        (OURS.clone(), svg)
    } else {
        (WITH_SYSTEM.clone(), with_codes(&svg, &strange, &WITH_SYSTEM))
    };
    let options = usvg::Options { fontdb: fonts, font_family: FAMILY.to_owned(), ..usvg::Options::default() };
    let tree = usvg::Tree::from_str(&svg, &options).map_err(|e| failed(e.to_string()))?;
    let size = tree
        .size()
        .to_int_size()
        .scale_by(scale)
        .ok_or_else(|| failed(format!("cannot be drawn at scale {scale}")))?;
    let mut picture = tiny_skia::Pixmap::new(size.width(), size.height())
        .ok_or_else(|| failed(format!("{} x {} pixels are too many", size.width(), size.height())))?;
    resvg::render(&tree, tiny_skia::Transform::from_scale(scale, scale), &mut picture.as_mut());
    picture.encode_png().map_err(|e| failed(e.to_string()))
}

/// The characters that the compiled-in font does not have.
fn strange_characters(svg: &str) -> Vec<char> {
    let mut strange: Vec<char> = svg.chars().filter(|c| !c.is_ascii()).collect();
    strange.sort_unstable();
    strange.dedup();
    strange.retain(|&c| !any_face_has(&OURS, c));
    strange
}

/// `svg` with the codes of those of `characters` that no font has.
fn with_codes(svg: &str, characters: &[char], fonts: &Database) -> String {
    let missing: Vec<char> = characters.iter().copied().filter(|&c| !any_face_has(fonts, c)).collect();
    let mut out = String::with_capacity(svg.len());
    for c in svg.chars() {
        if missing.contains(&c) {
            out.push_str(&code(c).replace('<', "&lt;").replace('>', "&gt;"));
        } else {
            out.push(c);
        }
    }
    out
}

fn any_face_has(fonts: &Database, c: char) -> bool {
    fonts.faces().any(|face| face_has(fonts, face.id, c))
}

fn face_has(fonts: &Database, id: ID, c: char) -> bool {
    let has = |data: &[u8], index| {
        use skrifa::MetadataProvider as _;
        skrifa::FontRef::from_index(data, index).is_ok_and(|font| font.charmap().map(c).is_some())
    };
    fonts.with_face_data(id, has).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{Bar, Format, bar_chart};

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
    fn text_is_drawn() {
        assert_ne!(chart("aaaa").to_png(1.0).unwrap(), chart("bbbb").to_png(1.0).unwrap());
    }

    /// No font of the test has this character of the private use area's end.
    #[test]
    fn a_character_that_no_font_has_becomes_its_code() {
        let svg = "<text>a\u{f8f0}b\u{e9}</text>";
        assert_eq!(strange_characters(svg), ['\u{f8f0}']);
        assert_eq!(with_codes(svg, &['\u{f8f0}'], &OURS), "<text>a&lt;U+F8F0&gt;b\u{e9}</text>");
    }
}
