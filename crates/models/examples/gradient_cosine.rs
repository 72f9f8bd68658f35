//! Writes the data that `benches/peers/gradient_cosine.py` compares with PyTorch: the weights of the reference network at the
//! start and after an epoch, some batches of 128 images, and Tallow's gradients on them in both precisions.
//!
//! `cargo run --release -p tallow-models --example gradient_cosine -- FILE [data_batch_1.bin ...]`
//!
//! Without the binary files of CIFAR-10 the images are those of the embedded sample, as in the test of the same name.
#![forbid(unsafe_code)]

#[path = "../tests/gradient_cosine/state.rs"]
mod state;

use std::error::Error;

use state::{BATCH_SIZE, Images, N_BATCHES, Reference, normalised};
use tallow_nn::{HostTensor, Precision, Tensors, encode};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("which file shall be written?")?;
    let parts: Vec<String> = arguments.collect();
    let images = if parts.is_empty() { Images::sample() } else { cifar10(&parts)? };

    let mut tensors = Tensors::new();
    let mut reference = Reference::new();
    for state in ["start", "epoch"] {
        if state == "epoch" {
            reference.train(&images);
        }
        for (name, weights) in reference.model.params.to_tensors()? {
            tensors.insert(format!("{state}/weights/{name}"), weights);
        }
        for (i, (pixels, targets)) in images.batches().take(N_BATCHES).enumerate() {
            for (kind, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
                for (name, grad) in reference.gradient(&pixels, targets, precision) {
                    let shape = tensors[&format!("{state}/weights/{name}")].shape.clone();
                    insert(&mut tensors, &format!("{state}/{i}/{kind}/{name}"), &shape, grad);
                }
            }
            insert(&mut tensors, &format!("images/{i}"), &[BATCH_SIZE, 32, 32, 3], pixels);
            let targets = targets.iter().map(|&t| t as f32).collect();
            insert(&mut tensors, &format!("targets/{i}"), &[BATCH_SIZE], targets);
        }
    }
    std::fs::write(file, encode(&tensors, "")?)?;
    Ok(())
}

fn insert(tensors: &mut Tensors, name: &str, shape: &[usize], data: Vec<f32>) {
    tensors.insert(name.to_owned(), HostTensor { shape: shape.to_vec(), data });
}

/// Reads the binary files of CIFAR-10. A record is one byte for the class and an image in (c, h, w) order, one byte per value.
/// The records of the files are in random order already.
fn cifar10(parts: &[String]) -> Result<Images, Box<dyn Error>> {
    let mut images = Images { pixels: Vec::new(), targets: Vec::new() };
    for part in parts {
        for record in std::fs::read(part)?.chunks_exact(1 + 3072) {
            images.targets.push(record[0].into());
            let (image, n_pixels) = (&record[1..], 1024);
            images.pixels.extend((0..3072).map(|i| normalised(image[i % 3 * n_pixels + i / 3])));
        }
    }
    Ok(images)
}
