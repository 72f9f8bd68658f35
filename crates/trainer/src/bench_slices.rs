//! `trainer bench --slices`: a network that works when it is told to, so that several programs can take turns of about
//! a second (`benches/peers/compare.py`). Where the processor halves its speed for minutes, what was measured within
//! the same few seconds can be compared, and nothing else.
//!
//! Once warm, it says so in one line of JSON. Then each line of standard input is a number of seconds, and each answer
//! a line of JSON. The end of the input ends it.

use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::App;
use crate::bench::Bench;
use crate::output;

/// Steps before the first slice: so many, or as many as begin within so many seconds.
const WARM_UP_STEPS: usize = 3;
const WARM_UP_SECS: f64 = 3.0;

/// The first line.
#[derive(Serialize)]
struct Ready {
    ready: bool,
    name: &'static str,
    /// The precision that was resolved.
    how: &'static str,
    isa: &'static str,
}

/// What one slice came to.
#[derive(Serialize)]
struct Slice {
    images_per_second: f64,
    n_steps: usize,
    /// Of all steps together: no less than was asked for, but for what handing over the images takes.
    secs: f64,
    /// What the processor reaches without memory, right after the slice.
    peak_gflops: Option<f64>,
}

/// Answers until standard input ends or somebody asks to stop.
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

/// What a line of standard input asks for.
fn seconds(line: &str) -> Result<f64> {
    let secs = line.trim().parse().ok().filter(|secs: &f64| secs.is_finite() && *secs > 0.0);
    secs.with_context(|| format!("standard input: {line:?}: expected seconds, such as 1.0"))
}

/// Steps until `secs` have passed; one at least.
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
