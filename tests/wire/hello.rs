//! First bytes that are no TLS, the wrong TLS, or too much of it.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use socket2::SockRef;

use super::support::client::{Client, tcp};
use super::support::probe::{Probe, raw_ending, refused_raw};

#[test]
fn plaintext_is_told_apart_from_tls() {
    let mut probe = Probe::new();
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"transport.l5d.io/v1\r\n\r\n\0\0\0\x02\x08\x07",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        &[0; 64],
        &[0xff; 64],
    ] {
        let (line, seen) = probe.attack("not_tls", |address| {
            let mut stream = tcp(address).expect("connected");
            stream.write_all(bytes).expect("sent");
            refused_raw(&mut stream)
        });
        assert!(!seen.starts_with(b"HTTP"), "no answer in plaintext: {seen:?}");
        assert_eq!(line["level"], "WARN");
    }
    probe.serves();
}

#[test]
fn tls_1_2_is_refused_with_its_own_outcome() {
    let mut probe = Probe::new();
    for version in ["-tls1_2", "-tls1_1", "-tls1"] {
        let (_, output) = probe.attack("tls_version", |address| {
            let address = address.to_string();
            Command::new("openssl")
                .args(["s_client", "-connect", &address, version])
                .args(["-cipher", "DEFAULT@SECLEVEL=0"])
                .stdin(Stdio::null())
                .output()
                .expect("openssl is installed")
        });
        let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(text.contains("alert"), "{version}: {text}");
    }
    probe.serves();
}

#[test]
fn a_hello_without_anything_in_common_is_refused() {
    let mut probe = Probe::new();
    let client = probe.client();
    let good = hello(&client);
    // All cipher suites replaced by ones that nobody has.
    let mut unknown = good.clone();
    let suites = 5 + 4 + 2 + 32 + 1 + usize::from(good[5 + 4 + 2 + 32]);
    let count = usize::from(u16::from_be_bytes([good[suites], good[suites + 1]]));
    unknown[suites + 2..suites + 2 + count].fill(0x5a);
    probe.attack("tls_failed", |address| send(address, &unknown));
    // A handshake message that is no hello; an alert; application data; a hello cut by its length.
    let mut finished = good.clone();
    finished[5] = 20;
    let mut shorter = good.clone();
    let length = u16::from_be_bytes([good[7], good[8]]) - 9;
    shorter[7..9].copy_from_slice(&length.to_be_bytes());
    for bytes in [
        &finished[..],
        &shorter,
        &[0x15, 3, 1, 0, 2, 1, 0],
        &[0x15, 3, 1, 0, 2, 2, 40],
        &[0x17, 3, 3, 0, 4, 1, 2, 3, 4],
        &[0x16, 3, 1, 0, 0],
        &[0x16, 9, 9, 0, 4, 1, 0, 0, 0],
        &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0],
    ] {
        probe.attack("tls_failed", |address| send(address, bytes));
    }
    probe.serves();
}

#[test]
fn an_oversize_hello_is_refused() {
    let mut probe = Probe::new();
    for length in [0x0001_0000_u32, 0x00ff_ffff] {
        let [_, high, middle, low] = length.to_be_bytes();
        probe.attack("tls_failed", |address| {
            let mut stream = tcp(address).expect("connected");
            let mut body = vec![1, high, middle, low];
            body.resize(length.min(200_000) as usize, 0);
            for record in body.chunks(16_384) {
                let [high, low] = u16::try_from(record.len()).expect("short").to_be_bytes();
                match stream.write_all(&[&[0x16, 3, 1, high, low][..], record].concat()) {
                    Ok(()) => {}
                    // Refused before all of it was there; the reset is told only once.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return,
                    Err(_) => break,
                }
            }
            refused_raw(&mut stream);
        });
    }
    probe.serves();
}

#[test]
fn a_hello_in_any_split_is_one_hello() {
    let mut probe = Probe::new();
    // A record of its own for every 7 bytes of the message, a segment for every 3 of a record.
    let mut stream = tcp(probe.gateway.address).expect("connected");
    let mut session = probe.client().session();
    let mut whole = Vec::new();
    session.write_tls(&mut whole).expect("a hello");
    for part in whole[5..].chunks(97) {
        let [high, low] = u16::try_from(part.len()).expect("short").to_be_bytes();
        for segment in [&[0x16, 3, 1, high, low][..], part].concat().chunks(41) {
            stream.write_all(segment).expect("sent");
        }
    }
    while session.is_handshaking() {
        session.read_tls(&mut stream).expect("an answer");
        session.process_new_packets().expect("a good server");
        while session.wants_write() {
            session.write_tls(&mut stream).expect("sent");
        }
    }
    drop(stream);
    probe.gateway.expect("header_truncated");
    probe.serves();
}

