//! The admin listener: a header is demanded and read where it is configured, and changes nothing
//! about what a client may ask.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::support::certs::TestCa;
use super::support::client::{Client, tcp};
use super::support::gateway::{Builder, Gateway};
use super::{LINE, local};

/// The header that claims to come from loopback.
const LOOPBACK: &[u8] = b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n";

/// An address of this host that is not loopback; connections to it come from itself.
fn remote() -> Option<IpAddr> {
    // Connecting a datagram socket only asks the routing table.
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
    socket.connect("198.51.100.1:9").ok()?;
    let ip = socket.local_addr().expect("bound").ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

fn start(networks: &[String]) -> (TestCa, Gateway) {
    let ca = TestCa::new("ca");
    let admin = format!("[admin]\nlisten = \"0.0.0.0:0\"\nproxy_protocol = {networks:?}");
    let gateway = Builder::new(&ca).configure(&admin).start();
    (ca, gateway)
}

/// The status of `GET path` behind `header`; nothing when the server closed without an answer.
fn status(address: SocketAddr, header: &[u8], path: &str) -> Option<u16> {
    let mut stream = tcp(address).expect("connected");
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(&[header, request.as_bytes()].concat()).expect("sent");
    answer(&mut stream)
}

fn answer(stream: &mut impl Read) -> Option<u16> {
    let mut response = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut response);
    let text = String::from_utf8_lossy(&response).into_owned();
    text.split(' ').nth(1).map(|status| status.parse().expect("a status"))
}

#[test]
fn a_header_is_demanded_and_takes_no_right_from_loopback() {
    let (ca, gateway) = start(&["127.0.0.0/8".to_owned()]);
    for header in [LINE, LOOPBACK, &local(), b"PROXY UNKNOWN\r\n"] {
        for path in ["/ready", "/metrics", "/connections"] {
            assert_eq!(status(gateway.admin, header, path), Some(200), "{header:?} {path}");
        }
    }
    for header in [&b""[..], b"PROXY nonsense\r\n"] {
        assert_eq!(status(gateway.admin, header, "/ready"), None, "{header:?}");
    }
    // Over TLS too, as remote clusters probe.
    let mut stream: TcpStream = tcp(gateway.admin).expect("connected");
    stream.write_all(LINE).expect("sent");
    let mut stream = Client::new(&ca).alpn(&[]).over(stream).expect("a handshake");
    stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n").expect("sent");
    assert_eq!(answer(&mut stream), Some(200));
}

#[test]
fn a_header_gives_no_right_to_another_host() {
    let Some(ip) = remote() else {
        assert!(std::env::var_os("REQUIRE_ALL").is_none(), "skipped: no address but loopback");
        return println!("skipped: no address but loopback");
    };
    let (_, gateway) = start(&[format!("{ip}/32")]);
    let address = SocketAddr::new(ip, gateway.admin.port());
    for header in [LINE, LOOPBACK] {
        assert_eq!(status(address, header, "/ready"), Some(200));
        assert_eq!(status(address, header, "/metrics"), Some(403));
    }
    assert_eq!(status(address, b"", "/ready"), None);
    // Loopback is not listed: it needs no header, and may not send one.
    assert_eq!(status(gateway.admin, b"", "/metrics"), Some(200));
    assert_ne!(status(gateway.admin, LOOPBACK, "/metrics"), Some(200));
}

#[test]
fn a_silent_or_slow_header_ends_in_time() {
    let (_, gateway) = start(&["127.0.0.0/8".to_owned()]);
    let began = Instant::now();
    let mut stream = tcp(gateway.admin).expect("connected");
    stream.write_all(&LINE[..9]).expect("sent");
    assert_eq!(answer(&mut stream), None);
    let took = began.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(15)).contains(&took), "{took:?}");
}
