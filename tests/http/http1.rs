//! Sessions that say Http1: HTTP/1.1 on the connection itself, for what HTTP/2 cannot carry.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use linkerd_gateway::model::header::SessionProtocol;

use crate::fixture::{Scripted, scripted};
use crate::support::client::{Stream, half_close, header_for, read_all};
use crate::support::gateway::{CLIENT, GATEWAY};
use crate::support::http::TARGET;
use crate::support::http::scripted::{Head, body, head, next_head, ok, say};
use crate::support::tcp::{pattern, read_to_fault};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                       sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                        upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A client's connection whose header says Http1.
fn client(parties: &Scripted, target: &str) -> Stream {
    let address = parties.parties.gateway.address;
    let mut stream = parties.parties.client.connect(address).expect("a handshake");
    let header = header_for(target, Some(SessionProtocol::Http1));
    stream.write_all(&header).and_then(|()| stream.flush()).expect("sent");
    stream
}

/// Sends a request, and gives what arrives.
fn asked(parties: &Scripted, client: &mut Stream, request: &str) -> (TcpStream, Head) {
    say(client, request);
    let mut backend = parties.backend();
    let head = head(&mut backend);
    (backend, head)
}

/// A connection that has been upgraded.
fn upgraded(parties: &Scripted) -> (Stream, TcpStream) {
    let mut client = client(parties, TARGET);
    let (mut backend, request) = asked(parties, &mut client, UPGRADE);
    assert_eq!(request.line, "GET /chat HTTP/1.1");
    assert_eq!(request.header("connection").to_ascii_lowercase(), "upgrade");
    assert_eq!(request.header("upgrade"), "websocket");
    assert_eq!(request.header("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==");
    assert!(request.header("host").starts_with("web.test.svc.cluster.local"), "{request:?}");
    say(&mut backend, SWITCHED);
    let response = head(&mut client);
    assert_eq!(response.line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(response.header("upgrade"), "websocket", "{response:?}");
    assert_eq!(response.header("connection").to_ascii_lowercase(), "upgrade");
    assert_eq!(response.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    (client, backend)
}

#[test]
fn a_request_without_a_host_gets_the_target() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    let (mut backend, request) = asked(&parties, &mut client, "GET /a?b HTTP/1.1\r\n\r\n");
    assert_eq!(request.line, "GET /a?b HTTP/1.1");
    assert!(request.header("host").starts_with("web.test.svc.cluster.local"), "{request:?}");
    assert_eq!(request.header("l5d-client-id"), CLIENT);
    assert!(request.header("forwarded").starts_with(&format!("by={GATEWAY};for={CLIENT};")));
    say(&mut backend, &ok("ok"));
    let response = head(&mut client);
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    assert_eq!(body(&mut client, &response).0, b"ok");
    // One after the other on the same connection.
    say(
        &mut client,
        "POST /second HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    let request = head(&mut backend);
    assert_eq!(
        (&request.line[..], &body(&mut backend, &request).0[..]),
        ("POST /second HTTP/1.1", &b"hi"[..])
    );
    say(&mut backend, &ok("second"));
    let response = head(&mut client);
    assert_eq!(body(&mut client, &response).0, b"second");
}

#[test]
fn headers_of_the_clients_connection_stay_there() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    let request = "GET / HTTP/1.1\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\nx-end: 1\r\n\
                   keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nte: gzip\r\n\
                   proxy-authorization: secret\r\n\r\n";
    let (mut backend, request) = asked(&parties, &mut client, request);
    for gone in ["x-hop", "keep-alive", "proxy-connection", "te", "connection"] {
        assert!(!request.has(gone), "{gone}: {request:?}");
    }
    assert_eq!(request.header("x-end"), "1");
    say(
        &mut backend,
        "HTTP/1.1 200 OK\r\nconnection: x-hop\r\nx-hop: 1\r\ncontent-length: 0\r\n\r\n",
    );
    let response = head(&mut client);
    assert!(!response.has("x-hop"), "{response:?}");
}

#[test]
fn an_upgrade_is_bytes_from_then_on_and_half_closes_are_kept() {
    let parties = scripted();
    let (mut client, mut backend) = upgraded(&parties);
    let bytes = pattern(1 << 20);
    let echo = std::thread::spawn(move || {
        let mut got = Vec::new();
        backend.read_to_end(&mut got).expect("the client's clean end");
        backend.write_all(&got).expect("after the client's end");
        backend.shutdown(Shutdown::Write).expect("sent");
        backend
    });
    client.write_all(&bytes).expect("sent");
    half_close(&mut client);
    assert!(read_all(&mut client) == bytes);
    echo.join().expect("no panic");
}

#[test]
fn what_the_endpoint_says_with_its_switch_is_not_lost() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    // Nor what the client sends before the switch is confirmed.
    let (mut backend, _) = asked(&parties, &mut client, &format!("{UPGRADE}early"));
    say(&mut backend, &format!("{SWITCHED}first frame"));
    head(&mut client);
    let mut frame = [0; 11];
    client.read_exact(&mut frame).expect("the first frame");
    assert_eq!(&frame, b"first frame");
    let mut early = [0; 5];
    backend.read_exact(&mut early).expect("the early bytes");
    assert_eq!(&early, b"early");
    backend.shutdown(Shutdown::Write).expect("sent");
    assert_eq!(read_all(&mut client), b"");
    say(&mut client, "later");
    half_close(&mut client);
    assert_eq!(read_to_fault(&mut backend), (b"later".to_vec(), None));
}

#[test]
fn a_fault_behind_an_upgrade_is_no_clean_end() {
    let parties = scripted();
    let (mut client, backend) = upgraded(&parties);
    crate::support::tcp::reset(backend);
    let (bytes, fault) = read_to_fault(&mut client);
    assert_eq!(bytes, b"");
    assert_eq!(fault, Some(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn an_upgrade_that_the_endpoint_refuses_is_an_ordinary_response() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    let (mut backend, _) = asked(&parties, &mut client, UPGRADE);
    say(&mut backend, "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    let response = head(&mut client);
    assert_eq!(response.line, "HTTP/1.1 403 Forbidden");
    assert_eq!(body(&mut client, &response).0, b"no");
    say(&mut client, "GET / HTTP/1.1\r\n\r\n");
    // The endpoint's connection may be used again, or not.
    let again = next_head(&mut backend);
    let again = again.unwrap_or_else(|| {
        backend = parties.backend();
        head(&mut backend)
    });
    assert_eq!(again.line, "GET / HTTP/1.1");
    say(&mut backend, &ok("ok"));
    assert_eq!(head(&mut client).line, "HTTP/1.1 200 OK");
}

#[test]
fn a_request_that_could_be_two_is_refused() {
    for request in [
        "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nx-test : a\r\n\r\n",
        "GET / HTTP/1.1\r\n folded: a\r\n\r\n",
        "GET / HTTP/1.1\r\nx-test: a\r\n folded\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "\x16\x03\x01\x02\x00",
    ] {
        let parties = scripted();
        let mut client = client(&parties, TARGET);
        say(&mut client, request);
        // A 400, or just an end; never an answer of the endpoint's, and no second request.
        let (bytes, _) = read_to_fault(&mut client);
        let text = String::from_utf8_lossy(&bytes);
        let refused = ["HTTP/1.1 400", "HTTP/1.1 501", "HTTP/1.1 505"];
        assert!(
            bytes.is_empty() || refused.iter().any(|r| text.starts_with(r)),
            "{request}: {text}"
        );
        assert!(!parties.has_connection(), "{request}");
    }
}

#[test]
fn where_two_lengths_are_named_nothing_can_be_smuggled() {
    // RFC 9112 6.3: chunked counts or it is refused; the connection ends in either case.
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    say(
        &mut client,
        "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n\
         0\r\n\r\nGET /forged HTTP/1.1\r\n\r\n",
    );
    let server = std::thread::spawn(move || {
        if let Ok(mut backend) = parties.try_backend(Duration::from_secs(2)) {
            let request = head(&mut backend);
            assert!(!request.has("content-length"), "{request:?}");
            assert_eq!(body(&mut backend, &request).0, b"");
            say(&mut backend, &ok("ok"));
            assert_eq!(next_head(&mut backend), None);
        }
        parties
    });
    let (bytes, _) = read_to_fault(&mut client);
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!(text.matches("HTTP/1.1").count(), usize::from(!bytes.is_empty()), "{text}");
    drop(client);
    server.join().expect("no forged request");
}

#[test]
fn failures_are_told_and_end_the_connection() {
    let parties = scripted();
    let mut unknown = client(&parties, "unknown.test.svc.cluster.local:80");
    say(&mut unknown, "GET / HTTP/1.1\r\n\r\n");
    let response = head(&mut unknown);
    assert!(response.line.starts_with("HTTP/1.1 404"), "{response:?}");
    assert_eq!(response.header("l5d-proxy-error"), "bad gateway domain");
    assert_eq!(response.header("content-length"), "0");
    let mut client = client(&parties, TARGET);
    let (backend, _) = asked(&parties, &mut client, "GET / HTTP/1.1\r\n\r\n");
    drop(backend);
    let response = head(&mut client);
    assert!(response.line.starts_with("HTTP/1.1 502"), "{response:?}");
    assert_eq!(response.header("l5d-proxy-connection"), "close");
    assert_eq!(response.header("connection"), "close");
    assert_eq!(next_head(&mut client), None);
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    let request = "POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    let (mut backend, request) = asked(&parties, &mut client, request);
    say(&mut backend, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(head(&mut client).line, "HTTP/1.1 100 Continue");
    say(&mut client, "body");
    assert_eq!(body(&mut backend, &request).0, b"body");
    say(&mut backend, &ok("ok"));
    let response = head(&mut client);
    assert_eq!(response.line, "HTTP/1.1 200 OK");
    assert_eq!(body(&mut client, &response).0, b"ok");
}

#[test]
fn an_http_1_0_client_gets_no_chunks() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    let (mut backend, request) = asked(&parties, &mut client, "GET / HTTP/1.0\r\n\r\n");
    assert!(request.header("host").starts_with("web.test.svc.cluster.local"), "{request:?}");
    let chunked = "transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    say(&mut backend, &format!("HTTP/1.1 200 OK\r\n{chunked}"));
    let response = head(&mut client);
    assert!(!response.has("transfer-encoding"), "{response:?}");
    assert_eq!(read_all(&mut client), b"ok");
}

#[test]
fn responses_without_a_body_keep_the_connection() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    let mut kept = None;
    for (method, reply) in [
        ("HEAD", "200 OK\r\ncontent-length: 1000"),
        ("GET", "204 No Content"),
        ("GET", "304 Not Modified\r\netag: \"a\""),
        ("GET", "200 OK\r\ncontent-length: 0"),
    ] {
        say(&mut client, &format!("{method} / HTTP/1.1\r\n\r\n"));
        let backend = kept.get_or_insert_with(|| parties.backend());
        head(backend);
        say(backend, &format!("HTTP/1.1 {reply}\r\n\r\n"));
        let response = head(&mut client);
        let status = reply.split("\r\n").next().expect("a status");
        assert_eq!(response.line, format!("HTTP/1.1 {status}"));
        if method == "HEAD" {
            assert_eq!(response.header("content-length"), "1000");
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let parties = scripted();
    let mut client = client(&parties, TARGET);
    let (mut backend, first) =
        asked(&parties, &mut client, "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
    assert_eq!(first.line, "GET /1 HTTP/1.1");
    say(&mut backend, &ok("1"));
    let response = head(&mut client);
    assert_eq!(body(&mut client, &response).0, b"1");
    assert_eq!(head(&mut backend).line, "GET /2 HTTP/1.1");
    say(&mut backend, &ok("2"));
    let response = head(&mut client);
    assert_eq!(body(&mut client, &response).0, b"2");
}
