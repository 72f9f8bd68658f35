//! The server on loopback, with networks that tests can hold back, break and look into.

mod answers;
mod crowd;
mod description;
#[path = "../../../../tests/support/http.rs"]
mod http;
mod refusals;
mod support;
