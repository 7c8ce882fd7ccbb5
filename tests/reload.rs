//! Reload: all of the configuration or nothing, and nobody is cut who need not be.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

use std::fs;
use std::io::{Read, Write};

use support::backend;
use support::certs::TestCa;
use support::client::{Client, Stream, header_for, refusal};
use support::gateway::{Builder, Gateway};

const ECHO: &str = "echo.test.svc.cluster.local:7";
const OTHER: &str = "other.test.svc.cluster.local:7";
const STRANGER: &str = "web.other.serviceaccount.identity.linkerd.cluster.local";

/// Bytes go there and back.
fn is_served(stream: &mut Stream) -> bool {
    let mut answer = [0; 4];
    let sent = stream.write_all(b"ping").and_then(|()| stream.flush());
    sent.and_then(|()| stream.read_exact(&mut answer)).is_ok() && &answer == b"ping"
}

fn generation(gateway: &Gateway) -> u64 {
    let dump: serde_json::Value = serde_json::from_str(&gateway.get("/config_dump")).expect("JSON");
    let metric = gateway.metric("gateway_config_generation");
    assert_eq!(Some(metric), dump["generation"].as_f64());
    dump["generation"].as_u64().expect("a number")
}

fn rewrite(gateway: &Gateway, change: impl Fn(&str) -> String) {
    let file = gateway.file("gateway.toml");
    let old = fs::read_to_string(&file).expect("written");
    fs::write(&file, change(&old)).expect("written");
}

fn append(gateway: &Gateway, more: &str) {
    rewrite(gateway, |old| format!("{old}\n{more}\n"));
}

/// Asks for a reload and waits for its answer.
fn reload(gateway: &Gateway) -> serde_json::Value {
    let answer = |line: &serde_json::Value| {
        let text = line["message"].as_str().unwrap_or_default();
        text == "configuration reloaded" || text.starts_with("configuration refused")
    };
    let before = gateway.lines().iter().filter(|line| answer(line)).count();
    gateway.signal("HUP");
    gateway.eventually("an answer to HUP", |gateway| {
        gateway.lines().iter().filter(|line| answer(line)).count() > before
    });
    gateway.lines().into_iter().rfind(answer).expect("just seen")
}

#[test]
fn a_reload_adds_and_removes_routes_and_live_connections_stay() {
    let ca = TestCa::new("ca");
    let echo = backend::echo();
    let mut gateway = Gateway::with_route(&ca, ECHO, echo);
    let client = Client::new(&ca);
    let mut kept = client.open(gateway.address, ECHO);
    assert!(is_served(&mut kept));
    refusal(&client, gateway.address, &header_for(OTHER, None));
    gateway.expect("unknown_target");
    assert_eq!(generation(&gateway), 1);
    rewrite(&gateway, |old| old.replace(ECHO, OTHER));
    assert_eq!(reload(&gateway)["generation"], 2);
    assert_eq!(generation(&gateway), 2);
    assert!(is_served(&mut client.open(gateway.address, OTHER)));
    refusal(&client, gateway.address, &header_for(ECHO, None));
    assert!(is_served(&mut kept), "a live connection is not the new table's business");
}

#[test]
fn one_bad_key_refuses_the_whole_and_lists_all_problems() {
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    let client = Client::new(&ca);
    append(
        &gateway,
        "[[route]]\ntarget = \"other.test.svc.cluster.local:7\"\nendponts = []\n[limits]\nconnect_timeout = \"never\"",
    );
    let answer = reload(&gateway);
    let text = answer["message"].as_str().expect("text");
    assert!(text.contains("generation 1 stays"), "{text}");
    assert!(
        text.contains("did you mean \"endpoints\"?") && text.contains("connect_timeout"),
        "{text}"
    );
    assert_eq!(generation(&gateway), 1);
    assert!(is_served(&mut client.open(gateway.address, ECHO)));
    assert!((gateway.metric("gateway_config_reloads_total{result=\"error\"}") - 1.0).abs() < 0.1);
}

