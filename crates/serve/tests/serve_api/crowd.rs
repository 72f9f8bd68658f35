//! Many requests at once, and stopping: a full queue, clients that disconnect, and the answers to open requests at the end.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tallow_core::StopSignal;
use tallow_serve::Limits;

use crate::http::{begin, finish, get, post, post_form};
use crate::support::{Server, noise, wait_until};

/// Returns the value of `name` in `/metrics`; 0 if it is missing.
fn metric(server: &Server, name: &str) -> u64 {
    let text = get(server.address, "/metrics").text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

/// Holds the first model in the middle of a picture. Returns the connection on which the answer will come.
fn occupied(server: &Server) -> TcpStream {
    server.watched[0].hold();
    let n_before = server.watched[0].batches().len();
    let first = begin(server.address, "POST", "/predict", &[], &noise(0));
    wait_until("the first is looked at", || server.watched[0].batches().len() > n_before);
    first
}

#[test]
fn a_full_queue_says_when_to_try_again() {
    let server = Server::start(Limits { n_waiting: 3, ..Limits::default() });
    post(server.address, "/predict", &noise(0)).with(200); // so that the time per picture is known
    let first = occupied(&server);
    let waiting: Vec<_> = (0..3).map(|i| begin(server.address, "POST", "/predict", &[], &noise(i))).collect();
    wait_until("three wait", || metric(&server, "tallow_queue_pictures") == 3);
    let refused =
        post(server.address, "/predict", &noise(5)).refuses(503, &["3 pictures wait", "try again in 1 s"]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    get(server.address, "/healthz").with(200);
    server.watched[0].let_go();
    for stream in waiting.into_iter().chain([first]) {
        finish(stream).with(200);
    }
    post(server.address, "/predict", &noise(5)).with(200);
    let many = || (0..4).map(|_| ("x", &b"x"[..]));
    post_form(server.address, "/predict", many()).refuses(413, &["more than 3 pictures", "--queue"]);
    assert_eq!(metric(&server, "tallow_requests_total{status=\"503\"}"), 1);
}

#[test]
fn what_was_given_up_is_not_looked_at() {
    let server = Server::start(Limits::default());
    let first = occupied(&server);
    let given_up = begin(server.address, "POST", "/predict", &[], &noise(1));
    let waiting = begin(server.address, "POST", "/predict", &[], &noise(2));
    wait_until("both wait", || metric(&server, "tallow_queue_pictures") == 2);
    drop(given_up);
    std::thread::sleep(Duration::from_millis(100)); // until the server notices
    server.watched[0].let_go();
    finish(first).with(200);
    finish(waiting).with(200);
    assert_eq!(server.watched[0].batches(), [1, 1]);
}

#[test]
fn whoever_has_asked_is_answered_before_the_end() {
    let server = Server::start(Limits::default());
    let first = occupied(&server);
    let second = begin(server.address, "POST", "/predict", &[], &noise(2));
    wait_until("it waits", || metric(&server, "tallow_queue_pictures") == 1);
    let idle = TcpStream::connect(server.address).unwrap(); // sends nothing
    let (address, watched) = (server.address, server.watched[0].clone());
    server.stop.raise(StopSignal::Interrupt);
    wait_until("nobody is let in any more", || TcpStream::connect(address).is_err());
    watched.let_go();
    finish(first).with(200);
    finish(second).with(200);
    let start = Instant::now();
    server.end().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "an idle connection is not waited for");
    drop(idle);
}

#[test]
fn a_model_that_stands_still_is_not_waited_for_without_end() {
    let server = Server::start(Limits::default());
    let first = occupied(&server);
    let watched = server.watched[0].clone();
    let start = Instant::now();
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(12));
        watched.let_go();
    });
    server.end().unwrap();
    let secs = start.elapsed().as_secs_f64();
    assert!((10.0..20.0).contains(&secs), "{secs}");
    drop(first);
    letting_go.join().unwrap();
}

#[test]
fn one_slow_client_keeps_nobody_waiting() {
    let server = Server::start(Limits::default());
    let picture = noise(0);
    // announces more than it sends
    let slow = begin(server.address, "POST", "/predict", &[("Content-Length", "1000000")], &picture);
    post(server.address, "/predict", &picture).with(200);
    get(server.address, "/healthz").with(200);
    drop(slow);
}

#[test]
fn connections_that_ask_for_nothing_end() {
    let max_head_time = Duration::from_millis(300);
    let server = Server::start(Limits { n_connections: 3, max_head_time, ..Limits::default() });
    let mut idle: Vec<_> = (0..7).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    idle[0].write_all(b"GET /healthz HTTP/1.1\r\nHost").unwrap(); // half a head
    // it waits behind them
    get(server.address, "/healthz").with(200);
    for (i, stream) in idle.iter_mut().enumerate() {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(!ended.is_err_and(|e| e.kind() == ErrorKind::WouldBlock), "connection {i} is still open");
    }
}

#[test]
fn everything_is_counted() {
    let server = Server::start(Limits::default());
    post_form(server.address, "/predict?model=second", [("a", &*noise(0)), ("b", b"x"), ("c", &*noise(1))]);
    post(server.address, "/predict", b"x").with(400);
    get(server.address, "/no").with(404);
    wait_until("all is counted", || metric(&server, "tallow_batches_total") == 2);
    for (name, n) in [
        ("tallow_requests_total{status=\"200\"}", 1),
        ("tallow_requests_total{status=\"400\"}", 1),
        ("tallow_requests_total{status=\"404\"}", 1),
        ("tallow_pictures_total{model=\"first\"}", 0),
        ("tallow_pictures_total{model=\"second\"}", 2),
        ("tallow_unreadable_pictures_total", 2),
        ("tallow_predict_seconds_count", 1),
        ("tallow_queue_pictures", 0),
        ("tallow_queue_capacity_pictures", 256),
    ] {
        // the requests for /metrics are counted as well
        let told = metric(&server, name);
        assert!(told == n || name.contains("200") && told > n, "{name}: {told}, expected {n}");
    }
    let head = get(server.address, "/metrics");
    assert!(head.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
}
