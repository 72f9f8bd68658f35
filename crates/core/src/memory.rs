//! Memory for large arrays that is kept when they are let go: fresh memory costs page faults and zeros, and a training
//! step asks for the same sizes as the one before.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Free memory, by length.
#[derive(Debug, Default)]
pub struct Pool<E>(Mutex<Vec<Vec<E>>>);

/// Free arrays that are kept at most: more than one training step of a deep network holds at a time.
const MAX_FREE: usize = 512;

/// Of arrays that were not taken from a pool, as many of the same length are kept at most.
const MAX_FOREIGN: usize = 4;

/// The pool of f32: feature maps, and batches on their way to becoming one.
pub static F32: Pool<f32> = Pool::new();

impl<E: Copy + Default> Pool<E> {
    /// An empty pool.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// `len` numbers, with whatever the memory held before: for what is overwritten whole.
    pub fn take(&self, len: usize) -> Vec<E> {
        let mut free = self.free();
        match free.iter().rposition(|array| array.len() == len) {
            Some(i) => free.swap_remove(i),
            None => {
                drop(free); // zeroing takes its time
                vec![E::default(); len]
            }
        }
    }

    /// Keeps what was [taken](Self::take).
    pub fn give(&self, array: Vec<E>) {
        let mut free = self.free();
        if free.len() == MAX_FREE {
            free.remove(0); // the one that nobody has asked for longest
        }
        free.push(array);
    }

    /// Keeps what may have been allocated elsewhere, unless there is enough of that length: it may be that nobody ever
    /// takes as much.
    pub fn give_foreign(&self, array: Vec<E>) {
        if self.free().iter().filter(|free| free.len() == array.len()).count() < MAX_FOREIGN {
            self.give(array);
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let pool = Pool::<u16>::new();
        let array = pool.take(100);
        let place = array.as_ptr();
        pool.give(array);
        let (other, again) = (pool.take(99), pool.take(100));
        assert_ne!(other.as_ptr(), place);
        assert_eq!(again.as_ptr(), place);
    }

    #[test]
    fn little_is_kept_of_what_nobody_took() {
        let pool = Pool::<u8>::new();
        (0..100).for_each(|_| pool.give_foreign(vec![1; 7]));
        assert_eq!(pool.free().len(), MAX_FOREIGN);
        pool.give_foreign(vec![1; 8]);
        (0..2 * MAX_FREE).for_each(|_| pool.give(vec![1; 7]));
        assert_eq!(pool.free().len(), MAX_FREE);
        assert_eq!(pool.take(9), [0; 9]);
    }
}
