//! The arena: keeps the memory of large arrays after their release. Fresh memory costs page faults and zeroing, and a
//! training step asks for the same sizes as the step before.
//!
//! All arrays of a process are in one arena with one account in bytes. Arrays in use and free arrays together take at
//! most [`PER_USED`] times what was in use at once at the peak, and at most half of the memory, unless the peak alone
//! is more. Both bounds were chosen so that no array is freed that the next step asks for. Measured on the networks of
//! the registry, all arrays of a training step take 1.2 to 1.8 times its peak. Those of an inference pass, which has few
//! maps at a time but many sizes of them, take up to 3.2 times its peak. What goes beyond are sizes of the past: a
//! server's batches of other sizes, the images of an earlier stage of progressive resizing. The arrays that have been
//! free for longest are freed then.
//!
//! A request or a return takes one lock, and looks through the list of free arrays. Kernels do so once per call,
//! never in their loops.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::{total, try_filled};

/// The arena of the process: feature maps, batches, and the kernels' packed weights and sums.
pub static ARENA: Arena = Arena::new();

/// Largest number of free arrays: more than one training step of a deep network holds at a time.
const MAX_FREE: usize = 512;

/// Number of free arrays of one length from which on [`Arena::give_loose`] drops an array of that length.
const MAX_LOOSE: usize = 4;

/// Largest ratio of all memory in the arena to the most that was in use at once.
const PER_USED: u64 = 4;

/// Memory below which nothing is freed, in bytes.
const FLOOR_BYTES: u64 = 64 << 20;

/// Released arrays, which are handed out again by length.
#[derive(Debug, Default)]
pub struct Arena(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// The array that has been free for longest comes first.
    free: Vec<Block>,
    free_bytes: u64,
    used_bytes: u64,
    /// The largest `used_bytes` so far.
    peak_bytes: u64,
}

/// A free array.
#[derive(Debug)]
pub enum Block {
    #[doc(hidden)]
    U8(Vec<u8>),
    #[doc(hidden)]
    U16(Vec<u16>),
    #[doc(hidden)]
    U64(Vec<u64>),
    #[doc(hidden)]
    F32(Vec<f32>),
}

/// A type of numbers that the arena keeps arrays of.
pub trait Kept: Copy + Default {
    #[doc(hidden)]
    fn block(array: Vec<Self>) -> Block;
    #[doc(hidden)]
    fn in_block(block: &mut Block) -> Option<&mut Vec<Self>>;
}

macro_rules! kept {
    ($($number:ty: $block:ident),*) => {$(
        impl Kept for $number {
            fn block(array: Vec<Self>) -> Block {
                Block::$block(array)
            }

            fn in_block(block: &mut Block) -> Option<&mut Vec<Self>> {
                match block {
                    Block::$block(array) => Some(array),
                    _ => None,
                }
            }
        }
    )*};
}

kept!(u8: U8, u16: U16, u64: U64, f32: F32);

impl Block {
    fn n_bytes(&self) -> u64 {
        match self {
            Self::U8(array) => n_bytes_of(array),
            Self::U16(array) => n_bytes_of(array),
            Self::U64(array) => n_bytes_of(array),
            Self::F32(array) => n_bytes_of(array),
        }
    }
}

fn n_bytes_of<E>(array: &[E]) -> u64 {
    size_of_val(array) as u64
}

impl Arena {
    /// Returns an empty arena.
    pub const fn new() -> Self {
        Self(Mutex::new(Held { free: Vec::new(), free_bytes: 0, used_bytes: 0, peak_bytes: 0 }))
    }

    /// Returns an array of `len` numbers, which must be [given back](Self::give). They hold whatever the memory held
    /// before, so the caller must overwrite all of them. Unwinds with [`Exhausted`](super::Exhausted) if there is no
    /// memory.
    pub fn take<E: Kept>(&self, len: usize) -> Vec<E> {
        let mut held = self.held();
        match held.find(|found| found == len) {
            Some(array) => held.used(array),
            None => self.fresh(held, len, true),
        }
    }

    /// Returns an array of `len` or more numbers: the shortest free one that is long enough, else a new one. Otherwise
    /// like [`take`](Self::take). For uses whose lengths differ each time.
    pub fn take_at_least<E: Kept>(&self, len: usize) -> Vec<E> {
        let mut held = self.held();
        match held.find_shortest(len) {
            Some(array) => held.used(array),
            None => self.fresh(held, len, true),
        }
    }

    /// Like [`take`](Self::take), but the array need not be given back, and does not count as in use.
    pub fn take_loose<E: Kept>(&self, len: usize) -> Vec<E> {
        let mut held = self.held();
        match held.find(|found| found == len) {
            Some(array) => array,
            None => self.fresh(held, len, false),
        }
    }

