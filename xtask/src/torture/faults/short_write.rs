//! Writes that are cut short: a limit of a file's size lets a write through up to the limit, and then none.
//!
//! strace can fail a write, but cannot shorten one: its `retval=` claims bytes that were not written.

use std::process::Command;

use anyhow::Result;
use tallow_core::Stream;

use super::{Disturbed, Scene};
use crate::torture::process::{self, End, within};

/// The shell's unit of `ulimit -f`, in bytes.
const BLOCK_BYTES: u64 = 512;

pub(super) fn disturb(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    let largest = super::full_disk::largest_file(&scene.reference.folder.join("run"))?;
    // small limits matter to logs, large ones to checkpoints and the page
    let share = random.unit_f32().powi(3);
    let n_blocks = (largest as f32 * share) as u64 / BLOCK_BYTES;
    let mut shell = Command::new("sh");
    // a process that ignores the signal gets an error instead
    shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {n_blocks}; exec \"$@\"")).arg("sh");
    let ended = process::run(within(shell, &scene.command()), &scene.bench.logs, None)?;
    let mut disturbed = Disturbed::new(
        format!("files of at most {n_blocks} blocks"),
        &ended,
        &[End::SUCCESS, End::FAILURE, End::INCOMPLETE],
    );
    disturbed.happened |= ended.stderr.contains("File too large");
    Ok(disturbed)
}
