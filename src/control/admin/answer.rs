//! What is answered to one request: a function of who asks, the method and the path.

use std::ffi::OsString;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::body::Received;
use super::page::Page;
use super::{Admin, Scope, actions, environment, views};

/// Linkerd's mark of an HTTP/1 request that travels over HTTP/2.
const ORIG_PROTO: HeaderName = HeaderName::from_static("l5d-orig-proto");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The format that `# EOF` ends.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

pub(super) struct Answer {
    status: StatusCode,
    kind: HeaderValue,
    body: Bytes,
}

impl Answer {
    pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, kind: TEXT, body: body.into() }
    }

    pub(super) fn json(body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, kind: JSON, body: body.into() }
    }
}

/// True when a request is allowed and its body is part of what it asks for: no other is read.
pub(super) fn wants_body<B>(scope: Scope, peer: IpAddr, request: &Request<B>) -> bool {
    let page = Page::find(request.uri().path());
    is_allowed(scope, peer, page) && page.is_some_and(|page| page.reads_body(request.method()))
}

/// Answers a request of `peer` and counts it. The body is empty when it is not wanted.
pub(super) fn answer(
    admin: &Admin,
    scope: Scope,
    peer: IpAddr,
    request: &Request<Received>,
) -> Response<Full<Bytes>> {
    let page = Page::find(request.uri().path());
    let mut answer = match page {
        _ if !is_allowed(scope, peer, page) => {
            let body = "Requests are only permitted from localhost.\n";
            Answer::text(StatusCode::FORBIDDEN, body)
        }
        Some(page) if page.takes(request.method()) => decide(admin, page, request),
        Some(_) => Answer::text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n"),
        None => Answer::text(StatusCode::NOT_FOUND, "not found\n"),
    };
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
    // RFC 9110 8.6: an answer without content has no length.
    if answer.status != StatusCode::NO_CONTENT {
        headers.insert(header::CONTENT_TYPE, answer.kind);
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if let Some(page) = page.filter(|_| answer.status == StatusCode::METHOD_NOT_ALLOWED) {
        headers.insert(header::ALLOW, HeaderValue::from_static(page.methods()));
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

fn is_allowed(scope: Scope, peer: IpAddr, page: Option<Page>) -> bool {
    page.is_some_and(Page::is_public)
        || match scope {
            Scope::Full => peer.to_canonical().is_loopback(),
            Scope::Metrics => page == Some(Page::Metrics),
        }
}

fn decide(admin: &Admin, page: Page, request: &Request<Received>) -> Answer {
    let (method, query) = (request.method(), request.uri().query().unwrap_or_default());
    match page {
        Page::Certs => Answer::json(views::certs(admin)),
        Page::ConfigDump => Answer::json(views::configuration(admin)),
        Page::Connection => actions::close_one(admin, request.uri().path()),
        Page::Connections if method == Method::DELETE => actions::close_by_identity(admin, query),
        Page::Connections => Answer::json(views::connections(admin)),
        Page::Environment => environment(query, request.headers()),
        Page::Links => Answer::json(views::json(&**admin.state.links.load())),
        Page::Live => Answer::text(StatusCode::OK, "live\n"),
        Page::LogLevel if method == Method::PUT => match request.body() {
            Ok(body) => actions::change_log_level(admin, body),
            Err(error) => Answer::text(error.status(), format!("{error}\n")),
        },
        Page::LogLevel => actions::log_level(admin),
        Page::Metrics => {
            admin.metrics.ready(closed(admin).is_empty());
            let body = admin.metrics.encode().into();
            Answer { status: StatusCode::OK, kind: OPEN_METRICS, body }
        }
        Page::Policy => Answer::json(views::policy(admin)),
        Page::Ready => readiness(admin),
        Page::Routes => Answer::json(views::routes(admin)),
        Page::Shutdown => actions::shutdown(admin),
    }
}

/// The variables as JSON, unless the client wants another form.
fn environment(query: &str, headers: &HeaderMap) -> Answer {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut accept = accept.flat_map(|value| value.split(',')).peekable();
    let takes_json = |kind: &str| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        ["application/json", "application/*", "*/*"].contains(&kind)
    };
    if accept.peek().is_some() && !accept.any(takes_json) {
        return Answer::text(StatusCode::NOT_ACCEPTABLE, "the environment is application/json\n");
    }
    let text = |text: OsString| text.to_string_lossy().into_owned();
    let variables = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    match environment::view(variables, query) {
        Ok(view) => Answer::json(views::json(&view)),
        Err(problem) => Answer::text(StatusCode::BAD_REQUEST, format!("{problem}\n")),
    }
}

/// Reads the gates as they are and never waits.
fn readiness(admin: &Admin) -> Answer {
    let closed = closed(admin);
    if closed.is_empty() {
        return Answer::text(StatusCode::OK, "ready\n");
    }
    let mut body = String::from("not ready\n");
    for name in closed {
        body.push_str(&name);
        body.push('\n');
    }
    Answer::text(StatusCode::SERVICE_UNAVAILABLE, body)
}

/// Everything that stands against readiness.
fn closed(admin: &Admin) -> Vec<Arc<str>> {
    let draining = admin.state.draining.is_cancelled().then(|| "draining".into());
    let gates = admin.state.readiness.gates().into_iter();
    let closed = gates.filter(|(_, is_open)| !is_open).map(|(name, _)| name);
    draining.into_iter().chain(closed).collect()
}
