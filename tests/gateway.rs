//! A first look at the whole: an authenticated request reaches its service and comes back.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

use std::io::{Read, Write};

use support::backend;
use support::certs::TestCa;
use support::client::{Client, half_close, header_for, read_all, refusal};
use support::gateway::{Builder, CLIENT, Gateway};

#[test]
fn an_authenticated_connection_reaches_its_target_and_is_accounted_for() {
    let ca = TestCa::new("ca");
    let mut gateway = Gateway::with_route(&ca, "echo.test.svc.cluster.local:7", backend::echo());
    let mut stream = Client::new(&ca).open(gateway.address, "echo.test.svc.cluster.local:7");
    stream.write_all(b"hello").expect("sent");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect("the echo");
    assert_eq!(&answer, b"hello");
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
    let line = gateway.expect("closed");
    assert_eq!(line["identity"], CLIENT);
    assert_eq!(line["route"], "echo.test.svc.cluster.local:7");
    assert_eq!(
        (line["bytes_from_client"].as_u64(), line["bytes_to_client"].as_u64()),
        (Some(5), Some(5))
    );
}

#[test]
fn an_unknown_target_is_refused() {
    let ca = TestCa::new("ca");
    let mut gateway = Gateway::with_route(&ca, "echo.test.svc.cluster.local:7", backend::echo());
    let header = header_for("other.test.svc.cluster.local:7", None);
    refusal(&Client::new(&ca), gateway.address, &header);
    gateway.expect("unknown_target");
}

#[test]
fn a_metrics_listener_serves_metrics_and_no_more() {
    let ca = TestCa::new("ca");
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\nmetrics_listen = [\"127.0.0.1:0\"]";
    let mut gateway = Builder::new(&ca).configure(admin).start();
    let started = gateway.line("the start", |line| line["message"] == "starting");
    let metrics = started["metrics"].as_str().expect("a list").trim_matches(['[', ']']).to_owned();
    gateway.admin = metrics.parse().expect("an address");
    assert!(gateway.get("/metrics").contains("gateway_accepted_total 0"));
    assert_eq!(gateway.get("/ready"), "ready\n");
    assert_eq!(gateway.request("GET", "/routes").0, 403);
}
