//! The addresses of the server and their handlers.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde_json::json;
use tallow_dataset::to_png;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use crate::answer::Answers;
use crate::ask::{self, Kind};
use crate::queue::{Job, Refused};
use crate::refusal::Refusal;
use crate::server::Shared;
use crate::{body, guard, page};

/// Longest side of a training picture in a response, in px.
const MAX_SHOWN_PX: usize = 160;

type App = State<Arc<Shared>>;

/// Returns all routes. The description of the API lists those that are not files of the page.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/serve.css", get(page::style))
        .route("/serve.js", get(page::script))
        .route("/openapi.json", get(page::openapi))
        .route("/predict", post(predict))
        .route("/models", get(models))
        .route("/nearest/{model}/{index}", get(nearest))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .fallback(no_such_address)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::disable()) // of 2 MiB, in forms: `body::read` has the limit
        .layer(middleware::from_fn_with_state(Arc::clone(shared), guard::guard))
        .with_state(Arc::clone(shared))
}

async fn predict(State(shared): App, request: Request) -> Result<Response, Refusal> {
    let start = Instant::now();
    let (parts, mut body) = request.into_parts();
    let asked = async {
        let (model, top_k) = ask::parameters(&parts.uri, &shared)?;
        let kind = Kind::of(&parts.headers)?;
        Ok((model, top_k, kind, body::read(&mut body, &parts.headers, &shared).await?))
    };
    let (model, top_k, kind, (bytes, memory)) = match asked.await {
        Ok(asked) => asked,
        Err(refusal) => {
            body::discard(&mut body).await;
            return Err(refusal);
        }
    };
    let files = ask::pictures(kind, parts, bytes, shared.queue.capacity()).await?;
    let (answers, answered) = oneshot::channel();
    shared.queue.push(Job { model, top_k, files, answers, _memory: memory }).map_err(
        |refused| match refused {
            Refused::Full(n) => shared.busy(&format!("{n} pictures wait already, and no more are taken on")),
            Refused::Closed => shared.busy("the server is being stopped"),
        },
    )?;
    let outcomes = answered.await.map_err(|_| shared.busy("the server is being stopped"))?;
    let (mut pictures, mut failed) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(picture) => pictures.push(picture),
            Err(reason) => failed.push(reason),
        }
    }
    if pictures.is_empty() {
        return Err(Refusal::of_pictures(failed));
    }
    shared.metrics.took(start.elapsed());
    Ok(Json(Answers { model: &shared.cards[model].name, pictures, failed }).into_response())
}

async fn models(State(shared): App) -> Response {
    let limits = json!({
        "max_body_bytes": shared.limits.max_body_bytes,
        "max_pixels": shared.limits.max_pixels,
        "max_pictures": shared.queue.capacity(),
    });
    Json(json!({ "models": shared.cards, "limits": limits })).into_response()
}

/// Returns a small version of a training picture. Another thread reads and decodes its file, so the HTTP thread is not blocked.
async fn nearest(
    State(shared): App,
    place: Result<Path<(usize, usize)>, PathRejection>,
) -> Result<Response, Refusal> {
    let absent = |why: &str| Refusal::new(StatusCode::NOT_FOUND, format!("there is no such picture: {why}"));
    let Path((model, index)) = place.map_err(|e| absent(&e.body_text()))?;
    let set = shared.training_images.get(model).cloned().flatten();
    let set = set.ok_or_else(|| absent("the model shows no training pictures"))?;
    if index >= set.len() {
        return Err(absent(&format!("the model has {} training pictures", set.len())));
    }
    // the semaphore is never closed; its limit leaves the cores to the predictions
    let _turn = shared.showing.acquire().await;
    let drawn = spawn_blocking(move || to_png(&set.read(index)?, MAX_SHOWN_PX)).await;
    match drawn {
        Ok(Ok(png)) => Ok(([(header::CONTENT_TYPE, "image/png")], png).into_response()),
        Ok(Err(e)) => Err(absent(&e.to_string())),
        Err(_) => Err(absent("it could not be decoded")),
    }
}

async fn healthz(State(shared): App) -> Result<Response, Refusal> {
    match shared.queue.is_closed() {
        true => Err(shared.busy("the server is being stopped")),
        false => Ok(Json(json!({ "status": "ok" })).into_response()),
    }
}

async fn metrics(State(shared): App) -> Response {
    let names = shared.cards.iter().map(|card| &card.name);
    let text = shared.metrics.text(names, shared.queue.n_waiting(), shared.queue.capacity());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn no_such_address(uri: Uri) -> Refusal {
    let error = format!("there is nothing at {}: /openapi.json says what can be asked", uri.path());
    Refusal::new(StatusCode::NOT_FOUND, error)
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    let error = format!("{} cannot be asked with {method}: /openapi.json says how", uri.path());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, error)
}
