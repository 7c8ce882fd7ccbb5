//! The memory watermark: idle connections are closed, busy ones go on, and it recovers.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::support::backend;
use super::support::certs::TestCa;
use super::support::client::{Client, Stream};
use super::support::gateway::{Builder, Gateway, PATIENCE};

const ECHO: &str = "echo.test.svc.cluster.local:7";
const USED: &str = "gateway_memory_used_bytes";
const MIB: f64 = 1048576.0;

fn ping(stream: &mut Stream) {
    stream.write_all(b"ping").expect("sent");
    stream.flush().expect("sent");
    stream.read_exact(&mut [0; 4]).expect("answered");
}

/// Sets the watermark by a reload.
fn watermark(gateway: &Gateway, bytes: f64) {
    let file = gateway.file("gateway.toml");
    let text = std::fs::read_to_string(&file).expect("there");
    let at = text.find("memory_watermark").expect("configured");
    let end = at + text[at..].find('\n').expect("a line");
    let kib = (bytes / 1024.0).ceil();
    let line = format!("memory_watermark = \"{kib}KiB\"");
    std::fs::write(&file, text.replace(&text[at..end], &line)).expect("written");
    gateway.signal("HUP");
}

#[test]
fn idle_connections_make_room_busy_ones_go_on_and_new_ones_wait() {
    let ca = TestCa::new("root");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let gateway = builder.configure("[limits]\nmemory_watermark = \"1GiB\"").start();
    let client = Client::new(&ca);
    let mut busy: Vec<_> = (0..5).map(|_| client.open(gateway.address, ECHO)).collect();
    busy.iter_mut().for_each(ping);
    std::thread::sleep(Duration::from_millis(600));
    let empty = gateway.metric(USED);
    let mut idle: Vec<_> = (0..1500).map(|_| client.open(gateway.address, ECHO)).collect();
    idle.iter_mut().for_each(ping);
    std::thread::sleep(Duration::from_millis(600));
    let full = gateway.metric(USED);
    assert!(full - empty > 2.0 * MIB, "1,500 connections cost {} MiB", (full - empty) / MIB);
    watermark(&gateway, empty + (full - empty) * 0.75);
    let above = |line: &serde_json::Value| line["used"].is_number() && line["level"] == "WARN";
    gateway.line("memory is above", above);
    // Closing idle ones takes seconds; until then nobody is accepted, and nobody refused.
    let accepted = gateway.metric("gateway_accepted_total");
    let (address, late) = (gateway.address, Client::new(&ca));
    let waiting = std::thread::spawn(move || ping(&mut late.open(address, ECHO)));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(gateway.metric("gateway_accepted_total"), accepted);
    assert_eq!(gateway.request("GET", "/ready").0, 200, "probes are answered");
    let recovered = "memory is below the watermark: connections are accepted";
    let has_recovered = |g: &Gateway| g.lines().iter().any(|line| line["message"] == recovered);
    let until = Instant::now() + PATIENCE;
    while !has_recovered(&gateway) {
        busy.iter_mut().for_each(ping);
        assert!(Instant::now() < until, "it never recovered");
        std::thread::sleep(Duration::from_millis(50));
    }
    let shed = gateway.metric("gateway_connections_total{outcome=\"memory_limit\"}");
    assert!((20.0..1500.0).contains(&shed), "{shed} closed");
    gateway.line("an idle one's end", |line| line["outcome"] == "memory_limit");
    busy.iter_mut().for_each(ping);
    waiting.join().expect("who waited is served");
}
