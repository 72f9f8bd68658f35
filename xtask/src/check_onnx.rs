//! `cargo xtask check-onnx`: writes every architecture as an ONNX file, and has another program (`tests/tract`) run the files.
//!
//! That program is a separate workspace. Its dependencies take minutes to compile, and would change the features with which the
//! main workspace's dependencies are compiled. `python/check_onnx.py` checks the same files with ONNX Runtime.
#![expect(clippy::print_stderr, reason = "says where the files are")]

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Writes the files, then runs and compares them. Removes the folder if all logits agree.
///
/// # Errors
/// If a command fails, or a logit differs.
pub fn run() -> anyhow::Result<()> {
    let folder = crate::target().join("check-onnx");
    eprintln!("ONNX files in {}", folder.display());
    cargo("test --workspace --test architectures", &[], &folder)?;
    cargo("run --manifest-path tests/tract/Cargo.toml --", &[&folder], &folder)?;
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

fn cargo(command: &str, arguments: &[&Path], out: &Path) -> anyhow::Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(command.split_whitespace()).args(arguments).env("TALLOW_ONNX_OUT", out);
    let status = cargo.current_dir(crate::root()).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run cargo {command}"))?;
    if !status.success() {
        bail!("cargo {command} failed ({status})");
    }
    Ok(())
}
