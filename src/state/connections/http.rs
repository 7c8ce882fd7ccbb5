//! A connection's HTTP session as others see it: what `/connections` shows of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Written by the session alone, so that its relaxed adds touch no shared cache line.
#[derive(Debug)]
pub struct HttpLive {
    version: &'static str,
    in_flight: AtomicU32,
    requests: AtomicU64,
    last: OnceLock<(Box<str>, Box<str>)>,
}

impl HttpLive {
    /// A session without a request yet; `version` is "1" or "2".
    pub(super) fn new(version: &'static str) -> Self {
        Self {
            version,
            in_flight: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            last: OnceLock::new(),
        }
    }

    /// A request's head was received.
    pub fn started(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has ended, well or not.
    pub fn ended(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// With this request, method and path, the connection leaves HTTP.
    pub fn left(&self, method: &str, path: &str) {
        let _ = self.last.set((method.into(), path.into()));
    }

    /// The request that the connection has left HTTP with: whether it may go on depends on that one.
    pub fn last_request(&self) -> Option<(&str, &str)> {
        self.last.get().map(|(method, path)| (&**method, &**path))
    }

    /// "1" or "2".
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// Requests that have not ended.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}
