//! Peers that are silent or too slow: one deadline from accept to the end of the header.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::hello::hello;
use super::support::client::{header_for, tcp};
use super::support::probe::{ECHO, Probe, raw_ending};

/// The deadline of these tests; a second between bytes is meant to pass several times.
const DEADLINE: Duration = Duration::from_millis(2500);

#[test]
fn a_silent_client_ends_at_the_deadline() {
    let mut probe = probe();
    ends_in_time(&mut probe, |stream| {
        assert_eq!(raw_ending(stream), (vec![], true));
    });
    probe.serves();
}

#[test]
fn a_hello_of_one_byte_per_second_ends_at_the_deadline() {
    let mut probe = probe();
    let bytes = hello(&probe.client());
    ends_in_time(&mut probe, |stream| {
        drip(&bytes, |byte| stream.write_all(&[byte]));
        assert!(raw_ending(stream).0.is_empty());
    });
    probe.serves();
}

#[test]
fn a_client_silent_after_the_servers_answer_ends_at_the_deadline() {
    let mut probe = probe();
    let bytes = hello(&probe.client());
    ends_in_time(&mut probe, |stream| {
        stream.write_all(&bytes).expect("sent");
        let (answer, reset) = raw_ending(stream);
        assert!(!answer.is_empty() && reset, "a reset, not a clean end");
    });
    probe.serves();
}

#[test]
fn a_header_of_one_byte_per_second_ends_at_the_deadline() {
    for silent in [true, false] {
        let mut probe = probe();
        let client = probe.client();
        let began = Instant::now();
        probe.attack("handshake_timeout", |address| {
            let mut stream = client.connect(address).expect("a handshake");
            if !silent {
                let header = header_for(ECHO, None);
                drip(&header, |byte| stream.write_all(&[byte]).and_then(|()| stream.flush()));
            }
            let error = stream.read(&mut [0]).expect_err("no clean end");
            let clean = error.kind() == std::io::ErrorKind::UnexpectedEof;
            // A write that met the reset has taken its error already.
            assert!(!clean || !silent, "{error}");
        });
        in_time(began);
        probe.serves();
    }
}

#[test]
fn the_deadline_does_not_hide_why_a_client_was_refused() {
    // Refused shortly before the deadline, and slow to go.
    let mut probe =
        Probe::with(|builder, _| builder.configure("[limits]\nhandshake_timeout = \"1s\""));
    probe.attack("not_tls", |address| {
        let mut stream = tcp(address).expect("connected");
        std::thread::sleep(Duration::from_millis(100));
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
        let (bytes, _) = raw_ending(&mut stream);
        assert!(!bytes.is_empty(), "an alert");
        // It keeps its side open; the gateway does not wait for it.
        std::thread::sleep(Duration::from_millis(1500));
    });
    probe.serves();
}

fn probe() -> Probe {
    Probe::with(|builder, _| {
        builder.configure(&format!("[limits]\nhandshake_timeout = \"{}ms\"", DEADLINE.as_millis()))
    })
}

fn ends_in_time(probe: &mut Probe, attack: impl FnOnce(&mut TcpStream)) {
    let began = Instant::now();
    let (line, ()) = probe.attack("handshake_timeout", |address| {
        let mut stream = tcp(address).expect("connected");
        attack(&mut stream);
    });
    in_time(began);
    assert!(line["total_ms"].as_f64().is_some_and(|ms| ms >= 2499.0), "{line}");
}

/// Generous at the end: the machine may be busy.
fn in_time(began: Instant) {
    let took = began.elapsed();
    assert!((DEADLINE..DEADLINE * 3).contains(&took), "{took:?}");
}

/// A byte per second until it is refused.
fn drip(bytes: &[u8], mut write: impl FnMut(u8) -> std::io::Result<()>) {
    for byte in bytes {
        if write(*byte).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("it was never refused");
}
