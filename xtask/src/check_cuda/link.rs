//! `cargo xtask check-cuda --link`: builds `trainer` for CUDA on a machine without CUDA, and runs it there.
//!
//! nvcc and the CUDA runtime come as Python wheels, so all of Candle's kernels are compiled and linked. The binary finds
//! NVIDIA's driver, cuBLAS and cuRAND when it opens a device. So it starts on machines without them, which is checked here. This
//! leaves out what needs a GPU: no kernel is run, and whether the kernels compute rightly stays open.
#![expect(clippy::print_stderr, reason = "says what was built and tried")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use tallow_core::files;

/// What of a CUDA toolkit the build needs: a download of 0.1 GB, and not the several GB of a whole toolkit.
const WHEELS: [&str; 5] = [
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-nvvm==13.0.88",
];
/// The toolkit's version, in the form of cudarc's build script.
const TOOLKIT_VERSION: &str = "13000";

/// The compute capability to compile for, unless the variable `CUDA_COMPUTE_CAP` names another. candle-kernels compiles for one
/// alone, but to PTX, which the driver compiles further for GPUs of this capability and later ones. From 90 on it would ask for
/// the variant `90a`, and PTX of that variant runs on 9.0 only.
const COMPUTE_CAP: &str = "80";

/// Lets cudarc load CUDA's libraries when they are needed.
///
/// candle-core asks for cudarc's feature `dynamic-linking`, and a binary linked so does not start without NVIDIA's driver. Cargo
/// cannot take a feature away, and cudarc's build script refuses `dynamic-loading` beside it. But cudarc's code looks at
/// `dynamic-loading` alone, so this gives that feature to the compiler behind Cargo's back. With `--target`, Cargo passes the
/// flag on for the crates of the binary and not for build scripts. No other crate of the binary has a feature of this name.
const DYNAMIC_LOADING: &str = "feature=\"dynamic-loading\"";

/// The libraries that cudarc's build script hands to the linker all the same. Nothing is taken from them, so archives without
/// content stand in for them. Were the flag above without effect, the linker would miss every one of their functions.
const UNUSED: [&str; 5] = ["cublas", "cublasLt", "cuda", "curand", "nvrtc"];
const EMPTY_ARCHIVE: &[u8] = b"!<arch>\n";

/// Candle's kernels for quantised networks are compiled to machine code, which nothing here calls, and the linker keeps. Packed
/// tightly it takes a quarter of the bytes: the binary has 62 MB with this flag, and 88 MB without.
const NVCC_FLAG: &str = "--compress-mode=size";
const MAX_BYTES: u64 = 64 << 20;

/// A network of 5,382 parameters and an epoch of four steps on the embedded sample.
const TINY: &str = "train --dataset sample --offline --train-subset 60 --epochs 1 --batch-size 16 \
     --set model.widths=[4,4,8,8] --set model.dropout=[0.1,0.1] --set model.dense=8";

/// Builds the binary and tries it out.
///
/// # Errors
/// If a wheel cannot be had, the build fails, the binary is too large, or it does not behave as described above.
pub(super) fn run() -> Result<()> {
    let target = crate::target();
    let target =
        std::path::absolute(&target).with_context(|| format!("no such path: {}", target.display()))?;
    let folder = target.join("cuda");
    let toolkit = toolkit(&folder)?;
    let libraries = folder.join("lib");
    write_libraries(&libraries, &toolkit)?;
    let capability = std::env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| COMPUTE_CAP.to_owned());
    let binary = build(&folder, &toolkit, &libraries, &capability)?;

    let bytes = fs::metadata(&binary).with_context(|| format!("cannot read {}", binary.display()))?.len();
    eprintln!("{}: {:.1} MB, for compute capability {capability}", binary.display(), bytes as f64 / 1e6);
    ensure!(bytes <= MAX_BYTES, "the binary is larger than {} MiB", MAX_BYTES >> 20);
    let needed = needed(&binary)?;
    eprintln!("it starts where these are: {}", needed.join(", "));
    let of_cuda: Vec<&str> = needed.iter().map(String::as_str).filter(|name| is_of_cuda(name)).collect();
    ensure!(of_cuda.is_empty(), "it does not start without {}", of_cuda.join(", "));
    eprintln!("{}", try_out(&binary, &folder.join("try"))?);
    Ok(())
}

