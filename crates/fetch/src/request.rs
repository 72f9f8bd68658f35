//! One request and the beginning of its answer. Redirects are followed by strict rules: few of them, to http and https alone,
//! never from https to http, and with the token only for the server that the token was meant for.

use std::io::{self, Read};
use std::sync::atomic::Ordering;

use ureq::BodyReader;
use ureq::http::response::Parts;
use ureq::http::{HeaderMap, Uri};

use crate::Client;
use crate::error::{Kind, lost};
use crate::watch::Watch;

const MAX_REDIRECTS: usize = 10;

/// A token, after the scheme, host and port of the only server that may see it.
pub(crate) type Token = ((String, String, u16), String);

/// An answer. Its body is read from it.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    headers: HeaderMap,
    /// Length of the body, if the server states it.
    pub(crate) n_bytes: Option<u64>,
    body: BodyReader<'static>,
    watch: &'a Watch,
}

impl Answer<'_> {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the validator for `If-Range`: a strong ETag, or the date of the last change.
    pub(crate) fn validator(&self) -> Option<&str> {
        let strong = self.header("etag").filter(|etag| !etag.starts_with("W/"));
        strong.or_else(|| self.header("last-modified"))
    }
}

impl Read for Answer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.body.read(buffer).and_then(|n| self.watch.count(n))
    }
}

impl Client<'_> {
    /// Returns the first answer that is not a redirect, whatever its status.
    pub(crate) fn send<'a>(
        &self,
        watch: &'a Watch,
        url: &str,
        more: &[(&str, String)],
    ) -> Result<Answer<'a>, Kind> {
        let parsed = url.parse::<Uri>();
        let mut uri = parsed.map_err(|e| Kind::Answer(format!("this is not an address ({e})")))?;
        for _ in 0..=MAX_REDIRECTS {
            let mut request = watch.agent.get(uri.clone());
            for (name, value) in more {
                request = request.header(*name, value);
            }
            if let Some((server, text)) = &self.token
                && server_of(&uri).as_ref() == Some(server)
            {
                request = request.header("Authorization", format!("Bearer {text}"));
            }
            if is_loopback(&uri) {
                request = request.config().proxy(None).build(); // whatever the environment says
            }
            let answer = watch.apart(move || request.call()).map_err(lost)?;
            let (Parts { status, headers, .. }, body) = answer.map_err(failure)?.into_parts();
            self.has_answered.store(true, Ordering::Relaxed);
            match headers.get("location") {
                Some(to) if status.is_redirection() => {
                    uri = target(&uri, &String::from_utf8_lossy(to.as_bytes()))?;
                }
                _ => {
                    let (status, n_bytes) = (status.as_u16(), body.content_length());
                    return Ok(Answer { status, headers, n_bytes, body: body.into_reader(), watch });
                }
            }
        }
        Err(Kind::Answer(format!("it redirects more than {MAX_REDIRECTS} times")))
    }
}

fn failure(error: ureq::Error) -> Kind {
    use ureq::Error::{BadUri, Http, LargeResponseHeader, Protocol};
    match error {
        BadUri(_) | Http(_) | LargeResponseHeader(..) | Protocol(_) => Kind::Answer(error.to_string()),
        _ => lost(error),
    }
}

/// Returns the address that a redirect of `from` leads to.
fn target(from: &Uri, location: &str) -> Result<Uri, Kind> {
    let scheme = from.scheme_str().unwrap_or_default();
    let server = format!("{scheme}://{}", from.authority().map_or("", |authority| authority.as_str()));
    let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    // the first segment of a relative address has no colon
    let has_scheme = location.split(['/', '?', '#']).next().is_some_and(|first| first.contains(':'));
    let text = match location {
        _ if has_scheme => location.to_owned(),
        _ if location.starts_with("//") => format!("{scheme}:{location}"),
        _ if location.starts_with('/') => format!("{server}{location}"),
        _ => format!("{server}{folder}/{location}"),
    };
    let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some());
    match uri {
        Some(uri) if scheme == "https" && uri.scheme_str() == Some("http") => {
            Err(Kind::Answer("it redirects from https to http, which is not safe".to_owned()))
        }
        Some(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => Ok(uri),
        _ => {
            let location: String = location.chars().take(100).collect();
            Err(Kind::Answer(format!("it redirects to {location:?}, expected an address with http or https")))
        }
    }
}

/// Returns scheme, host and port.
pub(crate) fn server_of(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().unwrap()
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let from = uri("https://a.org:8443/x/y?z=1");
        for (location, expected) in [
            ("https://b.org/file?sig=http://x", "https://b.org/file?sig=http://x"),
            ("//b.org/file", "https://b.org/file"),
            ("/api/file?to=https://x", "https://a.org:8443/api/file?to=https://x"),
            ("file", "https://a.org:8443/x/file"),
            ("../file", "https://a.org:8443/x/../file"),
        ] {
            assert_eq!(target(&from, location).unwrap(), uri(expected), "{location}");
        }
        assert_eq!(target(&uri("http://a.org"), "x").unwrap(), uri("http://a.org/x"));
        assert_eq!(target(&uri("http://a.org"), "https://a.org/").unwrap(), uri("https://a.org/"));
    }

    #[test]
    fn redirects_that_are_not_followed_say_why() {
        let refusal = |location: &str| target(&uri("https://a.org/x"), location).unwrap_err().to_string();
        for location in ["http://a.org/x", "HTTP://b.org"] {
            assert!(refusal(location).contains("from https to http"), "{location}");
        }
        for location in ["ftp://a.org/x", "file:///etc/passwd", "https://", "//", "/a b"] {
            assert!(refusal(location).contains("expected an address"), "{location}");
        }
        assert!(refusal(&format!("ftp://a/{}", "x".repeat(60_000))).len() < 200);
    }

    #[test]
    fn a_server_is_a_scheme_a_host_and_a_port() {
        let same = |a: &str, b: &str| server_of(&uri(a)) == server_of(&uri(b));
        assert!(same("https://hub.org/x", "HTTPS://HUB.org:443/y?z"));
        assert!(same("http://hub.org", "http://me:word@hub.org:80/"));
        for other in
            ["http://hub.org/x", "https://hub.org:8443/x", "https://hub.org.evil/x", "https://hub.org@evil/"]
        {
            assert!(!same("https://hub.org/x", other), "{other}");
        }
    }
}
