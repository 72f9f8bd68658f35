//! A tiny data set, archives of it, and requests for it.
#![allow(dead_code, reason = "each test program uses a part of it")]

#[path = "../../../fetch/tests/server/mod.rs"]
mod server;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tallow_core::{Purpose, StopFlag, Stream, digest};
use tallow_dataset::fetch::{FetchError, FetchRequest, Fetched, FileSpec, Patience, Spec, Which, fetch};

#[allow(unused_imports, reason = "each test program uses a part of it")]
pub(crate) use server::*;

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
        patience: Patience {
            connect: Duration::from_secs(1),
            stall: Duration::from_secs(1),
            retry_delay: Duration::from_millis(10),
            ..Patience::default()
        },
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
