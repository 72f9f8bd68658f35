//! Runs each ONNX file of a folder with `tract`, and compares the logits with those in a file beside it.
//!
//! `cargo test --workspace --test architectures` writes the files into the folder TALLOW_ONNX_OUT: NAME.onnx, the images as bytes
//! in NAME.NxHxWx3.u8, and the kernels' logits in NAME.logits.f32.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tract_onnx::prelude::*;

/// Largest accepted error of a logit, relative to the largest absolute logit.
const TOLERANCE: f32 = 1e-4;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args_os().nth(1).context("usage: tract_check FOLDER")?);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .collect();
    files.sort();
    ensure!(!files.is_empty(), "no ONNX file in {}", folder.display());
    for file in &files {
        let error = check(file).with_context(|| file.display().to_string())?;
        println!("{}  largest error {error:.1e}", file.file_stem().unwrap_or_default().to_string_lossy());
    }
    Ok(())
}

/// Runs one file, and compares its logits. Returns the largest error, relative to the largest absolute logit.
fn check(file: &Path) -> Result<f32> {
    let name = file.file_stem().context("no name")?.to_string_lossy().into_owned();
    let folder = file.parent().context("no folder")?;
    let (images, [n, h, w]) = images(folder, &name)?;
    let model = tract_onnx::onnx()
        .model_for_path(file)?
        .with_input_fact(0, InferenceFact::dt_shape(u8::datum_type(), [n, h, w, 3]))?
        .into_optimized()?
        .into_runnable()?;
    let input = tract_ndarray::Array4::from_shape_vec((n, h, w, 3), images)?;
    let outputs = model.run(tvec!(Tensor::from(input).into()))?;
    let found: Vec<f32> = outputs[0].to_plain_array_view::<f32>()?.iter().copied().collect();
    let expected = fs::read(folder.join(format!("{name}.logits.f32")))?;
    let expected: Vec<f32> =
        expected.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    ensure!(found.len() == expected.len(), "{} logits, expected {}", found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |largest, e| largest.max(e.abs()));
    let error = found.iter().zip(&expected).map(|(f, e)| (f - e).abs()).fold(0.0, f32::max) / largest;
    ensure!(error <= TOLERANCE, "error {error:e}: {found:?}, expected {expected:?}");
    Ok(error)
}

/// Reads the images. Returns their bytes, and their number, rows and columns [N, H, W].
fn images(folder: &Path, name: &str) -> Result<(Vec<u8>, [usize; 3])> {
    for entry in fs::read_dir(folder)? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let Some(sizes) = file.strip_prefix(&format!("{name}.")).and_then(|rest| rest.strip_suffix("x3.u8"))
        else {
            continue;
        };
        let sizes: Vec<usize> = sizes.split('x').map(str::parse).collect::<Result<_, _>>()?;
        let sizes: [usize; 3] = sizes.try_into().ok().context("expected N x H x W")?;
        return Ok((fs::read(folder.join(&file))?, sizes));
    }
    anyhow::bail!("no images beside it")
}
