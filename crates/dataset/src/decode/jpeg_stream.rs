//! Parses the segments of a JPEG file: frame, colours, orientation. Makes a lean copy of the segments that make up the
//! picture.
//!
//! The copy ([`Stream::lean`]) holds tables, frame and scans only, so comments, profiles, previews and a second picture
//! cannot disturb the decoder. The copy also makes the decoder strict: 1 bits are added after each stretch of coded
//! data. They are not a valid code in any conforming table. So data that ends early causes an error, where a decoder
//! would otherwise continue with zeros, which decode to grey.
//!
//! ```text
//! for each segment before the end:
//!     tables (DQT, DHT, DRI)   copied
//!     frame (SOF)              copied, components renamed 1, 2, 3, 4
//!     scan (SOS)               copied, components renamed; data up to the next marker, ones, then the marker
//!     EXIF, JFIF, Adobe        read
//!     other segments           skipped
//! ```
//!
//! Decoding is left to [`super::jpeg`].

use memchr::{memchr, memchr_iter};

use super::DecodeError;
use super::jpeg_headers::{Component, Frame, Scan, damaged, truncated};
use super::orientation::Orientation;

/// A byte of eight 1 bits, with its stuffing byte.
const ONES: [u8; 2] = [0xff, 0];
/// Bytes of ones after data in codes: more than the longest value and the longest code, but less than decoders read
/// ahead.
const ONES_AFTER_CODES: usize = 6;
/// Bytes of ones after refinement data: encoders write no more than 1,000 bits without a code.
const ONES_AFTER_REFINEMENT: usize = 160;
/// Largest number of scans. Encoders write a dozen.
const MAX_SCANS: usize = 100;
/// A stretch of zeros that no picture has; see [`Stream::check_zeros`].
const ZEROS: [u8; 64] = [0; 64];

/// Colour model of the components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Grey,
    YCbCr,
    Rgb,
    Cmyk,
    Ycck,
}

/// Contents of the segments of a file.
pub(super) struct Stream {
    frame: Option<Frame>,
    orientation: Option<Orientation>,
    is_jfif: bool,
    adobe_transform: Option<u8>,
    /// Value of the all-zeros code in each Huffman table, by the table's class and number.
    zero_codes: [[Option<u8>; 4]; 2],
    /// Number of low bits that are still missing, by component and coefficient; `u8::MAX` before the first scan.
    bits_missing: [[u8; 64]; 4],
    n_scans: usize,
    /// Number of components in the first scan, if reading stops at that scan.
    n_in_first_scan: usize,
    has_end: bool,
    /// The lean copy for the decoder.
    pub(super) lean: Vec<u8>,
}

/// Reads the segments before the first scan.
pub(super) fn read_header(bytes: &[u8]) -> Result<Stream, DecodeError> {
    read(bytes, true)
}

/// Reads the whole file and makes the lean copy.
pub(super) fn read_picture(bytes: &[u8]) -> Result<Stream, DecodeError> {
    let stream = read(bytes, false)?;
    stream.frame()?;
    if stream.is_whole() { Ok(stream) } else { Err(truncated()) }
}

fn read(bytes: &[u8], stop_at_scan: bool) -> Result<Stream, DecodeError> {
    let capacity = if stop_at_scan { 0 } else { bytes.len() + 4 * ONES_AFTER_REFINEMENT };
    let mut stream = Stream::with_capacity(capacity);
    let mut at = 2;
    while let Some(marker_at) = next_marker(bytes, at) {
        let marker = bytes[marker_at];
        at = marker_at + 1;
        match marker {
            0xd9 => {
                stream.has_end = true;
                break;
            }
            0x01..=0xbf | 0xd0..=0xd8 | 0xf0..=0xfd => continue, // markers without a length, or stray bytes
            0xda if stop_at_scan => {
                stream.n_in_first_scan = bytes.get(marker_at + 3).copied().map_or(0, usize::from);
                break;
            }
            _ => {}
        }
        let body = segment(bytes, at)?;
        at += 2 + body.len();
        match marker {
            0xda => {
                at = stream.scan(bytes, body, at)?;
                if stream.is_whole() {
                    stream.has_end = at < bytes.len();
                    break; // anything that follows is not part of this picture
                }
            }
            0xc4 | 0xdb | 0xdd => stream.table(marker, body),
            0xc0..=0xcf => stream.set_frame(marker, body)?,
            0xe0 if body.starts_with(b"AVI1") => stream.copy(marker, body), // a video's frame: standard code tables
            0xe0 => stream.is_jfif |= body.starts_with(b"JFIF\0"),
            0xe1 if body.starts_with(b"Exif\0\0") => {
                stream.orientation.get_or_insert(Orientation::of_exif(body));
            }
            0xee if body.starts_with(b"Adobe") => stream.adobe_transform = body.get(11).copied(),
            _ => {}
        }
    }
    stream.lean.extend([0xff, 0xd9]);
    Ok(stream)
}

