//! `cargo xtask check`: runs everything that must pass before a change is done, the cheapest first. It runs and prints the
//! commands that a person would type, and stops at the first failure.
#![expect(clippy::print_stderr, reason = "says which step runs and how long it took")]

use std::env;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};

/// A command as typed, split at its blanks, and an environment variable for it.
struct Step {
    command: &'static str,
    variable: Option<(&'static str, &'static str)>,
}

const fn step(command: &'static str) -> Step {
    Step { command, variable: None }
}

/// Tests that depend on the instruction set, run at a lower one than the processor's. The features are those of the tests
/// before, so nothing is compiled again.
const fn at_isa(isa: &'static str) -> Step {
    let command = "cargo test --workspace --test kernels --test paths --test pytorch_goldens";
    Step { command, variable: Some(("TALLOW_ISA", isa)) }
}

/// All features of the packages without Candle are on in the workspace; `cuda`, `metal` and `mpi` do not build everywhere.
const STEPS: [Step; 7] = [
    step("cargo fmt --all --check"),
    step("cargo xtask tidy"),
    step("cargo clippy --workspace --all-targets -- -D warnings"),
    step("cargo test --workspace"),
    at_isa("portable"),
    at_isa("avx2"),
    Step { command: "cargo doc --workspace --no-deps", variable: Some(("RUSTDOCFLAGS", "-D warnings")) },
];

/// Runs every step.
///
/// # Errors
/// If a step fails; the message has the command to repeat.
pub fn run() -> anyhow::Result<()> {
    let start = Instant::now();
    for (i, step) in STEPS.iter().enumerate() {
        eprintln!("[{}/{}] {}", i + 1, STEPS.len(), step.as_typed());
        let step_start = Instant::now();
        step.run()?;
        eprintln!("[{}/{}] {:.1} s", i + 1, STEPS.len(), step_start.elapsed().as_secs_f64());
    }
    eprintln!("all {} steps passed in {:.1} s", STEPS.len(), start.elapsed().as_secs_f64());
    Ok(())
}

impl Step {
    fn as_typed(&self) -> String {
        match self.variable {
            Some((name, value)) => format!("{name}='{value}' {}", self.command),
            None => self.command.to_owned(),
        }
    }

    fn run(&self) -> anyhow::Result<()> {
        let words: Vec<&str> = self.command.split_whitespace().collect();
        let (program, args) = match words[..] {
            // this is that program: compiled with the features of the workspace, it would be compiled again without
            ["cargo", "xtask", ref args @ ..] => {
                (env::current_exe().context("cannot find this program")?, args)
            }
            [program, ref args @ ..] => (program.into(), args),
            [] => bail!("a step without a command"),
        };
        let mut command = Command::new(program);
        command.args(args).current_dir(crate::root()).stdin(Stdio::null());
        command.envs(self.variable);
        let status = command.status().with_context(|| format!("cannot run {}", self.as_typed()))?;
        if !status.success() {
            bail!("a step failed ({status}); to repeat it alone: {}", self.as_typed());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_failing_step_is_an_error_that_names_its_command() {
        assert!(step("true").run().is_ok());
        let error = step("false").run().unwrap_err().to_string();
        assert!(error.ends_with("to repeat it alone: false"), "{error}");
    }
}
