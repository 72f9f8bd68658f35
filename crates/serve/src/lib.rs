//! Serves trained models over HTTP: a page for dropping pictures, an API, and metrics.
//!
//! How a request is answered: one thread handles HTTP, and waits only for sockets. It reads the body up to a limit, and puts the
//! pictures into a queue of limited length ([`Limits::n_waiting`]). A second thread takes the waiting requests of one model from
//! the queue, decodes their pictures on all cores, runs the model on them as one batch, and sends the answers back. It does not
//! wait for a batch to fill: while it computes, more requests collect in the queue.
//!
//! * [`serve`] runs until it is asked to stop, then answers the requests that it has accepted;
//! * [`Served`] is a model with its name. The caller opens it: this crate reads no model files and knows no architectures;
//! * `openapi.json` describes the API. Every server returns it.
//!
//! [`Predictor`](tallow_training::Predictor) computes the predictions, so answers have the same bits as those of
//! `trainer predict`. This crate prints nothing.
#![forbid(unsafe_code)]
#![warn(clippy::disallowed_methods)]

mod answer;
mod ask;
mod body;
mod connections;
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
