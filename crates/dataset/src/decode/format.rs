//! Recognises the format of a file by its first bytes. Suffixes are ignored, because large folders always contain wrong
//! ones.

/// Number of first bytes that [`Format::of`] and [`other_content`] look at.
pub(super) const SNIFFED_BYTES: usize = 512;

/// A picture file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// JPEG, multi-picture files (MPO) included.
    Jpeg,
    /// PNG, APNG included.
    Png,
    /// WebP.
    WebP,
    /// GIF.
    Gif,
    /// Windows and OS/2 bitmaps.
    Bmp,
    /// TIFF, and camera raw formats that are based on it.
    Tiff,
    /// HEIF with HEVC inside, which iPhones write.
    Heic,
    /// HEIF with AV1 inside.
    Avif,
    /// JPEG XL.
    JpegXl,
    /// JPEG 2000.
    Jpeg2000,
    /// Photoshop documents.
    Psd,
    /// Windows icons.
    Ico,
    /// PBM, PGM, PPM.
    Netpbm,
    /// SVG, vector drawings as text.
    Svg,
}

/// Formats that begin with fixed bytes, each with these bytes.
const MAGIC: [(&[u8], Format); 14] = [
    (b"\xff\xd8\xff", Format::Jpeg),
    (b"\x89PNG\r\n\x1a\n", Format::Png),
    (b"GIF87a", Format::Gif),
    (b"GIF89a", Format::Gif),
    (b"II*\0", Format::Tiff),
    (b"MM\0*", Format::Tiff),
    (b"II+\0", Format::Tiff),
    (b"MM\0+", Format::Tiff),
    (b"\xff\x0a", Format::JpegXl),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Format::JpegXl),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Format::Jpeg2000),
    (b"\xff\x4f\xff\x51", Format::Jpeg2000),
    (b"8BPS", Format::Psd),
    (b"\0\0\x01\0", Format::Ico),
];

impl Format {
    /// Returns the format whose files begin with these bytes, if any. 64 bytes are enough for all formats but SVG,
    /// which may begin with 512 bytes of comments.
    pub fn of(first_bytes: &[u8]) -> Option<Self> {
        let first = &first_bytes[..first_bytes.len().min(SNIFFED_BYTES)];
        if let Some(&(_, format)) = MAGIC.iter().find(|(magic, _)| first.starts_with(magic)) {
            return Some(format);
        }
        if first.starts_with(b"RIFF") && first.get(8..12) == Some(b"WEBP") {
            return Some(Self::WebP);
        }
        if is_bmp(first) {
            return Some(Self::Bmp);
        }
        if let [b'P', b'1'..=b'6', blank, digit, ..] = first
            && blank.is_ascii_whitespace()
            && (digit.is_ascii_digit() || *digit == b'#')
        {
            return Some(Self::Netpbm);
        }
        let mut brands = brands(first);
        if brands.clone().any(|brand| matches!(brand, b"avif" | b"avis")) {
            return Some(Self::Avif);
        }
        let is_heif = |brand: &[u8]| {
            matches!(brand, b"mif1" | b"msf1" | b"miaf")
                || brand.starts_with(b"hei")
                || brand.starts_with(b"hev")
        };
        if brands.any(is_heif) {
            return Some(Self::Heic);
        }
        text(first).is_some_and(|text| is_svg(&text)).then_some(Self::Svg)
    }

    /// Returns the format's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
            Self::Tiff => "TIFF",
            Self::Heic => "HEIC",
            Self::Avif => "AVIF",
            Self::JpegXl => "JPEG XL",
            Self::Jpeg2000 => "JPEG 2000",
            Self::Psd => "PSD",
            Self::Ico => "ICO",
            Self::Netpbm => "PBM, PGM or PPM",
            Self::Svg => "SVG",
        }
    }

    /// Returns whether pictures of this format are decoded.
    pub fn is_read(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::WebP | Self::Gif | Self::Bmp | Self::Tiff)
    }
}

/// Returns whether a file is a bitmap. Many texts begin with "BM", so the length of the second header must also be one
/// that exists.
fn is_bmp(first: &[u8]) -> bool {
    let header_bytes = first.get(14..18).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    first.starts_with(b"BM") && matches!(header_bytes, Some(12 | 16 | 40 | 52 | 56 | 64 | 108 | 124))
}

