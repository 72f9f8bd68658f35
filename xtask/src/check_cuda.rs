//! `cargo xtask check-cuda`: type-checks every package that has the feature `cuda`, on a machine without CUDA. With `--link` it
//! builds a binary instead: `xtask/src/check_cuda/link.rs`.
//!
//! Two build scripts ask for a CUDA toolkit. cudarc needs its version, which a variable provides. candle-kernels compiles
//! kernels with nvcc; a shell script replaces nvcc and creates empty files, which type-checking never opens. So this checks
//! only Rust's types: no kernel is compiled, nothing is linked, nothing runs. It has its own target folder, so that a real
//! build for CUDA never takes the empty files for kernels.
//!
//! Metal is not type-checked here: the crates beneath it compile for Apple's systems only. It is checked that every package
//! passes its feature on.

mod link;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

const FEATURE: &str = "cuda";
/// The features that every package must pass on to Candle.
const PASSED_ON: [&str; 4] = [FEATURE, "cudnn", "metal", "accelerate"];
/// Packages of others that have these features.
const CANDLE: [&str; 2] = ["candle-core", "candle-nn"];
/// The toolkit version, in the form of cudarc's build script, and the compute capability to pretend to compile for. Both are
/// widespread values that Candle supports.
const TOOLKIT: [(&str, &str); 2] = [("CUDARC_CUDA_VERSION", "12080"), ("CUDA_COMPUTE_CAP", "80")];

/// Creates the files that nvcc would create, but empty: the one that `-o` names, or the source's name with `.ptx`.
const NVCC: &str = r#"#!/bin/sh
for argument; do
    case $before in
        -o) : >"$argument" ;;
        --output-directory) folder=$argument ;;
    esac
    before=$argument
done
if [ -n "$folder" ]; then
    : >"$folder/$(basename "$before" .cu).ptx"
fi
"#;

/// Type-check the feature `cuda` on a machine without CUDA, or build for it there
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Compile Candle's kernels with an nvcc from the package index, link, and run the binary; takes about half an hour
    #[arg(long)]
    pub link: bool,
}

/// A package as `cargo metadata` describes it.
#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for an ordinary dependency, otherwise `dev` or `build`.
    kind: Option<String>,
}

/// Checks that every package passes the features on, then checks the types or builds the binary.
///
/// # Errors
/// If a package does not pass a feature on or does not compile, or if this is not Linux; those of the build.
#[expect(clippy::print_stderr, reason = "says what the success means")]
pub fn run(args: &Args) -> anyhow::Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("check-cuda works only on Linux, because its stand-in for nvcc is a shell script");
    }
    let packages = packages()?;
    let gaps: Vec<String> = PASSED_ON.iter().flat_map(|feature| gaps(&packages, feature)).collect();
    ensure!(gaps.is_empty(), "{}", gaps.join("\n"));
    if args.link {
        return link::run();
    }

    let target = crate::root().join("target/check-cuda");
    fs::create_dir_all(&target).with_context(|| format!("cannot make {}", target.display()))?;
    let nvcc = target.join("nvcc");
    write_nvcc(&nvcc).with_context(|| format!("cannot write {}", nvcc.display()))?;
    let names: Vec<&str> = packages.iter().filter(|p| p.has(FEATURE)).map(|p| &*p.name).collect();
    let mut cargo = Command::new("cargo");
    cargo.args(["check", "--all-targets", "--features", FEATURE, "--target-dir"]).arg(&target);
    cargo.args(names.iter().flat_map(|name| ["-p", name]));
    cargo.envs(TOOLKIT).env("NVCC", &nvcc).current_dir(crate::root()).stdin(Stdio::null());
    let status = cargo.status().context("cannot run cargo")?;
    ensure!(status.success(), "the code does not compile with the feature `{FEATURE}` ({status})");
    eprintln!("{} compile with `{FEATURE}`; no kernel was compiled and nothing was run", names.join(", "));
    Ok(())
}

fn packages() -> anyhow::Result<Vec<Package>> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(crate::root());
    let done = cargo.output().context("cannot run cargo")?;
    ensure!(done.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&done.stderr));
    let metadata: Metadata =
        serde_json::from_slice(&done.stdout).context("the output of cargo metadata cannot be read")?;
    Ok(metadata.packages)
}

impl Package {
    fn has(&self, feature: &str) -> bool {
        self.features.contains_key(feature)
    }
}

