//! Downloads from servers that break off, lie about lengths, encode, trickle or never end.

mod server;

use std::io::Write;
#[cfg(target_os = "linux")]
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use server::*;
use tallow_core::{Silent, StopFlag, StopSignal, digest};
use tallow_fetch::{Client, Downloaded, Error, Kind, Patience, RemoteFile, remove_part};

const OK: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
/// A length that the caller does not know. It may be up to 1,000,000 bytes.
const AT_MOST: Option<u64> = None;

fn body() -> Vec<u8> {
    (0..200_000_u32).map(|i| ((i * 31) >> 4) as u8).collect()
}

fn exactly() -> Option<u64> {
    Some(body().len() as u64)
}

fn patience() -> Patience {
    let secs = Duration::from_secs;
    Patience { connect: secs(5), stall: secs(5), pace: secs(60), retry_delay: Duration::from_millis(1) }
}

/// A folder for the part of one file.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn part(&self) -> std::path::PathBuf {
        self.0.path().join("x.part")
    }

    fn get(
        &self,
        url: &str,
        n_bytes: Option<u64>,
        patience: Patience,
        stop: &StopFlag,
    ) -> Result<Downloaded, Error> {
        let max_bytes = n_bytes.unwrap_or(1_000_000);
        let remote = RemoteFile { url, label: "downloading x", n_bytes, max_bytes, check: |_, _| Ok(()) };
        Client::new(None, patience, &Silent, stop).download(&remote, &self.part())
    }

    fn try_get(&self, server: &Server, size: Option<u64>) -> Result<Downloaded, Error> {
        self.get(&server.url, size, patience(), &StopFlag::default())
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        std::fs::read(self.part()).is_ok_and(|part| part == bytes)
    }

    fn is_empty(&self) -> bool {
        self.0.path().read_dir().unwrap().next().is_none()
    }
}

/// Returns the error of downloading `x` with this patience from a server that always gives the same reply, and the number of
/// requests.
fn error_of(
    reply: impl Fn() -> Reply + Send + Sync + 'static,
    size: Option<u64>,
    patience: Patience,
) -> (Error, usize) {
    let (place, server) = (Place::new(), Server::answering(move |_| reply()));
    let error = place.get(&server.url, size, patience, &StopFlag::default()).unwrap_err();
    if !matches!(error.kind, Kind::Cut { .. }) {
        assert!(place.is_empty(), "{error}");
    }
    (error, server.requests().len())
}

fn answer_of(head: &str, body: &[u8]) -> Vec<u8> {
    [OK.as_bytes(), head.as_bytes(), b"\r\n", body].concat()
}

/// Checks that a reply is refused at once.
#[track_caller]
fn assert_refused(head: &str, size: Option<u64>, expected: &str) {
    let bytes = answer_of(head, b"abc");
    let (error, n_requests) = error_of(move || raw(bytes.clone()), size, patience());
    let is_refusal = matches!(error.kind, Kind::Answer(_) | Kind::TooLong(_));
    assert!(is_refusal && error.to_string().contains(expected), "{head}: {error}");
    assert_eq!(n_requests, 1, "{head}");
}

#[test]
fn the_digest_is_that_of_the_whole_file() {
    let sha256 = digest::of_bytes(&body());
    for size in [exactly(), AT_MOST] {
        let (place, server) = (Place::new(), Server::start(vec![whole(&body())]));
        let got = place.try_get(&server, size).unwrap();
        assert_eq!((&got.sha256, got.is_patched), (&sha256, false));

        let replies = vec![cut_after(&body(), 50_000), hang_up(), hang_up(), hang_up()];
        let (place, server) = (Place::new(), Server::start(replies));
        assert!(matches!(place.try_get(&server, size).unwrap_err().kind, Kind::Cut { n_bytes: 50_000, .. }));
        assert!(place.holds(&body()[..50_000]));
        // a second call, with a cut of its own
        let server = Server::start(vec![ranged(&body()[..120_000]), ranged(&body())]);
        let moved = place.try_get(&server, size);
        match size {
            // other lengths: not the same file
            Some(_) => assert_eq!(moved.unwrap().sha256, sha256),
            // another address: not the same file
            None => assert_eq!(moved.unwrap().sha256, digest::of_bytes(&body()[..120_000])),
        }
        remove_part(&place.part()).unwrap();
        assert!(place.is_empty());
    }
}

#[test]
fn a_complete_part_needs_no_request() {
    for size in [exactly(), AT_MOST] {
        let (place, server) = (Place::new(), Server::start(vec![whole(&body())]));
        place.try_get(&server, size).unwrap();
        let again = place.try_get(&server, size).unwrap(); // the server is gone
        assert_eq!((again.sha256, again.is_patched), (digest::of_bytes(&body()), true));
    }
}

#[test]
fn a_length_that_is_too_large_leaves_a_part_and_says_so() {
    let bytes = answer_of("Content-Length: 200010\r\n", &body());
    let (place, server) = (Place::new(), Server::answering(move |_| raw(bytes.clone())));
    let message = place.try_get(&server, AT_MOST).unwrap_err().to_string();
    assert!(message.contains("broke off after 200000 of 200010 bytes"), "{message}");
    assert!(place.holds(&body()));
}

