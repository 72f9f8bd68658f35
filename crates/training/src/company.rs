//! What the processes of one run agree on, and how they share images. `step.rs` shares the training steps.

use std::ops::Range;

use tallow_comm::{Comm, Traffic};
use tallow_core::{Progress, StopFlag, StopSignal};
use tallow_dataset::Share;
use tracing::debug;

use crate::checkpoint::digest;
use crate::error::{Result, TrainingError};
use crate::session::{Session, Watch};
use crate::shards::own_shards;

/// Who works along, who watches, and who may stop the work.
#[derive(Clone, Copy)]
pub(crate) struct Company<'a> {
    pub(crate) comm: &'a Comm,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) stop: &'a StopFlag,
}

impl<'a> Company<'a> {
    pub(crate) fn new(comm: &'a Comm, watch: &'a Watch<'_>) -> Self {
        Self { comm, progress: watch.progress, stop: watch.stop }
    }

    /// Returns which of `n` images this process takes.
    pub(crate) fn own(&self, n: usize) -> Range<usize> {
        Share::of_shard(self.comm.rank(), self.comm.world(), n)
    }

    /// Returns the signal that any of the processes got, if any: all of them stop at the same place. Each of them asks.
    pub(crate) fn stopped(&self) -> Result<Option<StopSignal>> {
        let own = self.stop.raised();
        if self.comm.world() == 1 {
            return Ok(own);
        }
        let status = |signal: Option<StopSignal>| vec![signal.map_or(0, StopSignal::exit_status)];
        let all = self.comm.gather(&status(own))?;
        // a signal that comes after this moment counts the next time
        let signals = [StopSignal::Interrupt, StopSignal::Terminate];
        let signal = signals.into_iter().find(|&signal| all.contains(&status(Some(signal))));
        if let (None, Some(signal)) = (own, signal) {
            self.stop.raise(signal);
        }
        Ok(signal)
    }

    /// Returns the numbers of all processes, one after another; `None` if any of them was stopped on the way to its own.
    pub(crate) fn joined(&self, own: Option<Vec<f32>>) -> Result<Option<Vec<f32>>> {
        if self.comm.world() == 1 {
            return Ok(own);
        }
        if self.stopped()?.is_some() {
            return Ok(None);
        }
        let bytes: Vec<u8> = own.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
        let number = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let all = self.comm.gather(&bytes)?;
        Ok(Some(all.iter().flat_map(|bytes| bytes.chunks_exact(4).map(number)).collect()))
    }

    /// Returns the numbers that any process gives, sorted.
    pub(crate) fn union(&self, own: Vec<usize>) -> Result<Vec<usize>> {
        if self.comm.world() == 1 {
            return Ok(own);
        }
        let bytes: Vec<u8> = own.iter().flat_map(|&i| (i as u32).to_le_bytes()).collect();
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let all = self.comm.gather(&bytes)?;
        let mut all: Vec<usize> = all.iter().flat_map(|bytes| bytes.chunks_exact(4).map(number)).collect();
        all.sort_unstable();
        all.dedup();
        Ok(all)
    }
}

impl Session {
    /// Returns the part of each batch that this process reads; `None` if it works alone.
    pub(crate) fn share(&self) -> Result<Option<Share>> {
        let is_shared = self.comm.world() > 1;
        is_shared.then(|| own_shards(self.learner.n_shards, &self.comm)).transpose()
    }

    /// Tells, for diagnostics, what a step cost in communication since `before`, `n_steps` ago.
    pub(crate) fn tell_traffic(&self, before: Traffic, n_steps: usize) {
        let (now, n_steps) = (self.comm.traffic(), n_steps.max(1) as f64);
        if self.comm.world() > 1 {
            debug!(
                kib_per_step = (now.sent_bytes - before.sent_bytes) as f64 / 1024.0 / n_steps,
                ms_per_step = 1e3 * (now.waited_secs - before.waited_secs) / n_steps,
                stalled_ms_per_step = 1e3 * (now.stalled_secs - before.stalled_secs) / n_steps,
                "communication"
            );
        }
    }

    /// Refuses to share the work with processes that have another recipe, other data or other weights. Every process asks.
    ///
    /// # Errors
    /// [`TrainingError::OutOfStep`] says which process has what.
    pub(crate) fn check_in_step(&self) -> Result<()> {
        if self.comm.world() == 1 {
            return Ok(());
        }
        // paths may differ between machines, and the digests say what is behind them
        let mut recipe = self.recipe.clone();
        recipe.data.data_dir = Default::default();
        recipe.data.dataset = String::new();
        recipe.model.remove("weights");
        recipe.init_from = None;
        recipe.device = String::new();
        let state = (self.state.epoch, self.state.batch);
        let own = [
            ("recipe", recipe.to_toml()?),
            ("data", self.data.dataset.digest.clone()),
            ("checkpoint", format!("{state:?}")),
            ("weights", digest("", &self.learner.model.params.to_tensors()?)),
        ];
        for (what, text) in own {
            let all = self.comm.gather(text.as_bytes())?;
            if let Some(rank) = all.iter().position(|other| *other != all[0]) {
                return Err(TrainingError::OutOfStep { rank, what });
            }
        }
        Ok(())
    }
}
