//! Certificates that expire while the gateway runs: nobody is vouched for by a cache, nothing that
//! is established ends, and the log says it once, before and after.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::reload::round;
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, Stream, refusal};
use crate::support::gateway::{Builder, CLIENT, GATEWAY, Gateway};
use crate::{ECHO, certs, newer_than, replace_leaf};

const DAY: i64 = 24 * 60 * 60;
/// Seconds until the certificates of these tests expire: time to start and to connect before.
const SOON: i64 = 6;
/// From the start of a test until its certificates have expired for good: validity is in whole
/// seconds, the last one included.
const EXPIRED: Duration = Duration::from_secs(SOON as u64 + 2);

fn wait_until_expired(since: SystemTime) {
    let passed = since.elapsed().unwrap_or_default();
    std::thread::sleep(EXPIRED.saturating_sub(passed));
}

/// The log lines about a certificate of this role, by level.
fn told(gateway: &Gateway, role: &str, level: &str) -> usize {
    let lines = gateway.lines();
    let is = |line: &&Value| {
        let message = line["message"].as_str().unwrap_or_default();
        message.starts_with("a certificate in use")
            && line["role"] == role
            && line["level"] == level
    };
    lines.iter().filter(is).count()
}

/// `/certs` of one role.
fn expired(gateway: &Gateway, role: &str) -> Vec<bool> {
    let certs = certs(gateway);
    let all = certs["certificates"].as_array().expect("a list").iter();
    all.filter(|c| c["role"] == role).map(|c| c["expired"] == true).collect()
}

fn established(client: &Client, gateway: &Gateway) -> Stream {
    let mut stream = client.open(gateway.address, ECHO);
    round(&mut stream);
    stream
}

#[test]
fn a_client_that_expires_is_refused_although_its_chain_is_known_and_its_connection_goes_on() {
    let ca = TestCa::new("ca");
    let mut gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    let since = SystemTime::now();
    let leaf = ca.leaf().dns(CLIENT).valid(-60, SOON).issue();
    let client = Client::with(&ca, Some(&leaf));
    let mut live = established(&client, &gateway);
    drop(established(&client, &gateway));
    gateway.outcome();
    wait_until_expired(since);
    let alert = refusal(&client, gateway.address, b"");
    assert!(alert.contains("CertificateExpired"), "{alert}");
    gateway.expect("certificate_expired");
    round(&mut live);
}

#[test]
fn a_gateway_whose_own_certificate_expires_says_so_once_serves_on_and_takes_the_renewed_one() {
    let ca = TestCa::new("ca");
    let since = SystemTime::now();
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let leaf = ca.leaf().dns(GATEWAY).valid(-60, SOON).issue();
    leaf.write_to(&builder.path().join("gateway"));
    let gateway = builder.start();
    let client = Client::new(&ca);
    let mut live = established(&client, &gateway);
    // A tenth of its validity is left: its renewal is late.
    gateway.eventually("the warning", |gateway| told(gateway, "leaf", "WARN") == 1);
    assert_eq!(expired(&gateway, "leaf"), [false]);

    wait_until_expired(since);
    gateway.eventually("the error", |gateway| told(gateway, "leaf", "ERROR") == 1);
    assert_eq!(expired(&gateway, "leaf"), [true]);
    let error = client.connect(gateway.address).expect_err("it checks our certificate");
    assert!(error.to_string().contains("expired"), "{error}");
    round(&mut live);
    assert_eq!(gateway.request("GET", "/ready").0, 200);

    replace_leaf(&gateway.file("gateway"), &ca.identity(GATEWAY));
    newer_than(&gateway, 1);
    drop(established(&client, &gateway));
    round(&mut live);
    assert_eq!(expired(&gateway, "leaf"), [false]);
    assert_eq!((told(&gateway, "leaf", "WARN"), told(&gateway, "leaf", "ERROR")), (1, 1));
}

#[test]
fn an_anchor_that_expires_vouches_for_nobody_any_more() {
    let ca = TestCa::new("ca");
    let since = SystemTime::now();
    let short = TestCa::with_validity("short", &[(-DAY, SOON)], (-DAY, DAY));
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let both = format!("{}{}", ca.anchor, short.anchor);
    std::fs::write(builder.path().join("ca.crt"), both).expect("written");
    let mut gateway = builder.start();
    let client = Client::with(&ca, Some(&short.identity(CLIENT)));
    let mut live = established(&client, &gateway);
    wait_until_expired(since);
    let alert = refusal(&client, gateway.address, b"");
    assert!(alert.contains("CertificateExpired"), "{alert}");
    gateway.expect("certificate_expired");
    gateway.eventually("the error", |gateway| told(gateway, "anchor", "ERROR") == 1);
    assert_eq!(expired(&gateway, "anchor"), [false, true]);
    // The other anchor's clients and what was established do not notice.
    drop(established(&Client::new(&ca), &gateway));
    round(&mut live);
}
