//! `cargo xtask make-sample`: makes the pictures in `assets/sample` from the whole of CIFAR-10.
//!
//! Each picture has a row for each class, with the first images of that class in the official order. PNG serves as lossless
//! compression (filtered rows, then deflate). The same input gives the same bytes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use tallow_core::{Silent, files};
use tallow_dataset::ImageSet;
use tallow_dataset::cifar::{load_cifar10, verify_cifar10};

/// Size limit of the sample in bytes, as it is part of the repository and of the program.
const MAX_TOTAL_BYTES: usize = 7_500_000;

/// Make the embedded sample: 200 training and 100 test images of each class of CIFAR-10.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that holds `cifar-10-batches-bin`
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Folder for the pictures
    #[arg(long, value_name = "DIR", default_value = "assets/sample")]
    pub out: PathBuf,
}

/// Writes `train.png` and `test.png`.
///
/// # Errors
/// If CIFAR-10 is missing or not the official version, the pictures are too large, or they cannot be written.
pub fn run(args: Args) -> anyhow::Result<()> {
    for check in verify_cifar10(&args.data_dir, &Silent)? {
        ensure!(check.is_ok(), "{} is not the official file", check.path.display());
    }
    let data = load_cifar10(&args.data_dir)?;
    let pictures = [
        ("train.png", picture(&data.train, 200).context("train.png")?),
        ("test.png", picture(&data.test, 100).context("test.png")?),
    ];
    let total: usize = pictures.iter().map(|(_, png)| png.len()).sum();
    ensure!(total <= MAX_TOTAL_BYTES, "the pictures have {total} bytes, expected at most {MAX_TOTAL_BYTES}");
    files::create_folder(&args.out)?;
    for (name, png) in &pictures {
        write(&args.out.join(name), png)?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a command says what it made")]
fn write(path: &Path, png: &[u8]) -> anyhow::Result<()> {
    files::write(path, png)?;
    println!("{}: {} bytes", path.display(), png.len());
    Ok(())
}

/// Returns a PNG with the first `n_per_class` images of each class side by side, one row for each class.
fn picture(set: &ImageSet, n_per_class: usize) -> anyhow::Result<Vec<u8>> {
    let n_classes = set.class_names().len();
    let [height, width, channels] = set.block_shape().context("expected images in memory")?;
    let row_len = width * channels;
    let picture_row_len = n_per_class * row_len;
    let mut pixels = vec![0; n_classes * height * picture_row_len];
    for (class, band) in pixels.chunks_exact_mut(height * picture_row_len).enumerate() {
        let members: Vec<usize> =
            (0..set.len()).filter(|&i| set.label(i) as usize == class).take(n_per_class).collect();
        ensure!(members.len() == n_per_class, "class {class} has only {} images", members.len());
        for (place, &i) in members.iter().enumerate() {
            for (row, image_row) in set.read(i)?.pixels.chunks_exact(row_len).enumerate() {
                band[row * picture_row_len + place * row_len..][..row_len].copy_from_slice(image_row);
            }
        }
    }
    encode(&pixels, n_per_class * width, n_classes * height)
}

/// Encodes `pixels` (RGB) as PNG. Of the filters and layouts tried on these images, the adaptive filter with this layout came
/// within 0.1 % of the smallest.
fn encode(pixels: &[u8], width: usize, height: usize) -> anyhow::Result<Vec<u8>> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, u32::try_from(width)?, u32::try_from(height)?);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_deflate_compression(png::DeflateCompression::Level(9));
    encoder.set_filter(png::Filter::Adaptive);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(png)
}
