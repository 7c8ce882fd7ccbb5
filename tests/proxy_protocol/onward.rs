//! What endpoints are told, read by a parser that has nothing in common with what writes it.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};

use super::support::backend;
use super::support::certs::TestCa;
use super::support::client::{Client, half_close, header_for, read_all};
use super::support::gateway::{Builder, CLIENT, GATEWAY, PATIENCE};
use super::{LINE, LISTED, SOURCE, connect, version_2};

const TARGET: &str = "web.test.svc.cluster.local:80";

/// A header as the specification lays it out.
struct Told {
    source: SocketAddr,
    destination: SocketAddr,
    extensions: Vec<(u8, Vec<u8>)>,
}

fn read(stream: &mut TcpStream) -> Told {
    let mut fixed = [0; 16];
    stream.read_exact(&mut fixed).expect("a header");
    assert_eq!(&fixed[..13], b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
    stream.read_exact(&mut rest).expect("all of it");
    let size = if fixed[13] == 0x11 { 4 } else { 16 };
    assert_eq!(fixed[13] & 0xf, 1, "a stream");
    let ip = |at: usize| match size {
        4 => IpAddr::from(<[u8; 4]>::try_from(&rest[at..at + 4]).expect("four")),
        _ => IpAddr::from(<[u8; 16]>::try_from(&rest[at..at + 16]).expect("sixteen")),
    };
    let port = |at: usize| u16::from_be_bytes([rest[2 * size + at], rest[2 * size + at + 1]]);
    Told {
        source: SocketAddr::new(ip(0), port(0)),
        destination: SocketAddr::new(ip(size), port(2)),
        extensions: extensions(&rest[2 * size + 4..]),
    }
}

fn extensions(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let [kind, high, low, rest @ ..] = bytes {
        let (value, behind) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        found.push((*kind, value.to_vec()));
        bytes = behind;
    }
    assert!(bytes.is_empty());
    found
}

impl Told {
    fn extension(&self, kind: u8) -> &[u8] {
        &self.extensions.iter().find(|(found, _)| *found == kind).expect("an extension").1
    }
}

fn route(endpoint: SocketAddr, more: &str) -> String {
    format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{endpoint}\"]\n\
         proxy_protocol = \"v2\"\n{more}\n"
    )
}

#[test]
fn an_endpoint_is_told_who_the_client_is_before_its_first_byte() {
    let ca = TestCa::new("ca");
    let (endpoint, accepted) = backend::handed_over();
    let gateway = Builder::new(&ca).configure(&route(endpoint, "")).start();
    let mut client = Client::new(&ca).open(gateway.address, TARGET);
    client.write_all(b"hello").and_then(|()| client.flush()).expect("sent");
    let mut stream = accepted.recv_timeout(PATIENCE).expect("the endpoint is reached");
    let told = read(&mut stream);
    let mut hello = [0; 5];
    stream.read_exact(&mut hello).expect("the client's bytes");
    assert_eq!(&hello, b"hello");
    assert_eq!(told.source, client.sock.local_addr().expect("connected"));
    assert_eq!(told.destination, gateway.address);
    // The server name, and ztunnel's identity.
    assert_eq!(told.extension(0x02), GATEWAY.as_bytes());
    assert_eq!(told.extension(0xd0), CLIENT.as_bytes());
    // Over TLS, with a certificate, which is verified.
    let tls = told.extension(0x20);
    assert_eq!(tls[..5], [7, 0, 0, 0, 0]);
    let inner = extensions(&tls[5..]);
    assert_eq!(inner, [(0x21, b"TLSv1.3".to_vec()), (0x22, CLIENT.as_bytes().to_vec())]);
}

#[test]
fn what_a_header_said_is_passed_on_in_one_family() {
    let ca = TestCa::new("ca");
    let (endpoint, accepted) = backend::handed_over();
    let config = format!("{LISTED}{}", route(endpoint, ""));
    let gateway = Builder::new(&ca).configure(&config).start();
    let client = Client::new(&ca);
    let v6 = |ip: &str| ip.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let mixed = [&v6("::ffff:192.0.2.7")[..], &v6("2001:db8::9"), &[0x1f, 0x90, 0, 9]].concat();
    for (header, source, destination) in [
        (LINE.to_vec(), SOURCE, "203.0.113.9:4143"),
        (version_2(1, 0x21, &mixed), "[::ffff:192.0.2.7]:8080", "[2001:db8::9]:9"),
    ] {
        let mut stream = connect(&client, gateway.address, &header);
        stream.write_all(&header_for(TARGET, None)).and_then(|()| stream.flush()).expect("sent");
        let told = read(&mut accepted.recv_timeout(PATIENCE).expect("the endpoint is reached"));
        assert_eq!(told.source, source.parse().expect("an address"));
        assert_eq!(told.destination, destination.parse().expect("an address"));
    }
}

#[test]
fn a_second_gateway_learns_the_client_before_onward_tls() {
    let ca = TestCa::new("ca");
    let echo = backend::echo();
    let local = format!("{LISTED}local_ports = [{}]\n", echo.port());
    let mut second = Builder::new(&ca).configure(&local).start();
    let tls = format!("tls = {{ identity = \"{GATEWAY}\", port = {} }}", second.address.port());
    let mut first = Builder::new(&ca).configure(&route(echo, &tls)).start();
    let mut client = Client::new(&ca).open(first.address, TARGET);
    let address = client.sock.local_addr().expect("connected").to_string();
    client.write_all(b"hello").expect("sent");
    half_close(&mut client);
    assert_eq!(read_all(&mut client), b"hello");
    first.expect("closed");
    let line = second.expect("closed");
    assert_eq!((&line["peer"], &line["identity"]), (&address.into(), &GATEWAY.into()));
    assert!(line["via"].as_str().is_some_and(|via| via.starts_with("127.0.0.1:")), "{line}");
}

#[test]
fn the_endpoint_that_is_tried_next_is_told_as_well() {
    let ca = TestCa::new("ca");
    let (endpoint, accepted) = backend::handed_over();
    let closed = backend::closed_port();
    let both = format!("\"{endpoint}\", \"{closed}\"");
    let config = route(endpoint, "").replace(&format!("\"{endpoint}\""), &both);
    let gateway = Builder::new(&ca).configure(&config).start();
    let client = Client::new(&ca);
    for _ in 0..8 {
        let stream = client.open(gateway.address, TARGET);
        let told = read(&mut accepted.recv_timeout(PATIENCE).expect("the endpoint is reached"));
        assert_eq!(told.source, stream.sock.local_addr().expect("connected"));
    }
}
