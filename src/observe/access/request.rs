//! One line per request of an HTTP session; `log.access_requests` decides which have one, those that
//! went wrong by default.
//!
//! Written when the request has ended, by the session that had it. What is left out here is counted
//! nowhere but in `request_total` and `response_total`, which have every request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tracing::{Level, event};

use super::{clean, milliseconds};
use crate::model::access::LoggedRequests;
use crate::model::classify;
use crate::model::identity::Identity;
use crate::model::service::Target;

/// Which requests an operator wants to see.
#[derive(Debug, Default)]
pub struct RequestSelection {
    which: LoggedRequests,
    /// One of so many requests without a problem is logged.
    sample: u64,
    /// Requests without a problem so far, while they are sampled.
    ordinary: AtomicU64,
}

impl RequestSelection {
    /// These; of those without a problem one in `sample`.
    pub fn new(which: LoggedRequests, sample: u64) -> Self {
        Self { which, sample: sample.max(1), ordinary: AtomicU64::new(0) }
    }

    /// Decides about one request, which may be a sample: asked once for each, before its record is
    /// made. See [`is_problem`].
    pub fn wants(&self, problem: bool) -> bool {
        match self.which {
            LoggedRequests::Off => false,
            LoggedRequests::Problems => problem,
            LoggedRequests::All if problem || self.sample <= 1 => true,
            LoggedRequests::All => {
                self.ordinary.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.sample)
            }
        }
    }
}

/// True for a request that we answered with an error (`error`), a denial among them, that broke off
/// (`failed`), or whose response `response_total` counts as a failure. `status` is 0 without a
/// response.
pub fn is_problem(
    status: u16,
    grpc_status: Option<u16>,
    error: Option<&'static str>,
    failed: bool,
) -> bool {
    error.is_some() || failed || classify::is_failure(status, grpc_status)
}

/// All facts of one request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// The registry's number of the connection.
    pub id: u64,
    /// Its number in the session, from 1.
    pub request: u64,
    /// The client's address.
    pub peer: SocketAddr,
    /// The client's verified identity.
    pub identity: Option<&'a Identity>,
    /// As the client wrote it.
    pub method: &'a str,
    /// As the client wrote it. What follows `?` or `#` is not logged: it may hold secrets.
    pub path: &'a str,
    /// "HTTP/1.0", "HTTP/1.1" or "HTTP/2".
    pub version: &'static str,
    /// The target of the route that served it.
    pub route: Option<&'a Target>,
    /// The rule that decided about it.
    pub rule: Option<&'a str>,
    /// The endpoint that answered it.
    pub endpoint: Option<SocketAddr>,
    /// The response's status; 0 without a response.
    pub status: u16,
    /// Its `grpc-status`, if it has one.
    pub grpc_status: Option<u16>,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// From the request's head to the response's last byte.
    pub latency: Duration,
    /// What our own answer said in `l5d-proxy-error`.
    pub error: Option<&'static str>,
    /// How often it was sent again.
    pub retries: u32,
    /// It broke off: reset or truncated.
    pub failed: bool,
}

impl RequestRecord<'_> {
    /// See [`is_problem`].
    pub fn is_problem(&self) -> bool {
        is_problem(self.status, self.grpc_status, self.error, self.failed)
    }
}

/// Writes the line of a request that `selection` wants: as a warning where we answered with an
/// error. Nothing is formatted when the log does not take it.
pub fn log_request(record: &RequestRecord<'_>, selection: &RequestSelection) {
    let path = record.path.split(['?', '#']).next().unwrap_or_default();
    let sample = Some(selection.sample).filter(|sample| *sample > 1 && !record.is_problem());
    // A level is part of an event's static description, so each needs its own.
    macro_rules! line {
        ($level:expr) => {
            event!(
                target: "access",
                $level,
                id = record.id,
                request = record.request,
                peer = %record.peer,
                identity = record.identity.map(Identity::as_str),
                method = &*clean(record.method),
                path = &*clean(path),
                version = record.version,
                route = record.route.map(tracing::field::display),
                rule = record.rule,
                endpoint = record.endpoint.map(tracing::field::display),
                status = Some(record.status).filter(|status| *status != 0),
                grpc_status = record.grpc_status,
                request_bytes = record.request_bytes,
                response_bytes = record.response_bytes,
                latency_ms = milliseconds(record.latency),
                error = record.error,
                retries = Some(record.retries).filter(|retries| *retries > 0),
                failed = record.failed.then_some(true),
                sample,
                "request",
            )
        };
    }
    if record.error.is_some() { line!(Level::WARN) } else { line!(Level::INFO) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_what_we_refused_what_broke_off_and_what_counts_as_a_failure() {
        for (status, grpc_status, error, failed, problem) in [
            (200, None, None, false, false),
            (404, None, None, false, false),
            (200, Some(5), None, false, false),
            (503, None, None, false, true),
            (200, Some(14), None, false, true),
            (403, None, Some("unauthorized"), false, true),
            (200, None, None, true, true),
            (0, None, None, true, true),
        ] {
            assert_eq!(is_problem(status, grpc_status, error, failed), problem, "{status}");
        }
    }

    #[test]
    fn the_selection_follows_the_configuration_and_samples_only_what_went_well() {
        for (which, problem, ordinary) in [
            (LoggedRequests::All, true, true),
            (LoggedRequests::Problems, true, false),
            (LoggedRequests::Off, false, false),
        ] {
            let selection = RequestSelection::new(which, 1);
            assert_eq!((selection.wants(true), selection.wants(false)), (problem, ordinary));
        }
        let some = RequestSelection::new(LoggedRequests::All, 3);
        assert!((0..9).all(|_| some.wants(true)));
        let wanted: Vec<_> = (0..7).map(|_| some.wants(false)).collect();
        assert_eq!(wanted, [true, false, false, true, false, false, true]);
        assert!(!RequestSelection::default().wants(false), "problems are the default");
    }
}
