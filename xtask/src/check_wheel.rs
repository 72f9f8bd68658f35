//! `cargo xtask check-wheel`: builds the Python package, installs it into an environment of its own, and runs the command.
//!
//! pip fetches maturin, so this needs a package index; `cargo xtask check` leaves it out.
#![expect(clippy::print_stderr, reason = "says where the wheel is")]

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Builds, installs and runs.
///
/// # Errors
/// If a step fails, or the installed command has another version.
pub fn run() -> Result<()> {
    let folder = crate::target().join("check-wheel");
    let (programs, wheels) = (crate::python_environment(&folder)?, folder.join("wheels"));
    let (pip, trainer) = (programs.join("pip"), programs.join("trainer"));
    let call = |program: &Path, words: &str, path: &Path| {
        let words = words.split(' ').map(OsStr::new).chain([path.as_os_str()]);
        crate::output(program, &words.collect::<Vec<_>>())
    };
    call(&pip, "wheel . --no-deps --wheel-dir", &wheels)?;
    let found = |name: &str| name.starts_with("tallow-") && name.ends_with(".whl");
    let mut entries = std::fs::read_dir(&wheels)?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = entries.find(|path| found(&path.file_name().unwrap_or_default().to_string_lossy()));
    let wheel = wheel.with_context(|| format!("no wheel in {}", wheels.display()))?;
    call(&pip, "install --force-reinstall --no-deps", &wheel)?;
    let version = String::from_utf8(crate::output(&trainer, &[OsStr::new("--version")])?)?;
    ensure!(version.trim() == concat!("trainer ", env!("CARGO_PKG_VERSION")), "the wheel has {version}");
    eprintln!("{}: {}", wheel.display(), version.trim());
    Ok(())
}
