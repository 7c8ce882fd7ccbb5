//! TERM: a replica says that it goes before it goes, and nobody notices.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

#[path = "drain/load.rs"]
mod load;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use support::backend;
use support::certs::TestCa;
use support::client::{Client, half_close, read_all};
use support::gateway::{Builder, Gateway, PATIENCE};

const ECHO: &str = "echo.test.svc.cluster.local:7";

fn gateway(ca: &TestCa, lame_duck: &str) -> Gateway {
    let section = format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nlame_duck = \"{lame_duck}\"\n");
    Builder::new(ca).configure(&section).route(ECHO, &[backend::echo()]).start()
}

fn drain(gateway: &Gateway) {
    gateway.signal("TERM");
    gateway.line("the drain", |line| {
        line["message"].as_str().is_some_and(|message| message.starts_with("draining"))
    });
}

#[test]
fn a_draining_gateway_is_not_ready_and_still_accepts_until_the_lame_duck_is_over() {
    let ca = TestCa::new("ca");
    let mut gateway = gateway(&ca, "1500ms");
    assert_eq!(gateway.request("GET", "/ready"), (200, "ready\n".to_owned()));
    let begun = Instant::now();
    drain(&gateway);
    assert_eq!(gateway.request("GET", "/ready"), (503, "not ready\ndraining\n".to_owned()));
    assert_eq!(gateway.request("GET", "/live").0, 200);
    let mut late = Client::new(&ca).open(gateway.address, ECHO);
    late.write_all(b"late").expect("sent");
    late.read_exact(&mut [0; 4]).expect("served");
    gateway
        .eventually("the listener's end", |gateway| TcpStream::connect(gateway.address).is_err());
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?}", begun.elapsed());
    // The admin API outlives the listeners, and so does what is in flight.
    assert_eq!(gateway.request("GET", "/ready").0, 503);
    half_close(&mut late);
    assert_eq!(read_all(&mut late), b"");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_second_signal_in_the_lame_duck_forces() {
    let ca = TestCa::new("ca");
    let mut gateway = gateway(&ca, "60s");
    drain(&gateway);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(1));
}

#[test]
fn kept_admin_connections_end_when_the_drain_begins() {
    let ca = TestCa::new("ca");
    let gateway = gateway(&ca, "60s");
    let mut kept = TcpStream::connect(gateway.admin).expect("the admin port");
    kept.set_read_timeout(Some(PATIENCE)).expect("set");
    kept.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut answer = [0; 15];
    kept.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    drain(&gateway);
    let begun = Instant::now();
    kept.read_to_end(&mut Vec::new()).expect("a clean end");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// A prober like Linkerd's: one HTTP/2 connection to each replica, kept for as long as it lives,
/// probes in turn.
struct Prober {
    replicas: Vec<(SocketAddr, Option<SendRequest<Empty<Bytes>>>)>,
    turn: usize,
}

impl Prober {
    fn new(replicas: &[SocketAddr]) -> Self {
        Self { replicas: replicas.iter().map(|address| (*address, None)).collect(), turn: 0 }
    }

    /// True when the replica whose turn it is says that it is ready.
    async fn probe(&mut self) -> bool {
        self.turn = (self.turn + 1) % self.replicas.len();
        let (address, kept) = &mut self.replicas[self.turn];
        if kept.as_ref().is_none_or(SendRequest::is_closed) {
            *kept = connect(*address).await;
        }
        let Some(sender) = kept else { return false };
        let request = Request::get("http://gateway/ready").body(Empty::new()).expect("a request");
        let answer = sender.send_request(request).await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
    }
}

async fn connect(address: SocketAddr) -> Option<SendRequest<Empty<Bytes>>> {
    let stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
    tokio::task::spawn_local(async move { drop(connection.await) });
    Some(sender)
}

#[test]
fn a_balancing_prober_never_sees_two_failures_in_a_row_while_one_of_two_replicas_drains() {
    let ca = TestCa::new("ca");
    let (mut leaving, staying) = (gateway(&ca, "2s"), gateway(&ca, "2s"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    let results = local.block_on(&runtime.expect("a runtime"), async {
        let mut prober = Prober::new(&[leaving.admin, staying.admin]);
        let mut results = Vec::new();
        for number in 0..200 {
            if number == 20 {
                leaving.signal("TERM");
            }
            results.push(prober.probe().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        results
    });
    assert_eq!(leaving.wait().code(), Some(0));
    assert!(results[..20].iter().all(|ready| *ready), "{results:?}");
    assert!(results.windows(2).all(|pair| pair[0] || pair[1]), "{results:?}");
    assert!(results.iter().any(|ready| !ready), "the drain was seen at all");
}