/// Installs the wheels into an environment of their own, and returns the folder that they fill, which looks like a toolkit's.
fn toolkit(folder: &Path) -> Result<PathBuf> {
    let programs = crate::python_environment(folder)?;
    let install = ["install", "--no-deps"].iter().chain(&WHEELS).map(OsStr::new).collect::<Vec<_>>();
    crate::output(&programs.join("pip"), &install)?;
    let code = ["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"].map(OsStr::new);
    let packages = String::from_utf8(crate::output(&programs.join("python"), &code)?)?;
    Ok(Path::new(packages.trim_end()).join("nvidia/cu13"))
}

/// Fills the folder with the libraries that the linker is asked for. The CUDA runtime is a static one, which loads the driver
/// when it is first used; Candle's kernels for quantised networks call it.
fn write_libraries(folder: &Path, toolkit: &Path) -> Result<()> {
    files::create_folder(folder)?;
    for name in UNUSED {
        files::write(&folder.join(format!("lib{name}.a")), EMPTY_ARCHIVE)?;
    }
    let runtime = toolkit.join("lib/libcudart_static.a");
    let bytes = fs::read(&runtime).with_context(|| format!("cannot read {}", runtime.display()))?;
    files::write(&folder.join("libcudart.a"), &bytes)?;
    Ok(())
}

/// Compiles and links `trainer`, and returns its path.
fn build(folder: &Path, toolkit: &Path, libraries: &Path, capability: &str) -> Result<PathBuf> {
    let host = crate::dist::host()?;
    // 0x1f separates flags in this variable, so a path may have blanks
    let mut flags = OsString::from(format!("--cfg\u{1f}{DYNAMIC_LOADING}\u{1f}-Lnative="));
    flags.push(libraries);
    let mut cargo = Command::new("cargo");
    cargo.args("build --locked --release -p trainer --bin trainer --features cuda".split(' '));
    cargo.args(["--target", &host]).arg("--target-dir").arg(folder);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);
    cargo.env("CUDA_HOME", toolkit).env("NVCC", toolkit.join("bin/nvcc"));
    cargo.env("CUDA_COMPUTE_CAP", capability).env("CUDARC_CUDA_VERSION", TOOLKIT_VERSION);
    cargo.env("NVCC_APPEND_FLAGS", NVCC_FLAG);
    let status = cargo.current_dir(crate::root()).stdin(Stdio::null()).status();
    let status = status.context("cannot run cargo")?;
    ensure!(status.success(), "the build for CUDA failed ({status})");
    Ok(folder.join(host).join("release/trainer"))
}

/// Returns the names of the shared libraries without which the binary does not start.
fn needed(binary: &Path) -> Result<Vec<String>> {
    let table = crate::output(Path::new("readelf"), &[OsStr::new("-d"), binary.as_os_str()])?;
    Ok(needed_in(&String::from_utf8_lossy(&table)))
}

/// Reads what `readelf -d` prints.
fn needed_in(table: &str) -> Vec<String> {
    let lines = table.lines().filter(|line| line.contains("(NEEDED)"));
    lines.filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned())).collect()
}

/// Whether the library is NVIDIA's, such as `libcuda.so.1`, `libcublas.so.13` or `libnvrtc.so.13`.
fn is_of_cuda(library: &str) -> bool {
    ["libcu", "libnv"].iter().any(|start| library.starts_with(start))
}

