//! The same ends on the other side, where the endpoint speaks TLS too.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::fixture::TARGET;
use crate::support::certs::TestCa;
use crate::support::client::{self, Client, half_close, read_all};
use crate::support::gateway::{Builder, Gateway};
use crate::support::server::{self, HEADER, Server};
use crate::support::tcp::{damaged_records, expect_reset_after, pattern, records};

const ENDPOINT: &str = "web.test.serviceaccount.identity.linkerd.cluster.local";

fn parties() -> (Gateway, client::Stream, server::Stream) {
    parties_saying(b"")
}

/// `first` comes with the endpoint's handshake.
fn parties_saying(first: &[u8]) -> (Gateway, client::Stream, server::Stream) {
    let ca = TestCa::new("ca");
    let server = Server::new(&ca.identity(ENDPOINT), HEADER);
    let port = server.address.port();
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"127.0.0.1:8080\"]\n\
         tls = {{ identity = \"{ENDPOINT}\", port = {port} }}"
    );
    let gateway = Builder::new(&ca).configure(&route).start();
    let client = Client::new(&ca).open(gateway.address, TARGET);
    let endpoint = server.accept_header(8080, first);
    (gateway, client, endpoint)
}

#[test]
fn clean_ends_pass_in_both_directions() {
    let (mut gateway, mut client, mut endpoint) = parties();
    client.write_all(b"ping").expect("sent");
    half_close(&mut client);
    let mut request = Vec::new();
    endpoint.read_to_end(&mut request).expect("a close_notify");
    assert_eq!(request, b"ping");
    endpoint.write_all(b"pong").expect("sent");
    endpoint.conn.send_close_notify();
    endpoint.flush().expect("sent");
    assert_eq!(read_all(&mut client), b"pong");
    let line = gateway.expect("closed");
    assert_eq!(line["server_identity"], ENDPOINT);
}

#[test]
fn what_an_endpoint_says_with_its_handshake_reaches_the_client() {
    let greeting = pattern(3000);
    let (mut gateway, mut client, mut endpoint) = parties_saying(&greeting);
    endpoint.write_all(b", and more").expect("sent");
    endpoint.conn.refresh_traffic_keys().expect("established");
    endpoint.conn.send_close_notify();
    endpoint.flush().expect("sent");
    assert!(read_all(&mut client) == [&greeting, &b", and more"[..]].concat());
    half_close(&mut client);
    gateway.expect("closed");
}

#[test]
fn an_endpoint_that_ends_without_close_notify_is_a_reset_for_the_client() {
    let (mut gateway, mut client, mut endpoint) = parties();
    let before = pattern(32 << 10);
    endpoint.write_all(&before).expect("sent");
    endpoint.sock.shutdown(Shutdown::Write).expect("FIN");
    expect_reset_after(&mut client, &before);
    gateway.expect("endpoint_truncated");
}

#[test]
fn an_endpoints_damaged_record_is_a_reset_after_the_good_ones() {
    let (mut gateway, mut client, mut endpoint) = parties();
    let good = pattern(32 << 10);
    let bytes = damaged_records(&mut endpoint.conn, &good, b"damaged");
    endpoint.sock.write_all(&bytes).expect("sent");
    expect_reset_after(&mut client, &good);
    gateway.expect("endpoint_tls_error");
}

#[test]
fn what_follows_a_close_notify_is_never_passed_on() {
    let (mut gateway, mut client, mut endpoint) = parties();
    let mut bytes = records(&mut client.conn, b"before");
    client.conn.send_close_notify();
    bytes.extend(records(&mut client.conn, b""));
    bytes.extend_from_slice(&[23, 3, 3, 0, 32]);
    bytes.extend_from_slice(&[0x55; 32]);
    client.sock.write_all(&bytes).expect("sent");
    let mut request = Vec::new();
    endpoint.read_to_end(&mut request).expect("a close_notify");
    assert_eq!(request, b"before");
    endpoint.conn.send_close_notify();
    endpoint.flush().expect("sent");
    gateway.expect("closed");
}
