//! The page and the description of the API, as files that are compiled into the program.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// The description of the API.
pub(crate) const OPENAPI: &str = include_str!("../../../assets/serve/openapi.json");

pub(crate) async fn index() -> Response {
    file("text/html; charset=utf-8", include_str!("../../../assets/serve/index.html"))
}

pub(crate) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("../../../assets/serve/serve.css"))
}

pub(crate) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("../../../assets/serve/serve.js"))
}

pub(crate) async fn openapi() -> Response {
    file("application/json", OPENAPI)
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}
