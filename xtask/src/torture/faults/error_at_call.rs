//! An error of a system call on files: once, or from then on.

use anyhow::Result;
use tallow_core::Stream;

use super::{Disturbed, Scene, pick};
use crate::torture::process::End;

/// Calls, and the ways in which they fail. A write that returns 0 is one that made no progress.
const FAILURES: [(&str, &[&str]); 16] = [
    ("fdatasync", &["error=EIO", "error=ENOSPC"]),
    ("flock", &["error=ENOLCK"]),
    ("fsync", &["error=EIO", "error=ENOSPC"]),
    ("ftruncate", &["error=EIO"]),
    ("getdents64", &["error=EIO"]),
    ("mkdir", &["error=ENOSPC", "error=EACCES"]),
    ("mkdirat", &["error=ENOSPC", "error=EACCES"]),
    ("openat", &["error=EACCES", "error=EIO", "error=EMFILE", "error=ENOSPC"]),
    ("read", &["error=EIO", "error=EINTR"]),
    ("rename", &["error=EACCES", "error=EIO", "error=ENOSPC"]),
    ("renameat", &["error=EACCES", "error=EIO", "error=ENOSPC"]),
    ("renameat2", &["error=EACCES", "error=EIO", "error=ENOSPC"]),
    ("statx", &["error=EACCES", "error=EIO"]),
    ("unlink", &["error=EACCES", "error=EIO"]),
    ("unlinkat", &["error=EACCES", "error=EIO"]),
    ("write", &["error=EIO", "error=ENOSPC", "error=EINTR", "retval=0"]),
];

/// The status of a program whose libraries cannot be loaded.
const NOT_LOADED: i32 = 127;

pub(super) fn disturb(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    let failures =
        |name: &str| FAILURES.iter().find(|(call, _)| *call == name).map(|(_, failures)| *failures);
    let (call, n) = scene.call(|name| failures(name).is_some(), random)?;
    let failures = failures(call).unwrap_or_default();
    let failure = failures[pick(failures.len(), random)];
    // a call that is interrupted is made again: for ever, if it always is
    let goes_on = failure != "error=EINTR" && random.below(3) == 0;
    let when = format!("{n}{}", if goes_on { "+" } else { "" });
    let (ended, is_injected) = scene.tampered(&format!("{call}:{failure}:when={when}"))?;

    let what = format!("{failure} at {call} number {when}");
    let mut disturbed =
        Disturbed::new(what, &ended, &[End::SUCCESS, End::FAILURE, End::INCOMPLETE, End::Status(NOT_LOADED)]);
    disturbed.happened = is_injected;
    let says_why = match ended.end {
        End::FAILURE => ended.stderr.lines().any(|line| line.starts_with("error: ")),
        End::Status(NOT_LOADED) => ended.stderr.contains("while loading shared libraries"),
        _ => true,
    };
    // the message itself may be what could not be written
    if !says_why && call != "write" {
        disturbed
            .complaint
            .get_or_insert_with(|| format!("it ended with {:?} and said:\n{}", ended.end, ended.stderr));
    }
    Ok(disturbed)
}
