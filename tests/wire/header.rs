//! The transport header: accepted in every split, refused at its first wrong byte.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use linkerd_gateway::model::header::SessionProtocol;
use socket2::SockRef;

use super::support::backend;
use super::support::client::{Stream, half_close, header_for, read_all, tcp};
use super::support::gateway::Gateway;
use super::support::probe::{ECHO, Ending, Probe, send};

const PREFACE: &[u8] = b"transport.l5d.io/v1\r\n\r\n";

#[test]
fn a_header_split_anywhere_is_one_header() {
    let mut probe = Probe::new();
    let header = header_for(ECHO, None);
    for at in 0..=header.len() {
        let mut stream = probe.client().connect(probe.gateway.address).expect("a handshake");
        // Each flush is a TLS record and, with NODELAY, a segment of its own.
        for part in [&header[..at], &header[at..], b"payload"] {
            stream.write_all(part).and_then(|()| stream.flush()).expect("sent");
        }
        ends_with(&mut stream, b"payload");
        let line = probe.gateway.expect("closed");
        assert_eq!(line["bytes_from_client"], 7, "split at {at}: {line}");
    }
}

#[test]
fn a_header_of_single_bytes_is_one_header() {
    let mut probe = Probe::new();
    let mut stream = probe.client().connect(probe.gateway.address).expect("a handshake");
    for byte in [&header_for(ECHO, None)[..], b"payload"].concat() {
        stream.write_all(&[byte]).and_then(|()| stream.flush()).expect("sent");
    }
    ends_with(&mut stream, b"payload");
    probe.gateway.expect("closed");
}

#[test]
fn a_record_cut_into_single_bytes_is_one_record() {
    let mut probe = Probe::new();
    let mut stream = probe.client().connect(probe.gateway.address).expect("a handshake");
    stream.conn.writer().write_all(&header_for(ECHO, None)).expect("buffered");
    stream.conn.writer().write_all(b"payload").expect("buffered");
    let mut record = Vec::new();
    stream.conn.write_tls(&mut record).expect("a record");
    for byte in record {
        stream.sock.write_all(&[byte]).expect("sent");
    }
    ends_with(&mut stream, b"payload");
    probe.gateway.expect("closed");
}

#[test]
fn header_and_payload_may_come_with_the_end_of_the_handshake() {
    let mut probe = Probe::new();
    // A key update in between must be answered in step.
    for (payload, updates) in [(&b""[..], 0), (b"p", 1), (&[b'x'; 40_000], 0), (b"xy", 3)] {
        let mut session = probe.client().session();
        let mut sock = tcp(probe.gateway.address).expect("connected");
        while session.is_handshaking() {
            while session.wants_write() {
                session.write_tls(&mut sock).expect("sent");
            }
            session.read_tls(&mut sock).expect("read");
            session.process_new_packets().expect("a good server");
        }
        // Certificate, Finished, header, payload, close_notify: all in one write.
        session.set_buffer_limit(None);
        session.writer().write_all(&header_for(ECHO, None)).expect("buffered");
        for _ in 0..updates {
            session.refresh_traffic_keys().expect("established");
        }
        session.writer().write_all(payload).expect("buffered");
        session.send_close_notify();
        let mut flight = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut flight).expect("buffered");
        }
        sock.write_all(&flight).expect("sent");
        let mut stream = Stream::new(session, sock);
        assert_eq!(read_all(&mut stream), payload);
        probe.gateway.expect("closed");
    }
}

#[test]
fn a_name_is_found_in_any_case_and_with_a_trailing_dot() {
    let mut probe = Probe::new();
    let client = probe.client();
    for target in ["ECHO.Test.svc.CLUSTER.local:7", "echo.test.svc.cluster.local.:7"] {
        probe.carries(&client, &header_for(target, None));
    }
    // Unknown fields are skipped; the last of a repeated one wins.
    let extra = [&[0x08, 9, 0x7a, 2, 1, 2][..], &message(ECHO)].concat();
    probe.carries(&client, &framed(&extra));
}