/// Returns the position of the next marker's code, at `at` or later: the first byte that follows bytes of 255 and is
/// neither 0 nor 255.
fn next_marker(bytes: &[u8], at: usize) -> Option<usize> {
    memchr_iter(0xff, bytes.get(at..)?)
        .map(|n| at + n + 1)
        .find(|&code| bytes.get(code).is_some_and(|&b| b != 0 && b != 0xff))
}

/// Returns the body of the segment that has its length at `at`.
fn segment(bytes: &[u8], at: usize) -> Result<&[u8], DecodeError> {
    let n_bytes =
        bytes.get(at..at + 2).map(|b| usize::from(u16::from_be_bytes([b[0], b[1]]))).ok_or_else(truncated)?;
    if n_bytes < 2 {
        return Err(damaged("a segment without a length"));
    }
    bytes.get(at + 2..at + n_bytes).ok_or_else(truncated)
}

impl Stream {
    fn with_capacity(n_bytes: usize) -> Self {
        let mut lean = Vec::with_capacity(n_bytes);
        lean.extend([0xff, 0xd8]);
        Self {
            frame: None,
            orientation: None,
            is_jfif: false,
            adobe_transform: None,
            zero_codes: [[None; 4]; 2],
            bits_missing: [[u8::MAX; 64]; 4],
            n_scans: 0,
            n_in_first_scan: 0,
            has_end: false,
            lean,
        }
    }

    /// Returns the frame header.
    pub(super) fn frame(&self) -> Result<&Frame, DecodeError> {
        self.frame.as_ref().ok_or_else(|| if self.has_end { damaged("no frame header") } else { truncated() })
    }

    /// Returns the peak memory of decoding in bytes per pixel, from the header alone: the picture, and the data of all
    /// components that are kept until the last scan.
    pub(super) fn bytes_per_px(&self) -> Result<u64, DecodeError> {
        let frame = self.frame()?;
        let n_components = frame.components.len();
        let kept = match frame.is_progressive {
            true => 2 * frame.samples_per_px(), // coefficients of 16 bits
            false if self.n_in_first_scan < n_components => frame.samples_per_px(),
            false => 0,
        };
        let planes = if self.is_sampling_usual() { 0 } else { frame.samples_per_px() };
        Ok(n_components.max(3) as u64 + kept + planes)
    }

    /// Returns the orientation of the picture.
    pub(super) fn orientation(&self) -> Orientation {
        self.orientation.unwrap_or(Orientation::UPRIGHT)
    }

    /// Returns whether the scans so far contain all bits of all coefficients.
    fn is_whole(&self) -> bool {
        let n_components = self.frame.as_ref().map_or(0, |frame| frame.components.len());
        n_components > 0 && self.bits_missing[..n_components].iter().flatten().all(|&missing| missing == 0)
    }

    /// Returns whether a marker ends the data, rather than the end of the file.
    pub(super) fn has_end(&self) -> bool {
        self.has_end
    }

    /// Returns whether a sequential JPEG has several scans. Needs the whole file.
    pub(super) fn is_in_sequential_scans(&self) -> bool {
        let is_separable = |frame: &Frame| !frame.is_progressive && frame.components.len() > 1;
        self.n_scans > 1 && self.frame.as_ref().is_some_and(is_separable)
    }

    /// Returns whether the sampling factors are those that cameras and libraries write.
    pub(super) fn is_sampling_usual(&self) -> bool {
        self.frame.as_ref().is_none_or(Frame::is_sampling_usual)
    }

    /// Returns the colour model of the components, by the rules of libjpeg.
    pub(super) fn colours(&self) -> Result<Colours, DecodeError> {
        let ids: Vec<u8> = self.frame()?.components.iter().map(|component| component.id).collect();
        Ok(match (ids.len(), self.adobe_transform) {
            (1, _) => Colours::Grey,
            (3, _) if self.is_jfif => Colours::YCbCr,
            (3, Some(0)) => Colours::Rgb,
            (3, None) if ids == *b"RGB" => Colours::Rgb,
            (3, _) => Colours::YCbCr,
            (_, None | Some(0)) => Colours::Cmyk,
            _ => Colours::Ycck,
        })
    }

    fn set_frame(&mut self, marker: u8, body: &[u8]) -> Result<(), DecodeError> {
        if self.frame.is_some() {
            return Err(damaged("two frame headers"));
        }
        let frame = Frame::read(marker, body)?;
        let sampling = |c: &Component| c.horizontal << 4 | c.vertical;
        let renamed = (1..).zip(&frame.components).flat_map(|(id, c)| [id, sampling(c), c.table]);
        let body: Vec<u8> = body[..6].iter().copied().chain(renamed).collect();
        self.copy(marker, &body);
        self.frame = Some(frame);
        Ok(())
    }

