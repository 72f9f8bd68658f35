//! The limits of what a server accepts.

/// Limits on the work and the memory of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's body.
    pub max_body_bytes: usize,
    /// Most pixels of a picture. The picture's header is checked before anything is decoded.
    pub max_pixels: u64,
    /// Most pictures that wait in the queue. A request that does not fit is refused, with the time after which to try again.
    pub n_waiting: usize,
}

impl Default for Limits {
    /// 32 MB for a body, which is enough for any photograph; 100 megapixels; 256 waiting pictures.
    fn default() -> Self {
        Self { max_body_bytes: 32 << 20, max_pixels: 100_000_000, n_waiting: 256 }
    }
}

impl Limits {
    /// Most bytes of all bodies in memory at a time. A body counts from just before it is read until its request is answered.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        (4 * self.max_body_bytes).max(256 << 20)
    }
}
