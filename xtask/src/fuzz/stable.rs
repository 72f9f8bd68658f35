//! `cargo xtask fuzz --stable`: gives the readers inputs that are changed by chance, with the compiler that is there.
//!
//! The test `tests/readers` makes the inputs, each from its number. So a stopped campaign goes on with the next number. A reader is
//! at work in processes of its own, one after the other, so that the peak memory is that of this reader.
#![expect(clippy::print_stderr, reason = "says what came of the readers")]

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tallow_core::terminal::Terminal;
use tallow_core::{Bar, Unit, digest, files};

use super::{Args, chosen};

/// Number of inputs of a reader's first process, and how long each of the others should take, in seconds.
const FIRST_INPUTS: u64 = 100;
const PROCESS_SECS: f64 = 20.0;

/// Longest time of an input.
const MAX_MS: f64 = 1000.0;

/// The test that is not one of a reader.
const OF_NO_READER: &str = "every_reader_has_a_test";

/// The environment variable that asks for some of the inputs.
const ASK_FOR: &str = "TALLOW_INPUTS";

/// What came of the inputs of one process, as the process says it.
#[derive(Clone, Debug, Deserialize)]
struct Part {
    read: u64,
    slowest_ms: f64,
    slowest_input: u64,
    peak_bytes: Option<u64>,
}

/// What came of a reader so far. It is kept in a file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Tally {
    /// The digest of the program: another one begins anew.
    program: String,
    inputs: u64,
    read: u64,
    secs: f64,
    slowest_ms: f64,
    peak_bytes: u64,
    /// What is wrong, and with which input, if anything.
    finding: Option<String>,
}

/// Gives inputs to the readers, and prints a table.
///
/// What came of each reader is in `folder`, so that the next call goes on.
///
/// # Errors
/// If the tests cannot be built, a reader does not exist, or there is a finding.
pub(super) fn run(args: &Args, folder: &Path) -> Result<()> {
    files::create_folder(folder)?;
    let program = build(folder)?;
    let listed = crate::output(&program, &["--list", "--format", "terse"].map(OsStr::new))?;
    let listed = String::from_utf8(listed).context("the names are not text")?;
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let readers = chosen(args, names.filter(|name| *name != OF_NO_READER).collect())?;
    let mut tallies = Vec::new();
    for reader in readers {
        tallies.push((reader, campaign(&program, folder, reader, args)?));
    }
    eprint!("{}", table(&tallies));
    let n_findings = tallies.iter().filter(|(_, tally)| tally.finding.is_some()).count();
    ensure!(n_findings == 0, "{n_findings} readers broke a promise");
    Ok(())
}

/// Builds the test of the readers, and returns the path of a copy in `folder`: a later build does not change it.
fn build(folder: &Path) -> Result<PathBuf> {
    let words = "test --workspace --test readers --no-run --message-format json-render-diagnostics";
    let words: Vec<&OsStr> = words.split(' ').map(OsStr::new).collect();
    let said = String::from_utf8(crate::output(Path::new("cargo"), &words)?)?;
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test = message["target"]["name"] == "readers";
        message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
    };
    let built = said.lines().find_map(executable).context("cargo does not say where the test is")?;
    let program = folder.join("readers");
    if program.exists() {
        fs::remove_file(&program)?; // it cannot be written to while it runs
    }
    fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    Ok(program)
}

/// Gives a reader the inputs that it did not have yet, until there is a finding or the time is over.
fn campaign(program: &Path, folder: &Path, reader: &str, args: &Args) -> Result<Tally> {
    let path = folder.join(format!("{reader}.json"));
    let mut tally = Tally::of_file(&path, digest::of_file(program)?);
    let progress = Terminal::new(false);
    let bar = Bar::go_on(&progress, reader, Some(args.runs), Unit::Items("inputs"), tally.inputs);
    let started = Instant::now();
    let limit = args.max_secs.map(Duration::from_secs);
    while tally.inputs < args.runs
        && tally.finding.is_none()
        && limit.is_none_or(|limit| started.elapsed() < limit)
    {
        let left = limit.map_or(f64::INFINITY, |limit| limit.saturating_sub(started.elapsed()).as_secs_f64());
        let end = args.runs.min(tally.inputs + tally.next(left));
        tally.give(program, folder, reader, tally.inputs..end)?;
        let text = serde_json::to_string_pretty(&tally)?;
        files::write(&path, text.as_bytes())?;
        bar.advance(tally.inputs);
    }
    Ok(tally)
}

impl Tally {
    /// Reads what came of a reader in `program`: nothing, if there is no such file, or it is of another program.
    fn of_file(path: &Path, program: String) -> Self {
        let kept = fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        kept.filter(|tally| tally.program == program).unwrap_or(Self { program, ..Self::default() })
    }

    /// Returns how many inputs the next process gets, if `left_secs` are left.
    fn next(&self, left_secs: f64) -> u64 {
        if self.inputs == 0 {
            return FIRST_INPUTS;
        }
        let secs = PROCESS_SECS.min(left_secs);
        // the first inputs take longer than others: the rate is known by and by
        let at_rate = self.inputs as f64 / self.secs.max(f64::MIN_POSITIVE) * secs;
        (at_rate as u64).clamp(1, 4 * self.inputs)
    }

