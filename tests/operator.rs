//! What an operator does to a running gateway through the admin API: close connections, change the
//! log level, ask it to stop. And what the admin API never does: slow the data path.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

#[path = "operator/latency.rs"]
mod latency;

use std::fs;
use std::io::{Read, Write};
use std::time::Duration;

use serde_json::Value;
use support::backend;
use support::certs::TestCa;
use support::client::{Client, Stream, half_close, read_all};
use support::gateway::{Builder, Gateway, PATIENCE};
use support::probe::{ECHO, Ending};

const STRANGER: &str = "web.other.serviceaccount.identity.linkerd.cluster.local";

fn is_served(stream: &mut Stream) -> bool {
    let mut answer = [0; 4];
    let sent = stream.write_all(b"ping").and_then(|()| stream.flush());
    sent.and_then(|()| stream.read_exact(&mut answer)).is_ok() && &answer == b"ping"
}

/// True when both sides of `stream` saw a reset; `backend` is the endpoint's side.
fn is_reset(stream: &mut Stream, backend: &mut std::net::TcpStream) -> bool {
    let client = stream.read(&mut [0]).map_err(|error| Ending::of(&error));
    let endpoint = backend.read_to_end(&mut Vec::new()).map_err(|error| error.kind());
    client == Err(Ending::Reset) && endpoint == Err(std::io::ErrorKind::ConnectionReset)
}

#[test]
fn a_connection_is_closed_by_id_and_others_stay() {
    let ca = TestCa::new("ca");
    let (endpoint, accepted) = backend::handed_over();
    let mut gateway = Gateway::with_route(&ca, ECHO, endpoint);
    let client = Client::new(&ca);
    let open = || {
        let stream = client.open(gateway.address, ECHO);
        (stream, accepted.recv_timeout(PATIENCE).expect("connected"))
    };
    let (mut first, mut first_backend) = open();
    let (mut second, mut second_backend) = open();
    let live: Value = serde_json::from_str(&gateway.get("/connections")).expect("JSON");
    let path = format!("/connections/{}", live[0]["id"]);
    assert_eq!(gateway.request("DELETE", &path), (200, "{\"closed\":1}\n".to_owned()));
    assert!(is_reset(&mut first, &mut first_backend));
    let line = gateway.expect("closed_by_operator");
    assert_eq!(line["id"], live[0]["id"], "{line}");
    assert_eq!(gateway.request("DELETE", &path).0, 404, "it is gone");
    assert_eq!(gateway.request("DELETE", "/connections").0, 400);
    second.write_all(b"still here").expect("sent");
    half_close(&mut second);
    let mut text = String::new();
    second_backend.read_to_string(&mut text).expect("a clean end");
    assert_eq!(text, "still here");
    drop(second_backend);
    assert_eq!(read_all(&mut second), b"");
    gateway.expect("closed");
}

#[test]
fn all_connections_of_one_identity_are_closed_and_no_other() {
    let ca = TestCa::new("ca");
    let mut gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    let stranger = Client::with(&ca, Some(&ca.identity(STRANGER)));
    let mut kept = Client::new(&ca).open(gateway.address, ECHO);
    let mut cut = [(); 3].map(|()| stranger.open(gateway.address, ECHO));
    assert!(cut.iter_mut().chain([&mut kept]).all(is_served));
    let path = format!("/connections?identity={STRANGER}");
    assert_eq!(gateway.request("DELETE", &path), (200, "{\"closed\":3}\n".to_owned()));
    for stream in &mut cut {
        assert!(!is_served(stream));
        gateway.expect("closed_by_operator");
    }
    assert!(is_served(&mut kept));
}

#[test]
fn the_log_level_changes_until_the_next_reload() {
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    let configured = gateway.get("/proxy-log-level");
    assert!(configured.contains("access=debug"), "{configured}");
    let level = "warn,linkerd_gateway=debug";
    assert_eq!(gateway.send("PUT", "/proxy-log-level", level), (204, String::new()));
    assert!(gateway.get("/proxy-log-level").contains("linkerd_gateway=debug"));
    let line = gateway.line("the change", |line| line["filter"] == level);
    assert_eq!(line["level"], "INFO", "{line}");
    let shown = gateway.get("/proxy-log-level");
    assert_eq!(gateway.send("PUT", "/proxy-log-level", &shown).0, 204, "{shown}");
    for (bad, why) in [("wran", "did you mean \"warn\"?"), ("x=y=z", "filter"), ("", "filter")] {
        let (status, body) = gateway.send("PUT", "/proxy-log-level", bad);
        assert!(status == 400 && body.contains(why), "{bad}: {status} {body}");
    }
    assert_eq!(gateway.send("PUT", "/proxy-log-level", &"a,".repeat(3000)).0, 413);
    assert_eq!(gateway.get("/proxy-log-level"), shown, "a bad filter changes nothing");
    gateway.signal("HUP");
    gateway.eventually("the configured level", |gateway| {
        gateway.get("/proxy-log-level") == configured
    });
}

#[test]
fn shutdown_drains_and_asking_again_does_not_force() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]).configure(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlame_duck = \"500ms\"\ndrain_deadline = \"60s\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\nshutdown = true",
    );
    let mut gateway = builder.start();
    let mut stream = Client::new(&ca).open(gateway.address, ECHO);
    assert!(is_served(&mut stream));
    assert_eq!(gateway.request("GET", "/shutdown").0, 405);
    for _ in 0..3 {
        assert_eq!(gateway.request("POST", "/shutdown"), (200, "shutdown\n".to_owned()));
    }
    gateway.line("the drain", |line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("draining"))
    });
    // Kubernetes sends its TERM all the same: the first one does not force either.
    gateway.signal("TERM");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(gateway.request("POST", "/shutdown").0, 200);
    assert_eq!(gateway.request("GET", "/ready").0, 503);
    assert!(is_served(&mut stream), "what is in flight finishes");
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_second_term_forces_after_a_shutdown_too() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]).configure(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlame_duck = \"60s\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\nshutdown = true",
    );
    let mut gateway = builder.start();
    assert_eq!(gateway.request("POST", "/shutdown").0, 200);
    gateway.eventually("the drain", |gateway| gateway.request("GET", "/ready").0 == 503);
    gateway.signal("TERM");
    // Two signals of one kind that are both pending are one.
    std::thread::sleep(Duration::from_millis(300));
    gateway.signal("TERM");
    assert_eq!(gateway.wait().code(), Some(1));
}

#[test]
fn shutdown_is_off_unless_configured() {
    let ca = TestCa::new("ca");
    let gateway = Gateway::with_route(&ca, ECHO, backend::echo());
    let answer = gateway.request("POST", "/shutdown");
    assert_eq!(answer, (404, "shutdown endpoint is not enabled\n".to_owned()));
    assert_eq!(gateway.request("GET", "/ready").0, 200);
}

#[test]
fn the_environment_shows_settings_and_hides_secrets() {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).env("CLOUD_TOKEN", "hunter2").env("REGION", "west");
    let gateway = builder.route(ECHO, &[backend::echo()]).start();
    let text = gateway.get("/env.json");
    assert!(!text.contains("hunter2"), "{text}");
    let all: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(all["REGION"], "west");
    assert_eq!(gateway.get("/env.json?REGION"), "{\"REGION\":\"west\"}\n");
    // The process's own view is what an operator could read in /proc, no more.
    let of_process = fs::read_to_string(format!("/proc/{}/environ", gateway.pid()));
    let count = of_process.expect("ours").split('\0').filter(|line| line.contains('=')).count();
    assert_eq!(all.as_object().map(serde_json::Map::len), Some(count));
}
