//! Downloads from servers that are slow, break off, do not support ranges, refuse, or send something else.

mod common;

use std::io::Write;
use std::time::{Duration, Instant};

use common::*;
use tallow_core::{Progress, StopFlag, StopSignal, Unit, digest};
use tallow_dataset::fetch::{FetchError, Fetched, Packing, fetch};

#[test]
fn a_slow_server_is_waited_for_and_a_second_call_finds_the_data() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let pieces = archive.clone();
    let slow: Reply = Box::new(move |_, stream| {
        head(stream, "200 OK", pieces.len(), "");
        for piece in pieces.chunks(40_000) {
            std::thread::sleep(Duration::from_millis(20));
            let _ = stream.write_all(piece);
        }
    });
    let server = Server::start(vec![slow]);
    let data_dir = folder.path().join("new/data");
    let request = request(&data_dir, &server.url);
    let path = data_dir.join("tiny");
    assert_eq!(run(&request).unwrap(), Fetched::Fetched { path: path.clone(), n_bytes: 201_000 });
    assert!(is_whole(&data_dir));
    assert_eq!(names_in(&data_dir), ["tiny"]);
    assert_eq!(names_in(&path), ["a.bin", "b.bin"]);
    assert_eq!(run(&request).unwrap(), Fetched::AlreadyThere { path });
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_cut_is_resumed_within_the_call() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let server = Server::start(vec![cut_after(&archive, 90_000), hang_up(), ranged(&archive)]);
    run(&request(folder.path(), &server.url)).unwrap();
    assert!(is_whole(folder.path()));
    let requests = server.requests();
    assert_eq!(range_start(&requests[0]), None);
    assert_eq!(range_start(&requests[2]), Some(90_000));
    assert!(requests[2].contains("if-range: \"one\""), "{}", requests[2]);
}

#[test]
fn a_cut_is_resumed_by_a_second_call() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let replies = vec![cut_after(&archive, 90_000), hang_up(), hang_up(), hang_up(), ranged(&archive)];
    let server = Server::start(replies);
    let request = request(folder.path(), &server.url);
    let message = run(&request).unwrap_err().to_string();
    assert!(message.contains("broke off after 90000 of ") && message.contains("to continue"), "{message}");
    assert_eq!(names_in(folder.path()), ["tiny.part", "tiny.part.json"]);
    run(&request).unwrap();
    assert!(is_whole(folder.path()));
    assert_eq!(names_in(folder.path()), ["tiny"]);
    assert_eq!(range_start(&server.requests()[4]), Some(90_000));
}

#[test]
fn a_part_of_another_address_is_not_gone_on_with() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let first = Server::start(vec![cut_after(&archive, 90_000), hang_up(), hang_up(), hang_up()]);
    run(&request(folder.path(), &first.url)).unwrap_err();
    let second = Server::start(vec![whole(&archive)]);
    run(&request(folder.path(), &second.url)).unwrap();
    assert_eq!(range_start(&second.requests()[0]), None);
    assert!(is_whole(folder.path()));
}

#[test]
fn a_server_that_ignores_the_range_sends_everything_anew() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let server = Server::start(vec![cut_after(&archive, 90_000), whole(&archive)]);
    run(&request(folder.path(), &server.url)).unwrap();
    assert_eq!(range_start(&server.requests()[1]), Some(90_000));
    assert!(is_whole(folder.path()));
}

#[test]
fn a_range_that_does_not_fit_is_thrown_away_with_the_part() {
    let archive = tiny_archive();
    let partial = |range: String, etag: &'static str| -> Reply {
        Box::new(move |_, stream| {
            head(
                stream,
                "206 Partial Content",
                4,
                &format!("ETag: {etag}\r\nContent-Range: bytes {range}\r\n"),
            );
            let _ = stream.write_all(b"abcd");
        })
    };
    let total = archive.len();
    for misfit in [
        partial(format!("90001-90004/{total}"), "\"one\""),
        partial(format!("90000-90003/{}", total + 1), "\"one\""),
        partial(format!("90000-90003/{total}"), "\"two\""),
        partial("nonsense".to_owned(), "\"one\""),
        status("416 Range Not Satisfiable"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(vec![cut_after(&archive, 90_000), misfit, whole(&archive)]);
        run(&request(folder.path(), &server.url)).unwrap();
        assert!(is_whole(folder.path()));
        assert_eq!(range_start(&server.requests()[2]), None);
    }
}

#[test]
fn a_refusal_is_told_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(vec![status("404 Not Found")]);
    let message = run(&request(folder.path(), &server.url)).unwrap_err().to_string();
    assert!(message.contains(&server.url) && message.contains("404"), "{message}");
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn a_page_instead_of_data_is_told_and_leaves_what_was_there() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let page = || -> Reply {
        let body = b"\n<!DOCTYPE HTML><title>Log in</title>";
        Box::new(move |_, stream| {
            head(stream, "200 OK", body.len(), "");
            let _ = stream.write_all(body);
        })
    };
    let server = Server::start(vec![page()]);
    let message = run(&request(folder.path(), &server.url)).unwrap_err().to_string();
    assert!(message.contains("an HTML page") && message.contains("login"), "{message}");
    assert!(names_in(folder.path()).is_empty());

    let server = Server::start(vec![cut_after(&archive, 90_000), page(), ranged(&archive)]);
    let request = request(folder.path(), &server.url);
    assert!(matches!(run(&request), Err(FetchError::NotAnArchive { .. })));
    run(&request).unwrap();
    assert_eq!(range_start(&server.requests()[2]), Some(90_000));
}

