//! Tensors in main memory, and their safetensors files.
//!
//! A file has one metadata key, `tallow`, with a text of the writer's choice (one JSON document). Several keys would be written
//! in random order, so files with equal content would differ.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo, TensorView};
use tallow_core::memory::{self, Exhausted};
use tallow_core::shown;

use crate::error::{NnError, Result};
use crate::file_digest;
use crate::header::{self, Header};

/// Key of the safetensors header that holds the text of [`encode`].
pub const METADATA_KEY: &str = "tallow";

/// A tensor in main memory.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// Sizes of its dimensions.
    pub shape: Vec<usize>,
    /// Its elements in row-major order: the last dimension varies fastest.
    pub data: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, HostTensor>;

/// Returns the bytes of a safetensors file (f32) with `tensors`, and with `metadata` under [`METADATA_KEY`].
///
/// # Errors
/// If a shape does not agree with its data, or [`decode`] would refuse the header for its length.
pub fn encode(tensors: &Tensors, metadata: &str) -> Result<Vec<u8>> {
    let bytes: Vec<(&String, &[usize], Vec<u8>)> =
        tensors.iter().map(|(name, t)| (name, t.shape.as_slice(), le_bytes(&t.data))).collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), data)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| NnError::Format(e.to_string()))?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata.to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|e| NnError::Format(e.to_string()))?;
    header::check_len(&file)?;
    Ok(file)
}

/// Returns the bytes of a file like [`encode`], with a digest of the whole file that [`decode`] checks. `metadata` is a JSON
/// object; the digest becomes its last entry.
///
/// # Errors
/// If a shape does not agree with its data, or `metadata` is not a JSON object with an entry.
pub fn encode_with_digest(tensors: &Tensors, metadata: &str) -> Result<Vec<u8>> {
    let mut bytes = encode(tensors, &file_digest::with_place(metadata)?)?;
    file_digest::fill(&mut bytes)?;
    Ok(bytes)
}

/// Whether the bytes are a safetensors file that carries a digest. [`decode`] checks the digest.
pub fn has_digest(bytes: &[u8]) -> bool {
    header::read(bytes)
        .is_ok_and(|header| text_in(&header.info).is_some_and(|text| file_digest::is_in(&text)))
}

/// Returns the numbers as bytes in little-endian order.
pub fn le_bytes(data: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * data.len()];
    bytes.as_chunks_mut::<4>().0.iter_mut().zip(data).for_each(|(bytes, v)| *bytes = v.to_le_bytes());
    bytes
}

/// Returns the tensors of a safetensors file as f32, and the text under [`METADATA_KEY`] if there is one.
///
/// Tensors in f16 and bf16 are widened, without loss.
///
/// PyTorch counts the batches of a batch norm in an integer tensor `num_batches_tracked`. Only a batch norm without momentum
/// needs this count; ours have a momentum, so these tensors are left out.
///
/// The digest of [`encode_with_digest`] is checked, if the file has one, and is not part of the returned text.
///
/// # Errors
/// If the bytes are not a safetensors file, do not match their digest, a tensor has another type, or there is no memory for the
/// tensors.
pub fn decode(bytes: &[u8]) -> Result<(Tensors, Option<String>)> {
    let Header { info, data } = header::read(bytes)?;
    let text = text_in(&info).map(|text| file_digest::check(bytes, text)).transpose()?;
    let all = info.tensors();
    let n_numbers: usize = all.values().map(|info| info.shape.iter().product::<usize>()).sum();
    memory::check((n_numbers as u64).saturating_mul(4))?;
    let wanted = all.into_iter().filter(|(name, _)| name.rsplit('.').next() != Some("num_batches_tracked"));
    let tensors = wanted.map(|(name, info)| {
        let (from, to) = info.data_offsets;
        let bytes = data.get(from..to).unwrap_or_default(); // the header was compared with the data
        let tensor = to_host(&name, info, bytes)?;
        Ok((name, tensor))
    });
    Ok((tensors.collect::<Result<_>>()?, text))
}

/// Returns the text under [`METADATA_KEY`], if there is one.
fn text_in(info: &Metadata) -> Option<String> {
    info.metadata().as_ref().and_then(|map| map.get(METADATA_KEY).cloned())
}

