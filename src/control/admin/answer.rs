//! What is answered to one request: a function of who asks, the method and the path.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::{Admin, Scope, views};

/// Linkerd's mark of an HTTP/1 request that travels over HTTP/2.
const ORIG_PROTO: HeaderName = HeaderName::from_static("l5d-orig-proto");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The format that `# EOF` ends.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Everything that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Certs,
    ConfigDump,
    Connections,
    Live,
    Metrics,
    Policy,
    Ready,
    Routes,
}

impl Page {
    const ALL: [Self; 8] = [
        Self::Certs,
        Self::ConfigDump,
        Self::Connections,
        Self::Live,
        Self::Metrics,
        Self::Policy,
        Self::Ready,
        Self::Routes,
    ];

    fn path(self) -> &'static str {
        match self {
            Self::Certs => "/certs",
            Self::ConfigDump => "/config_dump",
            Self::Connections => "/connections",
            Self::Live => "/live",
            Self::Metrics => "/metrics",
            Self::Policy => "/policy",
            Self::Ready => "/ready",
            Self::Routes => "/routes",
        }
    }

    /// Served to anyone: the port is part of the gateway's public Service.
    fn is_public(self) -> bool {
        matches!(self, Self::Live | Self::Ready)
    }

    fn find(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.path() == path)
    }
}

struct Answer {
    status: StatusCode,
    kind: HeaderValue,
    body: Bytes,
}

impl Answer {
    fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, kind: TEXT, body: body.into() }
    }

    fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, kind: JSON, body: body.into() }
    }
}

/// Answers a request of `peer` and counts it. The body is never read.
pub(super) fn answer<B>(
    admin: &Admin,
    scope: Scope,
    peer: IpAddr,
    request: &Request<B>,
) -> Response<Full<Bytes>> {
    let page = Page::find(request.uri().path());
    let is_local = peer.to_canonical().is_loopback();
    let is_allowed = page.is_some_and(Page::is_public)
        || match scope {
            Scope::Full => is_local,
            Scope::Metrics => page == Some(Page::Metrics),
        };
    let mut answer = decide(admin, is_allowed, page, request.method());
    // Off loopback nobody learns which paths exist, nor makes series of them.
    let label = page.map_or("other", Page::path);
    admin.metrics.admin_request(label, answer.status.as_u16());
    let length = answer.body.len();
    if request.method() == Method::HEAD {
        answer.body = Bytes::new();
    }
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, answer.kind);
    headers.insert(header::CONTENT_LENGTH, length.into());
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if request.version() >= Version::HTTP_2 {
        let original = request.headers().get(ORIG_PROTO);
        if original.is_some_and(|value| value.as_bytes().starts_with(b"HTTP/1")) {
            headers.insert(ORIG_PROTO, HeaderValue::from_static("HTTP/1.1"));
        }
    } else if answer.status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn decide(admin: &Admin, is_allowed: bool, page: Option<Page>, method: &Method) -> Answer {
    if !is_allowed {
        let body = "Requests are only permitted from localhost.\n";
        return Answer::text(StatusCode::FORBIDDEN, body);
    }
    let Some(page) = page else {
        return Answer::text(StatusCode::NOT_FOUND, "not found\n");
    };
    if method != Method::GET && method != Method::HEAD {
        return Answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    }
    match page {
        Page::Certs => Answer::json(views::certs(admin)),
        Page::ConfigDump => Answer::json(views::configuration(admin)),
        Page::Connections => Answer::json(views::connections(admin)),
        Page::Live => Answer::text(StatusCode::OK, "live\n"),
        Page::Metrics => {
            let body = admin.metrics.encode().into();
            Answer { status: StatusCode::OK, kind: OPEN_METRICS, body }
        }
        Page::Policy => Answer::json(views::policy(admin)),
        Page::Ready => readiness(admin),
        Page::Routes => Answer::json(views::routes(admin)),
    }
}

/// Reads the gates as they are and never waits.
fn readiness(admin: &Admin) -> Answer {
    let gates = admin.state.readiness.gates();
    let closed: Vec<_> = gates.iter().filter(|(_, is_open)| !is_open).collect();
    let is_draining = admin.state.draining.is_cancelled();
    if closed.is_empty() && !is_draining {
        return Answer::text(StatusCode::OK, "ready\n");
    }
    let mut body = String::from("not ready\n");
    if is_draining {
        body.push_str("draining\n");
    }
    for (name, _) in closed {
        body.push_str(name);
        body.push('\n');
    }
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, body)
}
