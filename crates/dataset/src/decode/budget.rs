//! Memory budget for pixels. The size that a header claims is checked before anything is allocated, and large pictures
//! wait for their turn.
//!
//! The memory that a decoder will need is estimated from the header. The estimates of all decodings in the process
//! together stay within [`BUDGET_BYTES`], whatever the number of threads. Requests are granted in the order in which
//! they arrive.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::DecodeError;

/// Largest number of pixels of a picture. Phones take pictures of 200 million pixels.
pub const MAX_PIXELS: u64 = 200_000_000;
/// Longest side of a picture, in pixels.
pub const MAX_SIDE_PX: usize = 65_535;
/// Memory that all large pictures together may take, in bytes. So it also limits each single picture.
pub const BUDGET_BYTES: u64 = 640 << 20;
/// A picture that takes at most this many bytes never waits and is not counted.
const SMALL_BYTES: u64 = 4 << 20;

/// Permission to have a picture in memory. Dropping it returns its bytes to the budget.
#[derive(Debug)]
pub(super) struct Permit {
    n_bytes: u64,
}

struct Turns {
    free_bytes: u64,
    next_ticket: u64,
    now_served: u64,
}

static TURNS: Mutex<Turns> = Mutex::new(Turns { free_bytes: BUDGET_BYTES, next_ticket: 0, now_served: 0 });
static CHANGED: Condvar = Condvar::new();

/// Checks whether a picture of `height` x `width` pixels may be decoded, where each pixel takes `bytes_per_px` at the
/// peak. Returns the bytes that the picture takes at the peak.
///
/// # Errors
/// If the picture has too many pixels or a side that is too long.
pub(super) fn check(height: usize, width: usize, bytes_per_px: u64) -> Result<u64, DecodeError> {
    let limit = MAX_PIXELS.min(BUDGET_BYTES / bytes_per_px);
    let n_px = (height as u64).saturating_mul(width as u64);
    if n_px > limit || height.max(width) > MAX_SIDE_PX {
        return Err(DecodeError::TooLarge { width, height, limit });
    }
    Ok(n_px * bytes_per_px)
}

/// Like [`check`], then waits until the memory is free.
pub(super) fn admit(height: usize, width: usize, bytes_per_px: u64) -> Result<Permit, DecodeError> {
    let n_bytes = check(height, width, bytes_per_px)?;
    if n_bytes <= SMALL_BYTES {
        return Ok(Permit { n_bytes: 0 });
    }
    let mut turns = lock();
    let ticket = turns.next_ticket;
    turns.next_ticket += 1;
    while turns.now_served != ticket || turns.free_bytes < n_bytes {
        turns = CHANGED.wait(turns).unwrap_or_else(PoisonError::into_inner);
    }
    turns.now_served += 1;
    turns.free_bytes -= n_bytes;
    CHANGED.notify_all();
    Ok(Permit { n_bytes })
}

fn lock() -> MutexGuard<'static, Turns> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Permit {
    /// Returns all but `n_bytes` to the budget, once the picture is decoded and only its pixels are left.
    pub(super) fn shrink_to(&mut self, n_bytes: u64) {
        let excess_bytes = self.n_bytes.saturating_sub(n_bytes);
        self.n_bytes -= excess_bytes;
        if excess_bytes > 0 {
            lock().free_bytes += excess_bytes;
            CHANGED.notify_all();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn large_pictures_take_turns_and_small_ones_do_not_wait() {
        const BYTES: u64 = 192_000_000;
        let (in_use, most) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let permit = admit(8_000, 8_000, 3).unwrap();
                        most.fetch_max(in_use.fetch_add(BYTES, Ordering::SeqCst) + BYTES, Ordering::SeqCst);
                        thread::yield_now();
                        in_use.fetch_sub(BYTES, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= BUDGET_BYTES, "{most:?}");
        let all = admit(10_240, 10_922, 6).unwrap(); // all but 40 kB
        admit(500, 375, 7).unwrap(); // would hang if small pictures were counted
        drop(all);
    }

    #[test]
    fn claims_are_refused_by_pixels_by_side_and_by_memory() {
        let limit_of = |height, width, bytes_per_px| match check(height, width, bytes_per_px) {
            Err(DecodeError::TooLarge { limit, .. }) => Some(limit),
            _ => None,
        };
        assert_eq!(limit_of(60_000, 60_000, 3), Some(MAX_PIXELS));
        assert_eq!(limit_of(usize::MAX, usize::MAX, 3), Some(MAX_PIXELS));
        assert_eq!(limit_of(1, 65_536, 3), Some(MAX_PIXELS));
        assert_eq!(limit_of(12_240, 16_320, 3), None);
        assert_eq!(limit_of(12_240, 16_320, 6), Some(BUDGET_BYTES / 6));
    }
}
