//! The reader of requests: a whole server with a small model, asked over a socket.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::json;
use tallow_core::StopFlag;
use tallow_nn::{Device, Flatten, Linear, Model, ParamStore, Sequential};
use tallow_serve::{Limits, Served, serve};
use tallow_training::Predictor;

use super::pictures::png;

const CLASSES: [&str; 2] = ["cat", "<b>dog</b>"];
const SIZE_PX: [usize; 2] = [6, 8];

/// The address of the server, which runs until the program ends.
static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let served = Served { name: "first".into(), predictor: predictor(), training_images: None };
        let limits =
            Limits { max_body_bytes: 1 << 20, max_pixels: 1 << 20, n_waiting: 8, ..Limits::default() };
        serve(listener, vec![served], limits, &StopFlag::default())
    });
    address
});

fn predictor() -> Predictor {
    let mut params = ParamStore::new(0, &Device::Cpu);
    let mut network = Sequential::new();
    network.push(Flatten);
    let n_features = SIZE_PX[0] * SIZE_PX[1] * 3;
    let linear = Linear::new(&mut params.root().sub("fc"), n_features, CLASSES.len(), true);
    network.push(linear.expect("a layer"));
    let mut model = Model::new(network, params);
    model.input_px = Some(SIZE_PX);
    let info = json!({
        "version": 1, "model": {"name": "custom"}, "class_names": CLASSES, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0],
        "dataset": "none", "data_digest": "", "split_seed": 0, "val_fraction": 0.1, "validate_on": "split",
        "train_subset": null, "recipe": "none", "epoch": 1, "precision": "f32", "temperature": 0.5,
    });
    Predictor::new(serde_json::from_value(info).expect("a description"), model, None)
}

/// Sent behind every input: ends a head that does not end. And where the server reads on while it answers, it finds these bytes
/// and not the end of the connection, which would mean that nobody wants the answer.
const REST: &[u8] = b"\r\n\r\nxxxxxxxxxxxxxxxx";

/// Sends the input, and closes the connection behind it. The server never fails at it, and is there afterwards.
pub(super) fn request(bytes: &[u8]) -> bool {
    let answer = ask(bytes);
    let failure = b"HTTP/1.1 500";
    let has = |text: &[u8]| text.windows(failure.len()).any(|window| window == failure);
    assert!(!has(&answer) || has(bytes), "{}", String::from_utf8_lossy(&answer));
    let health = ask(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(health.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&health));
    answer.starts_with(b"HTTP/1.1 200")
}

fn ask(request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(*SERVER).expect("the server");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    // the server may close before it has read everything
    let _ = stream.write_all(&[request, REST].concat()).and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..n]);
    }
    answer
}

pub(super) fn requests() -> Vec<Vec<u8>> {
    let picture = png(5, 3, &[90; 45]);
    let form = |fields: &[(&str, &[u8])]| {
        let mut body = Vec::new();
        for (disposition, content) in fields {
            body.extend(format!("--xx\r\nContent-Disposition: form-data; {disposition}\r\n\r\n").as_bytes());
            body.extend_from_slice(content);
            body.extend(b"\r\n");
        }
        body.extend(b"--xx--\r\n");
        body
    };
    let files: [(&str, &[u8]); 2] =
        [("name=\"a\"; filename=\"<a>.png\"", &picture), ("name=\"b\"; filename=\"b\"", b"no picture")];
    let odd: (&str, &[u8]) = ("name=\"c\"; filename*=UTF-8''%ff", &picture);
    let multipart = "Content-Type: multipart/form-data; boundary=xx";
    let post = |target: &str, header: &str, body: &[u8]| {
        let n = body.len();
        let head =
            format!("POST {target} HTTP/1.1\r\n{header}\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let length = format!("{:x}\r\n", picture.len());
    let chunked = [
        &b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"[..],
        length.as_bytes(),
        &picture[..],
        &b"\r\n0\r\n\r\n"[..],
    ];
    vec![
        post("/predict?top_k=1", multipart, &form(&files)),
        post("/predict", multipart, &form(&[odd])),
        post("/predict", "Content-Type: image/png", &picture),
        post("/predict?model=second&top_k=0", multipart, &form(&[("name=\"model\"", b"first")])),
        chunked.concat(),
        b"GET /nearest/0/18446744073709551615 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"GET /models HTTP/1.1\r\n\r\nGET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(),
    ]
}
