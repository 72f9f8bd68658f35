//! Compares the description of the API, and the page, with what the server does.

use std::collections::BTreeSet;

use serde_json::Value;
use tallow_serve::Limits;

use crate::http::{Response, get, post, post_form};
use crate::support::{CLASSES, SIZE_PX, Server, noise};

/// Asserts that `value` fits `schema`, a part of `description`: it has the right type, and an object has all required keys and no
/// unknown ones.
fn check(description: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = description.pointer(reference.strip_prefix('#').unwrap());
        return check(description, target.unwrap_or_else(|| panic!("{at}: no {reference}")), value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let fits = kinds.is_empty() || kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number");
    assert!(fits, "{at}: {value} is of none of the types {kinds:?}");
    if let Value::Array(items) = value {
        items.iter().for_each(|item| check(description, &schema["items"], item, at));
    }
    if let (Value::Object(object), Some(properties)) = (value, schema["properties"].as_object()) {
        for (key, value) in object {
            let schema = properties.get(key).unwrap_or_else(|| panic!("{at}.{key} is not described"));
            check(description, schema, value, &format!("{at}.{key}"));
        }
        for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(object.contains_key(key), "{at}.{key} is required");
        }
    }
}

/// Returns the schema of a JSON response.
fn schema<'a>(description: &'a Value, path: &str, method: &str, status: u16) -> &'a Value {
    let mut response = &description["paths"][path][method]["responses"][status.to_string()];
    if let Some(reference) = response["$ref"].as_str() {
        response = description.pointer(&reference[1..]).unwrap();
    }
    let schema = &response["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path}: {status} is not described");
    schema
}

#[test]
fn answers_are_what_the_description_says() {
    let server = Server::start(Limits { n_waiting: 2, max_body_bytes: 1 << 20, ..Limits::default() });
    let description = get(server.address, "/openapi.json").with(200).json();
    let of = |path: &str, method: &str, answer: Response| {
        check(&description, schema(&description, path, method, answer.status), &answer.json(), path);
    };
    let ask = |path: &str, bytes: &[u8]| of("/predict", "post", post(server.address, path, bytes));
    ask("/predict", &noise(0));
    ask("/predict", b"x");
    ask("/predict?model=no", b"x");
    ask("/predict", &vec![0; 2 << 20]);
    of("/predict", "post", post_form(server.address, "/predict", [("a", &*noise(1)), ("b", b"x")]));
    for path in ["/models", "/healthz", "/openapi.json"] {
        of(path, "get", get(server.address, path).with(200));
    }
    let models = get(server.address, "/models").json();
    assert_eq!(models["models"][1]["name"], "second");
    assert_eq!(models["models"][0]["classes"], serde_json::json!(CLASSES));
    assert_eq!(models["models"][0]["size_px"], serde_json::json!(SIZE_PX));
    assert_eq!(
        (&models["models"][0]["calibrated"], &models["limits"]["max_pictures"]),
        (&true.into(), &2.into())
    );
}

#[test]
fn every_route_is_described_and_every_description_is_a_route() {
    let server = Server::start(Limits::default());
    let description = get(server.address, "/openapi.json").json();
    let paths = description["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in methods.as_object().unwrap().keys() {
            let answer = crate::http::send(server.address, &method.to_ascii_uppercase(), path, &[], &[]);
            let is_route = !(answer.status == 405 || answer.text().contains("nothing at"));
            assert!(is_route, "{method} {path}: {}", answer.text());
        }
    }
    // the other direction, from the source of the routes; the files of the page are not described
    let routes: BTreeSet<&str> = include_str!("../../src/routes.rs")
        .split(".route(\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| !["/", "/serve.css", "/serve.js"].contains(path))
        .collect();
    assert_eq!(routes, paths.keys().map(String::as_str).collect());
}

#[test]
fn the_page_asks_nobody_else_and_takes_no_names_for_markup() {
    let server = Server::start(Limits::default());
    let page = ["/", "/serve.css", "/serve.js"].map(|path| get(server.address, path).with(200));
    let kinds: Vec<&str> = page.iter().map(|file| file.header("content-type").unwrap()).collect();
    assert_eq!(
        kinds,
        ["text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"]
    );
    for file in page {
        let text = file.text();
        for foreign in [
            "https://",
            "src=\"//",
            "@import",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "style=\"",
        ] {
            assert!(!text.contains(foreign), "{foreign}");
        }
    }
}
