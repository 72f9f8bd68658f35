//! The queue of waiting requests. The HTTP thread adds requests at the end, until the queue is full. The thread that computes
//! takes several at a time from the front.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::answer::{Answered, Failed};
use crate::posted::Posted;

/// The outcome for each picture of a request, in the order of the pictures.
pub(crate) type Outcomes = Vec<Result<Answered, Failed>>;

/// A request for predictions: its pictures, and the channel for their answers.
pub(crate) struct Job {
    /// Index of the requested model.
    pub(crate) model: usize,
    /// Number of classes in an answer.
    pub(crate) top_k: usize,
    pub(crate) files: Vec<Posted>,
    pub(crate) answers: oneshot::Sender<Outcomes>,
    /// Permits for the memory of the files; they are returned when the job is dropped.
    pub(crate) _memory: OwnedSemaphorePermit,
}

/// Why the queue refuses a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The request does not fit: this number of pictures wait already.
    Full(usize),
    /// The server is stopping.
    Closed,
}

pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Largest number of pictures that may wait.
    capacity: usize,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    n_pictures: usize,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), capacity }
    }

    /// Adds a request at the end. The call waits only for the lock, which is held briefly.
    pub(crate) fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        if state.n_pictures + job.files.len() > self.capacity {
            return Err(Refused::Full(state.n_pictures));
        }
        state.n_pictures += job.files.len();
        state.jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a request, then takes the first request and the later ones for the same model, in order, up to `max_pictures`
    /// pictures in total. The first request is taken even if it has more. Returns `None` once the queue is closed and empty.
    pub(crate) fn take(&self, max_pictures: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        let first = loop {
            match state.jobs.pop_front() {
                Some(first) => break first,
                None if state.is_closed => return None,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        let (model, mut n) = (first.model, first.files.len());
        let (mut taken, mut left, mut is_full) = (vec![first], VecDeque::new(), false);
        for job in std::mem::take(&mut state.jobs) {
            let is_of_model = job.model == model;
            // the first request that does not fit ends the batch: otherwise small requests could overtake a large one for ever
            is_full |= is_of_model && n + job.files.len() > max_pictures;
            if is_of_model && !is_full {
                n += job.files.len();
                taken.push(job);
            } else {
                left.push_back(job);
            }
        }
        state.jobs = left;
        state.n_pictures -= n;
        Some(taken)
    }

    /// Refuses further requests. Those that wait can still be taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Returns the number of waiting pictures.
    pub(crate) fn n_waiting(&self) -> usize {
        self.lock().n_pictures
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Bytes;
    use tokio::sync::Semaphore;

    use super::*;

    /// A request of `n` pictures for a model.
    fn job(model: usize, n: usize) -> Job {
        let file = Posted { name: model.to_string().into(), bytes: Bytes::new() };
        let memory = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Job { model, top_k: 1, files: vec![file; n], answers: oneshot::channel().0, _memory: memory }
    }

    fn sizes(taken: Option<Vec<Job>>) -> Vec<(usize, usize)> {
        taken.unwrap().iter().map(|job| (job.model, job.files.len())).collect()
    }

    #[test]
    fn what_waits_is_taken_together_model_by_model() {
        let queue = Queue::new(100);
        for (model, n) in [(0, 1), (1, 2), (0, 3), (0, 9), (0, 1), (1, 1)] {
            queue.push(job(model, n)).unwrap();
        }
        assert_eq!(queue.n_waiting(), 17);
        assert_eq!(sizes(queue.take(6)), [(0, 1), (0, 3)], "9 more are too many, and nobody overtakes them");
        assert_eq!(sizes(queue.take(6)), [(1, 2), (1, 1)]);
        assert_eq!(sizes(queue.take(6)), [(0, 9)], "one request is never cut");
        assert_eq!(sizes(queue.take(6)), [(0, 1)]);
        assert_eq!(queue.n_waiting(), 0);
    }

    #[test]
    fn a_full_queue_refuses_and_a_closed_one_is_emptied() {
        let queue = Queue::new(3);
        queue.push(job(0, 2)).unwrap();
        assert_eq!(queue.push(job(0, 2)), Err(Refused::Full(2)));
        queue.push(job(0, 1)).unwrap();
        queue.close();
        assert_eq!(queue.push(job(0, 1)), Err(Refused::Closed));
        assert_eq!(sizes(queue.take(1)), [(0, 2)]);
        assert_eq!(sizes(queue.take(1)), [(0, 1)]);
        assert!(queue.take(1).is_none());
    }
}
