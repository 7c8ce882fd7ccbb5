//! What happens in HTTP sessions: Linkerd's `request_total`, `response_total` and
//! `response_latency_ms` by target and client, policy's decisions, and numbers of our own.
//!
//! A session looks its [`HttpSeries`] up once, under a shared lock. With each request it then counts
//! by a few atomic adds: no lock and no allocation, unless an answer of this kind is the first one.
//!
//! The labels are those of a proxy that receives requests: `direction="inbound"`, the target as
//! `authority`, `tls` and `client_id`, and `dst_service` and `dst_namespace` where the target is a
//! Service of Kubernetes. Linkerd's own gateway shows requests as outbound only (linkerd2#6306),
//! where nobody sees who sent them.

use std::fmt::{self, Write};
use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

mod answers;
mod series;
#[cfg(test)]
mod tests;
mod text;

pub use series::{Answered, HttpSeries};

use super::bounded::Bounded;
use super::kinds::{Verdicts, Words, add};
use super::labels::{self, Labels};
use super::{MAX_SETS, Metrics};
use crate::model::identity::Identity;
use crate::model::service::Target;
use series::Budget;

/// Kinds of answers (status, classification, `grpc-status`) of all targets and clients together.
/// Each is a histogram: 0.3 KiB here and, for each status, 28 lines in a scrape. Endpoints choose
/// their statuses, so this is bounded apart from [`MAX_SETS`].
const MAX_ANSWERS: usize = 4 * MAX_SETS;

/// Values of `error` that exist from the start, Linkerd's.
const ERRORS: [&str; 6] =
    ["failfast", "gateway loop", "i/o", "loadshed", "unauthorized", "unexpected"];

/// Values of `reason` that exist from the start.
const PROTOCOL_ERRORS: [&str; 1] = ["protocol_error"];

/// All that [`Metrics`] knows of HTTP.
#[derive(Debug)]
pub(super) struct Http {
    sets: Bounded<(Target, Identity), Arc<HttpSeries>>,
    /// For targets and clients beyond the bound. It is always shown, so that alerts find the names.
    other: Arc<HttpSeries>,
    budget: Arc<Budget>,
    authorized: Verdicts,
    denied: Verdicts,
    errors: Words,
    protocol_errors: Words,
    in_flight: Gauge,
    /// HTTP/1 and HTTP/2, as all pairs here by protocol.
    sessions: [Gauge; 2],
    endpoint_connections: [Gauge; 2],
    /// On new connections, on reused ones.
    endpoint_requests: [Counter; 2],
    retries: Counter,
    windows: Gauge,
    window_budget: Gauge,
}

impl Http {
    pub(super) fn new(r: &mut Registry) -> Self {
        let sessions: Family<Labels, Gauge> =
            add(r, "gateway_http_sessions", "HTTP sessions open, by version");
        let connections: Family<Labels, Gauge> =
            add(r, "gateway_http_endpoint_connections", "Connections to endpoints, by protocol");
        let requests: Family<Labels, Counter> =
            add(r, "gateway_http_endpoint_requests", "Requests sent to endpoints, by connection");
        let budget = Arc::new(Budget::new(MAX_ANSWERS));
        let errors = "inbound_http_errors";
        let broken = "gateway_http_protocol_errors";
        let windows = "HTTP/2 receive windows handed out to clients";
        let most = "What gateway_http_windows_bytes may grow to; 0 without HTTP sessions";
        Self {
            sets: Bounded::new(MAX_SETS),
            other: HttpSeries::new(labels::http(None, None), Arc::clone(&budget)),
            budget,
            authorized: Verdicts::shown(r, "inbound_http_authz_allow", "Requests allowed"),
            denied: Verdicts::shown(r, "inbound_http_authz_deny", "Requests denied"),
            errors: Words::new(r, errors, "Errors that we answered", "error", &ERRORS),
            protocol_errors: Words::new(
                r,
                broken,
                "Sessions ended because a peer broke HTTP or a limit of it",
                "reason",
                &PROTOCOL_ERRORS,
            ),
            in_flight: add(r, "gateway_http_requests_in_flight", "Requests not yet ended"),
            sessions: ["1", "2"]
                .map(|version| sessions.get_or_create_owned(&vec![("version", version.into())])),
            endpoint_connections: ["http/1", "http/2"]
                .map(|of| connections.get_or_create_owned(&vec![("protocol", of.into())])),
            endpoint_requests: ["new", "reused"]
                .map(|on| requests.get_or_create_owned(&vec![("connection", on.into())])),
            retries: add(r, "gateway_http_retries", "Requests sent again, to another endpoint"),
            windows: add(r, "gateway_http_windows_bytes", windows),
            window_budget: add(r, "gateway_http_window_budget_bytes", most),
        }
    }