/// Returns the major and the compatible brands of an ISO media file; empty for any other file.
fn brands(first: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let is_media = first.get(4..8) == Some(b"ftyp");
    let box_bytes = first.first_chunk::<4>().map_or(0, |size| u32::from_be_bytes(*size) as usize);
    let end = if is_media { box_bytes.min(first.len()) } else { 0 };
    let brands = first.get(8..end).unwrap_or_default();
    brands.chunks_exact(4).enumerate().filter(|(i, _)| *i != 1).map(|(_, brand)| brand) // entry 1 is the version
}

/// Returns the bytes as text in lower case, if they look like text.
fn text(first: &[u8]) -> Option<String> {
    let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first);
    let is_plain = |&b: &u8| b >= b' ' || matches!(b, b'\t' | b'\n' | b'\r' | 0x0c);
    let text = String::from_utf8_lossy(first).to_ascii_lowercase();
    (!first.is_empty() && first.iter().all(is_plain)).then(|| text.trim_start().to_owned())
}

fn is_svg(text: &str) -> bool {
    text.starts_with("<svg")
        || ((text.starts_with("<?xml") || text.starts_with("<!")) && text.contains("<svg"))
}

/// Describes content that is not a picture, as far as its first bytes show. Used in messages.
pub(super) fn other_content(first_bytes: &[u8]) -> &'static str {
    const MAGIC: [(&[u8], &str); 10] = [
        (b"%PDF", "a PDF"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"Rar!", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x1a\x45\xdf\xa3", "a video"),
        (b"RIFF", "a video or sound"),
        (b"ID3", "a sound"),
        (b"\0\x05\x16\x07", "macOS metadata (AppleDouble)"),
        (b"SQLite format 3", "a database"),
    ];
    let first = &first_bytes[..first_bytes.len().min(SNIFFED_BYTES)];
    if first.iter().all(|&b| b == 0) {
        return "nothing but zeros";
    }
    if let Some((_, what)) = MAGIC.iter().find(|(magic, _)| first.starts_with(magic)) {
        return what;
    }
    if first.get(4..8) == Some(b"ftyp") {
        return "a video";
    }
    match text(first) {
        Some(text) if text.starts_with("version https://git-lfs") => {
            "a pointer of Git LFS (see `git lfs pull`)"
        }
        Some(text) if text.starts_with("<!doctype html") || text.contains("<html") => "a web page (HTML)",
        Some(text) if text.starts_with("<?xml") => "XML",
        Some(_) => "text",
        None => "bytes of an unknown format",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ftyp(brands: &[u8]) -> Vec<u8> {
        [&(8 + brands.len() as u32).to_be_bytes()[..], b"ftyp", brands, b"\0\0\x01\0meta"].concat()
    }

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let brands = |list: &str| Format::of(&ftyp(list.as_bytes()));
        assert_eq!(brands("heic\0\0\0\0mif1heic"), Some(Format::Heic));
        assert_eq!(brands("mif1\0\0\0\0mif1heic"), Some(Format::Heic));
        assert_eq!(brands("mif1\0\0\0\0mif1avif"), Some(Format::Avif)); // a HEIF whose content is AV1
        assert_eq!(brands("isom\0\0\0\0isomavc1"), None);
        assert_eq!(brands("isomavif"), None); // "avif" is in the place of the version
        assert_eq!(Format::of(b"RIFF\x10\0\0\0WEBPVP8 "), Some(Format::WebP));
        assert_eq!(Format::of(b"RIFF\x10\0\0\0AVI LIST"), None);
        assert_eq!(Format::of(b"\xff\x0a\x00"), Some(Format::JpegXl));
        assert_eq!(Format::of(b"BM is how this text begins, no more"), None);
        assert_eq!(Format::of(b"<?xml version=\"1.0\"?>\n<svg width=\"3\">"), Some(Format::Svg));
        assert_eq!(Format::of(b""), None);
    }

    #[test]
    fn what_is_no_picture_gets_a_name() {
        assert_eq!(other_content(&[0; 700]), "nothing but zeros");
        assert_eq!(other_content(b"\n <!DOCTYPE HTML><title>404</title>"), "a web page (HTML)");
        assert_eq!(other_content("caf\u{e9}, menu".as_bytes()), "text");
        assert_eq!(other_content(&ftyp(b"qt  \0\0\0\0qt  ")), "a video");
        assert_eq!(other_content(b"\x01\x02\x03"), "bytes of an unknown format");
    }
}
