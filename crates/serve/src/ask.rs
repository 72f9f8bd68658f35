//! Reads a request: the model, the number of classes, and the pictures.

use axum::body::{Body, Bytes};
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest as _, Multipart, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use serde::Deserialize;
use tallow_core::{Foreign, did_you_mean, shown};

use crate::posted::Posted;
use crate::refusal::Refusal;
use crate::server::Shared;

/// Number of classes in an answer if the request does not set `top_k`.
const DEFAULT_TOP_K: usize = 3;
/// Name of a picture that is sent without a name, as on the command line.
const NO_NAME: &str = "-";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    model: Option<String>,
    top_k: Option<usize>,
}

/// Returns the index of the model that the query names (the first model by default), and the number of classes in the answer,
/// which is at most the number of the model's classes.
pub(crate) fn parameters(uri: &Uri, shared: &Shared) -> Result<(usize, usize), Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let Query(Parameters { model, top_k }) = Query::try_from_uri(uri)
        .map_err(|e| bad(format!("{}: the parameters are model=NAME and top_k=NUMBER", e.body_text())))?;
    let place = match model {
        None => 0,
        Some(name) => shared.place(&name).ok_or_else(|| {
            let cards = || shared.cards.iter().map(|card| &card.name);
            let known = cards().map(Foreign::shown).collect::<Vec<_>>().join(", ");
            let nearest = did_you_mean(&name, cards().map(Foreign::raw));
            let error = format!("there is no model \"{}\": {known} can be asked{nearest}", shown(&name));
            Refusal::new(StatusCode::NOT_FOUND, error)
        })?,
    };
    match top_k.unwrap_or(DEFAULT_TOP_K) {
        0 => Err(bad("top_k is 0: a number from 1 on is expected".into())),
        top_k => Ok((place, top_k.min(shared.cards[place].classes.len()))),
    }
}

/// The kind of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A form with files.
    Form,
    /// A picture.
    Picture,
}

impl Kind {
    /// Returns the kind that the `Content-Type` header names. A body without the header is a picture, and so is one with curl's
    /// default, `application/x-www-form-urlencoded`. A picture's format is recognised by its first bytes.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let told = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(told) = told else { return Ok(Self::Picture) };
        let kind = told.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            "multipart/form-data" => Ok(Self::Form),
            "application/octet-stream" | "application/x-www-form-urlencoded" | "" => Ok(Self::Picture),
            kind if kind.starts_with("image/") => Ok(Self::Picture),
            kind => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "the content type is {kind}: send the bytes of a picture as image/* or application/octet-stream, or \
                     files as multipart/form-data"
                ),
            )),
        }
    }
}

/// Returns the pictures of a body. More than `max` are refused.
pub(crate) async fn pictures(
    kind: Kind,
    parts: Parts,
    bytes: Bytes,
    max: usize,
) -> Result<Vec<Posted>, Refusal> {
    let files = match kind {
        Kind::Picture => vec![Posted { name: NO_NAME.into(), bytes }],
        Kind::Form => of_form(parts, bytes, max).await?,
    };
    if files.is_empty() {
        let error = "the form has no file: send pictures as files, for example with curl -F picture=@cat.jpg";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, error));
    }
    Ok(files)
}

async fn of_form(parts: Parts, bytes: Bytes, max: usize) -> Result<Vec<Posted>, Refusal> {
    let bad = |error: String| Refusal::new(StatusCode::BAD_REQUEST, error);
    let broken = |e: MultipartError| bad(format!("the form cannot be read: {}", e.body_text()));
    let request = Request::from_parts(parts, Body::from(bytes)); // in memory; its length was checked
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|e| bad(format!("the form cannot be read: {}", e.body_text())))?;
    let mut files = Vec::new();
    while let Some(field) = form.next_field().await.map_err(broken)? {
        let Some(name) = field.file_name().map(Foreign::from) else {
            let error = format!(
                "the field {:?} is no file: send pictures as files, and model and top_k in the address",
                field.name().unwrap_or_default()
            );
            return Err(bad(error));
        };
        if files.len() == max {
            let error = format!(
                "more than {max} pictures: send fewer at a time, or start the server with a larger --queue"
            );
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error));
        }
        files.push(Posted { name, bytes: field.bytes().await.map_err(broken)? });
    }
    Ok(files)
}
