//! Decodes PNG row by row. Samples of any depth, palettes and interlacing passes are written straight into RGB, so only
//! the picture and one row are in memory.
//!
//! Text and colour profiles are skipped unread; neither their unpacked size nor their checksums matter. Gamma is
//! ignored, as frameworks do. Of an APNG, the default image, which every viewer shows, is decoded.

use std::io::{Cursor, ErrorKind};

use png::{
    BitDepth, Decoder, DecodingError, InterlaceInfo, Limits, Reader, Transformations, expand_interlaced_row,
};

use super::orientation::Orientation;
use super::pixels::{push_rgb, to_8_bits};
use super::{DecodeError, Format, Header};

/// Memory limit of the decoder for rows and tables, in bytes. The decoder refuses chunks that need more.
const LIMIT_BYTES: usize = 16 << 20;

pub(super) fn header(bytes: &[u8]) -> Result<Header, DecodeError> {
    let reader = reader(bytes)?;
    let info = reader.info();
    let orientation = chunk(bytes, *b"eXIf").map_or(Orientation::UPRIGHT, Orientation::of_exif);
    Ok(Header { height: info.height as usize, width: info.width as usize, orientation, bytes_per_px: 3 })
}

pub(super) fn decode(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut reader = reader(bytes)?;
    let (height, width) = (reader.info().height as usize, reader.info().width as usize);
    let (colour, depth) = reader.output_color_type();
    let n_bytes = 3 * height * width;
    let mut rgb = if reader.info().interlaced { vec![0; n_bytes] } else { Vec::with_capacity(n_bytes) };
    let (mut narrow, mut row_rgb) = (Vec::new(), Vec::new());
    while let Some(row) = reader.next_interlaced_row().map_err(error)? {
        let samples = if depth == BitDepth::Sixteen {
            narrow.clear();
            narrow.extend(row.data().as_chunks().0.iter().map(|&pair| to_8_bits(u16::from_be_bytes(pair))));
            &narrow
        } else {
            row.data()
        };
        match row.interlace() {
            InterlaceInfo::Adam7(pass) => {
                row_rgb.clear();
                push_rgb(samples, colour.samples(), &mut row_rgb);
                expand_interlaced_row(&mut rgb, 3 * width, &row_rgb, pass, 24);
            }
            InterlaceInfo::Null(_) => push_rgb(samples, colour.samples(), &mut rgb),
        }
    }
    Ok(rgb)
}

fn reader(bytes: &[u8]) -> Result<Reader<Cursor<&[u8]>>, DecodeError> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: LIMIT_BYTES });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.read_info().map_err(error)
}

/// Returns the data of the first chunk with this name, at any position in the file.
fn chunk(bytes: &[u8], name: [u8; 4]) -> Option<&[u8]> {
    let mut rest = bytes.get(8..)?;
    loop {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let n_bytes = u32::from_be_bytes(*length) as usize;
        let (found, after) = after.split_first_chunk::<4>()?;
        let (data, after) = after.split_at_checked(n_bytes)?;
        if *found == name {
            return Some(data);
        }
        rest = after.get(4..)?;
    }
}

fn error(error: DecodingError) -> DecodeError {
    let format = Format::Png;
    match error {
        DecodingError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format }
        }
        e => DecodeError::Damaged { format, reason: e.to_string() },
    }
}
