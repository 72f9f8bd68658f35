//! The limits of what a server accepts.

use std::time::Duration;

/// Limits on the work and the memory of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request's body.
    pub max_body_bytes: usize,
    /// Most pixels of a picture. The picture's header is checked before anything is decoded.
    pub max_pixels: u64,
    /// Most pictures that wait in the queue. A request that does not fit is refused, with the time after which to try again.
    pub n_waiting: usize,
    /// Most connections at a time. More wait in the system's queue until one of them ends.
    pub n_connections: usize,
    /// Longest time in which a client may send the head of a request. It begins with the connection, and again after each
    /// response.
    pub max_head_time: Duration,
    /// Names that requests may give the server in their `Host` header, with any port, besides those of this machine. If there are
    /// none, a server that other machines can reach accepts every name.
    pub host_names: Vec<String>,
}

impl Default for Limits {
    /// 32 MB for a body, which is enough for any photograph; 100 megapixels; 256 waiting pictures; 512 connections, half of the
    /// files that a process may usually open; 30 s for a head.
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            max_pixels: 100_000_000,
            n_waiting: 256,
            n_connections: 512,
            max_head_time: Duration::from_secs(30),
            host_names: Vec::new(),
        }
    }
}

impl Limits {
    /// Most bytes of all bodies in memory at a time. A body counts from just before it is read until its request is answered.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        (4 * self.max_body_bytes).max(256 << 20)
    }
}
