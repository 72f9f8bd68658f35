//! Error responses: a status, and JSON that says what is wrong and what to do about it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::answer::{Failed, Fault};

/// The error response to a request.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    told: Told,
    /// Seconds after which the client should try again.
    retry_after_secs: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Told {
    error: String,
    /// The pictures and what is wrong with each; empty if the request was refused for another reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, told: Told { error: error.into(), failed: Vec::new() }, retry_after_secs: None }
    }

    /// Creates the response to a request if none of its pictures has an answer.
    pub(crate) fn of_pictures(failed: Vec<Failed>) -> Self {
        let has = |fault| failed.iter().any(|failed| failed.fault == fault);
        let status = match () {
            () if has(Fault::Ours) => StatusCode::INTERNAL_SERVER_ERROR,
            () if has(Fault::Unreadable) => StatusCode::BAD_REQUEST,
            () => StatusCode::PAYLOAD_TOO_LARGE,
        };
        let error = match &failed[..] {
            [one] => one.reason.clone(),
            several => format!("none of the {} pictures can be read", several.len()),
        };
        Self { status, told: Told { error, failed }, retry_after_secs: None }
    }

    /// Creates the response of a server that cannot accept the request now (503).
    pub(crate) fn busy(error: impl Into<String>, retry_after_secs: u64) -> Self {
        Self { retry_after_secs: Some(retry_after_secs), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, error) }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.told)).into_response();
        if let Some(secs) = self.retry_after_secs {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
