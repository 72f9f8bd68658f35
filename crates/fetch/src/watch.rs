//! [`Client::watched`]: ends work on the network on a stop, and if too few bytes come.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ureq::Agent;

use crate::Client;
use crate::error::{Kind, lost};

/// A server that sends fewer bytes per second is too slow.
pub(crate) const MIN_BYTES_PER_SEC: u64 = 1_000;
/// Interval between two looks at the stop flag.
pub(crate) const STOP_POLL: Duration = Duration::from_millis(50);

/// What the work on the network shares with its watch.
pub(crate) struct Watch {
    pub(crate) agent: Agent,
    n_read: AtomicU64,
    is_closed: AtomicBool,
}

impl Watch {
    /// Does `call` on a thread of its own. If the watch closes the connections first, the thread is left to itself: nothing ends
    /// its wait for a name's address or for a connection before their time is over.
    pub(crate) fn apart<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (result, comes) = channel();
        std::thread::Builder::new().spawn(move || result.send(call()))?;
        loop {
            match comes.recv_timeout(STOP_POLL) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Timeout) if !self.is_closed.load(Ordering::SeqCst) => {}
                Err(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
        }
    }

    /// Counts `n` bytes that came. Fails if the watch closed the connection, which is not the end of a body.
    pub(crate) fn count(&self, n: usize) -> io::Result<usize> {
        self.n_read.fetch_add(n as u64, Ordering::SeqCst);
        match self.is_closed.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::ConnectionAborted.into()),
            false => Ok(n),
        }
    }
}

impl Client<'_> {
    /// Does `work` with an agent whose connections are closed when the work must end.
    pub(crate) fn watched<T>(&self, work: impl FnOnce(&Watch) -> Result<T, Kind>) -> Result<T, Kind> {
        if let Some(signal) = self.stop.raised() {
            return Err(Kind::Stopped(signal));
        }
        let (n_read, is_closed) = (AtomicU64::new(0), AtomicBool::new(false));
        let watch = &Watch { agent: self.config.new_agent(), n_read, is_closed };
        let (over, is_over) = channel();
        std::thread::scope(|scope| {
            let watcher = scope.spawn(move || {
                let reason = self.reason_to_end(&is_over, &watch.n_read)?;
                watch.is_closed.store(true, Ordering::SeqCst);
                watch.agent.clone().shutdown();
                Some(reason)
            });
            let ended = work(watch);
            drop(over);
            watcher.join().ok().flatten().map_or(ended, Err)
        })
    }

    /// Returns why the work must end before it is over, if it must.
    fn reason_to_end(&self, is_over: &Receiver<()>, n_read: &AtomicU64) -> Option<Kind> {
        let pace = self.patience.pace;
        let least = (MIN_BYTES_PER_SEC as f64 * pace.as_secs_f64()) as u64;
        let (mut begin, mut n_before) = (Instant::now(), 0);
        let is_at_work = || is_over.recv_timeout(STOP_POLL) == Err(RecvTimeoutError::Timeout);
        while self.stop.raised().is_none() && is_at_work() {
            if begin.elapsed() >= pace {
                let n_now = n_read.load(Ordering::SeqCst);
                if n_now - n_before < least {
                    return Some(lost(format!("fewer than {least} bytes came in {pace:?}")));
                }
                (begin, n_before) = (Instant::now(), n_now);
            }
        }
        self.stop.raised().map(Kind::Stopped)
    }
}

#[cfg(test)]
mod tests {
    use tallow_core::{Silent, StopFlag, StopSignal};

    use super::*;
    use crate::Patience;

    /// This call would never return.
    #[test]
    fn a_stop_leaves_a_call_to_its_thread() {
        let stop = StopFlag::default();
        let client = Client::new(None, Patience::default(), &Silent, &stop);
        let (_never, waits) = channel::<()>();
        let raised = stop.clone();
        let ended = client.watched(|watch| {
            let call = move || {
                raised.raise(StopSignal::Interrupt);
                waits.recv()
            };
            watch.apart(call).map_err(lost)
        });
        assert!(matches!(ended, Err(Kind::Stopped(StopSignal::Interrupt))));
    }
}
