//! SIGINT, SIGTERM or SIGHUP at a random instant.

use anyhow::Result;
use tallow_core::Stream;

use super::{Disturbed, Scene, pick};
use crate::torture::process::End;

/// The signals, their numbers, and the statuses by which a shell knows them.
const SIGNALS: [(&str, i32, i32); 3] = [("INT", 2, 130), ("TERM", 15, 143), ("HUP", 1, 129)];

pub(super) fn disturb(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    let (name, number, status) = SIGNALS[pick(SIGNALS.len(), random)];
    let (ended, after) = scene.interrupted(name, random)?;
    // by the signal itself as long as nothing catches it
    let allowed = [End::SUCCESS, End::Status(status), End::Signal(number)];
    Ok(Disturbed::new(format!("SIG{name} after {after:.0?}"), &ended, &allowed))
}
