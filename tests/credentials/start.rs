//! Without usable credentials at start the admin API is up and says so, the data path's port is
//! closed, and nothing but good files is needed to go on.

use std::io::ErrorKind;
use std::net::TcpStream;

use crate::support::backend::{self, closed_port};
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, GATEWAY};
use crate::{ECHO, REFUSED, certs, identity, problem, replace_leaf, spawn};

#[test]
fn bad_credentials_at_start_close_the_port_until_they_are_mended() {
    let ca = TestCa::new("ca");
    let address = closed_port();
    let builder = Builder::new(&ca)
        .route(ECHO, &[backend::echo()])
        .configure(&format!("[gateway]\nlisten = [\"{address}\"]"));
    let pair = builder.path().join("gateway");
    ca.leaf().dns(GATEWAY).expired().issue().write_to(&pair);
    let gateway = spawn(builder);

    gateway.eventually("the problem", |g| problem(g).is_some_and(|p| p.contains("expired")));
    let (status, body) = gateway.request("GET", "/ready");
    assert_eq!(status, 503, "{body}");
    assert!(body.lines().any(|line| line == "credentials"), "{body}");
    assert_eq!(gateway.request("GET", "/live").0, 200);
    let error = TcpStream::connect(address).expect_err("closed");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(certs(&gateway)["identity"], serde_json::Value::Null);
    let line = gateway.line("the refusal", |line| line["level"] == "ERROR");
    let message = line["message"].as_str().expect("a message");
    assert!(message.contains("the gateway's port stays closed"), "{message}");
    // Attempts go on every second; the same problem is told once.
    std::thread::sleep(std::time::Duration::from_millis(2200));
    assert_eq!(gateway.metric(REFUSED), 1.0);

    replace_leaf(&pair, &ca.identity(GATEWAY));
    gateway.line("accepting", |line| line["message"] == "accepting connections");
    gateway.eventually("readiness", |gateway| gateway.request("GET", "/ready").0 == 200);
    assert_eq!(problem(&gateway), None);
    drop(Client::new(&ca).connect(address).expect("a handshake"));
}

#[test]
fn a_missing_file_at_start_is_waited_for() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let anchor = builder.path().join("ca.crt");
    std::fs::remove_file(&anchor).expect("removed");
    let gateway = spawn(builder);
    gateway.eventually("the problem", |g| problem(g).is_some_and(|p| p.contains("ca.crt")));
    // Mended and told so: no wait for the next attempt.
    ca.write_anchor(anchor.parent().expect("a directory"), "ca.crt");
    gateway.signal("HUP");
    gateway.line("accepting", |line| line["message"] == "accepting connections");
}

#[test]
fn the_gateways_name_is_the_certificates_unless_another_is_demanded() {
    let ca = TestCa::new("ca");
    let gateway = Builder::new(&ca).start();
    assert_eq!(certs(&gateway)["identity"], GATEWAY);

    let expected = "somebody.else.serviceaccount.identity.linkerd.cluster.local";
    let builder = identity(Builder::new(&ca), &format!("name = \"{expected}\""));
    let gateway = spawn(builder);
    gateway.eventually("the problem", |gateway| {
        problem(gateway).is_some_and(|p| p.contains(GATEWAY) && p.contains(expected))
    });
    assert_eq!(gateway.request("GET", "/ready").0, 503);

    let spiffe = "spiffe://cluster.local/ns/linkerd-multicluster/sa/linkerd-gateway";
    let builder = identity(Builder::new(&ca), &format!("name = \"{spiffe}\""));
    ca.identity(spiffe).write_to(&builder.path().join("gateway"));
    let gateway = builder.start();
    assert_eq!(certs(&gateway)["identity"], spiffe);
}
