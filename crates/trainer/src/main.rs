//! The program: parses arguments, calls the commands, returns the exit status.
//!
//! Results go to standard output, everything else to standard error. Exit statuses: 0 for success, 1 for an error that a
//! message explains, 2 for invalid arguments, 3 for a run that is trained and tested but lacks its report or another file of
//! its end, 130 and 143 when stopped by Ctrl-C or SIGTERM.
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod args;
mod auto;
mod bench;
mod bench_slices;
mod bench_text;
mod caches;
mod calibration;
mod data;
mod duplicates;
mod end;
mod eval;
mod event_pictures;
mod explain;
mod export;
mod export_web;
mod find_lr;
mod grid;
mod inputs;
mod model;
mod model_at;
mod output;
mod places;
mod predict;
mod preparation;
mod pretrained;
mod race;
mod recipe_diff;
mod recipe_input;
mod recipe_keys;
mod recipes;
mod report;
mod runs;
mod series;
#[cfg(feature = "serve")]
mod serve;
mod shell;
mod source;
mod summary;
mod suspects;
mod telling;
mod together;
mod train;
mod trained_on;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, Parser as _};
use tallow_core::shown::{shell_word, shown};
use tallow_core::terminal::{Stderr, Terminal, print_error};
use tallow_core::{Progress as _, StopFlag, files, memory};

use args::{Cli, Command, DataCommand, Global};
use together::Company;

/// A training step allocates and frees large blocks; this allocator keeps them instead of asking the system again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The context of every command.
struct App {
    global: Global,
    progress: Terminal,
    stop: StopFlag,
    /// The start time of the program.
    started: Instant,
    /// The processes that share the work of this command.
    company: Company,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(args::with_default_command(std::env::args_os())) {
        Ok(cli) => cli,
        Err(told) => return help_or_usage(&told),
    };
    init_tracing(&cli.global);
    ended(memory::caught(|| run(cli)).unwrap_or_else(|exhausted| Err(exhausted.into())))
}

/// Prints clap's message. Help and the version are ordinary results; anything else is an error.
fn help_or_usage(told: &clap::Error) -> ExitCode {
    if told.use_stderr() {
        output::usage(
            &mistaken_path(told).unwrap_or_else(|| told.render().ansi().to_string().trim_end().to_owned()),
        );
        return ExitCode::from(2);
    }
    ended(output::colored(told.render().ansi().to_string().trim_end()).map(|()| ExitCode::SUCCESS))
}

/// Returns a message for data that were named without `--dataset`.
fn mistaken_path(told: &clap::Error) -> Option<String> {
    let text = |kind| match told.get(kind) {
        Some(ContextValue::String(name)) if files::exists(Path::new(name)).unwrap_or(false) => Some(name),
        _ => None,
    };
    if let Some(name) = text(ContextKind::InvalidSubcommand) {
        let (name, word) = (shown(name), shell_word(Path::new(name)));
        return Some(format!("error: {name} is not a command. To train on it: trainer --dataset {word}"));
    }
    let all = Cli::command();
    let command = args::with_default_command(std::env::args_os())
        .iter()
        .skip(1)
        .fold(&all, |command, arg| command.find_subcommand(arg).unwrap_or(command));
    let takes_data = command.get_arguments().any(|arg| arg.get_long() == Some("dataset"));
    let name = text(ContextKind::InvalidArg).filter(|_| takes_data)?;
    let (name, word) = (shown(name), shell_word(Path::new(name)));
    Some(format!("error: unexpected argument {name}. Data are named by an option: --dataset {word}"))
}

fn ended(result: Result<ExitCode>) -> ExitCode {
    match result {
        Ok(status) => status,
        Err(error) => {
            print_error(error.chain().map(ToString::to_string));
            match error.is::<recipe_input::Conflict>() {
                true => ExitCode::from(2), // as for all invalid arguments
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let isa = tallow_training::detect_isa(variable("TALLOW_ISA").as_deref())?;
    tallow_training::check_conv_method(variable(tallow_training::CONV_VARIABLE).as_deref())?;
    train::check_thread_variables(variable)?;
    tracing::debug!(isa = isa.as_str(), "instruction set");
    let stop = StopFlag::on_signals().context("cannot catch Ctrl-C")?;
    let started = Instant::now();
    let company = Company::gather(&cli.command, variable)?;
    let quiet = cli.global.quiet || !company.is_first(); // one of them talks
    let global = Global { quiet, ..cli.global };
    let app = App { progress: Terminal::new(quiet), global, stop, started, company };
    if std::env::args_os().len() == 1 {
        app.progress.say(args::ALONE);
    }
    let ended = match cli.command {
        Command::Train(args) => train::run(&args, &app),
        Command::Seeds(args) => series::run(&args, &app),
        Command::FindLr(args) => find_lr::run(&args, &app),
        Command::Predict(args) => predict::run(&args, &app),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args, &app),
        Command::Eval(args) => eval::run(&args, &app),
        Command::Explain(args) => explain::run(&args, &app),
        Command::Export(args) => export::run(&args, &app),
        Command::Summary(args) => summary::run(&args, &app),
        Command::Bench(args) => bench::run(&args, &app),
        Command::Report(args) => report::report(&args, &app),
        Command::Compare(args) => report::compare(&args, &app),
        Command::Card(args) => report::card(&args, &app),
        Command::Runs(args) => runs::run(&args, &app),
        Command::Verify(args) => verify::run(&args, &app),
        Command::Recipes(args) => recipes::run(&args, &app),
        Command::Completions(args) => shell::completions(&args, &app),
        Command::Man(args) => shell::man(&args, &app),
        Command::Data { command: DataCommand::Info(args) } => data::info(&args, &app),
        Command::Data { command: DataCommand::Verify(args) } => data::verify(&args, &app),
        Command::Data { command: DataCommand::Grid(args) } => grid::run(&args, &app),
        Command::Data { command: DataCommand::Duplicates(args) } => duplicates::run(&args, &app),
        Command::Data { command: DataCommand::Suspects(args) } => suspects::run(&args, &app),
        Command::Data { command: DataCommand::Caches(args) } => caches::run(&args, &app),
    };
    let ended = app.company.conclude(ended);
    match ended.as_ref().err().and_then(pretrained::stopped) {
        Some(signal) => {
            app.progress.say("Stopped. What was downloaded is kept: run the same command to continue");
            Ok(ExitCode::from(signal.exit_status()))
        }
        None => ended,
    }
}

/// Sets up diagnostics on standard error: warnings, more with `-v`, or as `RUST_LOG` says.
fn init_tracing(global: &Global) {
    let level = match global.verbose {
        0 => "warn",
        1 => "warn,trainer=debug,tallow_training=debug,tallow_dataset=debug",
        _ => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::stderr_has_colors())
        .with_writer(|| Stderr)
        .with_target(false)
        .log_internal_errors(false) // a diagnostic that cannot be written is dropped
        .init();
}
