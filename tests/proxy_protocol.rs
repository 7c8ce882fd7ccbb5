//! The PROXY protocol on the real binary: whose header is believed, what it changes and what it
//! does not, and what endpoints are told.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

#[path = "proxy_protocol/admin.rs"]
mod admin;
#[path = "proxy_protocol/inbound.rs"]
mod inbound;
#[path = "proxy_protocol/onward.rs"]
mod onward;
#[path = "proxy_protocol/policy.rs"]
mod policy;
#[path = "proxy_protocol/refused.rs"]
mod refused;

use std::io::Write;
use std::net::SocketAddr;

use support::client::{Client, Stream, tcp};

/// A gateway that every client of this host must send a header to.
const LISTED: &str = "[gateway]\nlame_duck = \"0s\"\n\
    listen = [{ address = \"127.0.0.1:0\", proxy_protocol = [\"10.0.0.0/8\", \"127.0.0.0/8\"] }]\n";
/// Who the headers of these tests say that the client is, and what it connected to.
const SOURCE: &str = "192.0.2.7:8080";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 203.0.113.9 8080 4143\r\n";

/// A header of version 2: command, family with protocol, and what follows the length.
fn version_2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
    header.extend(payload);
    header
}

/// A load balancer's check of its own.
fn local() -> Vec<u8> {
    version_2(0, 0, &[])
}

/// A TLS connection behind a header.
fn connect(client: &Client, address: SocketAddr, header: &[u8]) -> Stream {
    let mut stream = tcp(address).expect("connected");
    stream.write_all(header).expect("sent");
    client.over(stream).expect("a handshake")
}
