//! One panic each, and who must not notice it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, half_close, header_for, read_all, tcp};
use crate::support::dns::{Dns, Mode};
use crate::support::gateway::{GATEWAY, Gateway, PATIENCE};
use crate::support::process::replace;
use crate::support::tcp::{read_only, read_to_fault};
use crate::{ECHO, builder, converse, restarts, round};

/// The restart of `task` is counted once and told at level error, and so is the panic.
fn restarted(gateway: &Gateway, task: &str) -> Value {
    gateway.eventually("the restart", |gateway| restarts(gateway, task) >= 1.0);
    let panic = gateway.line("the panic", |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("panic, which is a bug"))
    });
    assert_eq!(panic["level"], "ERROR");
    assert!(panic["location"].as_str().is_some_and(|at| at.contains("fault.rs")), "{panic}");
    let line = gateway.line("the restart", |line| line["task"] == task);
    assert_eq!(line["level"], "ERROR");
    assert!(restarts(gateway, task) < 2.0);
    line
}

/// No log line but those that tests look for: nothing printed past the log.
fn every_line_is_json(gateway: &Gateway) {
    let lines = gateway.lines();
    let foreign: Vec<_> = lines.iter().filter(|line| !line.is_object()).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn a_panic_in_a_connection_resets_it_and_no_other_of_its_worker() {
    let ca = TestCa::new("ca");
    let (address, backends) = backend::handed_over();
    let mut gateway =
        builder(&ca, "connection:2").route("web.test.svc.cluster.local:80", &[address]).start();
    let mut neighbour = Client::new(&ca).open(gateway.address, ECHO);
    round(&mut neighbour);

    let mut stream = Client::new(&ca).open(gateway.address, "web.test.svc.cluster.local:80");
    let reset = Some(ErrorKind::ConnectionReset);
    assert_eq!(read_only(&mut stream), (Vec::new(), reset));
    let mut backend = backends.recv_timeout(PATIENCE).expect("it was connected");
    assert_eq!(read_to_fault(&mut backend), (Vec::new(), reset));
    let line = gateway.expect("panicked");
    assert_eq!(line["level"], "WARN");
    assert!(line["hint"].as_str().is_some_and(|hint| hint.contains("report it")), "{line}");
    assert!(line["identity"].is_string() && line["endpoint"].is_string(), "{line}");
    assert!((gateway.metric("gateway_connections_total{outcome=\"panicked\"}") - 1.0).abs() < 0.1);

    round(&mut neighbour);
    converse(&ca, gateway.address);
    gateway.expect("closed");
    // Its place and its registration are given back.
    let open = "gateway_worker_open_connections{worker=\"0\"}";
    gateway.eventually("its place is given back", |g| g.metric(open) < 1.5);
    assert!(!gateway.get("/connections").contains("web.test"));
    assert_eq!(gateway.request("GET", "/ready").0, 200);
    half_close(&mut neighbour);
    assert_eq!(read_all(&mut neighbour), b"");
    every_line_is_json(&gateway);
}

#[test]
fn a_panic_in_a_handshake_resets_that_client() {
    let ca = TestCa::new("ca");
    let mut gateway = builder(&ca, "handshake:1").start();
    let mut stream = tcp(gateway.address).expect("accepted");
    assert_eq!(read_to_fault(&mut stream).1, Some(ErrorKind::ConnectionReset));
    assert_eq!(gateway.expect("panicked")["identity"], Value::Null);
    converse(&ca, gateway.address);
}

#[test]
fn the_credentials_follower_starts_again_and_still_follows() {
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "credentials:2").start();
    let mut live = Client::new(&ca).open(gateway.address, ECHO);
    let line = restarted(&gateway, "credentials");
    let message = line["message"].as_str().expect("a message");
    assert!(message.contains("those in use stay"), "{message}");
    let certs = |gateway: &Gateway| -> Value {
        serde_json::from_str(&gateway.get("/certs")).expect("JSON")
    };
    // It has not forgotten what it had accepted.
    assert_eq!(certs(&gateway)["generation"], 1);
    let renewed = ca.identity(GATEWAY);
    replace(&gateway.file("gateway/tls.crt"), &renewed.chain);
    replace(&gateway.file("gateway/tls.key"), &renewed.key);
    gateway.eventually("the renewed pair", |gateway| certs(gateway)["generation"] == 2);
    let stream = Client::new(&ca).open(gateway.address, ECHO);
    let chain = stream.conn.peer_certificates().expect("a chain");
    assert_eq!(chain.first().expect("a leaf").as_ref(), renewed.der);
    round(&mut live);
}

#[test]
fn a_panic_before_the_first_credentials_delays_the_start_only() {
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "credentials:1").start();
    restarted(&gateway, "credentials");
    converse(&ca, gateway.address);
    assert_eq!(gateway.request("GET", "/ready").0, 200);
}

