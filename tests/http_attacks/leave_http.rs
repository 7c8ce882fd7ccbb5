//! Ways out of HTTP, which would be ways around everything that is asked of each request.

use std::io::{Read, Write};
use std::time::Duration;

use linkerd_gateway::model::header::SessionProtocol;

use crate::fixture::{Scripted, scripted};
use crate::support::client::{Stream, header_for};
use crate::support::http::TARGET;
use crate::support::http::frames::{DATA, END_STREAM, HEADERS, Peer, RST_STREAM, frame, headers};
use crate::support::http::scripted::{body, head, ok, say};
use crate::support::tcp::pattern;

/// A client's connection whose header says Http1.
fn client(parties: &Scripted) -> Stream {
    let address = parties.parties.gateway.address;
    let mut stream = parties.parties.client.connect(address).expect("a handshake");
    let header = header_for(TARGET, Some(SessionProtocol::Http1));
    stream.write_all(&header).and_then(|()| stream.flush()).expect("sent");
    stream
}

#[test]
fn nobody_changes_to_another_http_inside_a_session() {
    for upgrade in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.2, HTTP/1.1"] {
        let parties = scripted();
        let mut client = client(&parties);
        let request = format!(
            "GET /a HTTP/1.1\r\nconnection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\n\
             http2-settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        say(&mut client, &request);
        let mut backend = parties.backend();
        let request = head(&mut backend);
        assert!(!request.has("upgrade") && !request.has("connection"), "{request:?}");
        assert!(!request.has("http2-settings"), "{request:?}");
        say(&mut backend, &ok("ok"));
        let response = head(&mut client);
        assert_eq!(body(&mut client, &response).0, b"ok");
    }
}

#[test]
fn settings_of_http_2_do_not_pass_though_no_connection_header_names_them() {
    let parties = scripted();
    let mut client = client(&parties);
    let request = "GET /a HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\
                   http2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    say(&mut client, request);
    let request = head(&mut parties.backend());
    assert!(!request.has("upgrade") && !request.has("http2-settings"), "{request:?}");
}

#[test]
fn http_1_0_cannot_change_its_protocol() {
    let parties = scripted();
    let mut client = client(&parties);
    let request = "GET /a HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    say(&mut client, request);
    let request = head(&mut parties.backend());
    assert!(!request.has("upgrade") && !request.has("connection"), "{request:?}");
}

/// Servers read no body after CONNECT: what a client sent as one would be the next request.
#[test]
fn connect_over_http_2_reaches_no_endpoint() {
    let parties = scripted();
    let address = parties.parties.gateway.address;
    for (marked, ends) in [(true, true), (true, false), (false, false)] {
        let mut peer = Peer::connect(&parties.parties.client, address).greet(&[]);
        let mut fields = vec![(":method", "CONNECT"), (":authority", TARGET)];
        fields.extend(marked.then_some(("l5d-orig-proto", "HTTP/1.1")));
        peer.send(&headers(1, if ends { END_STREAM } else { 0 }, &fields));
        if !ends {
            peer.send(&frame(DATA, END_STREAM, 1, b"GET /admin HTTP/1.1\r\nhost: x\r\n\r\n"));
        }
        let answer = loop {
            let frame = peer.next().expect("an answer");
            if frame.stream == 1 && [HEADERS, RST_STREAM].contains(&frame.kind) {
                break frame;
            }
        };
        assert!(
            answer.kind == RST_STREAM || answer.status().is_some_and(|s| s >= 400),
            "{answer:?}"
        );
        assert!(parties.try_backend(Duration::from_millis(100)).is_err());
    }
}

#[test]
fn connect_over_http_1_has_no_body() {
    let parties = scripted();
    for framing in ["content-length: 27", "transfer-encoding: chunked"] {
        let mut client = client(&parties);
        let smuggled = "GET /admin HTTP/1.1\r\n\r\n";
        say(&mut client, &format!("CONNECT {TARGET} HTTP/1.1\r\n{framing}\r\n\r\n{smuggled}"));
        assert!(parties.try_backend(Duration::from_millis(200)).is_err(), "{framing}");
        assert_eq!(head(&mut client).line, "HTTP/1.1 400 Bad Request");
    }
}

#[test]
fn a_tunnel_begins_whatever_length_its_answer_names() {
    for extra in
        ["", "content-length: 0\r\n", "content-length: 5\r\n", "transfer-encoding: chunked\r\n"]
    {
        let parties = scripted();
        let mut client = client(&parties);
        say(&mut client, &format!("CONNECT {TARGET} HTTP/1.1\r\n\r\n"));
        let mut backend = parties.backend();
        assert!(head(&mut backend).line.starts_with("CONNECT "));
        say(&mut backend, &format!("HTTP/1.1 200 OK\r\n{extra}\r\nhello"));
        let response = head(&mut client);
        assert!(response.line.starts_with("HTTP/1.1 200"), "{response:?}");
        let mut hello = [0; 5];
        client.read_exact(&mut hello).expect("the tunnel's first bytes");
        assert_eq!(&hello, b"hello", "{extra}");
        say(&mut client, "there");
        backend.read_exact(&mut hello).expect("the tunnel's first bytes");
        assert_eq!(&hello, b"there", "{extra}");
    }
}

#[test]
fn a_switch_that_has_to_wait_for_its_client_loses_nothing() {
    let parties = scripted();
    let mut client = client(&parties);
    say(
        &mut client,
        "GET /long HTTP/1.1\r\n\r\nGET /chat HTTP/1.1\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    );
    let mut backend = parties.backend();
    assert_eq!(head(&mut backend).line, "GET /long HTTP/1.1");
    let long = pattern(16 << 20);
    let head_of_long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", long.len());
    let sent = long.clone();
    let sender = std::thread::spawn(move || {
        say(&mut backend, &head_of_long);
        backend.write_all(&sent).expect("sent");
        backend
    });
    // Nothing is read until the gateway has the whole of it, or has no room for more.
    std::thread::sleep(Duration::from_millis(700));
    let switching = std::thread::spawn(move || {
        let mut backend = parties.backend();
        assert_eq!(head(&mut backend).line, "GET /chat HTTP/1.1");
        say(
            &mut backend,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nfirst",
        );
        (parties, backend)
    });
    let mut got = vec![0; 0];
    let response = head(&mut client);
    assert_eq!(response.header("content-length"), long.len().to_string());
    let mut buffer = vec![0; 16 << 10];
    while got.len() < long.len() {
        let most = buffer.len().min(long.len() - got.len());
        let count = client.read(&mut buffer[..most]).expect("more");
        assert!(count > 0, "ended after {}", got.len());
        got.extend_from_slice(&buffer[..count]);
        if got.len() % (1 << 20) < count {
            // As slow as to leave the end of it waiting.
            std::thread::sleep(Duration::from_millis(40));
        }
    }
    assert!(got == long);
    assert_eq!(head(&mut client).line, "HTTP/1.1 101 Switching Protocols");
    let mut first = [0; 5];
    client.read_exact(&mut first).expect("the first bytes");
    assert_eq!(&first, b"first");
    drop((sender.join().expect("sent"), switching.join().expect("switched")));
}