/// Runs the binary: its version, and a tiny training on each device. Returns what that showed.
fn try_out(binary: &Path, folder: &Path) -> Result<String> {
    let version = String::from_utf8(crate::output(binary, &[OsStr::new("--version")])?)?;
    ensure!(version.trim() == concat!("trainer ", env!("CARGO_PKG_VERSION")), "it says that it is {version}");
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    files::create_folder(folder)?;
    let train = |device: &str| -> Result<Option<String>> {
        let mut trainer = Command::new(binary);
        trainer.args(TINY.split_whitespace()).args(["--device", device]);
        let done =
            trainer.current_dir(folder).stdin(Stdio::null()).output().context("cannot run the binary")?;
        Ok(if done.status.success() {
            None
        } else {
            Some(String::from_utf8_lossy(&done.stderr).into_owned())
        })
    };
    if let Some(words) = train("cpu")? {
        bail!("a training with --device cpu failed:\n{words}");
    }
    let Some(words) = train("cuda")? else {
        return Ok("it trains on the CPU and on the GPU".to_owned());
    };
    ensure!(is_refusal(&words), "a training with --device cuda failed in an unexpected way:\n{words}");
    if has_no_device(&words)
        && let Some(words) = train("auto")?
    {
        bail!("a training with --device auto did not take the CPU:\n{words}");
    }
    Ok(format!(
        "it trains on the CPU; no kernel was run on a GPU; --device cuda answers:\n{}",
        words.trim_end()
    ))
}

/// Whether the binary's words say, in one line, that it cannot use the device.
fn is_refusal(words: &str) -> bool {
    words.starts_with("error: device cuda:0 ") && words.trim_end().lines().count() == 1
}

/// Whether a refusal says that there is no device at all; `--device auto` then takes the CPU.
fn has_no_device(refusal: &str) -> bool {
    refusal.contains(" is not available ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_that_a_binary_needs_are_read_from_its_table() {
        let table = "\nDynamic section at offset 0x1 contains 3 entries:\n  Tag        Type                         Name/Value\n \
                     0x0000000000000001 (NEEDED)             Shared library: [libcuda.so.1]\n \
                     0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n \
                     0x000000000000001d (RUNPATH)            Library runpath: [lib]\n";
        assert_eq!(needed_in(table), ["libcuda.so.1", "libc.so.6"]);
    }

    #[test]
    fn libraries_of_cuda_are_told_from_those_of_every_machine() {
        let ours =
            ["libcuda.so.1", "libcudart.so.13", "libcublasLt.so.13", "libcurand.so.10", "libnvrtc.so.13"];
        assert!(ours.iter().all(|name| is_of_cuda(name)));
        let everywhere =
            ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "libstdc++.so.6", "ld-linux-x86-64.so.2"];
        assert!(!everywhere.iter().any(|name| is_of_cuda(name)));
    }

    #[test]
    fn a_refusal_is_one_line_and_no_panic() {
        let none =
            "error: device cuda:0 is not available (NVIDIA's driver is not installed); use --device cpu\n";
        assert!(is_refusal(none) && has_no_device(none));
        let part =
            "error: device cuda:0 needs the library libcublas of the CUDA toolkit, which is not found\n";
        assert!(is_refusal(part) && !has_no_device(part));
        let panic =
            "thread 'main' panicked at src/lib.rs:200:5:\nUnable to dynamically load the \"cuda\" library";
        assert!(!is_refusal(panic));
        assert!(!is_refusal(&format!("{none}thread 'main' panicked")));
        assert!(!is_refusal("error: not enough memory\n"));
    }

    #[test]
    fn the_linker_finds_an_archive_for_every_library() {
        let folder = tempfile::tempdir().unwrap();
        let (toolkit, libraries) = (folder.path().join("cu13"), folder.path().join("lib"));
        fs::create_dir_all(toolkit.join("lib")).unwrap();
        fs::write(toolkit.join("lib/libcudart_static.a"), "the runtime").unwrap();
        write_libraries(&libraries, &toolkit).unwrap();
        let entries = fs::read_dir(&libraries).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        let archives =
            ["cublas", "cublasLt", "cuda", "cudart", "curand", "nvrtc"].map(|name| format!("lib{name}.a"));
        assert_eq!(names, archives);
        assert_eq!(fs::read(libraries.join("libcudart.a")).unwrap(), b"the runtime");
    }
}
