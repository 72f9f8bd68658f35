//! Pools that keep the memory of large arrays after their release. Fresh memory costs page faults and zeroing, and a
//! training step asks for the same sizes as the step before.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Released arrays, which are handed out again by length.
#[derive(Debug, Default)]
pub struct Pool<E>(Mutex<Vec<Vec<E>>>);

/// Largest number of free arrays in a pool: more than one training step of a deep network holds at a time.
const MAX_FREE: usize = 512;

/// Number of free arrays of one length from which on [`Pool::give_foreign`] drops an array of that length.
const MAX_FOREIGN: usize = 4;

/// The pool of f32 arrays: feature maps, and batches that will become feature maps.
pub static F32: Pool<f32> = Pool::new();

impl<E: Copy + Default> Pool<E> {
    /// Returns an empty pool.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// Returns an array of `len` numbers. They hold whatever the memory held before, so the caller must overwrite all
    /// of them.
    pub fn take(&self, len: usize) -> Vec<E> {
        let mut free = self.free();
        match free.iter().rposition(|array| array.len() == len) {
            Some(i) => free.swap_remove(i),
            None => {
                drop(free); // release the lock: zeroing takes time
                vec![E::default(); len]
            }
        }
    }

    /// Keeps an array that was [taken](Self::take) from the pool.
    pub fn give(&self, array: Vec<E>) {
        let mut free = self.free();
        if free.len() == MAX_FREE {
            free.remove(0); // the array that has been free for longest
        }
        free.push(array);
    }

    /// Keeps an array that may have been allocated elsewhere, unless the pool has enough free arrays of that length:
    /// perhaps no caller ever takes this length.
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
