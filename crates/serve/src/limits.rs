//! What a server takes on, at most.

/// What bounds the work and the memory of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request's body.
    pub max_body_bytes: usize,
    /// Pixels of one picture, told by its header before anything is decoded.
    pub max_pixels: u64,
    /// Pictures that wait to be looked at: one more is refused, with the time after which to try again.
    pub n_waiting: usize,
}

impl Default for Limits {
    /// 32 MB, which holds any photograph; 100 megapixels; 256 pictures.
    fn default() -> Self {
        Self { max_body_bytes: 32 << 20, max_pixels: 100_000_000, n_waiting: 256 }
    }
}

impl Limits {
    /// Bytes of all bodies that are in memory at a time, from the first that is read until the answer.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        (4 * self.max_body_bytes).max(256 << 20)
    }
}