    /// Writes what no registry holds. Written by hand: the encoder would write `le="1.0"` where
    /// Linkerd has `le="1"`, and queries name it.
    pub(super) fn write(&self, out: &mut impl Write) -> fmt::Result {
        let mut all = self.sets.values();
        all.push(Arc::clone(&self.other));
        text::write(out, &all)
    }
}

impl Metrics {
    /// The series of one target and client; looked up once per session. Beyond [`MAX_SETS`] all
    /// share one.
    pub fn http(&self, target: &Target, client: &Identity) -> Arc<HttpSeries> {
        let http = &self.http;
        let make = |key: &(Target, Identity)| {
            HttpSeries::new(labels::http(Some(&key.0), Some(&key.1)), Arc::clone(&http.budget))
        };
        let series = http.sets.get((target.clone(), client.clone()), make);
        series.unwrap_or_else(|| Arc::clone(&http.other))
    }

    /// Policy decided about a request; `rule` is the rule that did.
    pub fn http_authorized(&self, allowed: bool, rule: &Arc<str>) {
        if allowed { &self.http.authorized } else { &self.http.denied }.count(rule);
    }

    /// We answered a request with an error. `error` comes from a closed set, Linkerd's where it has
    /// one.
    pub fn http_error(&self, error: &'static str) {
        self.http.errors.count(error);
    }

    /// `delta` more requests are in flight.
    pub fn http_in_flight(&self, delta: i64) {
        self.http.in_flight.inc_by(delta);
    }

    /// `delta` more sessions of this version are open: "1" or "2".
    pub fn http_session(&self, version: &'static str, delta: i64) {
        pick(&self.http.sessions, version == "2").inc_by(delta);
    }

    /// A session ended because a peer broke HTTP or a limit of it. `reason` comes from a closed set.
    pub fn http_protocol_error(&self, reason: &'static str) {
        self.http.protocol_errors.count(reason);
    }

    /// `delta` more connections to endpoints are open in the pools, of this protocol: "http/1" or
    /// "http/2".
    pub fn http_endpoint_connection(&self, protocol: &'static str, delta: i64) {
        pick(&self.http.endpoint_connections, protocol == "http/2").inc_by(delta);
    }

    /// A request was sent to an endpoint, on a connection that had one before or on a new one.
    pub fn http_endpoint_request(&self, reused: bool) {
        pick(&self.http.endpoint_requests, reused).inc();
    }

    /// A request was sent again, because the first endpoint had certainly not begun with it.
    pub fn http_retry(&self) {
        self.http.retries.inc();
    }

    /// `delta` more bytes of HTTP/2 receive windows are handed out to clients.
    pub fn http_windows(&self, delta: i64) {
        self.http.windows.inc_by(delta);
    }

    /// The most bytes that these windows may grow to.
    pub fn http_window_budget(&self, bytes: u64) {
        self.http.window_budget.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

fn pick<T>([first, second]: &[T; 2], is_second: bool) -> &T {
    if is_second { second } else { first }
}
