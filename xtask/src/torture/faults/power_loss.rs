//! A power loss: what the process did up to a random operation, of which the disk has kept a random part.

use anyhow::{Result, ensure};
use tallow_core::Stream;

use super::{Disturbed, Scene, pick};
use crate::torture::disk::{Fate, Recording};
use crate::torture::recording::record;

pub(super) fn disturb(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    let bench = scene.bench;
    let (ended, recording) = record(scene.strace()?, &scene.command(), &bench.work, &bench.logs)?;
    ensure!(ended.is_success(), "an undisturbed process ended with {:?}:\n{}", ended.end, ended.stderr);
    let n = pick(recording.operations().len() + 1, random);
    let fates = fates(&recording, n, random);
    let state = recording.state(n, &fates);
    bench.clear()?;
    std::fs::remove_dir(bench.work.join("data"))?;
    recording.write(&state, &bench.work)?;

    let mut what = format!("power loss after {n} of {} operations", recording.operations().len());
    for (i, fate) in fates.iter().filter(|(_, fate)| *fate != Fate::Kept) {
        what += &format!("; {fate:?}: {}", recording.operations()[*i].shown());
    }
    Ok(Disturbed { what, happened: n < recording.operations().len(), complaint: None })
}

/// Draws what became of the operations that were not certain: often nothing of them is left.
fn fates(recording: &Recording, n: usize, random: &mut Stream) -> Vec<(usize, Fate)> {
    let is_all_lost = random.below(4) == 0;
    let mut fate = || match random.below(8) {
        _ if is_all_lost => Fate::Lost,
        0..4 => Fate::Kept,
        4..6 => Fate::Lost,
        6 => Fate::Zeroed,
        _ => Fate::Halved,
    };
    recording.unsynced(n).into_iter().map(|i| (i, fate())).collect()
}
