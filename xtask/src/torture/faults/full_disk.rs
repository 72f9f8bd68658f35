//! A file system without free space: a small tmpfs, in a mount namespace of its own. Where that is not allowed, every call that
//! needs space fails from a random one on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tallow_core::Stream;

use super::{Disturbed, Scene};
use crate::torture::process::{self, End, within};

/// Space that a file takes at least.
const PAGE_BYTES: u64 = 4096;

/// How [`SCRIPT`] ends if it cannot copy.
const NO_COPY: End = End::Status(99);

/// Copies the work folder ($1) to and from a file system of $3 bytes, in which the rest of the arguments run; $2 gets the result.
const SCRIPT: &str = r#"
work=$1; after=$2; bytes=$3; shift 3
cp -a "$work/." "$after" && mount -t tmpfs -o "size=$bytes" none "$work" && cp -a "$after/." "$work" || exit 99
cd "$work" && "$@"
status=$?
rm -rf "$after" && cp -a "$work" "$after" || exit 99
exit $status
"#;

pub(super) fn disturb(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    if !can_mount() {
        return without_mount(scene, random);
    }
    let (work, after) = (&scene.bench.work, scene.bench.logs.join("after"));
    let whole = n_bytes(&scene.reference.folder)?;
    let bytes = n_bytes(work)? + (whole as f32 * random.unit_f32()) as u64;
    fs::create_dir(&after)?;
    let mut namespace = Command::new("unshare");
    namespace.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT, "sh"]);
    namespace.arg(work).arg(&after).arg(bytes.to_string());
    let ended = process::run(within(namespace, &scene.command()), &scene.bench.logs, None)?;
    ensure!(ended.end != NO_COPY, "the work folder could not be copied:\n{}", ended.stderr);
    fs::remove_dir_all(work)?;
    fs::rename(&after, work)?;
    let what = format!("a file system of {bytes} bytes");
    let mut disturbed = Disturbed::new(what, &ended, &[End::SUCCESS, End::FAILURE, End::INCOMPLETE]);
    disturbed.happened |= ended.stderr.contains("No space left");
    Ok(disturbed)
}

/// Whether a process may mount a file system of its own.
fn can_mount() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Fails all writes from a random one on. The names of new files are still there, as on a file system with reserved inodes.
fn without_mount(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    let (call, n) = scene.call(|name| name == "write", random)?;
    let (ended, is_injected) = scene.tampered(&format!("{call}:error=ENOSPC:when={n}+"))?;
    let what = format!("no space left from {call} number {n} on");
    Ok(Disturbed {
        happened: is_injected,
        ..Disturbed::new(what, &ended, &[End::SUCCESS, End::FAILURE, End::INCOMPLETE])
    })
}

/// Returns the size of the largest file in `folder`.
pub(super) fn largest_file(folder: &Path) -> Result<u64> {
    Ok(sizes(folder)?.into_iter().max().unwrap_or_default())
}

/// Returns the space that the files of `folder` take.
fn n_bytes(folder: &Path) -> Result<u64> {
    Ok(sizes(folder)?.into_iter().map(|n| n.next_multiple_of(PAGE_BYTES) + PAGE_BYTES).sum())
}

/// Returns the sizes of all files and folders below `folder`.
fn sizes(folder: &Path) -> Result<Vec<u64>> {
    let mut all = vec![0];
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        match path.is_dir() {
            true => all.extend(sizes(&path)?),
            false => all.push(path.metadata()?.len()),
        }
    }
    Ok(all)
}
