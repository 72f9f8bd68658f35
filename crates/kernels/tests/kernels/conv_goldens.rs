//! Compares convolutions in f32 and bf16 with PyTorch's results in `fixtures/conv_pytorch.safetensors`, which
//! `fixtures/gen_conv_pytorch.py` wrote. The inputs are not in the file: [`numbers`] is the same formula as in the
//! script.
//!
//! The cases are those of real networks: each kernel and stride that they use, three input channels, maps that are
//! not square, and numbers of channels that no vector divides. `goldens` has kernels that are not square, in f64.

use half::bf16;
use safetensors::{Dtype, SafeTensors, tensor::Metadata};
use serde_json::Value;
use tallow_kernels::*;

use crate::assert_close;

static FILE: &[u8] = include_bytes!("../fixtures/conv_pytorch.safetensors");

/// An element type: its name in the file, and the tolerance of the comparison with PyTorch, relative in norm. If both
/// compute in bf16, each rounds its results to 8 bits, which alone is an error of up to 2^-9 of each number.
trait Golden: Element {
    const NAME: &str;
    const TOLERANCE: f64;
}

impl Golden for f32 {
    const NAME: &str = "f32";
    const TOLERANCE: f64 = 1e-5;
}

impl Golden for bf16 {
    const NAME: &str = "bf16";
    const TOLERANCE: f64 = 1e-2;
}

/// Returns numbers in [-1, 1) of 24 bits, like `numbers` in `gen_conv_pytorch.py`, rounded to `E` if it has fewer
/// bits.
fn numbers<E: Element>(len: usize, salt: u64) -> Vec<E> {
    let number = |place: u64| {
        let hashed = ((place + salt * 1_000_003) * 2_654_435_761) as u32;
        let hashed = (hashed ^ (hashed >> 15)).wrapping_mul(2_146_121_005);
        E::from_f32((f64::from(hashed >> 8) / f64::from(1 << 23) - 1.0) as f32)
    };
    (0..len as u64).map(number).collect()
}

/// Returns the shape of each case from the file's metadata.
fn shapes() -> Vec<(String, ConvShape)> {
    let (_, header): (usize, Metadata) = SafeTensors::read_metadata(FILE).unwrap();
    let text = &header.metadata().as_ref().unwrap()["tallow"];
    let metadata: Value = serde_json::from_str(text).unwrap();
    let shape = |sizes: &Value| {
        let size = |name: &str| sizes[name].as_u64().unwrap() as usize;
        let [n, h, w, c_in, c_out] = ["n", "h", "w", "c_in", "c_out"].map(size);
        let [k_h, k_w, stride, padding] = ["k_h", "k_w", "stride", "padding"].map(size);
        ConvShape { n, h, w, c_in, c_out, k_h, k_w, stride, padding: Padding::Symmetric(padding) }
    };
    metadata["shapes"].as_object().unwrap().iter().map(|(case, sizes)| (case.clone(), shape(sizes))).collect()
}

fn golden(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    let bytes = tensor.data();
    match tensor.dtype() {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect()
        }
        Dtype::BF16 => {
            bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(b.try_into().unwrap()).into()).collect()
        }
        other => panic!("{name} is of type {other:?}"),
    }
}

fn check<E: Golden>(file: &SafeTensors<'_>, case: &str, s: &ConvShape) {
    let junk = || E::from_f32(f32::NAN); // a number that is not overwritten would show
    let (x, dy) = (numbers::<E>(s.x_len(), 1), numbers::<E>(s.y_len(), 4));
    let (weight, bias) = (numbers::<f32>(s.weight_len(), 2), numbers::<E>(s.c_out, 3));
    let bias: Vec<f32> = bias.iter().map(|b| b.to_f32()).collect();
    let (mut y, mut dx) = (vec![junk(); s.y_len()], vec![junk(); s.x_len()]);
    let mut dweight = vec![f32::NAN; s.weight_len()];
    conv2d_forward(s, &x, &weight, Some(&bias), &mut y);
    conv2d_input_grad(s, &dy, &weight, &mut dx);
    conv2d_weight_grad(s, &x, &dy, &mut dweight);
    for (what, actual) in [("y", &*E::as_f32(&y)), ("dx", &*E::as_f32(&dx)), ("dweight", &dweight)] {
        let name = format!("{case}/{}/{what}", E::NAME);
        assert_close(&name, actual, &golden(file, &name), E::TOLERANCE);
    }
}

#[test]
fn convolutions_of_networks_in_both_precisions() {
    let file = SafeTensors::deserialize(FILE).unwrap();
    let shapes = shapes();
    assert_eq!(file.names().len(), shapes.len() * 2 * 3, "each case in two types, three results each");
    for (case, s) in &shapes {
        check::<f32>(&file, case, s);
        check::<bf16>(&file, case, s);
    }
}
