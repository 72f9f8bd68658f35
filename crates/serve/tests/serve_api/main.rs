//! Tests the server on loopback, with networks that a test can pause, break and inspect.

mod answers;
mod crowd;
mod description;
#[path = "../../../../tests/support/http.rs"]
mod http;
mod refusals;
mod support;