#[test]
fn what_is_no_header_is_refused() {
    let mut probe = Probe::new();
    let client = probe.client();
    let named = |name: &[u8]| [&[0x08, 7, 0x12, byte(name.len())][..], name].concat();
    let long = u32::try_from(64 * 1024 - 26).expect("short").to_be_bytes();
    for (what, bytes) in [
        ("garbage", vec![0xa5; 64]),
        ("one wrong byte", b"transport.l5d.io/v2".to_vec()),
        ("HTTP/1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("another TLS inside", vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]),
        ("length 0xffffffff", [PREFACE, &[0xff; 4]].concat()),
        ("one byte too long", [PREFACE, &long[..]].concat()),
        ("an empty message", framed(b"")),
        ("port 0", framed(&[0x08, 0])),
        ("port 65536", framed(&[0x08, 0x80, 0x80, 4])),
        ("port -1", framed(&[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1])),
        ("no port", framed(&message(ECHO)[2..])),
        ("a varint without end", framed(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("a space", framed(&named(b"a b"))),
        ("a line break", framed(&named(b"a\n{\"outcome\":\"closed\"}"))),
        ("no UTF-8", framed(&named(b"\xff\xfe"))),
        ("NUL", framed(&named(b"echo\0.test"))),
        ("a wildcard", framed(&named(b"*.cluster.local"))),
        ("an empty label", framed(&named(b"a..b"))),
        ("a dot", framed(&named(b"."))),
        ("a label of 64", framed(&named(&[b'a'; 64]))),
        ("a name beyond the end", framed(&[0x08, 7, 0x12, 0x7f, b'a'])),
        ("a group without end", framed(&[0x08, 7, 0x23])),
        ("groups in groups", framed(&[[0x08, 7].as_slice(), &[0x23; 5000]].concat())),
        ("field 0", framed(&[0x08, 7, 0x02, 0])),
        ("the wrong type", framed(&[0x0a, 1, b'7'])),
    ] {
        let line = probe.refuses_bytes(&client, &bytes, "header_invalid", &Ending::Reset);
        assert!(line["detail"].is_string(), "{what}: {line}");
    }
    probe.serves();
}

#[test]
fn the_longest_header_is_read() {
    let mut probe = Probe::new();
    // An unknown field fills it up to 64 KiB.
    let rest = 64 * 1024 - 27 - message(ECHO).len() - 4;
    let length = [0x80 | byte(rest & 0x7f), 0x80 | byte(rest >> 7 & 0x7f), byte(rest >> 14)];
    let filler = [&[0x7a][..], &length, &vec![0; rest]].concat();
    let client = probe.client();
    probe.carries(&client, &framed(&[filler, message(ECHO)].concat()));
}

#[test]
fn a_header_cut_short_is_no_clean_end() {
    let mut probe = Probe::new();
    let header = header_for(ECHO, None);
    let client = probe.client();
    for cut in [0, 1, PREFACE.len(), PREFACE.len() + 4, header.len() - 1] {
        let begin = |address| {
            let mut stream = client.connect(address).expect("a handshake");
            stream.write_all(&header[..cut]).and_then(|()| stream.flush()).expect("sent");
            stream
        };
        let (line, ()) = probe.attack("header_truncated", |address| {
            let mut stream = begin(address);
            stream.conn.send_close_notify();
            send(&mut stream, b"").expect("sent");
            // It may be refused already.
            let _ = stream.sock.shutdown(Shutdown::Write);
            let error = stream.read(&mut [0]).expect_err("no clean end");
            assert_eq!(Ending::of(&error), Ending::Reset);
        });
        assert_eq!(line["level"], "WARN");
        probe.attack("header_truncated", |address| {
            let stream = begin(address);
            stream.sock.shutdown(Shutdown::Write).expect("shut");
        });
        let stream = begin(probe.gateway.address);
        // A reset discards what has not been read: the handshake must be over.
        reads_header(&probe);
        SockRef::from(&stream.sock).set_linger(Some(Duration::ZERO)).expect("set");
        drop(stream);
        probe.gateway.expect("header_truncated");
    }
    probe.serves();
}

#[test]
fn an_unknown_target_is_refused_and_named() {
    let mut probe = Probe::new();
    let client = probe.client();
    for target in ["other.test.svc.cluster.local:7", "echo.test.svc.cluster.local:8", "localhost:7"]
    {
        let header = header_for(target, None);
        let line = probe.refuses_bytes(&client, &header, "unknown_target", &Ending::Reset);
        assert_eq!(line["requested"], target);
    }
    probe.serves();
}

#[test]
fn a_session_protocol_is_bytes_where_the_route_passes_it_through() {
    // Where it does not, HTTP is served: tests/http.
    let mut probe = Probe::with(|builder, echo| {
        builder.configure(&format!(
            "[[route]]\ntarget = \"raw.test.svc.cluster.local:7\"\nendpoints = [\"{echo}\"]\n\
             session = \"passthrough\""
        ))
    });
    let client = probe.client();
    for protocol in [SessionProtocol::Http1, SessionProtocol::Http2] {
        let passed = header_for("raw.test.svc.cluster.local:7", Some(protocol));
        assert_eq!(probe.carries(&client, &passed)["session"], protocol.label());
    }
    probe.carries(&client, &header_for("raw.test.svc.cluster.local:7", None));
}

#[test]
fn a_header_without_a_name_reaches_listed_ports_only() {
    let local = backend::echo();
    let unlisted = backend::serve(|_| panic!("an unlisted port was reached"));
    let mut probe = Probe::with(|builder, _| {
        let ports = local.port();
        builder
            .configure(&format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nlocal_ports = [{ports}]"))
    });
    let client = probe.client();
    let line = probe.carries(&client, &header_for(&format!(":{}", local.port()), None));
    assert_eq!(line["endpoint"], local.to_string());
    let own = [probe.gateway.address.port(), probe.gateway.admin.port(), unlisted.port(), 22];
    for port in own {
        let header = header_for(&format!(":{port}"), None);
        probe.refuses_bytes(&client, &header, "local_port_refused", &Ending::Reset);
    }
    probe.serves();
}

#[test]
fn a_required_header_is_required() {
    let mut probe = Probe::with(|builder, echo| {
        builder
            .configure("[gateway]\nlisten = [\"127.0.0.1:0\"]\nrequire_transport_header = true")
            .configure(&format!(
                "[[route]]\ntarget = \"default.test:7\"\nendpoints = [\"{echo}\"]\ndefault = true"
            ))
    });
    let alert = Ending::Alert(rustls::AlertDescription::NoApplicationProtocol);
    for protocols in [&[][..], &[b"h2".as_slice()], &[b"transport.l5d.io/v2"]] {
        let plain = probe.client().alpn(protocols);
        probe.refuses_bytes(&plain, b"", "transport_header_required", &alert);
    }
    let both = probe.client().alpn(&[b"h2", b"transport.l5d.io/v1"]);
    probe.carries(&both, &header_for(ECHO, None));
    probe.serves();
}

#[test]
fn a_broken_record_instead_of_a_header_is_a_tls_error() {
    let mut probe = Probe::new();
    let client = probe.client();
    let mut stream = client.connect(probe.gateway.address).expect("a handshake");
    reads_header(&probe);
    // An application record that no key of ours has made.
    let forged = [&[0x17, 3, 3, 0, 40][..], &[0x5a; 40]].concat();
    stream.sock.write_all(&forged).expect("sent");
    let error = stream.read(&mut [0]).expect_err("no clean end");
    assert_ne!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    probe.gateway.expect("client_tls_error");
    probe.serves();
}

/// Waits until a connection has ended its handshake.
fn reads_header(probe: &Probe) {
    let waits = |gateway: &Gateway| gateway.get("/connections").contains("\"header\"");
    probe.gateway.eventually("the end of the handshake", waits);
}

/// A message behind preface and length.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [PREFACE, &length, message].concat()
}

fn byte(number: usize) -> u8 {
    u8::try_from(number).expect("a byte")
}

/// The message of a header for `target`.
fn message(target: &str) -> Vec<u8> {
    header_for(target, None).split_off(PREFACE.len() + 4)
}

fn ends_with(stream: &mut Stream, payload: &[u8]) {
    half_close(stream);
    assert_eq!(read_all(stream), payload);
}
