//! A reset is passed on as a reset, after everything that came before it; what only looks like an
//! end is none.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use crate::fixture::parties;
use crate::support::tcp::{
    damaged_records, expect_reset_after, pattern, read_only, read_to_fault, reset,
};

/// Fits into the buffers on the way, so that all of it is at the gateway when the fault comes.
const BEFORE: usize = 32 << 10;

#[test]
fn a_clients_reset_reaches_the_backend_after_all_its_bytes() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    let before = pattern(BEFORE);
    client.write_all(&before).expect("sent");
    reset(client.sock);
    expect_reset_after(&mut backend, &before);
    let line = parties.gateway.expect("client_reset");
    assert_eq!(line["bytes_from_client"], BEFORE);
}

#[test]
fn a_backends_reset_reaches_the_client_after_all_its_bytes() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    // Before the relay begins, a reset is a failed connect: the next endpoint would be tried.
    client.write_all(b"x").and_then(|()| client.flush()).expect("sent");
    backend.read_exact(&mut [0; 1]).expect("relayed");
    let before = pattern(BEFORE);
    backend.write_all(&before).expect("sent");
    reset(backend);
    expect_reset_after(&mut client, &before);
    let line = parties.gateway.expect("endpoint_reset");
    assert_eq!(line["bytes_to_client"], BEFORE);
}

#[test]
fn a_reset_is_passed_on_to_a_side_that_has_ended_already() {
    let mut parties = parties();
    let (client, mut backend) = parties.pair();
    backend.shutdown(Shutdown::Write).expect("sent");
    reset(client.sock);
    expect_reset_after(&mut backend, b"");
    parties.gateway.expect("client_reset");
}

#[test]
fn an_end_without_close_notify_is_a_reset_for_the_backend() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    let before = pattern(BEFORE);
    client.write_all(&before).expect("sent");
    client.sock.shutdown(Shutdown::Write).expect("FIN");
    expect_reset_after(&mut backend, &before);
    expect_reset_after(&mut client.sock, b"");
    parties.gateway.expect("client_truncated");
}

#[test]
fn a_damaged_record_is_a_reset_after_the_good_ones_and_none_of_its_bytes() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    let good = pattern(BEFORE);
    // In one write, so that the gateway meets the good and the bad record in one read.
    let bytes = damaged_records(&mut client.conn, &good, b"damaged");
    client.sock.write_all(&bytes).expect("sent");
    expect_reset_after(&mut backend, &good);
    let error = client.read(&mut [0; 1]).expect_err("no clean end");
    assert_ne!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    parties.gateway.expect("client_tls_error");
}

#[test]
fn plain_bytes_on_a_tls_connection_are_a_tls_error() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    client.sock.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    expect_reset_after(&mut backend, b"");
    parties.gateway.expect("client_tls_error");
}

#[test]
fn a_backend_that_answers_early_and_closes_gets_its_whole_answer_through() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    client.write_all(&pattern(256 << 10)).expect("sent");
    let answer = pattern(64 << 10);
    backend.read_exact(&mut [0; 100]).expect("the request begins");
    backend.write_all(&answer).expect("sent");
    // The client does not read yet when the backend closes over the rest of the request.
    std::thread::sleep(Duration::from_millis(100));
    drop(backend);
    std::thread::sleep(Duration::from_millis(300));
    let (bytes, fault) = read_to_fault(&mut client);
    assert!(bytes == answer, "{} bytes", bytes.len());
    assert_eq!(fault, Some(ErrorKind::ConnectionReset));
    parties.gateway.expect("endpoint_reset");
}

#[test]
fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let mut parties = parties();
    let (mut client, mut backend) = parties.pair();
    let answer = pattern(16 << 10);
    let expected = answer.clone();
    let server = std::thread::spawn(move || {
        backend.read_exact(&mut [0; 100]).expect("the request begins");
        backend.write_all(&answer).expect("sent");
    });
    // More than fits on the way: it fails when the reset arrives.
    client.write_all(&pattern(64 << 20)).expect_err("cut");
    server.join().expect("no panic");
    let (bytes, _) = read_only(&mut client);
    assert!(bytes == expected, "{} bytes", bytes.len());
    parties.gateway.expect("endpoint_reset");
}
