//! `cargo xtask fetch-data`: CIFAR-10 or CIFAR-100 into the data folder. The work is `tallow_dataset::fetch`'s.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use tallow_core::StopFlag;
use tallow_core::terminal::Terminal;
use tallow_dataset::fetch::{FetchError, FetchRequest, Fetched, Which, fetch};

/// Get CIFAR-10 or CIFAR-100 (binary version): downloaded, checked and unpacked, whole or not at all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which data set
    #[arg(long, value_name = "NAME", default_value = "cifar10", value_parser = which())]
    pub dataset: Which,
    /// The folder that the data set's folder goes into
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
    /// Another address (http or https), or an archive on this machine, instead of the official address
    #[arg(long, value_name = "URL|FILE")]
    pub from: Option<String>,
}

fn which() -> impl clap::builder::TypedValueParser<Value = Which> {
    PossibleValuesParser::new(["cifar10", "cifar100"]).try_map(|name| name.parse())
}

/// Fetches, or says that the data set is there already.
///
/// # Errors
/// What went wrong and what to do about it. A stop ends the process with the status that shells expect.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command says what it did")]
pub fn run(args: Args) -> anyhow::Result<()> {
    let stop = StopFlag::on_signals()?;
    let request = FetchRequest { from: args.from, ..FetchRequest::new(args.dataset, args.data_dir) };
    let title = &request.spec.title;
    match fetch(&request, &Terminal::new(false), &stop) {
        Ok(Fetched::AlreadyThere { path }) => println!("{title} is in {} already, whole", path.display()),
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