    /// Keeps an array that was [taken](Self::take) from the arena.
    pub fn give<E: Kept>(&self, array: Vec<E>) {
        let mut held = self.held();
        held.used_bytes = held.used_bytes.saturating_sub(n_bytes_of(&array));
        let excess = held.keep(array);
        drop(held); // release the lock: freeing takes time
        drop(excess);
    }

    /// Keeps an array that may have been allocated elsewhere, unless the arena has enough free arrays of that length:
    /// perhaps no caller ever takes this length.
    pub fn give_loose<E: Kept>(&self, array: Vec<E>) {
        let mut held = self.held();
        let of_type = held.free.iter_mut().filter_map(E::in_block);
        if of_type.filter(|free| free.len() == array.len()).count() >= MAX_LOOSE {
            return;
        }
        let excess = held.keep(array);
        drop(held);
        drop(excess);
    }

    /// Returns the number of bytes in use, without loose arrays.
    pub fn used_bytes(&self) -> u64 {
        self.held().used_bytes
    }

    /// Makes a new array, and counts it as in use if `counts` says so. If there is no memory, frees all free arrays and
    /// tries again.
    fn fresh<E: Kept>(&self, mut held: MutexGuard<'_, Held>, len: usize, counts: bool) -> Vec<E> {
        let n_bytes = if counts { (len as u64).saturating_mul(size_of::<E>() as u64) } else { 0 };
        let excess = held.excess(n_bytes);
        drop(held); // release the lock: freeing and zeroing take time
        drop(excess);
        let array = try_filled(E::default(), len).or_else(|_| {
            self.held().free_all();
            try_filled(E::default(), len)
        });
        let array = array.unwrap_or_else(|exhausted| exhausted.unwind());
        if counts {
            self.held().count(n_bytes);
        }
        array
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Takes out the free array that was given last among those whose length `suits`.
    fn find<E: Kept>(&mut self, suits: impl Fn(usize) -> bool) -> Option<Vec<E>> {
        let at =
            self.free.iter_mut().rposition(|block| E::in_block(block).is_some_and(|a| suits(a.len())))?;
        self.remove(at)
    }

    fn find_shortest<E: Kept>(&mut self, len: usize) -> Option<Vec<E>> {
        let fitting = self.free.iter_mut().enumerate().filter_map(|(at, block)| {
            let found = E::in_block(block)?.len();
            (found >= len).then_some((at, found))
        });
        let (at, _) = fitting.min_by_key(|(_, found)| *found)?;
        self.remove(at)
    }

    fn remove<E: Kept>(&mut self, at: usize) -> Option<Vec<E>> {
        let array = std::mem::take(E::in_block(&mut self.free[at])?);
        self.free.remove(at);
        self.free_bytes -= n_bytes_of(&array);
        Some(array)
    }

    /// Counts `array` as in use.
    fn used<E: Kept>(&mut self, array: Vec<E>) -> Vec<E> {
        self.count(n_bytes_of(&array));
        array
    }

    fn count(&mut self, n_bytes: u64) {
        self.used_bytes = self.used_bytes.saturating_add(n_bytes);
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
    }

    /// Adds a free array. Returns those that are too many.
    fn keep<E: Kept>(&mut self, array: Vec<E>) -> Vec<Block> {
        if array.is_empty() {
            return Vec::new();
        }
        self.free_bytes += n_bytes_of(&array);
        self.free.push(E::block(array));
        self.excess(0)
    }

    /// Takes out the free arrays that are too many, those that have been free for longest. `more_bytes` are about to be
    /// in use as well.
    fn excess(&mut self, more_bytes: u64) -> Vec<Block> {
        let used_bytes = self.used_bytes.saturating_add(more_bytes);
        let max_bytes = max_bytes(self.peak_bytes.max(used_bytes));
        let mut n = self.free.len().saturating_sub(MAX_FREE);
        let mut excess_bytes: u64 = self.free[..n].iter().map(Block::n_bytes).sum();
        while n < self.free.len() && used_bytes.saturating_add(self.free_bytes - excess_bytes) > max_bytes {
            excess_bytes += self.free[n].n_bytes();
            n += 1;
        }
        self.free_bytes -= excess_bytes;
        self.free.drain(..n).collect()
    }

    fn free_all(&mut self) {
        self.free.clear();
        self.free_bytes = 0;
    }
}

/// Returns the most bytes that used and free arrays may take together after `peak_bytes` were in use at once.
fn max_bytes(peak_bytes: u64) -> u64 {
    static HALF: OnceLock<u64> = OnceLock::new();
    let half = *HALF.get_or_init(|| total().map_or(u64::MAX, |all| all.bytes / 2));
    peak_bytes.saturating_mul(PER_USED).min(half).max(peak_bytes).max(FLOOR_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Arena {
        fn account(&self) -> [u64; 3] {
            let held = self.held();
            assert_eq!(held.free_bytes, held.free.iter().map(Block::n_bytes).sum::<u64>());
            [held.used_bytes, held.free_bytes, held.peak_bytes]
        }
    }

    #[test]
    fn memory_is_used_again() {
        let arena = Arena::new();
        let array = arena.take::<u16>(100);
        let place = array.as_ptr();
        arena.give(array);
        let (other, again) = (arena.take::<u16>(99), arena.take::<u16>(100));
        assert_ne!(other.as_ptr(), place);
        assert_eq!(again.as_ptr(), place);
        assert_eq!(arena.take::<u8>(200).len(), 200, "another type gets other memory");
    }

    #[test]
    fn the_shortest_that_suffices_is_found() {
        let arena = Arena::new();
        for array in [10, 30, 20].map(|len| arena.take::<u64>(len)) {
            arena.give(array);
        }
        assert_eq!([15, 15, 15].map(|len| arena.take_at_least::<u64>(len).len()), [20, 30, 15]);
    }

    #[test]
    fn little_is_kept_of_what_nobody_took() {
        let arena = Arena::new();
        (0..100).for_each(|_| arena.give_loose(vec![1u8; 7]));
        assert_eq!(arena.account(), [0, 7 * MAX_LOOSE as u64, 0]);
        arena.give_loose(vec![1u8; 8]);
        (0..2 * MAX_FREE).for_each(|_| arena.give(vec![1u8; 7]));
        assert_eq!(arena.held().free.len(), MAX_FREE);
        assert_eq!(arena.take::<u8>(9), [0; 9]);
    }

    /// Loose arrays are free bytes when they come back, and nothing while they are out: their owner may drop them.
    #[test]
    fn bytes_are_counted_once() {
        let arena = Arena::new();
        let (a, b) = (arena.take::<f32>(10), arena.take::<u64>(5));
        assert_eq!(arena.account(), [80, 0, 80]);
        arena.give(a);
        assert_eq!(arena.account(), [40, 40, 80]);
        let loose = arena.take_loose::<f32>(10);
        assert_eq!(arena.account(), [40, 0, 80]);
        arena.give_loose(loose);
        arena.give(b);
        assert_eq!(arena.account(), [0, 80, 80]);
        assert_eq!(arena.take_at_least::<u64>(3).len(), 5);
        assert_eq!(arena.account(), [40, 40, 80]);
    }

    /// A server's batches of ever new sizes, from 16 to 24 MiB: what is kept stays within the bound, and the newest stays.
    #[test]
    fn what_is_kept_has_a_bound_in_bytes() {
        let arena = Arena::new();
        let mib = |n: usize| n << 20;
        for n in 0..40 {
            let array = arena.take::<u8>(mib(16) + n * mib(1) / 5);
            arena.give(array);
        }
        let [used, free, peak] = arena.account();
        let max = max_bytes(peak);
        assert!(used == 0 && free <= max, "{free} bytes are free, at most {max} may be");
        assert!(free + peak > max, "no more is freed than must be: {free} of {max}");
        let newest = arena.take::<u8>(mib(16) + 39 * mib(1) / 5);
        assert_eq!(arena.account(), [newest.len() as u64, free - newest.len() as u64, peak]);
    }

    #[test]
    fn the_bound_follows_what_was_in_use() {
        let half = total().map_or(u64::MAX, |all| all.bytes / 2);
        assert_eq!(max_bytes(0), FLOOR_BYTES);
        assert_eq!(max_bytes(FLOOR_BYTES), (4 * FLOOR_BYTES).min(half).max(FLOOR_BYTES));
        assert_eq!(
            max_bytes(half.saturating_add(1)),
            half.saturating_add(1),
            "more than half only if it is in use"
        );
    }

    #[test]
    fn without_memory_the_free_arrays_go_first_and_the_account_stays_right() {
        let arena = Arena::new();
        let array = arena.take::<u8>(100);
        arena.give(array);
        let error = super::super::caught(|| arena.take::<u64>(usize::MAX / 16)).unwrap_err();
        assert_eq!(error.n_bytes, (usize::MAX / 16 * 8) as u64);
        assert_eq!(arena.account(), [0, 0, 100]);
    }
}