    /// Appends a segment to the copy.
    fn copy(&mut self, marker: u8, body: &[u8]) {
        let length = (body.len() + 2) as u16;
        self.lean.extend([0xff, marker]);
        self.lean.extend(length.to_be_bytes());
        self.lean.extend_from_slice(body);
    }

    fn table(&mut self, marker: u8, body: &[u8]) {
        self.copy(marker, body);
        let mut rest = if marker == 0xc4 { body } else { &[] };
        while let Some((&[name, ref counts @ ..], values)) = rest.split_first_chunk::<17>() {
            let n_values: usize = counts.iter().map(|&n| usize::from(n)).sum();
            if let Some(table) = self.zero_codes.get_mut(usize::from(name >> 4)) {
                table[usize::from(name & 3)] = values.first().copied(); // codes count up from zero
            }
            rest = values.get(n_values..).unwrap_or_default();
        }
    }

    /// Copies a scan and its data, which begin at `at`. Returns the end of the data.
    fn scan(&mut self, bytes: &[u8], body: &[u8], at: usize) -> Result<usize, DecodeError> {
        let frame = self.frame()?;
        let scan = Scan::read(body, frame)?;
        let is_progressive = frame.is_progressive;
        let renamed = scan.components.iter().flat_map(|&(i, tables)| [i as u8 + 1, tables]);
        let header: Vec<u8> =
            [body[0]].into_iter().chain(renamed).chain(body[body.len() - 3..].iter().copied()).collect();
        self.copy(0xda, &header);
        // The decoder needs the marker after a first progressive scan within its read-ahead, so no ones are added
        // there. If that scan is cut short, the missing bits show it afterwards.
        let n_ones = match (is_progressive, self.n_scans) {
            (true, 0) => 0,
            (true, _) if scan.is_refinement() => ONES_AFTER_REFINEMENT,
            _ => ONES_AFTER_CODES,
        };
        self.n_scans += 1;
        if self.n_scans > MAX_SCANS {
            return Err(damaged("too many scans"));
        }
        for &(i, _) in &scan.components {
            for coefficient in scan.first..=if is_progressive { scan.last } else { 63 } {
                let missing = &mut self.bits_missing[i][usize::from(coefficient)];
                *missing = (*missing).min(if is_progressive { scan.low_bit } else { 0 });
            }
        }
        let end = self.copy_data(bytes, at, n_ones);
        self.check_zeros(&scan, &bytes[at..end], end == bytes.len())?;
        Ok(end)
    }

    /// Copies coded data from `at` up to a marker that is not a restart marker. Returns the position of that marker.
    fn copy_data(&mut self, bytes: &[u8], at: usize, n_ones: usize) -> usize {
        let mut from = at;
        loop {
            let end = data_end(bytes, from);
            self.lean.extend_from_slice(&bytes[from..end]);
            let restart = bytes.get(end + 1).filter(|code| (0xd0..=0xd7).contains(*code));
            let n_ones = if restart.is_some() { ONES_AFTER_CODES } else { n_ones };
            (0..n_ones).for_each(|_| self.lean.extend(ONES));
            let Some(&restart) = restart else { return end };
            self.lean.extend([0xff, restart]);
            from = end + 2;
        }
    }

    /// Refuses data that was replaced by zeros, as defective memory cards leave it. A decoder would make some picture
    /// of them. Two signs are checked: a long stretch of zeros in a sequential scan, where zeros would be values one
    /// after the other and not empty blocks; or zeros up to the end of the file.
    fn check_zeros(&self, scan: &Scan, data: &[u8], is_at_end_of_file: bool) -> Result<(), DecodeError> {
        let zero_is_empty =
            |&(_, tables): &(usize, u8)| self.zero_codes[1][usize::from(tables & 3)] == Some(0);
        let is_sequential = !self.frame()?.is_progressive;
        let has_zeros = data.as_chunks().0.contains(&ZEROS);
        if has_zeros && is_sequential && !scan.components.iter().all(zero_is_empty)
            || is_at_end_of_file && data.ends_with(&ZEROS[..4])
        {
            return Err(damaged("zeros in place of data"));
        }
        Ok(())
    }
}

/// Returns the position at which coded data end: at a byte of 255 that is followed by neither 0 (stuffing) nor 255
/// (fill byte), or at the end of the file.
fn data_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(n) = memchr(0xff, &bytes[at..]) {
        at += n;
        match bytes.get(at + 1) {
            Some(0) => at += 2,
            Some(0xff) => at += 1,
            _ => return at,
        }
    }
    bytes.len()
}