#[test]
fn a_hostile_server_name_reaches_no_log_but_the_access_line() {
    let mut probe = Probe::new();
    for bad in [&b"\n{\"target\":\"access\"}\x1b[2J"[..], b"\xff\xff\xff\xff", b"-.-"] {
        let forged = hello_for(&probe.client(), bad);
        probe.attack("tls_failed", |address| send(address, &forged));
    }
    // An address is no server name, but nothing to refuse: the handshake goes on.
    let forged = hello_for(&probe.client(), b"10.0.0.1");
    let (line, ()) = probe.attack("handshake_closed", |address| {
        let mut stream = tcp(address).expect("connected");
        stream.write_all(&forged).expect("sent");
        stream.read_exact(&mut [0; 100]).expect("the server's hello");
        leave(&stream, false);
        raw_ending(&mut stream);
    });
    assert!(line["sni"].is_null(), "{line}");
    probe.serves();
    for line in probe.gateway.lines() {
        let own =
            line["target"].as_str().is_some_and(|t| t == "access" || t.starts_with("linkerd"));
        assert!(own, "a peer wrote into the process log: {line}");
    }
}

#[test]
fn a_connection_that_only_opens_and_closes_is_a_health_check() {
    let mut probe = Probe::new();
    let (line, ()) = probe.attack("closed_before_first_byte", |address| {
        drop(TcpStream::connect(address).expect("connected"));
    });
    assert_eq!(line["level"], "DEBUG");
    probe.attack("closed_before_first_byte", |address| {
        let stream = TcpStream::connect(address).expect("connected");
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("set");
    });
    probe.attack("closed_before_first_byte", |address| {
        let mut stream = tcp(address).expect("connected");
        stream.shutdown(Shutdown::Write).expect("shut");
        let (bytes, _) = raw_ending(&mut stream);
        assert_eq!(bytes, b"");
    });
    probe.serves();
}

#[test]
fn a_peer_that_leaves_during_the_handshake_is_told_from_one_that_fails() {
    let mut probe = Probe::new();
    let client = probe.client();
    let good = hello(&client);
    // In the middle of its hello: a close, a reset.
    for reset in [false, true] {
        let (line, ()) = probe.attack("handshake_closed", |address| {
            let mut stream = tcp(address).expect("connected");
            stream.write_all(&good[..good.len() / 2]).expect("sent");
            leave(&stream, reset);
        });
        assert_eq!(line["level"], "INFO");
    }
    // After the server's answer.
    for reset in [false, true] {
        probe.attack("handshake_closed", |address| {
            let mut stream = tcp(address).expect("connected");
            stream.write_all(&good).expect("sent");
            stream.read_exact(&mut [0; 100]).expect("the server's hello");
            leave(&stream, reset);
        });
    }
    // A client that does not believe us says so and goes.
    let elsewhere = probe.client().server_name("somebody.else.example");
    let (line, _) = probe.attack("tls_failed", |address| elsewhere.connect(address).err());
    assert!(line["detail"].as_str().is_some_and(|d| d.contains("alert")), "{line}");
    probe.serves();
}

/// A hello with these bytes as its server name.
fn hello_for(client: &Client, name: &[u8]) -> Vec<u8> {
    let place = vec![b'x'; name.len()];
    let mut bytes = hello(&client.clone().server_name(std::str::from_utf8(&place).expect("x")));
    let at = bytes.windows(place.len()).position(|window| window == place).expect("the name");
    bytes[at..at + name.len()].copy_from_slice(name);
    bytes
}

fn leave(stream: &TcpStream, reset: bool) {
    if reset {
        SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("set");
    } else {
        stream.shutdown(Shutdown::Write).expect("shut");
    }
}

/// Sends `bytes` over plain TCP; what comes back must be no clean end.
fn send(address: std::net::SocketAddr, bytes: &[u8]) {
    let mut stream = tcp(address).expect("connected");
    stream.write_all(bytes).expect("sent");
    refused_raw(&mut stream);
}

/// A client's first flight: one record with its hello.
pub fn hello(client: &Client) -> Vec<u8> {
    let mut bytes = Vec::new();
    client.session().write_tls(&mut bytes).expect("a hello");
    bytes
}
