//! SIGKILL at a random instant.

use anyhow::Result;
use tallow_core::Stream;

use super::{Disturbed, Scene};
use crate::torture::process::End;

pub(super) fn disturb(scene: &Scene<'_>, random: &mut Stream) -> Result<Disturbed> {
    let (ended, after) = scene.interrupted("KILL", random)?;
    Ok(Disturbed::new(format!("SIGKILL after {after:.0?}"), &ended, &[End::SUCCESS, End::KILLED]))
}