#[test]
fn a_length_that_is_too_small_is_no_complete_file() {
    let bytes = answer_of("Content-Length: 100\r\n", &body());
    let (error, _) = error_of(move || raw(bytes.clone()), exactly(), patience());
    assert!(error.to_string().contains("broke off after 100 of 200000 bytes"), "{error}");
}

#[test]
fn lengths_that_cannot_be_are_refused_at_once() {
    for size in [exactly(), AT_MOST] {
        for length in ["-5", "1e3", "", "99999999999999999999999", "3\r\nContent-Length: 4"] {
            assert_refused(&format!("Content-Length: {length}\r\n"), size, "content-length");
        }
        assert_refused("Content-Length: 9000000000000000000\r\n", size, "has more than");
    }
    assert_refused("Content-Length: 1000001\r\n", AT_MOST, "has more than 1000000 bytes");
}

#[test]
fn bodies_without_a_length_are_taken_up_to_the_limit() {
    let chunk = |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
    let chunks = [chunk(&body()[..70_000]), chunk(&body()[70_000..]), b"0\r\n\r\n".to_vec()].concat();
    let chunked = "Transfer-Encoding: chunked\r\n";
    for size in [exactly(), AT_MOST] {
        for reply in [
            answer_of("", &body()),
            answer_of(chunked, &chunks),
            answer_of(&format!("Content-Length: 5\r\n{chunked}"), &chunks),
        ] {
            let (place, server) = (Place::new(), Server::start(vec![raw(reply)]));
            assert_eq!(place.try_get(&server, size).unwrap().sha256, digest::of_bytes(&body()));
        }
        let begin = answer_of("", b"");
        let (error, _) = error_of(move || endless(begin.clone(), [7; 10_000]), size, patience());
        assert!(matches!(error.kind, Kind::TooLong(_)), "{error}");
    }
    // chunks that end or break in the middle are no end of the file
    for bad in [chunks[..100_000].to_vec(), [&chunks[..70_007], b"zz\r\n"].concat()] {
        let replies = vec![raw(answer_of(chunked, &bad)), ranged(&body())];
        let (place, server) = (Place::new(), Server::start(replies));
        assert_eq!(place.try_get(&server, exactly()).unwrap().sha256, digest::of_bytes(&body()));
    }
}

#[test]
fn a_compressed_answer_is_refused_unless_the_file_itself_is_compressed() {
    assert_refused("Content-Encoding: gzip\r\n", exactly(), "compressed");
    let (place, server) =
        (Place::new(), Server::start(vec![raw(answer_of("Content-Encoding: gzip\r\n", b"\x1f\x8babc"))]));
    place.try_get(&server, AT_MOST).unwrap();
    assert!(place.holds(b"\x1f\x8babc"));
}

#[test]
fn heads_are_bounded() {
    assert_refused(&"X-A: b\r\n".repeat(200), exactly(), "too many headers");
    assert_refused(&format!("X-A: {}\r\n", "b".repeat(70_000)), exactly(), "too big");
    for (begin, piece) in [(OK.to_owned(), "X-A: b\r\n"), (format!("{OK}X-A: "), "bbbbbbbb")] {
        let reply = move || endless(begin.clone(), piece.repeat(100));
        let (error, n_requests) = error_of(reply, exactly(), patience());
        assert!(matches!(error.kind, Kind::Answer(_)) && n_requests == 1, "{error}");
    }
    assert!(matches!(error_of(|| raw("SSH-2.0-x\r\n\r\n"), exactly(), patience()).0.kind, Kind::Answer(_)));
}

/// Patience with the pace of 200 bytes in 200ms. The servers send 100 bytes in 1 s, and then they are done.
fn little_patience() -> Patience {
    Patience { pace: Duration::from_millis(200), ..patience() }
}

#[test]
fn a_server_that_trickles_is_given_up() {
    for head in ["Content-Length: 100\r\n", ""] {
        for size in [Some(100), AT_MOST] {
            let begin = answer_of(head, b"");
            let (error, n_requests) =
                error_of(move || trickle(begin.clone(), [7; 100]), size, little_patience());
            assert!(error.to_string().contains("fewer than 200 bytes came in 200ms"), "{error}");
            assert!(n_requests <= 3, "{n_requests}");
        }
    }
}

#[test]
fn a_head_that_trickles_is_given_up() {
    let begin = format!("{OK}X-A: ");
    let rest = format!("{}\r\n\r\nabc", "b".repeat(100));
    for patience in [little_patience(), Patience { stall: Duration::from_millis(100), ..patience() }] {
        let (begin, rest) = (begin.clone(), rest.clone());
        let reply = move || trickle(begin.clone(), rest.clone());
        let (error, n_requests) = error_of(reply, AT_MOST, patience);
        assert!(matches!(error.kind, Kind::Connect(_)) && n_requests == 1, "{error}");
    }
}

