//! Chores of this repository: `cargo xtask <command>`. This file only dispatches; each command has a file.
#![forbid(unsafe_code)]

pub mod check;
pub mod check_cuda;
pub mod check_onnx;
pub mod check_wheel;
pub mod dist;
pub mod fetch_data;
pub mod make_sample;
pub mod recipe_keys;
pub mod tidy;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use tallow_core::terminal::print_error;

/// Chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Format, tidy, clippy, tests and docs, cheapest first: what continuous integration runs
    Check,
    /// Type-check the feature `cuda` on a machine without CUDA (Linux); no kernel is compiled, nothing runs
    CheckCuda,
    /// Have another program (tract) compute every architecture's ONNX file, and compare its logits with the kernels'
    CheckOnnx,
    /// Build the Python package, install it into an environment of its own, and run the command
    CheckWheel,
    /// Pack the release binary with completions and man pages
    Dist(dist::Args),
    /// Check what the compiler does not: layers, unsafe code, file headers and sizes, paths named in documents
    Tidy,
    /// Download CIFAR-10 or CIFAR-100 into the data folder
    FetchData(fetch_data::Args),
    /// Make the embedded sample from the whole of CIFAR-10
    MakeSample(make_sample::Args),
    /// Write docs/recipe-keys.md from the table of keys
    RecipeKeys,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(error.chain().map(ToString::to_string));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Check => check::run(),
        Command::CheckCuda => check_cuda::run(),
        Command::CheckOnnx => check_onnx::run(),
        Command::CheckWheel => check_wheel::run(),
        Command::Dist(args) => dist::run(&args),
        Command::Tidy => tidy::run(),
        Command::FetchData(args) => fetch_data::run(args),
        Command::MakeSample(args) => make_sample::run(args),
        Command::RecipeKeys => recipe_keys::run(),
    }
}

/// Cargo's target folder.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Runs a program in the root of the repository, and returns its standard output. Its standard error is shown.
fn output(program: &Path, arguments: &[&OsStr]) -> anyhow::Result<Vec<u8>> {
    let mut command = Process::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null()).stderr(Stdio::inherit());
    let done = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(done.status.success(), "{} failed ({})", program.display(), done.status);
    Ok(done.stdout)
}

/// The root of the repository.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
