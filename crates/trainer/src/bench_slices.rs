//! `trainer bench --slices`: runs a network on request, so that several programs can take turns of about a second
//! (`benches/peers/compare.py`). Processors can halve their speed for minutes, so only measurements within the same few
//! seconds are comparable.
//!
//! After warming up, the program prints one line of JSON. Then each line of standard input is a number of seconds, and each
//! answer is a line of JSON. The program ends with its input.

use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::App;
use crate::bench::Bench;
use crate::output;

/// Warm-up before the first slice: this many steps, or those that begin within this many seconds, if fewer.
const WARM_UP_STEPS: usize = 3;
const WARM_UP_SECS: f64 = 3.0;

/// The first line of output.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    name: &'static str,
    /// The resolved precision.
    how: &'static str,
    isa: &'static str,
}

/// The results of one slice.
#[derive(Serialize)]
struct Slice {
    images_per_second: f64,
    n_steps: usize,
    /// Seconds of all steps together. At least the requested time, minus the time for copying the images.
    secs: f64,
    /// Peak GFLOP/s of the processor without memory access, right after the slice.
    peak_gflops: Option<f64>,
}

/// Answers requests until standard input ends or a stop is requested.
pub(crate) fn run(mut bench: Bench, app: &App) -> Result<ExitCode> {
    let began = Instant::now();
    for n_steps in 0..WARM_UP_STEPS {
        if n_steps > 0 && began.elapsed().as_secs_f64() >= WARM_UP_SECS {
            break;
        }
        bench.step()?;
    }
    let isa = tallow_kernels::isa().as_str();
    say(&Ready { ready: true, name: "Tallow", how: bench.precision(), isa })?;
    for line in io::stdin().lock().lines() {
        let secs = seconds(&line.context("cannot read standard input")?)?;
        let slice = slice(&mut bench, secs, app)?;
        if let Some(signal) = app.stop.raised() {
            return Ok(ExitCode::from(signal.exit_status()));
        }
        say(&slice)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Parses the seconds that a line of standard input requests.
fn seconds(line: &str) -> Result<f64> {
    let secs = line.trim().parse().ok().filter(|secs: &f64| secs.is_finite() && *secs > 0.0);
    secs.with_context(|| format!("standard input: {line:?}: expected seconds, such as 1.0"))
}

/// Takes steps until `secs` have passed, but at least one.
fn slice(bench: &mut Bench, secs: f64, app: &App) -> Result<Slice> {
    let began = Instant::now();
    let (mut n_steps, mut step_secs) = (0, 0.0);
    while n_steps == 0 || began.elapsed().as_secs_f64() < secs && app.stop.raised().is_none() {
        step_secs += bench.step()?;
        n_steps += 1;
    }
    let images_per_second = (n_steps * bench.batch_size()) as f64 / step_secs;
    Ok(Slice { images_per_second, n_steps, secs: step_secs, peak_gflops: bench.peak_gflops() })
}

fn say(value: &impl Serialize) -> Result<()> {
    output::line(&serde_json::to_string(value)?)
}
