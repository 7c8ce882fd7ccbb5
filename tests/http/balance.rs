//! Each request of a session is balanced on its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};

use crate::fixture::{Parties, get, parties, post};
use crate::support::backend::{closed_port, reserved_port};
use crate::support::gateway::PATIENCE;
use crate::support::http::backend::{Backend, Protocol, reply, saying};
use crate::support::http::linkerd::{Session, finished, unmarked};
use crate::support::http::{run, runtime};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn counts(answers: impl IntoIterator<Item = Bytes>) -> BTreeMap<Bytes, usize> {
    let mut counts = BTreeMap::new();
    answers.into_iter().for_each(|body| *counts.entry(body).or_default() += 1);
    counts
}

#[test]
fn requests_of_one_session_are_spread_over_all_endpoints() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let backends = NAMES.map(|name| saying(protocol, name));
        let parties = parties(&backends.each_ref().map(|backend| backend.address));
        let session = parties.session();
        let answers = (0..300).map(|_| {
            let request = match protocol {
                Protocol::Http1 => get("/"),
                Protocol::H2c => unmarked("GET", "/").body(Bytes::new()).expect("a request"),
            };
            run(session.send(request)).expect("a response").body
        });
        let counts = counts(answers);
        assert_eq!(counts.len(), 3, "{protocol:?}: {counts:?}");
        assert!(
            counts.values().all(|count| (50..=150).contains(count)),
            "{protocol:?}: {counts:?}"
        );
    }
}

#[test]
fn an_endpoint_that_is_slow_gets_fewer_requests() {
    let fast = saying(Protocol::Http1, "fast");
    let slow = Backend::start(Protocol::Http1, |_| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        reply("slow")
    });
    let parties = parties(&[fast.address, slow.address]);
    let session = Arc::new(parties.session());
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let session = Arc::clone(&session);
            runtime().spawn(async move {
                for _ in 0..25 {
                    session.get("/").await.expect("a response");
                }
            })
        })
        .collect();
    workers.into_iter().for_each(finished);
    let (fast, slow) = (fast.seen().len(), slow.seen().len());
    assert!(fast > 2 * slow, "{fast} fast, {slow} slow");
}

#[test]
fn an_endpoint_that_refuses_is_not_noticed() {
    let good = saying(Protocol::Http1, "ok");
    let parties = parties(&[closed_port(), good.address]);
    let session = parties.session();
    for number in 0..40 {
        let request = if number % 2 == 0 { get("/") } else { post("/", "body") };
        let answer = run(session.send(request)).expect("a response");
        assert_eq!(answer.status, 200, "request {number}: {answer:?}");
    }
}

/// One of a hundred clients: it opens its session anew when it is asked to, and goes on.
struct Worker {
    client: crate::support::client::Client,
    gateway: SocketAddr,
    session: Option<Session>,
}

impl Worker {
    /// The status of a request; one that the gateway has not taken is sent again, as a proxy does.
    async fn ask(&mut self, request: &Request<Bytes>) -> Result<StatusCode, h2::Error> {
        for _ in 0..5 {
            if self.session.is_none() {
                self.session = Some(Session::open(&self.client, self.gateway).await);
            }
            let session = self.session.as_ref().expect("open");
            match session.send(request.clone()).await {
                Ok(answer) => {
                    if answer.header("l5d-proxy-connection") == "close" {
                        self.session = None;
                    }
                    return Ok(answer.status);
                }
                // The session was going away; this request never began.
                Err(error)
                    if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) =>
                {
                    self.session = None;
                }
                Err(error) if error.reason() == Some(h2::Reason::REFUSED_STREAM) => {}
                Err(error) => return Err(error),
            }
        }
        panic!("five sessions went away under one request");
    }
}

/// When a request began, and whether it was answered by a service.
type Ask = (Instant, Result<StatusCode, h2::Error>);

const SESSIONS: usize = 100;
const REQUESTS: usize = 100;

/// All requests of all sessions; `done` counts them.
fn load(parties: &Parties, done: &Arc<AtomicUsize>) -> Vec<tokio::task::JoinHandle<Vec<Ask>>> {
    let worker = |number: usize| {
        let (client, gateway) = (parties.client.clone(), parties.gateway.address);
        let mut worker = Worker { client, gateway, session: None };
        let done = Arc::clone(done);
        runtime().spawn(async move {
            let mut asks = Vec::with_capacity(REQUESTS);
            for n in 0..REQUESTS {
                let path = format!("/{number}/{n}");
                let request = if n % 2 == 0 { get(&path) } else { post(&path, "body") };
                let begun = Instant::now();
                asks.push((begun, worker.ask(&request).await));
                done.fetch_add(1, Ordering::SeqCst);
            }
            asks
        })
    };
    (0..SESSIONS).map(worker).collect()
}

#[test]
fn while_an_endpoint_dies_and_returns_no_request_is_lost_that_was_not_in_flight_on_it() {
    let (socket, mortal) = reserved_port();
    let first = Backend::start_on(socket, mortal, Protocol::Http1, |_| async { reply("a") });
    let others = ["b", "c"].map(|name| saying(Protocol::Http1, name));
    let parties = parties(&[mortal, others[0].address, others[1].address]);
    let done = Arc::new(AtomicUsize::new(0));
    let workers = load(&parties, &done);
    let reaches = |count| {
        let until = Instant::now() + 6 * PATIENCE;
        while done.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < until, "{done:?} of {count} requests");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    reaches(2000);
    run(first.stop());
    let dead = Instant::now();
    reaches(6000);
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_reuse_address(true).expect("set");
    socket.bind(&mortal.into()).expect("its port is still free");
    let second = Backend::start_on(socket, mortal, Protocol::Http1, |_| async { reply("a") });
    let asks: Vec<_> = workers.into_iter().flat_map(finished).collect();
    assert_eq!(asks.len(), SESSIONS * REQUESTS);
    let failed: Vec<_> =
        asks.iter().filter(|(_, result)| !matches!(result, Ok(StatusCode::OK))).collect();
    assert!(failed.iter().all(|(begun, _)| *begun < dead), "after its death: {failed:?}");
    // A third of the hundred in flight was there; only these can have been lost.
    assert!(failed.len() <= 60, "{}: {failed:?}", failed.len());
    assert!(first.seen().len() > 300, "it had its share: {}", first.seen().len());
    // It is trusted again.
    let returned = AtomicBool::new(false);
    parties.gateway.eventually("its return", |_| {
        let _ = run(parties.session().get("/"));
        returned.store(!second.seen().is_empty(), Ordering::SeqCst);
        returned.load(Ordering::SeqCst)
    });
}
