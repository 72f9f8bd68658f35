//! Knows which characters a picture can show: those of the compiled-in font, and those of the system's fonts.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use resvg::usvg::FontResolver;
use resvg::usvg::fontdb::{Database, FaceInfo, ID};
use skrifa::{FontRef, MetadataProvider as _};
use tallow_core::shown::code;

use crate::shown::columns;

const REGULAR: &[u8] = include_bytes!("../../../../assets/font/DejaVuSans.ttf");
const BOLD: &[u8] = include_bytes!("../../../../assets/font/DejaVuSans-Bold.ttf");
pub(super) const FAMILY: &str = "DejaVu Sans";

/// The compiled-in font alone: enough for most charts, and available at once.
static OURS: LazyLock<Arc<Database>> = LazyLock::new(|| Arc::new(ours()));

/// The compiled-in font and the system's fonts, which take a moment to find.
static WITH_SYSTEM: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = ours();
    fonts.load_system_fonts();
    Arc::new(fonts)
});

/// For characters that the compiled-in font lacks: whether any font has them. A cache, because asking every font of a
/// system takes time.
static SYSTEM_HAS: LazyLock<Mutex<HashMap<char, bool>>> = LazyLock::new(Mutex::default);

fn ours() -> Database {
    let mut fonts = Database::new();
    fonts.load_font_data(REGULAR.to_vec());
    fonts.load_font_data(BOLD.to_vec());
    fonts.set_sans_serif_family(FAMILY);
    fonts
}

/// Returns the fonts that `text` needs.
pub(super) fn fonts_for(text: &str) -> Arc<Database> {
    let strange = text.chars().any(|c| !ours_has(c));
    if strange { WITH_SYSTEM.clone() } else { OURS.clone() }
}

/// Chooses another font for a character that the font of a text lacks: the one closest in weight, width and style.
pub(super) fn resolver() -> FontResolver<'static> {
    let select_fallback = |c: char, used: &[ID], fonts: &mut Arc<Database>| {
        let base = used.first().and_then(|id| fonts.face(*id)).cloned();
        let alike = |face: &FaceInfo| {
            base.as_ref().map_or(0, |base| {
                u8::from(face.weight != base.weight)
                    + u8::from(face.stretch != base.stretch)
                    + u8::from(face.style != base.style)
            })
        };
        let can = fonts.faces().filter(|face| !used.contains(&face.id) && face_has(fonts, face.id, c));
        can.min_by_key(|face| alike(face)).map(|face| face.id)
    };
    FontResolver {
        select_font: FontResolver::default_font_selector(),
        select_fallback: Box::new(select_fallback),
    }
}

/// Returns whether a picture can show `c`.
pub(super) fn can_draw(c: char) -> bool {
    if ours_has(c) {
        return true;
    }
    let mut known = SYSTEM_HAS.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(c).or_insert_with(|| WITH_SYSTEM.faces().any(|face| face_has(&WITH_SYSTEM, face.id, c)))
}

fn ours_has(c: char) -> bool {
    c.is_ascii() || OURS.faces().any(|face| face_has(&OURS, face.id, c))
}

fn face_has(fonts: &Database, id: ID, c: char) -> bool {
    let has = |data: &[u8], index| {
        FontRef::from_index(data, index).is_ok_and(|font| font.charmap().map(c).is_some())
    };
    fonts.with_face_data(id, has).unwrap_or(false)
}

/// Returns `text` with codes in place of the characters that no font has.
pub(super) fn with_codes(text: &str) -> String {
    text.chars().map(|c| if can_draw(c) { c.to_string() } else { code(c) }).collect()
}

/// Returns an upper bound of the columns that `text` takes, as itself on a page or with codes in a picture. Codes count
/// two columns more, because symbols and capitals are wider than the average character.
pub(super) fn drawn_columns(text: &str) -> usize {
    let width = |c: char| if can_draw(c) { columns(c.encode_utf8(&mut [0; 4])) } else { code(c).len() + 2 };
    text.chars().map(width).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A character that no font has, from the end of the private use area.
    const NOWHERE: char = '\u{f8f0}';

    #[test]
    fn a_character_that_no_font_has_becomes_its_code() {
        assert!(ours_has('é') && ours_has('ж') && !ours_has('猫'));
        assert!(!can_draw(NOWHERE));
        assert_eq!(with_codes(&format!("a{NOWHERE}é")), "a<U+F8F0>é");
        assert_eq!(drawn_columns(&format!("a{NOWHERE}é")), 12);
    }
}
