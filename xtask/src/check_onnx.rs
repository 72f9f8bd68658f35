//! `cargo xtask check-onnx`: every architecture as an ONNX file, computed by another program (`tests/tract`).
//!
//! That program is a project of its own: its dependencies take minutes to compile, and would change the features that the
//! workspace's are compiled with. The same files can be checked by ONNX Runtime: `python/check_onnx.py`.
#![expect(clippy::print_stderr, reason = "says where the files are")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Writes the files, then has them computed.
///
/// # Errors
/// If a command fails, or a logit differs.
pub fn run() -> anyhow::Result<()> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from);
    let folder = target.join("check-onnx");
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
