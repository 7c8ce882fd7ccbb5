//! The numbers of one target and client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::super::labels::{self, Labels};
use super::super::slots::Slots;
use super::answers::{Grpc, Kind, Latencies};
use crate::model::classify;

/// Kinds of answers of one target and client that are told apart. Services have three or four.
const KINDS: usize = 16;

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    /// The response's status; 0 without a response.
    pub status: u16,
    /// Its `grpc-status`, if it has one.
    pub grpc_status: Option<u16>,
    /// It is a failure whatever these say: reset, truncated, without a response.
    pub failed: bool,
    /// From the request's head to the response's last byte.
    pub latency: Duration,
}

/// The requests of one target and client; a session keeps it.
#[derive(Debug)]
pub struct HttpSeries {
    /// As written, without braces.
    pub(super) labels: String,
    pub(super) requests: AtomicU64,
    answers: Slots<(Kind, Latencies), KINDS>,
    /// Successes and failures that are of no kind above: it exceeds a bound, or its status is none
    /// that HTTP knows.
    other: [Latencies; 2],
    budget: Arc<Budget>,
}

impl HttpSeries {
    pub(super) fn new(labels: Labels, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            labels: labels::text(&labels),
            requests: AtomicU64::new(0),
            answers: Slots::default(),
            other: Default::default(),
            budget,
        })
    }

    /// A request's head was received.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// It ended.
    pub fn response(&self, response: &Answered) {
        let Answered { status, grpc_status, failed, latency } = *response;
        let is_failure = failed || classify::is_failure(status, grpc_status);
        let [successes, failures] = &self.other;
        let other = if is_failure { failures } else { successes };
        let latencies = match status {
            0 => self.latencies(None, is_failure, grpc_status),
            100..=599 => self.latencies(Some(status), is_failure, grpc_status),
            _ => None,
        };
        latencies.unwrap_or(other).observe(latency);
    }

    fn latencies(
        &self,
        status: Option<u16>,
        is_failure: bool,
        grpc_status: Option<u16>,
    ) -> Option<&Latencies> {
        let kind = Kind { status, is_failure, grpc: Grpc::of(grpc_status) };
        let is = |known: &(Kind, Latencies)| known.0 == kind;
        let found = self.answers.find(is).or_else(|| {
            let may_grow = self.answers.values().count() < KINDS && self.budget.take();
            may_grow.then(|| self.answers.add(is, || (kind, Latencies::default()))).flatten()
        });
        found.map(|(_, latencies)| latencies)
    }

    /// The answers of each kind that there was.
    pub(super) fn answers(&self) -> impl Iterator<Item = &(Kind, Latencies)> {
        self.answers.values()
    }

    /// Successes and failures that are of no kind.
    pub(super) fn other(&self) -> &[Latencies; 2] {
        &self.other
    }
}

/// How many kinds of answers there may still be, all series together.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self(AtomicUsize::new(most))
    }

    fn take(&self) -> bool {
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        self.0.fetch_update(set, fetch, |left| left.checked_sub(1)).is_ok()
    }
}