/// Returns a sentence for each package that does not pass the feature on. Checking all packages at once would not show this,
/// since the feature is then turned on for each of them.
fn gaps(packages: &[Package], feature: &str) -> Vec<String> {
    let takes = |name: &str| {
        CANDLE.contains(&name) || packages.iter().any(|package| package.name == name && package.has(feature))
    };
    let mut gaps = Vec::new();
    for package in packages {
        let passed_on = package.features.get(feature).map_or(&[][..], Vec::as_slice);
        let linked = package.dependencies.iter().filter(|d| d.kind.is_none() && takes(&d.name));
        for name in linked.map(|dependency| &dependency.name) {
            let forward = format!("{name}/{feature}");
            // to what is optional it is passed on where that is there
            if !passed_on.contains(&forward) && !passed_on.contains(&format!("{name}?/{feature}")) {
                gaps.push(format!("{}: its feature `{feature}` must list \"{forward}\"", package.name));
            }
        }
    }
    gaps
}

fn write_nvcc(path: &Path) -> std::io::Result<()> {
    fs::write(path, NVCC)?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_passes_the_features_on() {
        let packages = packages().unwrap();
        for feature in PASSED_ON {
            assert_eq!(gaps(&packages, feature), [""; 0]);
            assert!(
                packages.iter().any(|package| package.name == "trainer" && package.has(feature)),
                "{feature}"
            );
        }
    }

    #[test]
    fn a_gap_is_named() {
        let package = |name: &str, dependencies: &[&str], cuda: Option<&[&str]>| Package {
            name: name.to_owned(),
            dependencies: dependencies
                .iter()
                .map(|name| match name.strip_suffix(" (dev)") {
                    Some(name) => Dependency { name: name.to_owned(), kind: Some("dev".to_owned()) },
                    None => Dependency { name: name.to_string(), kind: None },
                })
                .collect(),
            features: cuda
                .map(|list| (FEATURE.to_owned(), list.iter().map(|f| f.to_string()).collect()))
                .into_iter()
                .collect(),
        };
        let nn = || package("nn", &["half", "candle-core"], Some(&["candle-core/cuda"]));
        assert_eq!(gaps(&[nn(), package("models", &["nn"], Some(&["nn/cuda"]))], FEATURE), [""; 0]);
        assert_eq!(
            gaps(&[nn(), package("models", &["nn"], Some(&["nn?/cuda"]))], FEATURE),
            [""; 0],
            "where it is there"
        );
        assert_eq!(gaps(&[nn(), package("metrics", &["half", "nn (dev)"], None)], FEATURE), [""; 0]);
        for forgetful in [Some(&["candle-core/cuda"][..]), None] {
            let found = gaps(&[nn(), package("models", &["nn"], forgetful)], FEATURE);
            assert_eq!(found, ["models: its feature `cuda` must list \"nn/cuda\""]);
        }
        let found = gaps(&[package("nn", &["candle-nn"], Some(&[]))], FEATURE);
        assert_eq!(found, ["nn: its feature `cuda` must list \"candle-nn/cuda\""]);
        let found = gaps(&[package("nn", &["candle-nn"], Some(&["candle-nn/cuda"]))], "metal");
        assert_eq!(found, ["nn: its feature `metal` must list \"candle-nn/metal\""]);
    }

    /// The three ways in which candle-kernels' build script calls nvcc.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_stand_in_makes_what_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        write_nvcc(&path("nvcc")).unwrap();
        let run = |arguments: &[&str]| {
            let done = Command::new("sh").arg("nvcc").args(arguments).current_dir(&folder).status().unwrap();
            assert!(done.success());
            let names = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.filter(|name| name != "nvcc").collect();
            names.sort();
            names
        };
        assert_eq!(run(&["--version"]), [""; 0]);
        let ptx =
            ["-gencode=arch=compute_80,code=sm_80", "--ptx", "--output-directory", ".", "src/affine.cu"];
        assert_eq!(run(&ptx), ["affine.ptx"]);
        assert_eq!(run(&["-c", "-o", "moe.o", "-Xcompiler", "-fPIC", "src/moe.cu"]), ["affine.ptx", "moe.o"]);
        assert_eq!(run(&["--lib", "-o", "libmoe.a", "moe.o"]), ["affine.ptx", "libmoe.a", "moe.o"]);
    }
}
