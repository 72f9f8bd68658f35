//! A server on loopback for tests, and replies that are right, wrong, late or hostile. The tests of other crates use it as well.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Answers one connection. Gets the head of the request, in lower case.
pub(crate) type Reply = Box<dyn FnOnce(&str, &mut TcpStream) + Send>;

pub(crate) struct Server {
    /// The address, without a path.
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server that answers one connection per reply, one after the other, and then ends.
    pub(crate) fn start(replies: Vec<Reply>) -> Self {
        let (server, listener) = Self::listen();
        let requests = Arc::clone(&server.requests);
        std::thread::spawn(move || {
            for reply in replies {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let head = read_head(&stream, &requests);
                reply(&head, &mut stream);
            }
        });
        server
    }

    /// Starts a server that answers every connection with the reply that `choose` returns for the head of its request, until the
    /// test program ends.
    pub(crate) fn answering(choose: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        let (server, listener) = Self::listen();
        let (requests, choose) = (Arc::clone(&server.requests), Arc::new(choose));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, choose) = (Arc::clone(&requests), Arc::clone(&choose));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let head = read_head(&stream, &requests);
                    choose(&head)(&head, &mut stream);
                });
            }
        });
        server
    }

    fn listen() -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (Self { url, requests: Arc::default() }, listener)
    }

    /// Returns the heads of the requests so far, in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_head(stream: &TcpStream, requests: &Mutex<Vec<String>>) -> String {
    let lines = BufReader::new(stream).lines();
    let head: Vec<String> = lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let head = head.join("\n").to_ascii_lowercase();
    requests.lock().unwrap().push(head.clone());
    head
}

/// Returns the start of the range that a request asks for.
pub(crate) fn range_start(request: &str) -> Option<usize> {
    request.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok())
}

/// Writes a head: status, announced length, further lines.
pub(crate) fn head(stream: &mut TcpStream, status: &str, n_bytes: usize, more: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {n_bytes}\r\nConnection: close\r\n{more}\r\n");
    let _ = stream.write_all(head.as_bytes());
}

/// Answers with all of `body`, even if the request has a range.
pub(crate) fn with_head(body: &[u8], status: &'static str, more: &str) -> Reply {
    let (body, more) = (body.to_vec(), more.to_owned());
    Box::new(move |_, stream| {
        head(stream, status, body.len(), &more);
        let _ = stream.write_all(&body);
    })
}

/// Answers with all of `body` and an ETag.
pub(crate) fn whole(body: &[u8]) -> Reply {
    cut_after(body, body.len())
}

/// Announces all of `body` with an ETag, but closes the connection after `n_bytes` of it.
pub(crate) fn cut_after(body: &[u8], n_bytes: usize) -> Reply {
    let body = body.to_vec();
    Box::new(move |_, stream| {
        head(stream, "200 OK", body.len(), "ETag: \"one\"\r\n");
        let _ = stream.write_all(&body[..n_bytes]);
    })
}

/// Answers like [`cut_after`], but keeps the connection until the other side closes it.
pub(crate) fn silent_after(body: &[u8], n_bytes: usize) -> Reply {
    let sent = cut_after(body, n_bytes);
    Box::new(move |request, stream| {
        sent(request, stream);
        let _ = std::io::copy(stream, &mut std::io::sink());
    })
}

/// Answers with the requested range of `body`, or with all of it, and an ETag.
pub(crate) fn ranged(body: &[u8]) -> Reply {
    let body = body.to_vec();
    Box::new(move |request, stream| match range_start(request) {
        None => whole(&body)(request, stream),
        Some(start) if start >= body.len() => status("416 Range Not Satisfiable")(request, stream),
        Some(start) => {
            let range = format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
            with_head(&body[start..], "206 Partial Content", &format!("ETag: \"one\"\r\n{range}"))(
                request, stream,
            );
        }
    })
}

/// Answers with a status and a meaningless body.
pub(crate) fn status(status: &'static str) -> Reply {
    with_head(b"<html>", status, "")
}

/// Redirects to `location`.
pub(crate) fn redirect(location: &str) -> Reply {
    with_head(b"", "302 Found", &format!("Location: {location}\r\n"))
}

/// Closes the connection without an answer.
pub(crate) fn hang_up() -> Reply {
    Box::new(|_, _| {})
}

/// Sends these bytes, head included, and closes the connection.
pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Reply {
    let bytes = bytes.into();
    Box::new(move |_, stream| drop(stream.write_all(&bytes)))
}

/// Sends `begin`, and then `piece` again and again until the other side closes the connection.
pub(crate) fn endless(begin: impl Into<Vec<u8>>, piece: impl Into<Vec<u8>>) -> Reply {
    let (begin, piece) = (begin.into(), piece.into());
    Box::new(move |_, stream| {
        let _ = stream.write_all(&begin);
        while stream.write_all(&piece).is_ok() {}
    })
}

/// Sends `begin`, and then `rest` byte by byte, a hundred in a second.
pub(crate) fn trickle(begin: impl Into<Vec<u8>>, rest: impl Into<Vec<u8>>) -> Reply {
    let (begin, rest) = (begin.into(), rest.into());
    Box::new(move |_, stream| {
        let _ = stream.write_all(&begin);
        for byte in rest {
            std::thread::sleep(Duration::from_millis(10));
            if stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    })
}
