//! `cargo xtask fetch-data`: downloads CIFAR-10 or CIFAR-100 into the data folder. `tallow_dataset::fetch` does the work.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use tallow_core::StopFlag;
use tallow_core::terminal::Terminal;
use tallow_dataset::fetch::{FetchError, FetchRequest, Fetched, Which, fetch};

/// Download CIFAR-10 or CIFAR-100 (binary version), check and unpack it, either completely or not at all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data set to download
    #[arg(long, value_name = "NAME", default_value = "cifar10", value_parser = which())]
    pub dataset: Which,
    /// Parent folder for the data set's folder
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Another address (http or https), or an archive on this machine, instead of the official address
    #[arg(long, value_name = "URL|FILE")]
    pub from: Option<String>,
}

fn which() -> impl clap::builder::TypedValueParser<Value = Which> {
    PossibleValuesParser::new(["cifar10", "cifar100"]).try_map(|name| name.parse())
}

/// Downloads the data set, or reports that it already exists.
///
/// # Errors
/// The error tells what went wrong and what to do about it. A stop ends the process with the status that shells expect.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command says what it did")]
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let request = FetchRequest { from: args.from, ..FetchRequest::new(args.dataset, args.data_dir) };
    let title = &request.spec.title;
    match fetch(&request, &Terminal::new(false), &stop) {
        Ok(Fetched::AlreadyThere { path }) => println!("{title} is already in {}, complete", path.display()),
        Ok(Fetched::Fetched { path, n_bytes }) => {
            println!("{title} is in {} ({n_bytes} bytes)", path.display())
        }
        Err(error @ FetchError::Stopped(signal)) => {
            eprintln!("{error}");
            std::process::exit(signal.exit_status().into());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
