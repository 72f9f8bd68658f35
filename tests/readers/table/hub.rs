//! The reader of a hub's answers: the whole way from an address to weights, with a server that answers what the input says.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tallow_core::{Silent, StopFlag, digest};
use tallow_models::weights::{HubOptions, Patience, PretrainedConfig, read, resolve};
use tallow_nn::Tensors;

use super::{joined, parts, scratch};

/// The answers to the next requests. A request beyond them gets none.
static ANSWERS: Mutex<VecDeque<Vec<u8>>> = Mutex::new(VecDeque::new());

/// The address of the server, which runs until the program ends.
static ADDRESS: LazyLock<String> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                head.extend(byte);
            }
            let answer = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let _ = stream.write_all(&answer.unwrap_or_default()); // the client may have gone
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    address
});

/// The input has one answer after the other (see [`parts`]), with their heads.
pub(super) fn hub(bytes: &[u8]) -> bool {
    let answers = parts(bytes).into_iter().map(|(_, answer)| answer.to_vec()).collect();
    *ANSWERS.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    let cache = scratch();
    let options = HubOptions {
        endpoint: ADDRESS.clone(),
        patience: Patience { retry_delay: Duration::ZERO, ..Patience::default() },
        ..HubOptions::new(cache.path())
    };
    let source = "hf:a/b".parse().expect("a model's name");
    let Ok(files) = resolve(&source, &options, &Silent, &StopFlag::default()) else { return false };
    let config = files.config.map(|path| PretrainedConfig::read(&path));
    read(&files.model).is_ok() && config.is_none_or(|config| config.is_ok())
}

pub(super) fn answers() -> Vec<Vec<u8>> {
    let model = tallow_nn::encode(&Tensors::new(), "").expect("no tensors can be written");
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let sibling = |name: &str, bytes: &[u8]| {
        let (n, sha256) = (bytes.len(), digest::of_bytes(bytes));
        format!(
            r#"{{"rfilename":"{name}","size":{n},"blobId":"{commit}","lfs":{{"sha256":"{sha256}","size":{n}}}}}"#
        )
    };
    let config = b"{\"architecture\":\"resnet18\"}";
    let listing = |siblings: &[String]| {
        let listing = format!(r#"{{"sha":"{commit}","siblings":[{}]}}"#, siblings.join(","));
        answer("200 OK", "", listing.as_bytes())
    };
    let both = listing(&[sibling("config.json", config), sibling("model.safetensors", &model)]);
    let alone = listing(&[sibling("model.safetensors", &model)]);
    let (config, whole) = (answer("200 OK", "", config), answer("200 OK", "", &model));
    let cut = &whole[..whole.len() - 3];
    let range = format!("Content-Range: bytes {}-{}/{}\r\n", model.len() - 3, model.len() - 1, model.len());
    let rest = answer("206 Partial Content", &range, &model[model.len() - 3..]);
    let absent = answer("404 Not Found", "", b"");
    let moved = answer("302 Found", "Location: /elsewhere\r\n", b"");
    let in_turn = |answers: &[&[u8]]| joined(&answers.iter().map(|&answer| ("", answer)).collect::<Vec<_>>());
    vec![
        in_turn(&[&both, &config, &whole]),
        in_turn(&[&alone, cut, &rest]),
        in_turn(&[&alone, &moved, &whole]),
        in_turn(&[&absent]),
    ]
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}