#[test]
fn a_dns_follower_starts_again_and_keeps_its_last_good_answers() {
    const V4: &str = "10.77.0.1";
    let ca = TestCa::new("ca");
    let both = ["10.77.0.1", "fd77::1"].map(|text| text.parse().expect("an address"));
    let dns = Dns::start(Mode::Addresses(both.to_vec(), 0));
    let gateway = builder(&ca, "dns:3")
        .configure(&format!(
            "[dns]\nservers = [\"{}\"]\nmin_ttl = \"50ms\"\n\
             [[route]]\ntarget = \"web.test.svc.cluster.local:80\"\ndns = \"web.example.com:80\"",
            dns.address
        ))
        .start();
    let mut live = Client::new(&ca).open(gateway.address, ECHO);
    gateway.eventually("an answer", |gateway| gateway.get("/routes").contains(V4));
    // From now on the other kind of address fails: what was known of it must survive the panic.
    dns.set(Mode::OnlyV6(both[1..].to_vec(), 0));
    let line = restarted(&gateway, "dns");
    assert!(line["message"].as_str().is_some_and(|text| text.contains("last good answer")));
    let asked = dns.questions();
    gateway.eventually("further questions", |_| dns.questions() >= asked + 8);
    assert!(gateway.get("/routes").contains(V4), "{}", gateway.get("/routes"));
    round(&mut live);
}

#[test]
fn an_acceptor_starts_again_on_the_same_listener_and_loses_nobody() {
    let ca = TestCa::new("ca");
    // A pass for each connection and one for each empty queue: the third is the second client's.
    let gateway = builder(&ca, "acceptor:3").start();
    let mut live = Client::new(&ca).open(gateway.address, ECHO);
    round(&mut live);
    for _ in 0..5 {
        converse(&ca, gateway.address);
    }
    restarted(&gateway, "acceptor");
    round(&mut live);
    assert_eq!(gateway.request("GET", "/ready").0, 200);
}

#[test]
fn an_acceptor_that_panics_while_stopping_still_empties_its_queue() {
    let ca = TestCa::new("ca");
    let mut gateway = builder(&ca, "acceptor_stopping:1").start();
    gateway.signal("STOP");
    let queued = TcpStream::connect(gateway.address).expect("queued");
    gateway.signal("TERM");
    gateway.signal("CONT");
    restarted(&gateway, "acceptor");
    let mut stream = Client::new(&ca).over(queued).expect("a handshake");
    stream.write_all(&header_for(ECHO, None)).expect("sent");
    round(&mut stream);
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn the_admin_listener_starts_again_and_answers_who_waits() {
    let ca = TestCa::new("ca");
    // The first pass is its start, the second comes after the first client.
    let gateway = builder(&ca, "admin:2").start();
    for _ in 0..5 {
        assert_eq!(gateway.request("GET", "/live").0, 200);
    }
    restarted(&gateway, "admin");
    converse(&ca, gateway.address);
}

#[test]
fn a_panic_in_an_admin_connection_ends_it_alone() {
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "admin_connection:2").start();
    let request = b"GET /live HTTP/1.1\r\nhost: a\r\n\r\n";
    let open = || {
        let stream = TcpStream::connect(gateway.admin).expect("the admin port");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream
    };
    let answered = |stream: &mut TcpStream| {
        stream.write_all(request).expect("sent");
        let mut answer = [0; 12];
        let read = stream.read_exact(&mut answer);
        read.is_ok() && &answer == b"HTTP/1.1 200"
    };
    let (mut kept, mut unlucky) = (open(), open());
    assert!(answered(&mut kept));
    assert!(!answered(&mut unlucky));
    // The rest of the first answer comes before the second.
    kept.write_all(request).expect("sent");
    let mut rest = Vec::new();
    while !rest.windows(12).any(|part| part == b"HTTP/1.1 200") {
        let mut byte = [0];
        kept.read_exact(&mut byte).expect("an answer");
        rest.extend(byte);
    }
    restarted(&gateway, "admin_connection");
}

#[test]
fn a_workers_heartbeat_starts_again_and_its_connections_go_on() {
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "heartbeat:2").start();
    let mut live = Client::new(&ca).open(gateway.address, ECHO);
    restarted(&gateway, "heartbeat");
    round(&mut live);
    gateway.eventually("readiness", |gateway| gateway.request("GET", "/ready").0 == 200);
}

#[test]
fn a_reload_that_panics_is_refused_and_the_next_one_is_taken() {
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "reload:1").start();
    let mut live = Client::new(&ca).open(gateway.address, ECHO);
    gateway.signal("HUP");
    let line = gateway.line("the refusal", |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("configuration refused"))
    });
    let message = line["message"].as_str().expect("a message");
    assert!(message.contains("generation 1 stays in force: a panic"), "{message}");
    assert!((restarts(&gateway, "reload") - 1.0).abs() < 0.1);
    round(&mut live);
    gateway.signal("HUP");
    let line = gateway.line("the reload", |line| line["message"] == "configuration reloaded");
    assert_eq!(line["generation"], 2);
    round(&mut live);
}

#[test]
fn a_panic_while_a_reload_takes_effect_is_told_and_the_next_one_completes_it() {
    let ca = TestCa::new("ca");
    let gateway = builder(&ca, "commit:1").start();
    gateway.signal("HUP");
    gateway.line("the problem", |line| {
        line["message"].as_str().is_some_and(|text| text.contains("in force in part"))
    });
    assert!((restarts(&gateway, "reload") - 1.0).abs() < 0.1);
    gateway.signal("HUP");
    gateway.line("the reload", |line| line["message"] == "configuration reloaded");
    converse(&ca, gateway.address);
}
