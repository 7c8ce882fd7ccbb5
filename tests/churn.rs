//! Connections that come and go leave nothing behind: memory and descriptors return to where they
//! were. A short run by default; `make test-long` runs the whole minute at 1,000 per second:
//!
//! ```text
//! cargo test --release --test churn -- --ignored --nocapture full_minute
//! ```

#![allow(clippy::expect_used, clippy::panic, reason = "test code")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::backend;
use support::certs::TestCa;
use support::client::{Client, half_close, read_all};
use support::gateway::{Builder, Gateway, PATIENCE};
use support::process::{descriptors, resident};

const ECHO: &str = "echo.test.svc.cluster.local:7";
/// Clients at once. A handshake waits more for its turn than it computes.
const THREADS: usize = 8;
/// Memory that an allocator may keep more than it had after the warm-up, in KiB. A leak of 1 KiB
/// per connection exceeds it in either run.
const TOLERANCE: u64 = 2048;

fn gateway(ca: &TestCa) -> Gateway {
    // A line per connection would fill the test's memory, not the gateway's.
    let builder = Builder::new(ca).route(ECHO, &[backend::echo()]);
    builder.configure("[log]\naccess = false").start()
}

/// `count` whole conversations, `rate` per second at most; how long they took.
fn churn(client: &Client, address: SocketAddr, count: usize, rate: f64) -> Duration {
    let begun = Instant::now();
    let next = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let due = begun + Duration::from_secs_f64(number as f64 / rate);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let mut stream = client.open(address, ECHO);
                    stream.write_all(b"hello").expect("sent");
                    half_close(&mut stream);
                    assert_eq!(read_all(&mut stream), b"hello");
                }
            });
        }
    });
    begun.elapsed()
}

/// What the gateway holds once every connection has ended: descriptors, and memory in KiB.
fn settled(gateway: &Gateway, expected: usize) -> (usize, u64) {
    let open = |gateway: &Gateway| gateway.get("/connections").trim() == "[]";
    gateway.eventually("the end of all connections", open);
    let until = Instant::now() + PATIENCE;
    // The scrape above is a connection too, which may take a moment to go.
    while descriptors(gateway.pid()) > expected && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    (descriptors(gateway.pid()), resident(gateway.pid()) / 1024)
}

#[test]
fn connections_that_come_and_go_leave_nothing_behind() {
    let ca = TestCa::new("ca");
    let gateway = gateway(&ca);
    let client = Client::new(&ca);
    let at_start = descriptors(gateway.pid());
    // Fills caches, pools and the allocator's arenas.
    churn(&client, gateway.address, 2000, f64::INFINITY);
    let (fds, memory) = settled(&gateway, at_start);
    assert_eq!(fds, at_start);
    let took = churn(&client, gateway.address, 8000, f64::INFINITY);
    let (fds, after) = settled(&gateway, at_start);
    println!("8000 connections in {took:?}; {memory} KiB before, {after} KiB after");
    assert_eq!(fds, at_start);
    assert!(after <= memory + TOLERANCE, "{memory} KiB before, {after} KiB after");
    assert_eq!(gateway.metric("gateway_connections_total{outcome=\"closed\"}"), 10_000.0);
}

#[test]
#[ignore = "takes more than a minute: make test-long"]
fn full_minute_of_1000_connections_per_second() {
    let ca = TestCa::new("ca");
    let gateway = gateway(&ca);
    let client = Client::new(&ca);
    let at_start = descriptors(gateway.pid());
    churn(&client, gateway.address, 5_000, 1000.0);
    let (fds, memory) = settled(&gateway, at_start);
    assert_eq!(fds, at_start);
    let mut seconds = 0.0;
    for minute_part in 1..=6 {
        let took = churn(&client, gateway.address, 10_000, 1000.0);
        seconds += took.as_secs_f64();
        let (fds, after) = settled(&gateway, at_start);
        println!("after {}: {after} KiB, {fds} descriptors, {took:?}", minute_part * 10_000);
        assert_eq!(fds, at_start);
        assert!(after <= memory + TOLERANCE, "{memory} KiB before, {after} KiB after");
    }
    println!("60000 connections in {seconds:.1} s, {memory} KiB before");
    assert_eq!(gateway.metric("gateway_connections_total{outcome=\"closed\"}"), 65_000.0);
    // A slower machine proves less than it should; a much slower one is no proof at all.
    println!("{:.0} connections per second", 60_000.0 / seconds);
    assert!(seconds < 120.0, "{seconds:.0} s");
}

#[test]
fn a_thousand_silent_connections_are_gone_after_the_handshake_timeout() {
    const COUNT: usize = 1000;
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca).route(ECHO, &[backend::echo()]);
    let gateway =
        builder.configure("[log]\naccess = false\n[limits]\nhandshake_timeout = \"1s\"").start();
    let at_start = descriptors(gateway.pid());
    let begun = Instant::now();
    let silent: Vec<_> = (0..COUNT)
        .map(|number| {
            let mut stream = TcpStream::connect(gateway.address).expect("accepted");
            // Some begin to speak: a record's header and no more of it.
            if number % 2 == 0 {
                stream.write_all(b"\x16\x03\x01\x02\x00\x01").expect("sent");
            }
            stream
        })
        .collect();
    gateway.eventually("all timeouts", |gateway| {
        gateway.metric("gateway_connections_total{outcome=\"handshake_timeout\"}") == COUNT as f64
    });
    assert!(begun.elapsed() >= Duration::from_secs(1));
    // Gone although every client still holds its end.
    assert_eq!(settled(&gateway, at_start).0, at_start);
    drop(silent);
    // Nobody was kept out.
    let took = churn(&Client::new(&ca), gateway.address, 20, f64::INFINITY);
    assert!(took < PATIENCE);
}
