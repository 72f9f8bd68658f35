//! `cargo xtask fuzz`: gives millions of inputs to every reader of bytes from outside (`fuzz`), under limits of time and memory.
//!
//! The fuzzer is libFuzzer with AddressSanitizer. It needs a nightly compiler and a C++ compiler, and nothing else: the flags
//! below are all that cargo-fuzz would add. [`stable`] does without them, and without a fuzzer.
#![expect(clippy::print_stderr, reason = "says what runs, and what came of it")]

mod stable;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

/// Coverage for libFuzzer, and checks of memory. `fuzzing` makes decoders of compressed data skip checksums.
const RUSTFLAGS: &str = "--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Limits of an input: a second, a gigabyte, 64 kB.
const LIMITS: [&str; 4] = ["-timeout=1", "-rss_limit_mb=1024", "-malloc_limit_mb=1024", "-max_len=65536"];

/// Memory that was freed is kept for a while to notice its use; by default so much that the limit would be reached by it.
const ASAN_OPTIONS: &str = "detect_leaks=0:quarantine_size_mb=16";

/// Give changed inputs to the readers of bytes from outside; needs a nightly compiler, or --stable
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The readers [default: all]
    #[arg(value_name = "READER")]
    pub readers: Vec<String>,
    /// Inputs for each reader
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub runs: u64,
    /// Longest time for each reader, in seconds [default: none]
    #[arg(long, value_name = "SECONDS")]
    pub max_secs: Option<u64>,
    /// Use the compiler that is there: inputs are changed by chance, without a fuzzer. Goes on where the last call stopped
    #[arg(long)]
    pub stable: bool,
}

/// What came of a reader.
struct Outcome {
    reader: String,
    n_inputs: u64,
    secs: f64,
    /// The fuzzer's last words and the file of the input, if there is a finding.
    finding: Option<String>,
}

/// Builds the fuzzer, gives inputs to the readers, and prints a table.
///
/// Inputs that reached new code stay in `target/fuzz/corpus`, so that the next call begins with them. An input that breaks a
/// promise is in `target/fuzz/findings`.
///
/// # Errors
/// If the fuzzer cannot be built, a reader does not exist, or there is a finding.
pub fn run(args: &Args) -> Result<()> {
    let folder = crate::target().join("fuzz");
    if args.stable {
        return stable::run(args, &folder.join("stable"));
    }
    let program = build(&folder)?;
    let names = String::from_utf8(crate::output(&program, &[])?).context("the names are not text")?;
    let chosen = chosen(args, names.lines().collect())?;
    let outcomes =
        chosen.into_iter().map(|reader| fuzz(&program, &folder, reader, args)).collect::<Result<Vec<_>>>()?;
    eprintln!("\n{:<20} {:>12} {:>8}  finding", "reader", "inputs", "seconds");
    for Outcome { reader, n_inputs, secs, finding } in &outcomes {
        eprintln!("{reader:<20} {n_inputs:>12} {secs:>8.0}  {}", finding.as_deref().unwrap_or("none"));
    }
    let n_findings = outcomes.iter().filter(|outcome| outcome.finding.is_some()).count();
    ensure!(n_findings == 0, "{n_findings} readers broke a promise");
    Ok(())
}

/// Returns those of `all` readers that the arguments name: all if they name none.
fn chosen<'a>(args: &Args, all: Vec<&'a str>) -> Result<Vec<&'a str>> {
    if let Some(unknown) = args.readers.iter().find(|reader| !all.contains(&reader.as_str())) {
        bail!("there is no reader {unknown:?}: {}", all.join(", "));
    }
    let is_chosen = |name: &&str| args.readers.is_empty() || args.readers.iter().any(|reader| reader == name);
    Ok(all.into_iter().filter(is_chosen).collect())
}

/// Builds the fuzzer from the versions of the main workspace, and returns its path.
fn build(folder: &Path) -> Result<PathBuf> {
    let project = crate::root().join("fuzz");
    fs::copy(crate::root().join("Cargo.lock"), project.join("Cargo.lock"))
        .context("cannot copy Cargo.lock")?;
    let host = crate::dist::host()?;
    let mut cargo = Command::new("rustup");
    // with a target, the flags are not for build scripts and macros
    cargo.args(["run", "nightly", "cargo", "build", "--target", &host]).current_dir(&project);
    cargo.env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env("CARGO_TARGET_DIR", folder.join("build")).stdin(Stdio::null());
    let status = cargo.status().context("cannot run rustup, which gets a nightly compiler")?;
    ensure!(
        status.success(),
        "the fuzzer cannot be built ({status}); it needs `rustup toolchain install nightly`. `--stable` does not"
    );
    Ok(folder.join("build").join(host).join("debug/reader"))
}

fn fuzz(program: &Path, folder: &Path, reader: &str, args: &Args) -> Result<Outcome> {
    let [corpus, findings, logs] = ["corpus", "findings", "logs"].map(|part| folder.join(part));
    let corpus = corpus.join(reader);
    for folder in [&corpus, &findings, &logs] {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let log = logs.join(format!("{reader}.txt"));
    eprintln!("{reader}: {} inputs, {}", args.runs, log.display());
    let mut fuzzer = Command::new(program);
    fuzzer.arg(&corpus).args(LIMITS).args(["-print_final_stats=1", "-detect_leaks=0"]);
    fuzzer.arg(format!("-runs={}", args.runs));
    fuzzer.args(args.max_secs.map(|secs| format!("-max_total_time={secs}")));
    fuzzer.arg(format!("-artifact_prefix={}/{reader}-", findings.display()));
    fuzzer.env("READER", reader).env("SEEDS", &corpus).env("ASAN_OPTIONS", ASAN_OPTIONS);
    let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    fuzzer.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    let start = Instant::now();
    let status = fuzzer.status().with_context(|| format!("cannot run {}", program.display()))?;
    let secs = start.elapsed().as_secs_f64();
    let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let said = String::from_utf8_lossy(&said);
    let after =
        |words: &str| said.lines().rev().find_map(|line| line.split_once(words)).map(|(_, rest)| rest.trim());
    let n_inputs = after("stat::number_of_executed_units:").and_then(|n| n.parse().ok()).unwrap_or(0);
    let words = after("SUMMARY:").map_or_else(|| format!("ended with {status}"), str::to_owned);
    let file = after("Test unit written to").unwrap_or("no input was kept");
    let finding = (!status.success()).then(|| format!("{words}: {file}"));
    Ok(Outcome { reader: reader.to_owned(), n_inputs, secs, finding })
}
