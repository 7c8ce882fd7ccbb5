//! Which anchors are still in use: an operator sees when the old one can go.

use std::time::Duration;

use serde_json::Value;

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{CLIENT, Gateway};
use crate::support::process::replace;
use crate::{ECHO, certs, generation, newer_than};

const SERIES: &str = "gateway_trust_anchor_last_used_timestamp_seconds";

/// The value of the anchor's series whose subject contains `name`.
fn last_used(gateway: &Gateway, name: &str) -> Option<f64> {
    let text = gateway.get("/metrics");
    let is_its = |line: &&str| line.starts_with(SERIES) && line.contains(name);
    let line = text.lines().find(is_its)?;
    line.rsplit(' ').next().and_then(|value| value.parse().ok())
}

/// What `/certs` lists of an anchor.
fn listed(gateway: &Gateway, name: &str) -> Value {
    let all = certs(gateway)["certificates"].as_array().cloned().expect("a list");
    let is_its = |one: &&Value| {
        one["role"] == "anchor" && one["subject"].as_str().is_some_and(|text| text.contains(name))
    };
    all.iter().find(is_its).cloned().expect("listed")
}

#[test]
fn each_anchor_tells_when_it_last_vouched_for_a_peer() {
    let (old, new) = (TestCa::new("old"), TestCa::new("new"));
    let gateway = Gateway::with_route(&old, ECHO, backend::echo());
    let anchors = gateway.file("ca.crt");
    let before = generation(&gateway);
    replace(&anchors, format!("{}{}", old.anchor, new.anchor));
    newer_than(&gateway, before);
    gateway.eventually("its series", |gateway| last_used(gateway, "root.new").is_some());
    for name in ["root.old", "root.new"] {
        assert_eq!(last_used(&gateway, name), Some(0.0), "our own chain is no peer");
        assert_eq!(listed(&gateway, name)["last_used"], Value::Null);
    }

    let client = Client::new(&old);
    drop(client.open(gateway.address, ECHO));
    gateway.eventually("the first use", |gateway| last_used(gateway, "root.old") > Some(0.0));
    let first = last_used(&gateway, "root.old");
    assert_eq!(last_used(&gateway, "root.new"), Some(0.0));
    assert!(listed(&gateway, "root.old")["last_used"].is_string());

    // The chain is remembered by now, and its anchor is used all the same.
    std::thread::sleep(Duration::from_millis(1100));
    drop(client.open(gateway.address, ECHO));
    gateway.eventually("a later use", |gateway| last_used(gateway, "root.old") > first);

    // A client whose key does not prove its certificate has not used an anchor.
    let mut thief = new.identity(CLIENT);
    thief.key = new.identity(CLIENT).key;
    let stolen = Client::with(&old, Some(&thief));
    let _ = stolen
        .connect(gateway.address)
        .map(|mut stream| std::io::Read::read(&mut stream, &mut [0]));
    gateway.line("its refusal", |line| line["outcome"] == "tls_failed");
    assert_eq!(last_used(&gateway, "root.new"), Some(0.0));

    // A reload forgets anchors that are gone, and nothing of those that stay.
    let (before, known) = (generation(&gateway), last_used(&gateway, "root.old"));
    replace(&anchors, &old.anchor);
    newer_than(&gateway, before);
    gateway.eventually("its end", |gateway| last_used(gateway, "root.new").is_none());
    assert_eq!(last_used(&gateway, "root.old"), known);
    let expiry = |role: &str| {
        let text = gateway.get("/metrics");
        let start = format!("gateway_certificate_expiry_days{{role=\"{role}\"");
        text.lines().filter(|line| line.starts_with(&start)).count()
    };
    assert_eq!((expiry("anchor"), expiry("leaf")), (1, 1));
}
