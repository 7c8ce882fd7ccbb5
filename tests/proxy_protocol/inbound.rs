//! What a header from a listed network says is the client's address, however it arrives.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustls::StreamOwned;
use serde_json::Value;

use super::support::backend;
use super::support::certs::TestCa;
use super::support::client::{Client, Stream, half_close, header_for, read_all, tcp};
use super::support::gateway::{Builder, Gateway};
use super::{LINE, LISTED, SOURCE, connect, local, version_2};

const TARGET: &str = "echo.test.svc.cluster.local:7";

fn start() -> (TestCa, Gateway) {
    let ca = TestCa::new("ca");
    let gateway = Builder::new(&ca).configure(LISTED).route(TARGET, &[backend::echo()]).start();
    (ca, gateway)
}

/// Bytes go there and back; the line of the access log.
fn served(gateway: &mut Gateway, stream: &mut Stream, target: &str) -> Value {
    stream.write_all(&[&header_for(target, None)[..], b"ping"].concat()).expect("sent");
    half_close(stream);
    assert_eq!(read_all(stream), b"ping");
    gateway.expect("closed")
}

#[test]
fn every_kind_of_header_names_the_client() {
    let (ca, mut gateway) = start();
    let client = Client::new(&ca);
    let octets = |ip: &str| ip.parse::<Ipv6Addr>().expect("an address").octets();
    let v4 = [192, 0, 2, 7, 203, 0, 113, 9, 0x1f, 0x90, 0x10, 0x2f];
    let v6 = |source| [&octets(source)[..], &octets("2001:db8::9"), &v4[8..]].concat();
    let extended = [&v4[..], &[0xe0, 0x0b, 0xb8], &[7; 3000]].concat();
    for (header, source) in [
        (LINE.to_vec(), Some(SOURCE)),
        (b"PROXY TCP6 2001:db8::7 2001:db8::9 1 2\r\n".to_vec(), Some("[2001:db8::7]:1")),
        (version_2(1, 0x11, &v4), Some(SOURCE)),
        (version_2(1, 0x11, &extended), Some(SOURCE)),
        (version_2(1, 0x21, &v6("2001:db8::7")), Some("[2001:db8::7]:8080")),
        (version_2(1, 0x21, &v6("::ffff:192.0.2.7")), Some(SOURCE)),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (version_2(1, 0, &[]), None),
        (local(), None),
    ] {
        let mut stream = connect(&client, gateway.address, &header);
        let peer = stream.sock.local_addr().expect("connected").to_string();
        let line = served(&mut gateway, &mut stream, TARGET);
        let via = source.map(|_| Value::from(peer.as_str()));
        assert_eq!(line["peer"], source.unwrap_or(&peer), "{line}");
        assert_eq!(line.get("via"), via.as_ref(), "{line}");
        assert_eq!(line["local"], gateway.address.to_string(), "{line}");
    }
}

#[test]
fn header_and_hello_may_come_in_one_segment_and_in_single_bytes() {
    let (ca, mut gateway) = start();
    let client = Client::new(&ca);
    for piece in [usize::MAX, 1] {
        for header in [LINE.to_vec(), local()] {
            let (mut socket, mut session) = (tcp(gateway.address).expect("open"), client.session());
            let mut bytes = header;
            session.write_tls(&mut bytes).expect("memory");
            // Byte by byte only as far as the first record's head.
            let (head, rest) = bytes.split_at(LINE.len() + 5);
            for piece in head.chunks(piece.min(head.len())) {
                socket.write_all(piece).expect("sent");
                std::thread::sleep(Duration::from_millis(1));
            }
            socket.write_all(rest).expect("sent");
            let mut stream = StreamOwned::new(session, socket);
            served(&mut gateway, &mut stream, TARGET);
        }
    }
}

#[test]
fn ports_of_this_host_are_at_the_real_address_whatever_the_header_says() {
    let ca = TestCa::new("ca");
    let echo = backend::echo();
    let ports = format!("{LISTED}local_ports = [{}]\n", echo.port());
    let mut gateway = Builder::new(&ca).configure(&ports).start();
    let mut stream = connect(&Client::new(&ca), gateway.address, LINE);
    let line = served(&mut gateway, &mut stream, &format!(":{}", echo.port()));
    assert_eq!(line["endpoint"], echo.to_string(), "{line}");
}

#[test]
fn a_live_connection_is_listed_with_client_and_load_balancer() {
    let (ca, gateway) = start();
    let mut stream = connect(&Client::new(&ca), gateway.address, LINE);
    stream.write_all(&header_for(TARGET, None)).and_then(|()| stream.flush()).expect("sent");
    let via: SocketAddr = stream.sock.local_addr().expect("connected");
    gateway.eventually("the relay", |gateway| gateway.get("/connections").contains("\"relay\""));
    let list: Value = serde_json::from_str(&gateway.get("/connections")).expect("JSON");
    assert_eq!((&list[0]["peer"], &list[0]["via"]), (&SOURCE.into(), &via.to_string().into()));
}
