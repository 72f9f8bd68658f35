//! Requests that the server refuses, and its error messages.

use std::io::Write as _;

use tallow_serve::Limits;

use crate::http::{FORM, begin, finish, get, post, post_form, send};
use crate::support::{Server, noise};

#[test]
fn what_is_asked_wrongly_is_told_with_a_remedy() {
    let server = Server::start(Limits::default());
    let (address, picture) = (server.address, noise(0));
    let ask = |path: &str| post(address, path, &picture);
    ask("/predict?model=frist").refuses(404, &["\"frist\"", "first, second", "did you mean \"first\"?"]);
    ask("/predict?top_k=0").refuses(400, &["top_k"]);
    ask("/predict?top_k=many").refuses(400, &["top_k", "NUMBER"]);
    ask("/predict?topk=3").refuses(400, &["topk", "top_k=NUMBER"]);
    ask("/nowhere").refuses(404, &["/nowhere", "/openapi.json"]);
    ask("/models").refuses(405, &["/models", "POST"]);
    get(address, "/predict").refuses(405, &["/predict", "GET"]);
    get(address, "/nearest/0/1").refuses(404, &["no training pictures"]);
    get(address, "/nearest/9/1").refuses(404, &["no such picture"]);
    get(address, "/nearest/x/../../etc/passwd").refuses(404, &["nothing at"]);
    get(address, "/nearest/x/1").refuses(404, &["no such picture"]);
    for kind in ["application/json", "text/plain", "video/mp4"] {
        let told = send(address, "POST", "/predict", &[("Content-Type", kind)], &picture);
        told.refuses(415, &[kind, "multipart/form-data"]);
    }
    let field = "--between\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nfirst\r\n--between--\r\n";
    send(address, "POST", "/predict", &[FORM], field.as_bytes())
        .refuses(400, &["\"model\" is no file", "in the address"]);
    post_form(address, "/predict", []).refuses(400, &["no file", "curl -F"]);
    send(address, "POST", "/predict", &[FORM], b"not a form").refuses(400, &["the form cannot be read"]);
    let unbounded = [("Content-Type", "multipart/form-data")];
    send(address, "POST", "/predict", &unbounded, b"").refuses(400, &["the form cannot be read"]);
    assert_eq!(server.watched[0].batches(), [0; 0], "nothing of it came to the model");
    ask("/predict").with(200);
}

#[test]
fn a_long_body_is_refused_announced_or_not() {
    let server = Server::start(Limits { max_body_bytes: 1 << 20, ..Limits::default() });
    let long = vec![7; 5 << 20];
    post(server.address, "/predict", &long).refuses(413, &["longer than 1 MB", "--max-body-mb"]);
    let mut stream = begin(server.address, "POST", "/predict", &[("Transfer-Encoding", "chunked")], b"");
    for piece in long.chunks(100_000) {
        let _ = write!(stream, "{:x}\r\n", piece.len());
        let _ = stream.write_all(piece);
        let _ = stream.write_all(b"\r\n");
    }
    let _ = stream.write_all(b"0\r\n\r\n");
    finish(stream).refuses(413, &["longer than 1 MB"]);
    let mut stream = begin(server.address, "POST", "/predict", &[("Transfer-Encoding", "chunked")], b"");
    let picture = noise(0);
    write!(stream, "{:x}\r\n", picture.len()).unwrap();
    stream.write_all(&picture).unwrap();
    stream.write_all(b"\r\n0\r\n\r\n").unwrap();
    finish(stream).with(200);
}

#[test]
fn only_the_names_of_this_machine_are_answered() {
    let server = Server::start(Limits::default());
    let port = server.address.port();
    let of = |host: &str| send(server.address, "GET", "/models", &[("Host", host)], &[]);
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"] {
        of(&format!("{host}:{port}")).with(200);
    }
    let foreign = [
        format!("evil.example:{port}"),
        "localhost".into(),
        format!("localhost.evil.example:{port}"),
        String::new(),
    ];
    for host in foreign {
        of(&host).refuses(403, &["this server is not", "--allow-host"]);
    }
}

#[test]
fn a_name_that_its_owner_gave_is_answered() {
    let host_names = vec!["Tallow.example".to_owned()];
    let server = Server::start(Limits { host_names, ..Limits::default() });
    let of = |host: &str| send(server.address, "GET", "/models", &[("Host", host)], &[]);
    for host in ["tallow.example", "tallow.example:443", &format!("localhost:{}", server.address.port())] {
        of(host).with(200);
    }
    of("other.example").refuses(403, &["this server is not"]);
}

#[test]
fn every_answer_has_the_headers_that_keep_it_to_itself() {
    let server = Server::start(Limits::default());
    for path in ["/", "/serve.js", "/serve.css", "/models", "/openapi.json", "/healthz", "/no", "/predict"] {
        let answer = get(server.address, path);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert!(answer.header("access-control-allow-origin").is_none());
    }
}
