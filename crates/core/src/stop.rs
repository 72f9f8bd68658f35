//! A flag that asks long work to stop. Ctrl-C, SIGTERM or the program itself raises it.
//!
//! The first signal raises the flag, which long work checks between two steps. A second signal ends the process at
//! once. Only a binary installs the handlers; a library takes a [`StopFlag`] and checks it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// The signal that asked for the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// Ctrl-C (SIGINT).
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl StopSignal {
    /// Returns the exit status that a shell expects after this signal: 130 or 143.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// A flag that is raised once and stays raised. Clones share it. No signal raises the default flag.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicUsize>);

impl StopFlag {
    /// Returns a flag that Ctrl-C and SIGTERM raise. A second signal of either kind ends the process at once.
    ///
    /// # Errors
    /// If the system refuses to install the handlers.
    pub fn on_signals() -> io::Result<Self> {
        let flag = Self::default();
        let raised_before = Arc::new(AtomicBool::new(false));
        for (signal, stop) in [(SIGINT, StopSignal::Interrupt), (SIGTERM, StopSignal::Terminate)] {
            // in this order: the first signal finds `raised_before` false, the second one finds it true
            let status = i32::from(stop.exit_status());
            signal_hook::flag::register_conditional_shutdown(signal, status, Arc::clone(&raised_before))?;
            signal_hook::flag::register(signal, Arc::clone(&raised_before))?;
            signal_hook::flag::register_usize(signal, Arc::clone(&flag.0), usize::from(stop.exit_status()))?;
        }
        Ok(flag)
    }

    /// Raises the flag.
    pub fn raise(&self, signal: StopSignal) {
        self.0.store(usize::from(signal.exit_status()), Ordering::SeqCst);
    }

    /// Returns the signal that raised the flag, or `None` if the flag is not raised.
    pub fn raised(&self) -> Option<StopSignal> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            130 => Some(StopSignal::Interrupt),
            _ => Some(StopSignal::Terminate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_flag() {
        let flag = StopFlag::default();
        let other = flag.clone();
        assert_eq!(other.raised(), None);
        flag.raise(StopSignal::Terminate);
        assert_eq!(other.raised(), Some(StopSignal::Terminate));
        assert_eq!(other.raised().unwrap().exit_status(), 143);
    }
}