#[test]
fn wrong_bytes_are_deleted_and_told() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let server = Server::start(vec![whole(&archive), whole(&archive)]);
    let mut official = request(folder.path(), &server.url);
    official.spec.url = server.url.clone();
    official.spec.archive = Some(Packing { n_bytes: 7, sha256: digest::of_bytes(b"the official one") });
    let message = run(&official).unwrap_err().to_string();
    assert!(message.contains(&digest::of_bytes(&archive)), "{message}");
    assert!(message.contains(&digest::of_bytes(b"the official one")), "{message}");
    assert!(message.contains("the download was deleted"), "{message}");
    assert!(names_in(folder.path()).is_empty());

    let mut other_file = request(folder.path(), &server.url);
    other_file.spec.files[1].sha256 = Some("0".repeat(64));
    let message = run(&other_file).unwrap_err().to_string();
    assert!(message.contains("b.bin in http") && message.contains(&"0".repeat(64)), "{message}");
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn no_server_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(vec![]);
    std::thread::sleep(Duration::from_millis(50)); // until the listener is closed
    let message = run(&request(folder.path(), &server.url)).unwrap_err().to_string();
    assert!(
        message.contains("cannot reach http://127.0.0.1") && message.contains("--from FILE"),
        "{message}"
    );
    assert!(names_in(folder.path()).is_empty());
}

#[test]
fn a_silent_server_is_given_up_and_asked_again() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    let server = Server::start(vec![silent_after(&archive, 90_000), ranged(&archive)]);
    let mut request = request(folder.path(), &server.url);
    request.patience.stall = Duration::from_millis(100);
    run(&request).unwrap();
    assert!(is_whole(folder.path()));
    assert_eq!(range_start(&server.requests()[1]), Some(90_000));
}

/// Raises a stop flag as soon as this number of bytes has been downloaded.
struct StopAt(u64, StopFlag);

impl Progress for StopAt {
    fn begin(&self, _label: &str, _total: Option<u64>, _unit: Unit) {}
    fn advance(&self, done: u64) {
        if done >= self.0 {
            self.1.raise(StopSignal::Interrupt);
        }
    }
    fn note(&self, _text: &str) {}
    fn end(&self) {}
    fn say(&self, _line: &str) {}
}

#[test]
fn a_stop_keeps_what_came() {
    let (folder, archive) = (tempfile::tempdir().unwrap(), tiny_archive());
    // the server falls silent: the stop must not wait for the stall time-out
    let server = Server::start(vec![silent_after(&archive, 90_000), ranged(&archive)]);
    let mut request = request(folder.path(), &server.url);
    request.patience.stall = Duration::from_secs(60);
    let (stop, start) = (StopFlag::default(), Instant::now());
    let error = fetch(&request, &StopAt(90_000, stop.clone()), &stop).unwrap_err();
    assert!(matches!(error, FetchError::Stopped(StopSignal::Interrupt)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    run(&request).unwrap();
    assert!(is_whole(folder.path()));
    assert_eq!(range_start(&server.requests()[1]), Some(90_000));
}

#[test]
fn a_stop_while_unpacking_keeps_the_download() {
    let archive = tiny_archive();
    let without_length = raw([&b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"[..], &archive].concat());
    for reply in [whole(&archive), without_length] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(vec![reply]);
        let request = request(folder.path(), &server.url);
        stop_in_unpacking(&request, &StopFlag::default());
        assert_eq!(names_in(folder.path()), ["tiny.part", "tiny.part.json"]);
        run(&request).unwrap(); // the server is gone
        assert!(is_whole(folder.path()));
    }
}

fn stop_in_unpacking(request: &tallow_dataset::fetch::FetchRequest, stop: &StopFlag) {
    struct InUnpacking(StopFlag);
    impl Progress for InUnpacking {
        fn begin(&self, label: &str, _total: Option<u64>, _unit: Unit) {
            if label.starts_with("unpacking") {
                self.0.raise(StopSignal::Terminate);
            }
        }
        fn advance(&self, _done: u64) {}
        fn note(&self, _text: &str) {}
        fn end(&self) {}
        fn say(&self, _line: &str) {}
    }
    let error = fetch(request, &InUnpacking(stop.clone()), stop).unwrap_err();
    assert!(matches!(error, FetchError::Stopped(StopSignal::Terminate)), "{error}");
}

#[test]
fn a_server_without_end_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let begin = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\x1f\x8b";
    let server = Server::start(vec![endless(begin, [0; 10_000])]);
    let message = run(&request(folder.path(), &server.url)).unwrap_err().to_string();
    assert!(message.contains("more than 1000000 bytes"), "{message}");
    assert!(names_in(folder.path()).is_empty());
}
