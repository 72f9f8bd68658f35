//! Reads the body of a request, with limits on its length, on the time, and on the memory of all bodies together.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::refusal::Refusal;
use crate::server::Shared;

/// Longest time in which a client may send a body.
const MAX_TIME: Duration = Duration::from_secs(60);
/// Longest time for which the rest of a refused body is read and discarded: many clients read the answer only after they have
/// sent the whole body.
const DISCARDING: Duration = Duration::from_secs(2);
/// Bytes of memory that one permit of the semaphore stands for.
pub(crate) const BYTES_PER_PERMIT: usize = 1024;

/// Reads the whole body. Returns the bytes, and the permits for their memory.
pub(crate) async fn read(
    body: &mut Body,
    headers: &HeaderMap,
    shared: &Shared,
) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
    let limit = shared.limits.max_body_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok()?.parse().ok());
    if announced.is_some_and(|n: usize| n > limit) {
        return Err(too_long(limit));
    }
    let n_permits = announced.unwrap_or(limit).div_ceil(BYTES_PER_PERMIT).max(1);
    let memory = shared.memory.clone().try_acquire_many_owned(n_permits as u32);
    let memory = memory.map_err(|_| shared.busy("too many bytes are being read"))?;
    let collected = timeout(MAX_TIME, collect(body, limit, announced.unwrap_or(0))).await;
    match collected {
        Ok(Ok(Some(bytes))) => Ok((bytes, memory)),
        Ok(Ok(None)) => Err(too_long(limit)),
        Ok(Err(e)) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, format!("the body ends before its time: {e}")))
        }
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} s", MAX_TIME.as_secs()),
        )),
    }
}

/// Returns all bytes of a body; `None` if there are more than `limit`.
async fn collect(body: &mut Body, limit: usize, announced: usize) -> Result<Option<Bytes>, axum::Error> {
    let mut bytes = Vec::with_capacity(announced);
    while let Some(data) = next(body).await {
        let data = data?;
        if bytes.len() + data.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes.into()))
}

/// Returns the next piece of a body; `None` at its end.
async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data)); // trailers are ignored
                }
            }
            Err(e) => return Some(Err(e)),
        }
    }
}

/// Reads the rest of a body and discards it, for at most [`DISCARDING`].
pub(crate) async fn discard(body: &mut Body) {
    let _ = timeout(DISCARDING, async { while let Some(Ok(_)) = next(body).await {} }).await;
}

fn too_long(limit: usize) -> Refusal {
    let error = format!(
        "the body is longer than {} MB: send fewer or smaller pictures, or start the server with a larger --max-body-mb",
        limit >> 20
    );
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error)
}
