//! Chores of this repository: `cargo xtask <command>`. This file only dispatches; each command has a file.
#![forbid(unsafe_code)]

pub mod check;
pub mod check_cuda;
pub mod check_mpi;
pub mod check_onnx;
pub mod check_wheel;
pub mod dist;
pub mod fetch_data;
pub mod fuzz;
pub mod make_sample;
pub mod recipe_keys;
pub mod tidy;
#[cfg(unix)]
pub mod torture;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitCode, Stdio};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
#[cfg(unix)]
use tallow_core::terminal::Terminal;
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
    /// Type-check the feature `cuda` on a machine without CUDA (Linux), or build a binary for CUDA there; no kernel runs
    CheckCuda(check_cuda::Args),
    /// Train under `mpirun` with 1, 2 and 4 processes, over TCP and MPI, compare the bits, and kill one; needs an MPI
    CheckMpi,
    /// Have another program (tract) compute every architecture's ONNX file, and compare its logits with the kernels'
    CheckOnnx,
    /// Build the Python package, install it into an environment of its own, and run the command
    CheckWheel,
    /// Pack the release binary with completions and man pages
    Dist(dist::Args),
    /// Give changed inputs to the readers of bytes from outside; needs a nightly compiler, or --stable
    Fuzz(fuzz::Args),
    /// Check what the compiler does not: layers, unsafe code, file headers and sizes, paths named in documents
    Tidy,
    /// Download CIFAR-10 or CIFAR-100 into the data folder
    FetchData(fetch_data::Args),
    /// Make the embedded sample from the whole of CIFAR-10
    MakeSample(make_sample::Args),
    /// Write docs/recipe-keys.md from the table of keys
    RecipeKeys,
    /// Disturb small runs by kills, signals, faults and power losses, resume them, and compare their bits
    #[cfg(unix)]
    Torture(torture::Args),
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
        Command::CheckCuda(args) => check_cuda::run(&args),
        Command::CheckMpi => check_mpi::run(),
        Command::CheckOnnx => check_onnx::run(),
        Command::CheckWheel => check_wheel::run(),
        Command::Dist(args) => dist::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Tidy => tidy::run(),
        Command::FetchData(args) => fetch_data::run(args),
        Command::MakeSample(args) => make_sample::run(args),
        Command::RecipeKeys => recipe_keys::run(),
        #[cfg(unix)]
        Command::Torture(args) => torture::run(&args, trainer, &Terminal::new(false)),
    }
}

/// Builds `trainer` with the profile and the features of the tests, and returns its path.
#[cfg(unix)]
fn trainer() -> anyhow::Result<PathBuf> {
    output(Path::new("cargo"), &["build", "--workspace", "--bin", "trainer"].map(OsStr::new))?;
    Ok(target().join("debug/trainer"))
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

/// Makes a Python environment in `folder`, unless it has one, and returns the folder of the environment's programs.
fn python_environment(folder: &Path) -> anyhow::Result<PathBuf> {
    let environment = folder.join("venv");
    output(Path::new("python3"), &[OsStr::new("-m"), OsStr::new("venv"), environment.as_os_str()])?;
    Ok(environment.join("bin"))
}

/// The root of the repository.
fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}
