//! The header of a safetensors file: read and checked before anything is done with the rest of the file.
//!
//! The file begins with the length of the header in 8 bytes. The header is JSON: for each tensor a type, a shape, and the places
//! of its first byte and of the byte after its last in the data, which are the rest of the file. The crate `safetensors` checks
//! that the tensors lie in the data one after the other, without gaps, and that each has as many bytes as its shape says, by
//! checked products. This module bounds what may be parsed, and compares the tensors with the data that are there.

use safetensors::tensor::Metadata;

use crate::error::{NnError, Result};

/// Longest header that is read or written, in bytes. It is a hundred times the header of the largest networks, and has room for the
/// names of a million classes. Parsing may take several times as much memory.
pub const MAX_HEADER_BYTES: usize = 32 << 20;

/// Bytes of the number before the header.
const LEN_BYTES: usize = 8;

/// A file's header, and its data.
pub(crate) struct Header<'a> {
    pub(crate) info: Metadata,
    pub(crate) data: &'a [u8],
}

/// Reads the header of a file.
///
/// # Errors
/// If the header is too long, is not that of a safetensors file, or its tensors are not exactly the data.
pub(crate) fn read(file: &[u8]) -> Result<Header<'_>> {
    let refuse = |problem: String| Err(NnError::Format(problem));
    let (header, data) = check_len(file)?;
    let info: Metadata = match serde_json::from_slice(header) {
        Ok(info) => info,
        Err(e) => return refuse(format!("its header: {e}")),
    };
    let n_described = info.data_len();
    if n_described != data.len() {
        return refuse(format!(
            "its header describes tensors of {n_described} bytes, but {} bytes follow it",
            data.len()
        ));
    }
    Ok(Header { info, data })
}

/// Returns the bytes of the header and of the data.
///
/// # Errors
/// If the header is longer than [`MAX_HEADER_BYTES`] or than the file.
pub(crate) fn check_len(file: &[u8]) -> Result<(&[u8], &[u8])> {
    let refuse = |problem: String| Err(NnError::Format(problem));
    let Some((len, rest)) = file.split_first_chunk::<LEN_BYTES>() else {
        return refuse(format!("it has {} bytes, expected a header's length in {LEN_BYTES}", file.len()));
    };
    let len = u64::from_le_bytes(*len);
    if len > MAX_HEADER_BYTES as u64 {
        return refuse(format!(
            "its first bytes say that its header has {len} bytes, expected at most {MAX_HEADER_BYTES}"
        ));
    }
    match rest.split_at_checked(len as usize) {
        Some(parts) => Ok(parts),
        None => refuse(format!("its header has {len} bytes, but only {} follow", rest.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, n_data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + n_data, 0);
        file
    }

    fn problem(file: &[u8]) -> String {
        read(file).err().unwrap_or_else(|| panic!("{} bytes were read", file.len())).to_string()
    }

    #[test]
    fn tensors_that_fill_the_data_are_read() {
        let of = |name: &str, from: usize, to: usize| {
            format!(
                r#""{name}":{{"dtype":"F32","shape":[{}],"data_offsets":[{from},{to}]}}"#,
                (to - from) / 4
            )
        };
        let header = format!("{{{},{}}}", of("b", 8, 20), of("a", 0, 8));
        let file = file(&header, 20);
        let header = read(&file).unwrap();
        assert_eq!((header.data.len(), header.info.tensors().len()), (20, 2));
    }

    #[test]
    fn lengths_are_compared_with_the_file() {
        assert!(problem(b"1234567").contains("it has 7 bytes"));
        assert!(problem(&100u64.to_le_bytes()).contains("its header has 100 bytes, but only 0 follow"));
        for len in [MAX_HEADER_BYTES as u64 + 1, 1 << 62, u64::MAX] {
            let message = problem(&len.to_le_bytes());
            assert!(message.contains(&format!("say that its header has {len} bytes")), "{message}");
        }
    }

    /// Offsets, shapes and products that would make a reader allocate, overflow or read elsewhere.
    #[test]
    fn tensors_that_lie_are_refused() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let max = u64::MAX;
        for (header, n_data) in [
            (one("F32", "[2]", "[0,8]"), 7),                                   // cut
            (one("F32", "[2]", "[0,8]"), 9),                                   // bytes of no tensor
            (one("F32", "[2]", "[4,12]"), 12),                                 // a gap
            (one("F32", "[3]", "[0,8]"), 8),                                   // a longer shape
            (one("F32", "[4611686018427387904,4]", "[0,0]"), 0),               // 2^64 bytes: 0 by wrapping products
            (one("F32", "[9223372036854775808,2]", "[0,8]"), 8),               // 2^64 numbers
            (one("F32", "[-1]", "[0,8]"), 8),
            (one("F32", "[2]", "[8,0]"), 8),                                   // backwards
            (one("U8", "[9223372036854775807]", "[0,9223372036854775807]"), 8),
            (one("U8", &format!("[{max}]"), &format!("[0,{max}]")), 8),
            // two tensors of the same bytes
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#.into(), 8),
            (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#.into(), 12),
            // sums of offsets beyond 64 bits
            (
                format!(
                    r#"{{"a":{{"dtype":"U8","shape":[{half}],"data_offsets":[0,{half}]}},"b":{{"dtype":"U8","shape":[{half}],"data_offsets":[{half},{}]}}}}"#,
                    2 * ((1u64 << 61) - 1),
                    half = (1u64 << 61) - 1
                ),
                8,
            ),
            ("[]".into(), 0),
            ("{\"a\":".into(), 0),
            ("\u{1}".into(), 0),
        ] {
            let message = problem(&file(&header, n_data));
            assert!(message.contains("its header"), "{header}: {message}");
        }
    }
}
