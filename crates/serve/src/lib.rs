//! Trained models behind HTTP: a page to drop pictures on, an API, metrics.
//!
//! The way of a request: one thread speaks HTTP and waits for nothing but sockets; it reads a body up to its limit and puts
//! the pictures into a queue with an end ([`Limits::n_waiting`]). Another thread takes from the queue whatever waits, of one
//! model, decodes it by all cores, has the model look at it once, and sends the answers back. Nobody waits for a batch to
//! fill: while the processor is busy, requests gather by themselves.
//!
//! * [`serve`] works until it is asked to stop, then answers what it has taken on;
//! * [`Served`] is a model with its name, opened by the caller: the crate reads no model files and knows no architecture;
//! * `openapi.json`, which every server hands out, describes the API.
//!
//! What a picture is worth is said by [`Predictor`](tallow_training::Predictor), so that answers have the same bits as those of
//! `trainer predict`. The crate prints nothing.
#![forbid(unsafe_code)]

mod answer;
mod ask;
mod body;
mod error;
mod guard;
mod limits;
mod metrics;
mod page;
mod posted;
mod queue;
mod refusal;
mod routes;
mod served;
mod server;
mod worker;

pub use error::ServeError;
pub use limits::Limits;
pub use served::Served;
pub use server::serve;
