//! SIGKILL when the process is about to make a system call on files: between any two changes of its files.

use anyhow::Result;
use tallow_core::Stream;

use super::{Disturbed, Scene};
use crate::torture::process::End;

/// Calls that change files, or stand between two that do.
const CALLS: [&str; 16] = [
    "close",
    "fdatasync",
    "flock",
    "fsync",
    "ftruncate",
    "mkdir",
    "mkdirat",
    "openat",
    "read",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "write",
    "statx",
];

pub(super) fn disturb(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    let (call, n) = scene.call(|name| CALLS.contains(&name), random)?;
    let (ended, _) = scene.tampered(&format!("{call}:signal=KILL:when={n}"))?;
    Ok(Disturbed::new(format!("SIGKILL at {call} number {n}"), &ended, &[End::SUCCESS, End::KILLED]))
}
