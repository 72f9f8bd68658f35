//! The body of a request, read up to a limit, within a time, and only while there is memory for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::refusal::Refusal;
use crate::server::Shared;

/// Whoever takes longer to send a body is not waited for.
const MAX_TIME: Duration = Duration::from_secs(60);
/// How long a body that is refused is still taken off the wire: a client that sends does not listen.
const DISCARDING: Duration = Duration::from_secs(2);
/// What memory is given out by: a permit of the semaphore.
pub(crate) const BYTES_PER_PERMIT: usize = 1024;

/// All of a body, and the leave to have it in memory.
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

/// All bytes; none where they are more than `limit`.
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

/// The next piece of a body.
async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data)); // trailers are nobody's business
                }
            }
            Err(e) => return Some(Err(e)),
        }
    }
}

/// Takes the rest of a body off the wire for a while, and throws it away.
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