fn to_host(name: &str, info: &TensorInfo, bytes: &[u8]) -> Result<HostTensor> {
    let read = match info.dtype {
        Dtype::F32 => widened(bytes, f32::from_le_bytes),
        Dtype::F16 => widened(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => widened(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        other => {
            let problem = format!("tensor {} has the type {other:?}, expected F32, F16 or BF16", shown(name));
            return Err(NnError::Format(problem));
        }
    };
    Ok(HostTensor { shape: info.shape.clone(), data: read? })
}

/// Returns the numbers that `number` makes of each `N` bytes.
fn widened<const N: usize>(
    bytes: &[u8],
    number: impl Fn([u8; N]) -> f32,
) -> std::result::Result<Vec<f32>, Exhausted> {
    let (numbers, _) = bytes.as_chunks::<N>();
    let mut data = memory::try_filled(0.0, numbers.len())?;
    data.iter_mut().zip(numbers).for_each(|(value, bytes)| *value = number(*bytes));
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tensors {
        let tensor =
            |shape: &[usize], data: &[f32]| HostTensor { shape: shape.to_vec(), data: data.to_vec() };
        Tensors::from([
            ("b".to_owned(), tensor(&[2, 1], &[1.0, f32::MIN_POSITIVE])),
            ("a".to_owned(), tensor(&[], &[-0.0])),
        ])
    }

    #[test]
    fn what_is_written_is_read_and_bytes_repeat() {
        let bytes = encode(&sample(), "{\"epoch\":3}").unwrap();
        assert_eq!(decode(&bytes).unwrap(), (sample(), Some("{\"epoch\":3}".to_owned())));
        assert_eq!(bytes, encode(&sample(), "{\"epoch\":3}").unwrap());
    }

    #[test]
    fn damaged_bytes_are_refused() {
        let bytes = encode(&sample(), "").unwrap();
        assert!(decode(&bytes[..bytes.len() - 1]).is_err());
        assert!(decode(b"").is_err());
        assert!(decode(b"<html></html>").is_err());
    }

    const METADATA: &str = "{\"names\":[\"\\\"file_digest\\\":\\\"00\"]}";

    #[test]
    fn a_digest_is_added_checked_and_taken_off_again() {
        let bytes = encode_with_digest(&sample(), METADATA).unwrap();
        assert_eq!(decode(&bytes).unwrap(), (sample(), Some(METADATA.to_owned())));
        assert!(has_digest(&bytes) && !has_digest(&encode(&sample(), METADATA).unwrap()) && !has_digest(b""));
        // any other program can compute it
        let text = text_in(&header::read(&bytes).unwrap().info).unwrap();
        let digits = &text[text.len() - 66..text.len() - 2];
        let whole = String::from_utf8_lossy(&bytes);
        assert_eq!(whole.matches(digits).count(), 1);
        let at = bytes.windows(64).position(|window| window == digits.as_bytes()).unwrap();
        let zeroed = [&bytes[..at], &[b'0'; 64], &bytes[at + 64..]].concat();
        assert_eq!(tallow_core::digest::of_bytes(&zeroed), digits);
        for none in ["", "{}", "[1]", "\"text\""] {
            assert!(encode_with_digest(&sample(), none).is_err(), "{none}");
        }
    }

    /// Of every bit of the file: either the flip is noticed, or nothing that is read from the file has changed but a name in
    /// its metadata. A reader that knows the entries of its metadata refuses such a name.
    #[test]
    fn no_flipped_bit_changes_a_tensor_unnoticed() {
        let whole = encode_with_digest(&sample(), METADATA).unwrap();
        let mut n_digest = 0;
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                match decode(&bytes) {
                    Ok((tensors, text)) => {
                        assert_eq!(tensors, sample(), "byte {at}, bit {bit}");
                        let is_known = text.as_ref().is_some_and(|text| {
                            let object: Option<serde_json::Value> = serde_json::from_str(text).ok();
                            object.is_some_and(|object| object.as_object().unwrap().keys().eq(["names"]))
                        });
                        assert!(!is_known, "byte {at}, bit {bit}: {text:?}");
                    }
                    Err(NnError::Digest) => n_digest += 1,
                    Err(_) => {} // not a safetensors file any more
                }
            }
        }
        assert!(n_digest > 8 * 64, "of the digits alone there are more: {n_digest}");
    }

    fn file_of(name: &str, dtype: Dtype) -> Vec<u8> {
        let view = TensorView::new(dtype, vec![1], &[0; 8]).unwrap();
        safetensors::serialize([(name, view)], None).unwrap()
    }

    #[test]
    fn pytorchs_batch_counter_is_left_out_and_no_other_type_is_read() {
        let (tensors, metadata) = decode(&file_of("bn1.num_batches_tracked", Dtype::I64)).unwrap();
        assert_eq!((tensors, metadata), (Tensors::new(), None));
        let message = decode(&file_of("fc.weight", Dtype::F64)).unwrap_err().to_string();
        assert!(message.contains("fc.weight") && message.contains("F64"), "{message}");
    }

    #[test]
    fn halves_are_widened() {
        // f16: 1.5, -2, the smallest number above 0; bf16: 1.5, -2, 2^-126
        let f16s: Vec<u8> = [0x3e00u16, 0xc000, 0x0001].iter().flat_map(|b| b.to_le_bytes()).collect();
        let bf16s: Vec<u8> = [0x3fc0u16, 0xc000, 0x0080].iter().flat_map(|b| b.to_le_bytes()).collect();
        let views = [
            ("f16", TensorView::new(Dtype::F16, vec![3], &f16s).unwrap()),
            ("bf16", TensorView::new(Dtype::BF16, vec![1, 3], &bf16s).unwrap()),
        ];
        let (tensors, _) = decode(&safetensors::serialize(views, None).unwrap()).unwrap();
        assert_eq!(tensors["f16"], HostTensor { shape: vec![3], data: vec![1.5, -2.0, 2f32.powi(-24)] });
        assert_eq!(
            tensors["bf16"],
            HostTensor { shape: vec![1, 3], data: vec![1.5, -2.0, f32::MIN_POSITIVE] }
        );
    }
}
