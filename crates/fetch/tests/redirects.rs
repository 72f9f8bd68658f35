//! Redirects, who gets the token, and documents.

mod server;

use std::time::Duration;

use server::*;
use tallow_core::{Silent, StopFlag};
use tallow_fetch::{Client, Error, Kind, Patience};

/// Gets `url` with a token for `endpoint`.
fn get(url: &str, endpoint: &str) -> Result<Vec<u8>, Error> {
    let stop = StopFlag::default();
    let patience = Patience { retry_delay: Duration::from_millis(1), ..Patience::default() };
    Client::new(Some((endpoint, "SECRET")), patience, &Silent, &stop).document(url, 1_000)
}

fn has_token(request: &str) -> bool {
    request.contains("authorization: bearer secret")
}

#[test]
fn the_token_goes_to_its_scheme_host_and_port_alone() {
    // another port of the same host, and another name of the host
    for name in ["127.0.0.1", "localhost"] {
        let other = Server::answering(|_| with_head(b"content", "200 OK", ""));
        let to = format!("{}/file", other.url.replace("127.0.0.1", name));
        let hub = Server::answering(move |_| redirect(&to));
        assert_eq!(get(&hub.url, &hub.url).unwrap(), b"content");
        assert!(has_token(&hub.requests()[0]) && hub.requests().len() == 1);
        assert!(!has_token(&other.requests()[0]), "{}", other.requests()[0]);
    }
    // a token for https is not sent in the clear
    let hub = Server::answering(|_| with_head(b"content", "200 OK", ""));
    get(&hub.url, &hub.url.replace("http:", "https:")).unwrap();
    get(&hub.url, "no address").unwrap();
    assert!(!hub.requests().iter().any(|request| has_token(request)));
}

#[test]
fn the_token_stays_with_its_server_on_a_redirect_within_it() {
    let hub = Server::answering(|request| match request.split(' ').nth(1) {
        Some("/file") => redirect("/store/file?sig=1"),
        Some("/store/file?sig=1") => redirect("other"),
        Some("/store/other") if has_token(request) => with_head(b"content", "200 OK", ""),
        _ => status("401 Unauthorized"),
    });
    assert_eq!(get(&format!("{}/file", hub.url), &format!("{}/", hub.url)).unwrap(), b"content");
}

#[test]
fn redirects_are_bounded_and_lead_to_http_alone() {
    let hub = Server::answering(|_| redirect("/again"));
    let message = get(&hub.url, &hub.url).unwrap_err().to_string();
    assert!(message.contains("redirects more than 10 times"), "{message}");
    assert_eq!(hub.requests().len(), 11);
    for (location, expected) in
        [("ftp://a.org/x", "\"ftp://a.org/x\", expected"), ("file:///etc/passwd", "expected")]
    {
        let hub = Server::answering(move |_| redirect(location));
        let error = get(&hub.url, &hub.url).unwrap_err();
        assert!(matches!(error.kind, Kind::Answer(_)) && error.to_string().contains(expected), "{error}");
    }
    // a redirect without an address
    let hub = Server::answering(|_| with_head(b"", "302 Found", ""));
    assert!(matches!(get(&hub.url, &hub.url).unwrap_err().kind, Kind::Status(302)));
}

#[test]
fn documents_are_whole_and_bounded() {
    let of = |reply: Reply| get(&Server::start(vec![reply]).url, "");
    let refusal = |reply: Reply| of(reply).unwrap_err().kind;
    assert_eq!(of(with_head(&[b'x'; 1_000], "200 OK", "")).unwrap().len(), 1_000);
    assert!(matches!(refusal(with_head(&[b'x'; 1_001], "200 OK", "")), Kind::TooLong(1_000)));
    assert!(matches!(refusal(endless("HTTP/1.1 200 OK\r\n\r\n", "x")), Kind::TooLong(1_000)));
    assert!(matches!(refusal(cut_after(b"content", 3)), Kind::Connect(_)));
    assert!(matches!(refusal(status("404 Not Found")), Kind::Status(404)));
    assert!(matches!(refusal(hang_up()), Kind::Connect(_)));
    assert!(matches!(get("nonsense", "").unwrap_err().kind, Kind::Answer(_)));
}