#[test]
fn keys_that_are_read_at_start_only_are_refused_by_name() {
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    append(&gateway, "[runtime]\nworkers = 1\n[kubernetes]\nenabled = true");
    let answer = reload(&gateway);
    let text = answer["message"].as_str().expect("text");
    assert!(text.contains("runtime, kubernetes changed, which takes a restart"), "{text}");
    assert_eq!(generation(&gateway), 1);
}

#[test]
fn certificates_that_cannot_be_used_refuse_the_whole() {
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    rewrite(&gateway, |old| old.replace("gateway/tls.key", "gateway/none.key"));
    let answer = reload(&gateway);
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("none.key")), "{answer}");
    assert_eq!(generation(&gateway), 1);
}

#[test]
fn a_policy_change_cuts_exactly_the_connections_that_it_denies() {
    let ca = TestCa::new("ca");
    let echo = backend::echo();
    let mut gateway = Builder::new(&ca).route(ECHO, &[echo]).route(OTHER, &[echo]).start();
    let client = Client::new(&ca);
    let stranger = Client::with(&ca, Some(&ca.identity(STRANGER)));
    let mut allowed = client.open(gateway.address, ECHO);
    let mut denied_target = client.open(gateway.address, OTHER);
    let mut denied_identity = stranger.open(gateway.address, ECHO);
    for stream in [&mut allowed, &mut denied_target, &mut denied_identity] {
        assert!(is_served(stream));
    }
    append(
        &gateway,
        "[[policy.rule]]\nname = \"one way\"\naction = \"allow\"\n\
         identities = [\"*.default.serviceaccount.identity.linkerd.cluster.local\"]\n\
         targets = [\"echo.test.svc.cluster.local:7\"]",
    );
    assert_eq!(reload(&gateway)["cut"], 2);
    gateway.expect("no_longer_allowed");
    gateway.expect("no_longer_allowed");
    assert!(!is_served(&mut denied_target) && !is_served(&mut denied_identity));
    assert!(is_served(&mut allowed));
    // A reload that changes nothing cuts nobody.
    assert_eq!(reload(&gateway)["cut"], 0);
    assert!(is_served(&mut allowed));
}

#[test]
fn a_rule_about_requests_cuts_relays_of_bytes_when_it_denies_and_only_then() {
    let ca = TestCa::new("ca");
    let echo = backend::echo();
    let mut gateway = Builder::new(&ca).route(ECHO, &[echo]).route(OTHER, &[echo]).start();
    let client = Client::new(&ca);
    let mut allowed = client.open(gateway.address, ECHO);
    let mut denied = client.open(gateway.address, OTHER);
    assert!(is_served(&mut allowed) && is_served(&mut denied));
    append(
        &gateway,
        "[[policy.rule]]\nname = \"no admin\"\naction = \"deny\"\npaths = [\"/admin/*\"]\n\
         targets = [\"other.test.svc.cluster.local:7\"]\n\
         [[policy.rule]]\nname = \"reading\"\naction = \"allow\"\nmethods = [\"GET\"]\n\
         [[policy.rule]]\nname = \"all\"\naction = \"allow\"",
    );
    assert_eq!(reload(&gateway)["cut"], 1);
    gateway.expect("no_longer_allowed");
    assert!(!is_served(&mut denied) && is_served(&mut allowed));
}

#[test]
fn a_changed_file_is_noticed_without_a_signal_when_that_is_configured() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let gateway = builder.configure("[runtime]\nconfig_poll_interval = \"20ms\"").start();
    append(
        &gateway,
        "[[route]]\ntarget = \"other.test.svc.cluster.local:7\"\nendpoints = [\"127.0.0.1:1\"]",
    );
    gateway.line("the reload", |line| line["message"] == "configuration reloaded");
    assert_eq!(generation(&gateway), 2);
}
