//! Paths as text, and back, for text files that hold paths: recipes, tables, JSON documents.
//!
//! A path is bytes, and a text file is UTF-8. A byte of a path that is not part of UTF-8 is written as `\x` and two
//! upper-case hexadecimal digits: `caf\xE9.jpg`. A backslash that stands where such a code begins, in the path itself, is
//! written as `\x5C`. All else stays as it is, so nearly every path is its own text. Each path has one text, which gives
//! exactly this path back.
//!
//! Text for people is left to [`shown`](crate::shown()), and so are characters that are UTF-8 but not safe to print. On
//! systems other than Unix, where `\` separates folders, there are no codes: paths must be valid Unicode there.

use std::path::{Path, PathBuf};

/// Returns the text of a path.
#[cfg(unix)]
pub fn path_text(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = path.as_os_str().as_bytes();
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        for (i, c) in valid.char_indices() {
            match code(&valid.as_bytes()[i..]) {
                Some(_) => push_code(b'\\', &mut text),
                None => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_code(byte, &mut text));
    }
    text
}

/// Returns the path with this text; the inverse of [`path_text`].
#[cfg(unix)]
pub fn path_of(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let (byte, after) = code(rest).unwrap_or((*first, others));
        bytes.push(byte);
        rest = after;
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// Splits the byte that a code stands for off the beginning of `text`; returns `None` if no code stands there.
#[cfg(unix)]
fn code(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'\\', b'x', high, low, rest @ ..] = text else { return None };
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'A'..=b'F' => Some(c - b'A' + 10),
        _ => None,
    };
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

#[cfg(unix)]
fn push_code(byte: u8, text: &mut String) {
    text.push_str(&format!("\\x{byte:02X}"));
}

/// Returns the text of a path.
#[cfg(not(unix))]
pub fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Returns the path with this text; the inverse of [`path_text`].
#[cfg(not(unix))]
pub fn path_of(text: &str) -> PathBuf {
    PathBuf::from(text)
}

#[cfg(all(test, unix))]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    fn text_of(bytes: &[u8]) -> String {
        path_text(Path::new(OsStr::from_bytes(bytes)))
    }

    #[track_caller]
    fn survives(bytes: &[u8]) {
        let text = text_of(bytes);
        assert_eq!(path_of(&text).as_os_str().as_bytes(), bytes, "{text}");
    }

    #[test]
    fn any_two_bytes_survive_and_ascii_is_its_own_text() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                survives(&[a, b]);
                if a.is_ascii() && b.is_ascii() {
                    assert_eq!(text_of(&[a, b]).as_bytes(), [a, b]);
                }
            }
        }
    }

    /// All texts of six characters out of those of which codes and broken UTF-8 consist.
    #[test]
    fn what_looks_like_a_code_survives() {
        let parts: [&[u8]; 7] = [b"\\", b"x", b"5", b"C", b"E", b"\xc3", b"\xa9"];
        for n in 0..7usize.pow(6) {
            let bytes: Vec<&[u8]> = (0..6).map(|place| parts[n / 7usize.pow(place) % 7]).collect();
            survives(&bytes.concat());
        }
    }

    #[test]
    fn the_form_is_pinned() {
        for plain in ["", "a b/ü/猫.png", "100%/\\", "C:\\photos\\x", "\\xe9", "\\x5", "\u{fffd}", "a\nb"] {
            assert_eq!(text_of(plain.as_bytes()), plain);
            assert_eq!(path_of(plain), Path::new(plain));
        }
        for (bytes, text) in [
            (&b"caf\xe9.jpg"[..], "caf\\xE9.jpg"),
            (b"\\xE9", "\\x5CxE9"),
            (b"\\\xe9", "\\\\xE9"),
            (b"\\x\xe9", "\\x\\xE9"),
            (b"\xe7\x8c", "\\xE7\\x8C"),
            (b"\xe7\x8c\xab", "猫"),
        ] {
            assert_eq!(text_of(bytes), text);
            survives(bytes);
        }
    }

    /// A file that a person wrote may hold codes that no path gives.
    #[test]
    fn any_text_is_a_path() {
        assert_eq!(path_of("\\x41\\xC3\\xA9"), Path::new("Aé"));
    }
}
