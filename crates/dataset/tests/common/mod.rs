//! A tiny data set, archives of it, and a loopback server that gives scripted replies, one connection after the other.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tallow_core::{Purpose, StopFlag, Stream, digest};
use tallow_dataset::fetch::{FetchError, FetchRequest, Fetched, FileSpec, Spec, Which, fetch};

/// Returns the names and contents of the data set "tiny": random bytes, which do not compress.
pub(crate) fn tiny() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |n: usize, index| {
        let mut stream = Stream::new(0, Purpose::Test, 0, index);
        (0..n).map(|_| stream.next_u32() as u8).collect()
    };
    vec![("a.bin", bytes(200_000, 0)), ("b.bin", bytes(1_000, 1))]
}

/// Returns the archive of [`tiny`], with an additional file that is not expected.
pub(crate) fn tiny_archive() -> Vec<u8> {
    let mut entries = vec![("tiny/readme.txt", b"hello".to_vec())];
    entries.extend(tiny().into_iter().map(|(name, bytes)| match name {
        "a.bin" => ("tiny/a.bin", bytes),
        _ => ("tiny/b.bin", bytes),
    }));
    gzip(&tar_of(&entries))
}

/// Returns a tar archive of these files. Names are not checked.
pub(crate) fn tar_of(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        builder.append(&header(name, tar::EntryType::Regular, bytes.len()), bytes.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Returns a header, without checking its name.
pub(crate) fn header(name: &str, kind: tar::EntryType, n_bytes: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(n_bytes as u64);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns a request for "tiny" into `data_dir`, with short time-outs.
pub(crate) fn request(data_dir: &Path, from: &str) -> FetchRequest {
    let file = |(name, bytes): (&str, Vec<u8>)| FileSpec {
        name: name.to_owned(),
        n_bytes: bytes.len() as u64,
        sha256: Some(digest::of_bytes(&bytes)),
    };
    FetchRequest {
        spec: Spec {
            title: "tiny".to_owned(),
            url: "http://127.0.0.1:1/official.tar.gz".to_owned(),
            archive: None,
            folder: "tiny".to_owned(),
            files: tiny().into_iter().map(file).collect(),
            max_bytes: 1_000_000,
            check: None,
        },
        from: Some(from.to_owned()),
        connect_timeout: Duration::from_secs(1),
        stall_timeout: Duration::from_secs(1),
        retry_delay: Duration::from_millis(10),
        ..FetchRequest::new(Which::Cifar10, data_dir)
    }
}

/// Runs [`fetch`] without progress or stop.
pub(crate) fn run(request: &FetchRequest) -> Result<Fetched, FetchError> {
    fetch(request, &tallow_core::Silent, &StopFlag::default())
}

/// Returns whether `data_dir` has the complete "tiny".
pub(crate) fn is_whole(data_dir: &Path) -> bool {
    tiny()
        .iter()
        .all(|(name, bytes)| std::fs::read(data_dir.join("tiny").join(name)).is_ok_and(|b| b == *bytes))
}

/// Returns the names in a folder, without the lock file.
pub(crate) fn names_in(folder: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name != ".fetch.lock").collect();
    names.sort();
    names
}

/// Handles one connection, after its request has been read.
pub(crate) type Reply = Box<dyn FnOnce(&str, &mut TcpStream) + Send>;

/// A server that answers one connection per reply, then ends.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(replies: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tiny.tar.gz", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for reply in replies {
                let Ok((mut stream, _)) = listener.accept() else { return };
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                let head = head.join("\n").to_ascii_lowercase();
                seen.lock().unwrap().push(head.clone());
                reply(&head, &mut stream);
            }
        });
        Self { url, requests }
    }

    /// Returns the heads of the requests so far, in lower case.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// Writes a head: status, announced length, further lines.
pub(crate) fn head(stream: &mut TcpStream, status: &str, n_bytes: usize, more: &str) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {n_bytes}\r\nConnection: close\r\n{more}\r\n");
    let _ = stream.write_all(head.as_bytes());
}

/// Replies with all of `body` and an ETag.
pub(crate) fn whole(body: &[u8]) -> Reply {
    cut_after(body, body.len())
}

/// Announces all of `body`, but ends after `n_bytes` of it.
pub(crate) fn cut_after(body: &[u8], n_bytes: usize) -> Reply {
    let body = body.to_vec();
    Box::new(move |_, stream| {
        head(stream, "200 OK", body.len(), "ETag: \"one\"\r\n");
        let _ = stream.write_all(&body[..n_bytes]);
    })
}

/// Replies with the requested `Range` and an ETag.
pub(crate) fn rest(body: &[u8]) -> Reply {
    let body = body.to_vec();
    Box::new(move |request, stream| {
        let start = range_start(request).expect("a range");
        let range = format!("Content-Range: bytes {start}-{}/{}\r\n", body.len() - 1, body.len());
        head(stream, "206 Partial Content", body.len() - start, &format!("ETag: \"one\"\r\n{range}"));
        let _ = stream.write_all(&body[start..]);
    })
}

/// Replies with a status and an empty body.
pub(crate) fn status(status: &'static str) -> Reply {
    Box::new(move |_, stream| head(stream, status, 0, ""))
}

/// Closes the connection without a reply.
pub(crate) fn hang_up() -> Reply {
    Box::new(|_, _| {})
}

pub(crate) fn range_start(request: &str) -> Option<usize> {
    request.lines().find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse().ok())
}
