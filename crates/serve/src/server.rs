//! Runs a server: starts its two threads, and stops them.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tallow_core::{StopFlag, StopSignal};
use tallow_dataset::ImageSet;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::body::BYTES_PER_PERMIT;
use crate::error::ServeError;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::refusal::Refusal;
use crate::routes::router;
use crate::served::{Card, Served};
use crate::{connections, guard, worker};

/// Interval at which the stop flag is checked.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for open requests after the server was asked to stop.
const MAX_FAREWELL: Duration = Duration::from_secs(10);
/// Largest number of training pictures that are decoded at a time to be shown.
const N_SHOWING: usize = 2;

/// State that all requests share.
pub(crate) struct Shared {
    pub(crate) cards: Vec<Card>,
    /// The training images of each model; `None` if its answers name none.
    pub(crate) training_images: Vec<Option<Arc<ImageSet>>>,
    pub(crate) limits: Limits,
    pub(crate) queue: Queue,
    pub(crate) metrics: Metrics,
    /// One permit for each [`BYTES_PER_PERMIT`] bytes of request bodies.
    pub(crate) memory: Arc<Semaphore>,
    /// One permit for each training picture that may be decoded at a time.
    pub(crate) showing: Semaphore,
    /// Names that the `Host` header of a request may have; `None` if every name is accepted.
    pub(crate) names: Option<guard::Names>,
}

impl Shared {
    fn new(models: &[Served], limits: Limits, address: SocketAddr) -> Result<Self, ServeError> {
        let card =
            |served: &Served| served.card().ok_or_else(|| ServeError::NoSize { name: served.name.clone() });
        let n_permits = limits.bytes_in_memory() / BYTES_PER_PERMIT;
        let names = guard::Names::new(address, &limits.host_names);
        Ok(Self {
            cards: models.iter().map(card).collect::<Result<_, _>>()?,
            training_images: models.iter().map(|served| served.training_images.clone()).collect(),
            queue: Queue::new(limits.n_waiting),
            limits,
            metrics: Metrics::default(),
            memory: Arc::new(Semaphore::new(n_permits)),
            showing: Semaphore::new(N_SHOWING),
            names,
        })
    }

    /// Returns the index of the first model with this name.
    pub(crate) fn place(&self, name: &str) -> Option<usize> {
        self.cards.iter().position(|card| card.name == name)
    }

    /// Returns the refusal of a request that cannot be accepted now, with the time after which to try again.
    pub(crate) fn busy(&self, why: &str) -> Refusal {
        let secs = self.metrics.wait_secs(self.queue.n_waiting());
        Refusal::busy(format!("{why}: try again in {secs} s"), secs)
    }
}

/// Answers requests at `listener` until `stop` is raised. Then finishes the requests that were accepted before, for at most ten
/// seconds.
///
/// # Errors
/// If there is no model; if a model does not name the size that pictures are fitted to; if the listener or a thread fails; or if
/// the thread that computes ends early.
pub fn serve(
    listener: TcpListener,
    models: Vec<Served>,
    limits: Limits,
    stop: &StopFlag,
) -> Result<(), ServeError> {
    if models.is_empty() {
        return Err(ServeError::NoModel);
    }
    let shared = Arc::new(Shared::new(&models, limits, listener.local_addr()?)?);
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let abort = StopFlag::default();
    let computing = {
        let (closing, abort) = (Closing(Arc::clone(&shared)), abort.clone());
        let work = move || worker::work(&models, &closing.0, &abort);
        thread::Builder::new().name("inference".into()).spawn(work)?
    };
    let answered = runtime.block_on(answer(listener, &shared, stop));
    shared.queue.close();
    abort.raise(StopSignal::Terminate);
    let has_panicked = computing.join().is_err();
    answered?;
    match has_panicked || stop.raised().is_none() {
        true => Err(ServeError::Ended),
        false => Ok(()),
    }
}

/// Closes the queue when the thread that computes ends, also by a panic: no request then waits in vain.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.queue.close();
    }
}

/// Answers requests until the server is asked to stop or the queue is closed. Then waits for open requests, for at most
/// [`MAX_FAREWELL`].
async fn answer(listener: TcpListener, shared: &Arc<Shared>, stop: &StopFlag) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let end = || {
        let (stop, shared) = (stop.clone(), Arc::clone(shared));
        async move {
            while stop.raised().is_none() && !shared.queue.is_closed() {
                sleep(LOOK).await;
            }
        }
    };
    let serving = connections::answer(listener, router(shared), &shared.limits, end());
    let farewell = async {
        end().await;
        sleep(MAX_FAREWELL).await;
    };
    tokio::select! {
        () = serving => {}
        () = farewell => {}
    }
    Ok(())
}
