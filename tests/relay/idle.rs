//! Connections that nobody uses.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::fixture::parties_with;
use crate::support::client::half_close;
use crate::support::gateway::PATIENCE;

#[test]
fn a_half_closed_connection_ends_after_its_timeout_without_a_byte() {
    let mut parties = parties_with("[limits]\nhalf_closed_timeout = \"1200ms\"");
    let (mut client, mut backend) = parties.pair();
    half_close(&mut client);
    assert_eq!(backend.read(&mut [0; 1]).expect("FIN"), 0);
    // Each byte begins the time anew.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(400));
        backend.write_all(b"x").expect("sent");
        client.read_exact(&mut [0; 1]).expect("passed on");
    }
    let quiet = Instant::now();
    client.read(&mut [0; 1]).expect_err("a reset");
    let waited = quiet.elapsed();
    assert!((1100..4000).contains(&waited.as_millis()), "{waited:?}");
    parties.gateway.expect("idle_timeout");
    // The backend has read the end already: a reset shows in what it writes.
    while backend.write_all(b"x").is_ok() {
        assert!(quiet.elapsed() < PATIENCE, "the backend was not reset");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn an_endpoint_that_ends_first_is_no_different() {
    let mut parties = parties_with("[limits]\nhalf_closed_timeout = \"300ms\"");
    let (mut client, backend) = parties.pair();
    backend.shutdown(Shutdown::Write).expect("FIN");
    assert_eq!(client.read(&mut [0; 1]).expect("close_notify"), 0);
    parties.gateway.expect("idle_timeout");
}

#[test]
fn an_open_connection_ends_only_when_an_idle_timeout_is_configured() {
    let mut idle = parties_with("[limits]\nidle_timeout = \"300ms\"");
    let kept = parties_with("[limits]\nhalf_closed_timeout = \"100ms\"");
    let (_client, _backend) = idle.pair();
    let (mut client, mut backend) = kept.pair();
    idle.gateway.expect("idle_timeout");
    std::thread::sleep(Duration::from_millis(300));
    client.write_all(b"x").expect("sent");
    backend.read_exact(&mut [0; 1]).expect("still there");
}
