//! The access log's filters: what an operator did not ask for has no line, what went wrong has one,
//! and nothing is left out without being counted.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

use std::fs;

use support::backend;
use support::certs::TestCa;
use support::client::{Client, half_close, header_for, read_all, refusal};
use support::gateway::{Builder, Gateway};
use support::probe::ECHO;

const CLOSED: &str = "gateway_connections_total{outcome=\"closed\"}";

fn skipped(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!("gateway_access_log_skipped_total{{reason=\"{reason}\"}}"))
}

fn closed_cleanly(client: &Client, gateway: &Gateway) {
    let mut stream = client.open(gateway.address, ECHO);
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
}

/// The outcomes that have a line, in order.
fn logged(gateway: &Gateway) -> Vec<String> {
    let lines = gateway.lines().into_iter().filter(|line| line["target"] == "access");
    lines.filter_map(|line| line["outcome"].as_str().map(str::to_owned)).collect()
}

fn start(ca: &TestCa, log: &str) -> Gateway {
    let builder = Builder::new(ca).route(ECHO, &[backend::echo()]);
    builder.configure(&format!("[log]\n{log}")).start()
}

#[test]
fn clean_ends_are_sampled_and_the_rest_is_counted() {
    let ca = TestCa::new("ca");
    let gateway = start(&ca, "access_sample = 4");
    let client = Client::new(&ca);
    (0..6).for_each(|_| closed_cleanly(&client, &gateway));
    refusal(&client, gateway.address, &header_for("none.test.svc.cluster.local:1", None));
    gateway.line("a warning", |line| line["outcome"] == "unknown_target");
    gateway.eventually("all ends", |gateway| gateway.metric(CLOSED) > 5.5);
    gateway.eventually("the rest", |gateway| skipped(gateway, "sample") > 3.5);
    let lines: Vec<_> = logged(&gateway).into_iter().filter(|label| label == "closed").collect();
    assert_eq!(lines.len(), 2, "one in four of six");
    let line = gateway.line("a sample", |line| line["outcome"] == "closed");
    assert_eq!(line["sample"], 4, "a sample says what it stands for: {line}");
    assert!((skipped(&gateway, "sample") - 4.0).abs() < 0.1);
}

#[test]
fn short_clean_connections_and_unwanted_outcomes_have_no_line_until_a_reload_wants_them() {
    let ca = TestCa::new("ca");
    let gateway = start(
        &ca,
        "access_min_duration = \"1h\"\naccess_outcomes = [\"closed\", \"unknown_target\"]",
    );
    let client = Client::new(&ca);
    closed_cleanly(&client, &gateway);
    drop(std::net::TcpStream::connect(gateway.address).expect("accepted"));
    gateway.eventually("both counted", |gateway| {
        skipped(gateway, "duration") > 0.5 && skipped(gateway, "outcome") > 0.5
    });
    refusal(&client, gateway.address, &header_for("none.test.svc.cluster.local:1", None));
    gateway.line("a warning, however short", |line| line["outcome"] == "unknown_target");
    assert_eq!(logged(&gateway), ["unknown_target"]);

    let file = gateway.file("gateway.toml");
    let text = fs::read_to_string(&file).expect("written");
    fs::write(&file, text.replace("access_min_duration = \"1h\"", "")).expect("written");
    gateway.signal("HUP");
    gateway.line("the reload", |line| line["message"] == "configuration reloaded");
    closed_cleanly(&client, &gateway);
    gateway.line("a clean end", |line| line["outcome"] == "closed");
}

#[test]
fn a_log_that_nobody_reads_stops_no_connection_and_loses_no_line_that_fits() {
    let ca = TestCa::new("ca");
    let gateway = start(&ca, "");
    let client = Client::new(&ca);
    let stalled = gateway.stall_log();
    // Several times what a pipe takes.
    (0..400).for_each(|_| closed_cleanly(&client, &gateway));
    gateway.eventually("all ends", |gateway| gateway.metric(CLOSED) > 399.5);
    drop(stalled);
    gateway.eventually("every line", |gateway| logged(gateway).len() == 400);
    assert!(gateway.metric("gateway_log_lines_lost_total") < 0.5);
}
