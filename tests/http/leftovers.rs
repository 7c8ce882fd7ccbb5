//! What requests leave behind when all is over: nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{Parties, get, parties_with, post};
use crate::support::http::backend::{Backend, Protocol, reply};
use crate::support::http::linkerd::finished;
use crate::support::http::runtime;
use crate::support::process::{descriptors, resident};

/// Requests of all kinds, most of them given up at some point, on sessions of which some are cut.
fn trouble(parties: &Parties, rounds: usize) {
    for round in 0..rounds {
        let session = Arc::new(parties.session());
        let requests: Vec<_> = (0..40_usize)
            .map(|number| {
                let session = Arc::clone(&session);
                let request = match number % 3 {
                    0 => get("/"),
                    1 => post("/", vec![b'x'; 100_000]),
                    _ => get("/slow"),
                };
                let wait = Duration::from_millis((number * 7 % 40) as u64);
                runtime().spawn(async move {
                    // Given up before, within and after the response.
                    let _ = tokio::time::timeout(wait, session.send(request)).await;
                })
            })
            .collect();
        requests.into_iter().for_each(finished);
        if let (Some(session), 0) = (Arc::into_inner(session), round % 2) {
            session.abort();
        }
    }
}

#[test]
fn requests_given_up_leave_no_descriptor_and_no_memory() {
    let backend = Backend::start(Protocol::Http1, |seen| async move {
        if seen.uri.path() == "/slow" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        reply(vec![b'y'; 50_000])
    });
    let parties = parties_with(&[backend.address], "[http]\npool_idle_timeout = \"200ms\"");
    let before = descriptors(parties.gateway.pid());
    trouble(&parties, 20);
    let settled = resident(parties.gateway.pid());
    trouble(&parties, 100);
    parties.gateway.eventually("as few descriptors as before", |gateway| {
        descriptors(gateway.pid()) <= before + 4
    });
    let grown = resident(parties.gateway.pid()).saturating_sub(settled);
    assert!(grown < 24 << 20, "{grown} bytes more");
    let session = parties.session();
    let answer = finished(session.spawn(get("/"))).expect("a response");
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 50_000));
}