    /// Gives a reader the inputs of these numbers, and adds what came of them.
    fn give(&mut self, program: &Path, folder: &Path, reader: &str, numbers: Range<u64>) -> Result<()> {
        let log = folder.join(format!("{reader}.log"));
        let mut test = Command::new(program);
        test.args([reader, "--exact", "--nocapture", "--test-threads", "1"]).current_dir(crate::root());
        test.env(ASK_FOR, format!("{}..{}", numbers.start, numbers.end)).stdin(Stdio::null());
        let out = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        test.stdout(out.try_clone()?).stderr(out);
        let started = Instant::now();
        let status = test.status().with_context(|| format!("cannot run {}", program.display()))?;
        let secs = started.elapsed().as_secs_f64();
        let said = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        match part(&String::from_utf8_lossy(&said)).filter(|_| status.success()) {
            Some(part) => self.add(numbers.end - numbers.start, secs, &part),
            None => {
                let Range { start, end } = numbers;
                self.finding = Some(format!("{ASK_FOR}={start}..{end}: {status}: {}", log.display()));
            }
        }
        Ok(())
    }

    fn add(&mut self, n_inputs: u64, secs: f64, part: &Part) {
        self.inputs += n_inputs;
        self.secs += secs;
        self.read += part.read;
        self.slowest_ms = self.slowest_ms.max(part.slowest_ms);
        self.peak_bytes = self.peak_bytes.max(part.peak_bytes.unwrap_or(0));
        if part.slowest_ms > MAX_MS {
            self.finding = Some(format!("input {} took {:.0} ms", part.slowest_input, part.slowest_ms));
        }
    }
}

/// Returns what a process says at its end, among the words of the test's program.
fn part(said: &str) -> Option<Part> {
    let at = said.rfind("{\"read\":")?;
    serde_json::Deserializer::from_str(&said[at..]).into_iter().next()?.ok()
}

/// Returns the table of all readers.
fn table(tallies: &[(&str, Tally)]) -> String {
    let header = ["inputs", "read", "refused", "inputs/s", "slowest ms", "peak MB"];
    let line = |name: &str, cells: [String; 6], finding: &str| {
        let cells: String = cells.iter().map(|cell| format!(" {cell:>10}")).collect();
        format!("{name:<20}{cells}  {finding}\n")
    };
    let rows = tallies.iter().map(|(reader, tally)| {
        let Tally { inputs, read, secs, slowest_ms, peak_bytes, finding, .. } = tally;
        let cells = [
            inputs.to_string(),
            read.to_string(),
            (inputs - read).to_string(),
            format!("{:.0}", *inputs as f64 / secs.max(f64::MIN_POSITIVE)),
            format!("{slowest_ms:.1}"),
            format!("{:.0}", *peak_bytes as f64 / 1e6),
        ];
        line(reader, cells, finding.as_deref().unwrap_or("none"))
    });
    [line("reader", header.map(str::to_owned), "finding")].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(slowest_ms: f64) -> Part {
        let line =
            format!("{{\"read\":30,\"slowest_ms\":{slowest_ms},\"slowest_input\":7,\"peak_bytes\":5000000}}");
        part(&format!("running 1 test\ntest history ... {line}\nok\n\ntest result: ok. 1 passed\n")).unwrap()
    }

    #[test]
    fn processes_add_up_to_a_row() {
        let mut tally = Tally::default();
        tally.add(100, 0.5, &said(1.5));
        tally.add(300, 1.5, &said(0.25));
        assert_eq!(tally.finding, None);
        let text = table(&[("history", tally.clone())]);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["history", "400", "60", "340", "200", "1.5", "5", "none"]);
        tally.add(1, 2.0, &said(1000.5));
        assert_eq!(tally.finding.as_deref(), Some("input 7 took 1000 ms"));
        assert!(part("test history ... FAILED\n").is_none());
    }

    #[test]
    fn a_process_takes_its_time_and_no_more() {
        let mut tally = Tally::default();
        assert_eq!(tally.next(f64::INFINITY), FIRST_INPUTS);
        (tally.inputs, tally.secs) = (100, 0.1);
        assert_eq!(tally.next(f64::INFINITY), 400, "a first rate may be far from the truth");
        (tally.inputs, tally.secs) = (100_000, 100.0);
        assert_eq!(tally.next(f64::INFINITY), 20_000);
        assert_eq!(tally.next(2.0), 2000);
        assert_eq!(tally.next(0.0), 1);
    }

    /// Figures of one program say nothing about another.
    #[test]
    fn a_campaign_goes_on_with_the_same_program_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.json");
        assert_eq!(Tally::of_file(&path, "a".into()).inputs, 0);
        let tally = Tally { program: "a".into(), inputs: 5, ..Tally::default() };
        fs::write(&path, serde_json::to_vec(&tally).unwrap()).unwrap();
        assert_eq!(Tally::of_file(&path, "a".into()).inputs, 5);
        assert_eq!(Tally::of_file(&path, "b".into()).inputs, 0);
    }
}
