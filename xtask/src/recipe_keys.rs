//! `cargo xtask recipe-keys`: writes docs/recipe-keys.md from the table of keys. The test that compares the two also writes
//! the page, so nothing needs to be compiled beyond the tests.

use std::process::Command;

use anyhow::{Context as _, ensure};

/// Runs the test in its writing mode.
///
/// # Errors
/// If the test cannot be built, or fails.
pub fn run() -> anyhow::Result<()> {
    let args = "test --quiet --workspace --test recipe_keys -- the_page_is_that_of_the_table";
    let status = Command::new("cargo")
        .args(args.split(' '))
        .env("TALLOW_WRITE_PAGES", "1")
        .current_dir(crate::root())
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "cargo {args}: {status}");
    Ok(())
}
