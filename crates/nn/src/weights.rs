//! Tensors in main memory, and their safetensors files.
//!
//! A file has one metadata key, `tallow`, with a text of the writer's choice (one JSON document). Several keys would be written
//! in random order, so files with equal content would differ.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{NnError, Result};

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
/// If a shape does not agree with its data.
pub fn encode(tensors: &Tensors, metadata: &str) -> Result<Vec<u8>> {
    let bytes: Vec<(&String, &[usize], Vec<u8>)> =
        tensors.iter().map(|(name, t)| (name, t.shape.as_slice(), le_bytes(&t.data))).collect();
    let views = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), data)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| NnError::Format(e.to_string()))?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), metadata.to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|e| NnError::Format(e.to_string()))
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
/// # Errors
/// If the bytes are not a safetensors file, or a tensor has another type.
pub fn decode(bytes: &[u8]) -> Result<(Tensors, Option<String>)> {
    let format = |e: safetensors::SafeTensorError| NnError::Format(e.to_string());
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(format)?;
    let text = header.metadata().as_ref().and_then(|map| map.get(METADATA_KEY).cloned());
    let file = SafeTensors::deserialize(bytes).map_err(format)?;
    let wanted = file.iter().filter(|(name, _)| name.rsplit('.').next() != Some("num_batches_tracked"));
    let tensors = wanted.map(|(name, view)| Ok((name.to_owned(), to_host(name, &view)?)));
    Ok((tensors.collect::<Result<_>>()?, text))
}

fn to_host(name: &str, view: &TensorView<'_>) -> Result<HostTensor> {
    let halves = view.data().chunks_exact(2).map(|b| [b[0], b[1]]);
    let data = match view.dtype() {
        Dtype::F32 => {
            view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
        }
        Dtype::F16 => halves.map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => halves.map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        other => {
            let problem = format!("tensor {name} has the type {other:?}, expected F32, F16 or BF16");
            return Err(NnError::Format(problem));
        }
    };
    Ok(HostTensor { shape: view.shape().to_vec(), data })
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