#[test]
fn answers_before_the_answer_do_not_go_on_for_ever() {
    let reply = || -> Reply {
        Box::new(|_, stream| {
            let begin = Instant::now();
            let hint = b"HTTP/1.1 103 Early Hints\r\n\r\n";
            while begin.elapsed() < Duration::from_secs(1) && stream.write_all(hint).is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = stream.write_all(&answer_of("", b"abc"));
        })
    };
    let (error, n_requests) = error_of(reply, AT_MOST, little_patience());
    assert!(matches!(error.kind, Kind::Connect(_)) && n_requests == 1, "{error}");
}

#[test]
fn a_server_that_closes_after_a_few_bytes_is_given_up() {
    let server = Server::answering(|request| {
        let start = range_start(request).unwrap_or(0);
        let (status, range) = match start {
            0 => ("200 OK", String::new()),
            _ => ("206 Partial Content", format!("Content-Range: bytes {start}-199999/200000\r\n")),
        };
        Box::new(move |_, stream| {
            head(stream, status, 200_000 - start, &range);
            let _ = stream.write_all(&body()[start..start + 600]);
        })
    });
    let place = Place::new();
    let error = place.try_get(&server, exactly()).unwrap_err();
    assert!(matches!(error.kind, Kind::Cut { n_bytes: 1_800, .. }), "{error}");
    assert_eq!(server.requests().len(), 3);
}

#[test]
fn ranges_that_were_not_asked_for_are_refused() {
    let partial = || with_head(b"abc", "206 Partial Content", "Content-Range: bytes 0-2/3\r\n");
    let (error, _) = error_of(partial, AT_MOST, patience());
    assert!(matches!(error.kind, Kind::Status(206)), "{error}");
}

#[test]
fn a_stop_does_not_wait_for_an_answer() {
    let (place, stop) = (Place::new(), StopFlag::default());
    let raised = stop.clone();
    let patient = Patience { stall: Duration::from_secs(600), pace: Duration::from_secs(600), ..patience() };
    let server = Server::start(vec![Box::new(move |_, stream| {
        raised.raise(StopSignal::Terminate);
        let _ = std::io::copy(stream, &mut std::io::sink()); // until the client closes the connection
    })]);
    let error = place.get(&server.url, exactly(), patient, &stop).unwrap_err();
    assert!(matches!(error.kind, Kind::Stopped(StopSignal::Terminate)), "{error}");
    assert!(place.is_empty());
    let server = Server::answering(|_| whole(&body()));
    place.get(&server.url, exactly(), patience(), &stop).unwrap_err();
    assert!(server.requests().is_empty(), "no request after a stop");
    // a stop before the next attempt
    let raised = StopFlag::default();
    let stop = raised.clone();
    let patient = Patience { retry_delay: Duration::from_secs(600), ..patience() };
    let server = Server::start(vec![Box::new(move |request, stream| {
        cut_after(&body(), 50_000)(request, stream);
        raised.raise(StopSignal::Interrupt);
    })]);
    let error = place.get(&server.url, exactly(), patient, &stop).unwrap_err();
    assert!(matches!(error.kind, Kind::Stopped(StopSignal::Interrupt)), "{error}");
}

/// Connections wait for a place in the queue of a server that accepts none. The one that was not waited for comes later.
#[cfg(target_os = "linux")]
#[test]
fn a_stop_does_not_wait_for_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200));
    let queue: Vec<TcpStream> = std::iter::from_fn(|| connect().ok()).take(600).collect();
    assert!(queue.len() < 600, "the queue has no end");

    let (place, stop) = (Place::new(), StopFlag::default());
    let patient = Patience { connect: Duration::from_secs(600), ..patience() };
    let raised = stop.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        raised.raise(StopSignal::Interrupt);
    });
    let error = place.get(&format!("http://{address}"), exactly(), patient, &stop).unwrap_err();
    assert!(matches!(error.kind, Kind::Stopped(StopSignal::Interrupt)), "{error}");

    listener.set_nonblocking(true).unwrap();
    let is_of_queue = |from| queue.iter().any(|ours| ours.local_addr().unwrap() == from);
    let begin = Instant::now();
    loop {
        match listener.accept() {
            Ok((_, from)) if !is_of_queue(from) => break,
            Ok(_) => {}
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "it was waited for");
    }
}

#[test]
fn a_part_that_is_longer_than_the_file_is_not_of_it() {
    let (place, server) = (Place::new(), Server::answering(|_| ranged(&body())));
    std::fs::write(place.part(), vec![7; 200_001]).unwrap();
    assert!(!place.try_get(&server, exactly()).unwrap().is_patched);
    assert!(place.holds(&body()));
}

#[test]
fn what_cannot_be_written_is_told_by_its_path() {
    let server = Server::start(vec![whole(&body())]);
    let (url, max_bytes) = (&*server.url, 1_000_000);
    let remote = RemoteFile { url, label: "x", n_bytes: exactly(), max_bytes, check: |_, _| Ok(()) };
    let (part, stop) = (Path::new("no/such/folder/x.part"), StopFlag::default());
    let error = Client::new(None, patience(), &Silent, &stop).download(&remote, part).unwrap_err();
    assert!(matches!(error.kind, Kind::File(_)) && error.to_string().contains("x.part"), "{error}");
}
