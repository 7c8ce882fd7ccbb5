//! A panic is a bug, and it stays where it is: a connection ends alone, a task starts again, and
//! whoever has nothing to do with it notices nothing. `FAULT_INJECTION` makes the real binary panic
//! at the n-th pass of a named point; release builds have no such points.

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

#[cfg(debug_assertions)]
#[path = "panics/injected.rs"]
mod injected;

use std::io::{Read, Write};
use std::net::SocketAddr;

use support::backend;
use support::certs::TestCa;
use support::client::{Client, Stream, half_close, read_all};
use support::gateway::{Builder, Gateway};

const ECHO: &str = "echo.test.svc.cluster.local:7";

/// A gateway with one worker that panics at `fault`, so that every connection shares its thread.
fn builder(ca: &TestCa, fault: &str) -> Builder {
    let one = "[runtime]\nworkers = 1";
    Builder::new(ca).configure(one).env("FAULT_INJECTION", fault).route(ECHO, &[backend::echo()])
}

fn round(stream: &mut Stream) {
    stream.write_all(b"ping").and_then(|()| stream.flush()).expect("sent");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("the echo");
    assert_eq!(&answer, b"ping");
}

/// A whole conversation.
fn converse(ca: &TestCa, address: SocketAddr) {
    let mut stream = Client::new(ca).open(address, ECHO);
    round(&mut stream);
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
}

fn restarts(gateway: &Gateway, task: &str) -> f64 {
    gateway.metric(&format!("gateway_task_restarts_total{{task=\"{task}\"}}"))
}

/// The other half of the promise, for `cargo test --release --test panics`.
#[test]
#[cfg(not(debug_assertions))]
fn a_release_build_has_no_points_to_panic_at() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_linkerd-gateway")).expect("the binary");
    let variable = [&b"FAULT_"[..], b"INJECTION"].concat();
    assert!(!binary.windows(variable.len()).any(|part| part == variable));
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "connection:1").start();
    converse(&ca, gateway.address);
    assert!(restarts(&gateway, "credentials") < 1.0);
}

#[test]
fn every_task_is_counted_from_the_start() {
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "").start();
    let metrics = gateway.get("/metrics");
    let all =
        ["acceptor", "admin", "admin_connection", "credentials", "dns", "heartbeat", "reload"];
    for task in all {
        let series = format!("gateway_task_restarts_total{{task=\"{task}\"}} 0\n");
        assert!(metrics.contains(&series), "{series}");
    }
}
