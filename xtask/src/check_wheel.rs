//! `cargo xtask check-wheel`: builds the Python package, installs it into an environment of its own, and runs the command.
//!
//! pip fetches maturin, so this needs a package index; `cargo xtask check` leaves it out.
#![expect(clippy::print_stderr, reason = "says where the wheel is")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// Builds, installs and runs.
///
/// # Errors
/// If a step fails, or the installed command has another version.
pub fn run() -> Result<()> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from);
    let (environment, wheels) = (target.join("check-wheel/venv"), target.join("check-wheel/wheels"));
    let bin = environment.join("bin");
    output("python3", &["-m".as_ref(), "venv".as_ref(), &environment])?;
    let pip = bin.join("pip");
    let pip = pip.to_string_lossy();
    output(&pip, &["wheel".as_ref(), ".".as_ref(), "--no-deps".as_ref(), "--wheel-dir".as_ref(), &wheels])?;
    let found = |name: &str| name.starts_with("tallow-") && name.ends_with(".whl");
    let mut entries = std::fs::read_dir(&wheels)?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = entries.find(|path| found(&path.file_name().unwrap_or_default().to_string_lossy()));
    let wheel = wheel.with_context(|| format!("no wheel in {}", wheels.display()))?;
    output(&pip, &["install".as_ref(), "--force-reinstall".as_ref(), "--no-deps".as_ref(), &wheel])?;
    let version = output(&bin.join("trainer").to_string_lossy(), &["--version".as_ref()])?;
    ensure!(version.trim() == concat!("trainer ", env!("CARGO_PKG_VERSION")), "the wheel has {version}");
    eprintln!("{}: {}", wheel.display(), version.trim());
    Ok(())
}

/// Runs a program in the root of the repository, and returns what it prints.
fn output(program: &str, arguments: &[&Path]) -> Result<String> {
    let done = Command::new(program)
        .args(arguments)
        .current_dir(crate::root())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        done.status.success(),
        "{program} failed ({}): {}",
        done.status,
        String::from_utf8_lossy(&done.stdout)
    );
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
