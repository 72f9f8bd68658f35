//! An HTTP/1.1 client for tests. Each request has its own connection.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Read timeout: a server that takes longer counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// The response of a server.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Asserts that the response has this status, and returns it.
    #[track_caller]
    pub(crate) fn with(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Asserts that the response has this status, and that its error message contains all of `parts`. Returns the response.
    #[track_caller]
    pub(crate) fn refuses(self, status: u16, parts: &[&str]) -> Self {
        let told = self.with(status);
        let error = told.json()["error"].as_str().unwrap_or_else(|| panic!("{told:?}")).to_owned();
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} are not all in: {error}");
        told
    }
}

/// Returns the head of a request.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n{lines}\r\n")
}

/// Sends a request and returns its connection, without waiting for the response.
pub(crate) fn begin(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> TcpStream {
    let (host, length) = (address.to_string(), body.len().to_string());
    let has = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut all = headers.to_vec();
    if !has("host") {
        all.push(("Host", &host));
    }
    if !has("transfer-encoding") && !has("content-length") {
        all.push(("Content-Length", &length));
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head(method, path, &all).as_bytes()).unwrap();
    let _ = stream.write_all(body); // a server that refuses the body need not read all of it
    stream
}

/// Waits for the response on a connection, and reads it.
#[track_caller]
pub(crate) fn finish(mut stream: TcpStream) -> Response {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let split = split.unwrap_or_else(|| panic!("no answer: {end:?}, {:?}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.to_ascii_lowercase(), value.trim().to_owned())
    };
    Response { status, headers: lines.map(header).collect(), body: bytes[split + 4..].to_vec() }
}

/// Sends a request, and waits for the response.
#[track_caller]
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    finish(begin(address, method, path, headers, body))
}

#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Response {
    send(address, "GET", path, &[], &[])
}

/// Posts the bytes of a picture.
#[track_caller]
pub(crate) fn post(address: SocketAddr, path: &str, picture: &[u8]) -> Response {
    send(address, "POST", path, &[("Content-Type", "application/octet-stream")], picture)
}

/// The header of a request with a body from [`form`].
pub(crate) const FORM: (&str, &str) = ("Content-Type", "multipart/form-data; boundary=between");

/// Returns a `multipart/form-data` body with these files.
pub(crate) fn form<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut body = Vec::new();
    for (i, (name, bytes)) in files.into_iter().enumerate() {
        let head = format!(
            "--between\r\nContent-Disposition: form-data; name=\"f{i}\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--between--\r\n");
    body
}

/// Posts a form of files.
#[track_caller]
pub(crate) fn post_form<'a>(
    address: SocketAddr,
    path: &str,
    files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Response {
    send(address, "POST", path, &[FORM], &form(files))
}
