//! Recognises the kind of a file or folder by its name and, if the name is not enough, by the file's first bytes.
//! Whether a picture can be decoded is left to the decoders.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;

use tallow_core::files;

/// Names of the supported formats, for messages.
pub(super) const READ_KINDS: &str = "JPEG, PNG, GIF, BMP, TIFF and WebP";

/// Suffixes of pictures. Decoding shows later whether the files really are pictures.
const PICTURE_SUFFIXES: &[&str] = &[
    "apng", "avif", "bmp", "dib", "gif", "heic", "heif", "hif", "jfif", "jp2", "jpe", "jpeg", "jpg", "jxl",
    "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp",
];

/// Suffixes of cameras' raw files. They begin like TIFF files, but users do not mean them as pictures.
const RAW_SUFFIXES: &[&str] =
    &["arw", "cr2", "cr3", "dng", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "srw"];

/// Suffixes of notes, programs and models. A folder of these alone is not a class that the user forgot to fill.
const NOTE_SUFFIXES: &[&str] = &[
    "cfg",
    "ckpt",
    "csv",
    "h5",
    "htm",
    "html",
    "ini",
    "ipynb",
    "json",
    "jsonl",
    "keras",
    "log",
    "md",
    "npy",
    "npz",
    "onnx",
    "parquet",
    "pkl",
    "pt",
    "pth",
    "py",
    "rst",
    "safetensors",
    "sh",
    "toml",
    "tsv",
    "txt",
    "xml",
    "yaml",
    "yml",
];

/// Suffixes of trained models, of any program.
const MODEL_SUFFIXES: &[&str] = &["ckpt", "h5", "keras", "onnx", "pt", "pth", "safetensors", "tflite"];

/// Names of files that mark a run folder of this program.
const RUN_FILES: &[&str] = &["recipe.toml", "events.jsonl", "model.safetensors"];

/// Names that systems put into folders, besides all that begin with a dot. Compared without case.
const SYSTEM_NAMES: &[&str] = &[
    "$recycle.bin",
    "@eadir",
    "#recycle",
    "__macosx",
    "__pycache__",
    "desktop.ini",
    "ehthumbs.db",
    "icon\r",
    "lost+found",
    "recycler",
    "system volume information",
    "thumbs.db",
];

/// Number of first bytes that show a kind of picture.
const HEAD_BYTES: u64 = 32;

/// Returns whether the name is that of a file or folder made by a system or a program, not by a person.
pub(super) fn is_system(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_lowercase();
    name.starts_with('.') || SYSTEM_NAMES.contains(&name.as_str())
}

/// Returns the suffix in lower case, without the dot; empty if there is none.
pub(super) fn suffix(name: &str) -> String {
    Path::new(name).extension().map(|suffix| suffix.to_string_lossy().to_lowercase()).unwrap_or_default()
}

/// Returns whether a file's name has a picture suffix.
pub(super) fn has_picture_suffix(name: &str) -> bool {
    PICTURE_SUFFIXES.contains(&suffix(name).as_str())
}

/// Returns `name` without its picture suffix, if it has one.
pub(super) fn without_picture_suffix(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, suffix)) if PICTURE_SUFFIXES.contains(&suffix.to_lowercase().as_str()) => stem,
        _ => name,
    }
}

/// Returns whether the file is a picture. A suffix of a picture or of a raw file decides; for any other suffix, the
/// content decides.
///
/// # Errors
/// If the content has to decide and the file cannot be read.
pub(super) fn is_picture(path: &Path, name: &str) -> io::Result<bool> {
    let suffix = suffix(name);
    if PICTURE_SUFFIXES.contains(&suffix.as_str()) {
        return Ok(true);
    }
    if RAW_SUFFIXES.contains(&suffix.as_str()) {
        return Ok(false);
    }
    let mut head = Vec::new();
    files::open(path).map_err(|e| e.source)?.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(begins_as_picture(&head))
}

/// Returns whether the file is a note; see [`NOTE_SUFFIXES`].
pub(super) fn is_note(name: &str) -> bool {
    NOTE_SUFFIXES.contains(&suffix(name).as_str())
}

/// Returns whether the file is a table by its suffix. Tables of answers to be submitted do not count.
pub(super) fn is_table(name: &str) -> bool {
    matches!(suffix(name).as_str(), "csv" | "tsv") && !name.to_lowercase().contains("submission")
}

/// Returns whether the file is a trained model by its suffix.
pub(super) fn is_model(name: &str) -> bool {
    MODEL_SUFFIXES.contains(&suffix(name).as_str())
}

/// Returns whether the file marks a run folder of this program.
pub(super) fn marks_run(name: &str) -> bool {
    RUN_FILES.contains(&name)
}

/// Returns whether the file begins like a common kind of picture. Kinds that are not supported count, too, so that a
/// message can name their format.
fn begins_as_picture(head: &[u8]) -> bool {
    let has = |at: usize, bytes: &[u8]| head.get(at..at + bytes.len()) == Some(bytes);
    let is_bmp = || {
        has(0, b"BM") && has(6, &[0; 4]) && matches!(head.get(14), Some(12 | 40 | 52 | 56 | 64 | 108 | 124))
    };
    let is_pnm = || matches!(head, [b'P', b'1'..=b'6', b' ' | b'\t' | b'\r' | b'\n', b'0'..=b'9' | b'#', ..]);
    let is_heif = || {
        const BRANDS: [&[u8]; 8] = [b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1"];
        has(4, b"ftyp") && BRANDS.iter().any(|brand| has(8, brand))
    };
    has(0, &[0xff, 0xd8, 0xff])
        || has(0, b"\x89PNG\r\n\x1a\n")
        || has(0, b"GIF87a")
        || has(0, b"GIF89a")
        || has(0, b"II*\0")
        || has(0, b"MM\0*")
        || (has(0, b"RIFF") && has(8, b"WEBP"))
        || has(0, b"\0\0\0\x0cJXL \r\n\x87\n")
        || has(0, b"\0\0\0\x0cjP  \r\n\x87\n")
        || is_bmp()
        || is_pnm()
        || is_heif()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_by_suffix_or_else_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let is = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            is_picture(&path, name).unwrap()
        };
        assert!(is("broken.JPG", b""));
        assert!(is("photo", b"\xff\xd8\xff\xe0"));
        assert!(is("photo.txt", b"\x89PNG\r\n\x1a\n"));
        assert!(is("live", b"\0\0\0\x18ftypheic"));
        assert!(!is("sound", b"RIFF\0\0\0\0WAVE"));
        assert!(!is("clip", b"\0\0\0\x18ftypisom"));
        assert!(!is("BMW.txt", b"BMW is a make of cars"));
        assert!(!is("short", b"\xff"));
        assert!(!is("IMG_1.NEF", b"II*\0\x08\0\0\0"));
    }

    #[test]
    fn what_systems_leave_is_told_by_name() {
        for name in [".DS_Store", "._1.jpg", "Thumbs.db", "__MACOSX", "$Recycle.Bin", "Icon\r"] {
            assert!(is_system(OsStr::new(name)), "{name}");
        }
        assert!(!is_system(OsStr::new("thumbs")));
        assert_eq!(without_picture_suffix("0001.v2.PNG"), "0001.v2");
        assert_eq!(without_picture_suffix("0001.v2"), "0001.v2");
        assert!(is_table("labels.CSV") && !is_table("sampleSubmission.csv"));
    }
}
