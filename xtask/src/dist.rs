//! `cargo xtask dist`: makes a tarball with the binary, completions, man pages, licence and README, and a file with its digest.
#![expect(clippy::print_stderr, reason = "says what is made")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use tallow_core::{digest, files};

/// Pack the release binary with completions and man pages
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the tarball
    #[arg(long, value_name = "DIR", default_value = "target/dist")]
    pub out: PathBuf,
    /// Pack this binary instead of building one
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
}

/// Builds the binary, lets it write its completions and man pages, and packs everything.
///
/// # Errors
/// If the build or the binary fails, or a file cannot be written.
pub fn run(args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let name = format!("tallow-{}-{}", env!("CARGO_PKG_VERSION"), host()?);
    let folder = args.out.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    for part in ["completions", "man"] {
        files::create_folder(&folder.join(part))?;
    }
    fs::copy(&binary, folder.join("trainer")).with_context(|| format!("cannot copy {}", binary.display()))?;
    for file in ["LICENSE", "README.md"] {
        fs::copy(crate::root().join(file), folder.join(file))
            .with_context(|| format!("cannot copy {file}"))?;
    }
    for (shell, file) in [("bash", "trainer.bash"), ("zsh", "_trainer"), ("fish", "trainer.fish")] {
        let script = crate::output(&binary, &[OsStr::new("completions"), OsStr::new(shell)])?;
        files::write(&folder.join("completions").join(file), &script)?;
    }
    let man = folder.join("man");
    crate::output(&binary, &[OsStr::new("man"), man.as_os_str()])?;

    let tarball = args.out.join(format!("{name}.tar.gz"));
    let bytes = packed(&folder, &name)?;
    files::write(&tarball, &bytes)?;
    let digest = digest::of_bytes(&bytes);
    let line = format!("{digest}  {name}.tar.gz\n");
    files::write(&args.out.join(format!("{name}.tar.gz.sha256")), line.as_bytes())?;
    let size = fs::metadata(&binary)?.len() as f64 / 1e6;
    eprintln!("{}: {:.1} MB; the binary has {size:.1} MB", tarball.display(), bytes.len() as f64 / 1e6);
    Ok(())
}

/// Builds the binary with the profile `dist`, and returns its path.
fn build() -> Result<PathBuf> {
    let words = "build --locked --profile dist -p trainer".split(' ').map(OsStr::new).collect::<Vec<_>>();
    crate::output(Path::new("cargo"), &words)?;
    Ok(crate::target().join("dist").join(format!("trainer{}", std::env::consts::EXE_SUFFIX)))
}

/// Returns rustc's host target, such as `x86_64-unknown-linux-gnu`.
pub(crate) fn host() -> Result<String> {
    let about = String::from_utf8(crate::output(Path::new("rustc"), &[OsStr::new("-vV")])?)?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it compiles for")?.to_owned())
}

/// Packs the folder into a compressed tarball. The bytes are reproducible: files are sorted, and times and owners are left out.
fn packed(folder: &Path, name: &str) -> Result<Vec<u8>> {
    let mut paths = Vec::new();
    walk(folder, &mut paths)?;
    paths.sort();
    let mut tarball = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for path in paths {
        let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let inside = path.strip_prefix(folder).context("a path outside the folder")?;
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(if inside == Path::new("trainer") { 0o755 } else { 0o644 });
        header.set_mtime(0);
        tarball.append_data(&mut header, Path::new(name).join(inside), content.as_slice())?;
    }
    Ok(tarball.into_inner()?.finish()?)
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true => walk(&path, paths)?,
            false => paths.push(path),
        }
    }
    Ok(())
}
