//! Bytes that nobody would send: bounded, seeded, and each one answered by an end.

use std::io::Write;
use std::net::{Shutdown, SocketAddr};

use super::hello::hello;
use super::support::client::{Client, header_for, tcp};
use super::support::probe::{ECHO, Ending, Probe, ends_in_alert, raw_ending, send};

/// A peer of random bytes may end like this, and like nothing else.
const ENDS: &[&str] =
    &["closed_before_first_byte", "handshake_closed", "not_tls", "tls_failed", "tls_version"];

#[test]
fn random_bytes_end_every_time() {
    let mut probe = Probe::new();
    let mut random = fastrand::Rng::with_seed(4143);
    for round in 0..200 {
        let mut bytes: Vec<u8> = (0..random.usize(0..3000)).map(|_| random.u8(..)).collect();
        // Half of them begin like TLS, some like a hello.
        let start: &[u8] = match round % 4 {
            0 => &[0x16, 3, 1, 1, 0, 1, 0, 0, 0xfc, 3, 3],
            1 => &[0x16, 3, 3],
            _ => &[],
        };
        let start = &start[..start.len().min(bytes.len())];
        bytes[..start.len()].copy_from_slice(start);
        ends(&mut probe, &bytes);
    }
    probe.serves();
}

#[test]
fn a_hello_with_wrong_bytes_ends_every_time() {
    let mut probe = Probe::new();
    let mut random = fastrand::Rng::with_seed(4191);
    let good = hello(&probe.client());
    for _ in 0..200 {
        let mut bytes = good.clone();
        for _ in 0..random.usize(1..4) {
            // Most of a hello is the key share, which any bytes will do for.
            let at = random.usize(0..bytes.len().min(300));
            bytes[at] = random.u8(..);
        }
        bytes.truncate(random.usize(1..=2 * bytes.len()));
        ends(&mut probe, &bytes);
    }
    probe.serves();
}

#[test]
fn a_header_with_wrong_bytes_ends_every_time() {
    let mut probe = Probe::new();
    let mut random = fastrand::Rng::with_seed(7);
    let client = probe.client();
    let good = header_for(ECHO, None);
    for _ in 0..150 {
        let mut bytes = good.clone();
        let at = random.usize(0..bytes.len());
        bytes[at] ^= 1 << random.u8(0..8);
        // What the bytes ask for decides: most are invalid, some are other targets, and a length
        // that has grown waits for more, which never comes.
        bytes.extend_from_slice(&[0; 8]);
        let seen = flipped(&client, probe.gateway.address, &bytes);
        let line = probe.gateway.outcome();
        let label = line["outcome"].as_str().unwrap_or_default();
        let expected = [
            "header_invalid",
            "header_truncated",
            "unknown_target",
            "closed",
            "local_port_refused",
        ];
        assert!(expected.contains(&label), "{line}");
        assert_eq!(seen == Ending::Reset, label != "closed", "{line}");
    }
    probe.serves();
}

fn ends(probe: &mut Probe, bytes: &[u8]) {
    let mut stream = tcp(probe.gateway.address).expect("connected");
    // It may be refused while it is still writing.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let (seen, reset) = raw_ending(&mut stream);
    let line = probe.gateway.outcome();
    let label = line["outcome"].as_str().unwrap_or_default();
    assert!(ENDS.contains(&label), "{line}");
    assert!(reset || ends_in_alert(&seen), "a clean end: {line} {seen:02x?}");
}

/// Sends `bytes`, ends its own direction and reads to the end.
fn flipped(client: &Client, address: SocketAddr, bytes: &[u8]) -> Ending {
    let mut stream = client.connect(address).expect("a handshake");
    let sent = send(&mut stream, bytes).and_then(|()| {
        stream.conn.send_close_notify();
        send(&mut stream, b"")
    });
    let _ = stream.sock.shutdown(Shutdown::Write);
    match sent.and_then(|()| std::io::copy(&mut stream, &mut std::io::sink())) {
        Ok(_) => Ending::Other("a clean end".to_owned()),
        Err(error) => Ending::of(&error),
    }
}
