//! Memory: large arrays that are used again ([`ARENA`]), arrays that a lack of memory refuses ([`Exhausted`]), and the memory that
//! the process may still take ([`free`]).
//!
//! Whoever is about to take much memory for numbers from outside, such as a recipe or a file, first computes how much, and compares
//! it with [`free`]. That refuses what cannot fit. What fits by that count may still be refused by the system. Then a large array
//! is not made, and the thread unwinds with [`Exhausted`]. Programs call their work by [`caught`] and show its message.

mod arena;
mod limits;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

pub use arena::{ARENA, Arena, Kept};
pub use limits::{Room, free, in_words, total};

/// A request for so few bytes is never refused by [`check`].
const SMALL_BYTES: u64 = 64 << 20;

/// There is no memory for something, or the system gave none for an array.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no memory for another {}{}: choose a smaller batch_size, model.input_px or network, or give the program more \
     memory",
    in_words(*n_bytes),
    free.map_or(String::new(), |free| format!(" ({free})"))
)]
pub struct Exhausted {
    /// Bytes that were asked for.
    pub n_bytes: u64,
    /// The memory that was free, if that is why nothing was asked for. `None` if the system refused.
    pub free: Option<Room>,
}

impl Exhausted {
    /// Unwinds the thread with this error, for [`caught`]. No panic hook is called, so nothing is printed.
    pub fn unwind(self) -> ! {
        resume_unwind(Box::new(self))
    }
}

/// Returns the result of `work`, or the error that it [unwound](Exhausted::unwind) with. Panics are passed on.
///
/// # Errors
/// If there was no memory for a large array.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Exhausted> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| match payload.downcast::<Exhausted>() {
        Ok(exhausted) => *exhausted,
        Err(panic) => resume_unwind(panic),
    })
}

/// Compares `n_bytes`, which are about to be requested, with the memory that is free.
///
/// # Errors
/// If less is free.
pub fn check(n_bytes: u64) -> Result<(), Exhausted> {
    if n_bytes <= SMALL_BYTES { Ok(()) } else { check_with(n_bytes, free()) }
}

fn check_with(n_bytes: u64, free: Option<Room>) -> Result<(), Exhausted> {
    match free.filter(|free| free.bytes < n_bytes) {
        Some(_) => Err(Exhausted { n_bytes, free }),
        None => Ok(()),
    }
}

/// Returns a new array of `len` times `value`.
///
/// # Errors
/// If there is no memory for it.
pub fn try_filled<E: Copy>(value: E, len: usize) -> Result<Vec<E>, Exhausted> {
    let mut array = Vec::new();
    lengthen(&mut array, value, len)?;
    Ok(array)
}

/// Does the same as [`try_filled`], but unwinds if there is no memory.
pub fn filled<E: Copy>(value: E, len: usize) -> Vec<E> {
    try_filled(value, len).unwrap_or_else(|exhausted| exhausted.unwind())
}

/// Returns an empty array with room for `len` elements. Unwinds if there is no memory.
pub fn with_capacity<E>(len: usize) -> Vec<E> {
    let mut array = Vec::new();
    reserve(&mut array, len).unwrap_or_else(|exhausted| exhausted.unwind());
    array
}

/// Makes `array` have at least `len` elements; new ones are `value`. Unwinds if there is no memory.
pub fn grow<E: Copy>(array: &mut Vec<E>, value: E, len: usize) {
    if array.len() < len {
        lengthen(array, value, len).unwrap_or_else(|exhausted| exhausted.unwind());
    }
}

fn lengthen<E: Copy>(array: &mut Vec<E>, value: E, len: usize) -> Result<(), Exhausted> {
    reserve(array, len)?;
    array.resize(len, value);
    Ok(())
}

/// Makes room for `len` elements, which are not fewer than there are.
fn reserve<E>(array: &mut Vec<E>, len: usize) -> Result<(), Exhausted> {
    let n_bytes = (len as u64).saturating_mul(size_of::<E>() as u64);
    array.try_reserve_exact(len - array.len()).map_err(|_| Exhausted { n_bytes, free: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More bytes than any address space has.
    const TOO_MANY: usize = isize::MAX as usize / 4;

    #[test]
    fn what_memory_cannot_hold_is_an_error_with_its_size() {
        let error = try_filled(0f64, TOO_MANY).unwrap_err();
        assert_eq!(error.n_bytes, 8 * TOO_MANY as u64);
        let message = error.to_string();
        assert!(message.contains("no memory for another 18446744073.7 GB"), "{message}");
        assert!(message.contains("choose a smaller batch_size"), "{message}");
        assert_eq!(try_filled(7u8, 3), Ok(vec![7; 3]));
        assert_eq!(caught(|| filled(0f64, TOO_MANY)), Err(error));
        assert_eq!(caught(|| with_capacity::<u32>(TOO_MANY)).unwrap_err().n_bytes, 4 * TOO_MANY as u64);
        assert_eq!(caught(|| 5), Ok(5));
    }

    #[test]
    fn requests_are_compared_with_what_is_free() {
        let free = Some(Room { bytes: 1000, place: "on this machine" });
        assert_eq!(check_with(1000, free), Ok(()));
        assert_eq!(check_with(1001, free), Err(Exhausted { n_bytes: 1001, free }));
        assert_eq!(check_with(u64::MAX, None), Ok(()), "a system that does not tell");
        check(SMALL_BYTES).unwrap();
    }

    #[test]
    fn the_error_crosses_threads_and_a_panic_stays_a_panic() {
        let of_thread = caught(|| match std::thread::spawn(|| filled(0u64, TOO_MANY)).join() {
            Ok(array) => array,
            Err(payload) => resume_unwind(payload),
        });
        assert_eq!(of_thread.unwrap_err().n_bytes, 8 * TOO_MANY as u64);
        let panic = catch_unwind(|| caught(|| resume_unwind(Box::new("a defect")))).unwrap_err();
        assert_eq!(*panic.downcast::<&str>().unwrap(), "a defect");
    }

    #[test]
    fn an_array_grows_only_if_it_is_short() {
        let mut array = vec![1, 2];
        grow(&mut array, 9, 4);
        grow(&mut array, 0, 3);
        assert_eq!(array, [1, 2, 9, 9]);
    }
}
