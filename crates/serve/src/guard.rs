//! Applies to every request: checks the name of the server in it, and adds the security headers to its response.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::refusal::Refusal;
use crate::server::Shared;

/// The page loads nothing from other servers. Pictures that are chosen on the page are `blob:` addresses.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' blob: data:; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY)),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Names of a server that the `Host` header of a request may have.
///
/// Without this check, the owner of another site could make the site's name resolve to this machine. The pages of that site would
/// then have the same origin as the server, and could read its answers (DNS rebinding).
pub(crate) struct Names {
    /// Names of this machine, with the server's port.
    own: Vec<String>,
    /// Names that a proxy passes on, with any port; in lower case.
    given: Vec<String>,
}

impl Names {
    /// Returns the names of a server on `address`, with those that its owner has `given`. `None` if other machines can reach the
    /// server and there are none: then every name is accepted.
    pub(crate) fn new(address: SocketAddr, given: &[String]) -> Option<Self> {
        if !address.ip().is_loopback() && given.is_empty() {
            return None;
        }
        let port = address.port();
        let mut own: Vec<String> =
            ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}")).into();
        if port == 80 {
            own.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned)); // clients leave port 80 out
        }
        own.push(SocketAddr::new(address.ip(), port).to_string());
        Some(Self { own, given: given.iter().map(|name| name.to_ascii_lowercase()).collect() })
    }

    /// Whether `host`, in lower case, is one of the names.
    fn contain(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        self.own.iter().any(|own| own == host) || self.given.iter().any(|given| given == name)
    }
}

/// Refuses requests that are addressed to another server. Adds the headers to every response, and counts it.
pub(crate) async fn guard(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let mut response = match foreign_name(&shared, &request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    shared.metrics.answered(response.status().as_u16());
    response
}

/// Returns a refusal if the `Host` header has a name that is not this server's. Every browser sends the header. A program may
/// leave it out: such a request is accepted.
fn foreign_name(shared: &Shared, request: &Request) -> Option<Refusal> {
    let names = shared.names.as_ref()?;
    let host = String::from_utf8_lossy(request.headers().get(header::HOST)?.as_bytes()).to_ascii_lowercase();
    if names.contain(&host) {
        return None;
    }
    let error = format!(
        "this server is not {host:?}: ask http://{}/, or start it with --allow-host for that name",
        names.own[0]
    );
    Some(Refusal::new(StatusCode::FORBIDDEN, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_loopback_has_few_names() {
        let names_of = |text: &str, given: &[&str]| {
            Names::new(text.parse().unwrap(), &given.iter().map(|name| (*name).into()).collect::<Vec<_>>())
        };
        let local = names_of("127.0.0.1:8000", &[]).unwrap();
        assert!(["localhost:8000", "127.0.0.1:8000", "[::1]:8000"].iter().all(|name| local.contain(name)));
        assert!(!local.contain("localhost"), "another port");
        assert!(names_of("[::1]:80", &[]).unwrap().contain("localhost"));
        assert!(names_of("127.0.0.2:9", &[]).unwrap().contain("127.0.0.2:9"));
        for open in ["0.0.0.0:8000", "192.168.0.1:8000"] {
            assert!(names_of(open, &[]).is_none());
            let few = names_of(open, &["Tallow.example"]).unwrap();
            assert!(few.contain("tallow.example") && few.contain("tallow.example:443") && few.contain(open));
            assert!(!few.contain("example") && !few.contain("tallow.example:x") && !few.contain(""));
        }
    }
}
