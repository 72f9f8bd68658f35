//! A reader with a limit on the number of bytes, for input that may expand without end, such as a compressed file.

use std::cell::Cell;
use std::io::{self, Read};

/// A reader that fails and sets `exceeded` if `inner` has more than `left` bytes.
pub(crate) struct Capped<'a, R> {
    inner: R,
    left: u64,
    exceeded: &'a Cell<bool>,
}

impl<'a, R> Capped<'a, R> {
    /// Creates a reader of at most `max_bytes` of `inner`.
    pub(crate) fn new(inner: R, max_bytes: u64, exceeded: &'a Cell<bool>) -> Self {
        Self { inner, left: max_bytes, exceeded }
    }
}

impl<R: Read> Read for Capped<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        match self.left.checked_sub(n as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded.set(true);
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too many bytes"));
            }
        }
        Ok(n)
    }
}
