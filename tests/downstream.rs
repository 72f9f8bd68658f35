//! Programs outside the workspace that use its libraries, as any other program would: checks what they import, and that they
//! run.
//!
//! They are in `tests/downstream`. A copy of each is built in the target folder, with the workspace's locked versions. So
//! nothing is downloaded, and nothing is written among the sources.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Sandbox, repository};

/// A copy of a program of `tests/downstream`, ready to build.
struct Program {
    name: &'static str,
    folder: PathBuf,
}

impl Program {
    fn copy(name: &'static str) -> Self {
        let (from, folder) = (repository().join("tests/downstream").join(name), downstream().join(name));
        fs::create_dir_all(folder.join("src")).unwrap();
        let root = fs::canonicalize(repository()).unwrap();
        let manifest = fs::read_to_string(from.join("Cargo.toml")).unwrap();
        let manifest = manifest.replace("../../../", &format!("{}/", root.display()));
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
        // with the time of the original, so that an unchanged file is not compiled again
        let (source, copy) = (from.join("src/main.rs"), folder.join("src/main.rs"));
        fs::copy(&source, &copy).unwrap();
        let modified = fs::metadata(&source).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&copy).unwrap().set_modified(modified).unwrap();
        Self { name, folder }
    }

    /// Runs cargo with `args`, which must succeed; returns its standard output.
    #[track_caller]
    fn cargo(&self, args: &str) -> String {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(args.split_whitespace()).arg("--offline").current_dir(&self.folder);
        let done = cargo.env("CARGO_TARGET_DIR", target()).output().unwrap();
        assert!(done.status.success(), "{}: {args}: {}", self.name, String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// The names of the crates that the program is compiled from.
    #[track_caller]
    fn crates(&self, features: &str) -> Vec<String> {
        let tree = self.cargo(&format!("tree --edges normal,build --prefix none --format {{p}} {features}"));
        let mut names: Vec<String> =
            tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Builds and runs the program; returns its output.
    #[track_caller]
    fn run(&self, features: &str, args: &[&Path]) -> String {
        self.cargo(&format!("build --quiet {features}"));
        let sandbox = Sandbox::new();
        let mut command = Command::new(target().join("debug").join(self.name));
        command.args(args);
        sandbox.start_command(command, self.name).wait().ok().stdout
    }
}

fn downstream() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("downstream")
}

/// One target folder for all programs, so that common imports are compiled once.
fn target() -> PathBuf {
    downstream().join("target")
}

#[track_caller]
fn knows_no_candle(crates: &[String], library: &str) {
    let has = |name: &str| crates.iter().any(|found| found == name);
    assert!(has(library) && !has("gemm") && !crates.iter().any(|name| name.contains("candle")), "{crates:?}");
}

/// One test, since the programs are built in one folder.
#[test]
fn programs_outside_the_workspace() {
    metrics_alone_compile_without_candle();
    data_alone_compile_without_candle();
    a_small_network_is_trained_in_under_60_lines();
}

fn metrics_alone_compile_without_candle() {
    let program = Program::copy("metrics_only");
    knows_no_candle(&program.crates(""), "tallow-metrics");
    assert!(program.run("", &[]).contains("accuracy                           0.83         6"));
}

fn data_alone_compile_without_candle() {
    let program = Program::copy("dataset_only");
    for (features, n_images) in [("", 2_000), ("--no-default-features", 4)] {
        let crates = program.crates(features);
        knows_no_candle(&crates, "tallow-dataset");
        assert!(!crates.iter().any(|name| name == "ureq"), "fetching is a feature that nobody asked for");
        assert_eq!(program.run(features, &[]), format!("{n_images} images\n"));
    }
}

fn a_small_network_is_trained_in_under_60_lines() {
    let program = Program::copy("train_small");
    let source = fs::read_to_string(program.folder.join("src/main.rs")).unwrap();
    assert!(source.lines().count() < 60, "{} lines", source.lines().count());
    let runs = tempfile::tempdir().unwrap();
    let printed = program.run("", &[runs.path()]);
    let accuracy = printed.lines().last().and_then(|line| line.strip_prefix("test accuracy "));
    let accuracy: f64 = accuracy.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{printed}"));
    assert!(accuracy > 0.2, "no better than chance: {printed}");
    assert!(runs.path().join("small-1/summary.json").exists());
}
