//! Words that would mean something else at the other side: paths, methods, headers, trailers.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use linkerd_gateway::model::header::SessionProtocol;

use crate::fixture::{get, parties_with, scripted};
use crate::support::client::header_for;
use crate::support::http::TARGET;
use crate::support::http::backend::{Protocol, saying};
use crate::support::http::frames::{END_STREAM, HEADERS, Peer, RST_STREAM, fields, headers};
use crate::support::http::linkerd::{finished, marked};
use crate::support::http::run;
use crate::support::http::scripted::{body, head, ok, say};

/// A path that is none would be a whole URI, or nothing, to who reads the request line.
#[test]
fn what_is_no_path_reaches_no_endpoint() {
    for path in ["http://other/admin", "admin", "?a", "other:80", "*"] {
        let parties = scripted();
        let address = parties.parties.gateway.address;
        let mut peer = Peer::connect(&parties.parties.client, address).greet(&[]);
        let mut fields = fields("GET", path);
        fields[3] = (":path", path);
        peer.send(&headers(1, END_STREAM, &fields));
        if let Ok(mut backend) = parties.try_backend(Duration::from_millis(300)) {
            panic!("{path}: {:?}", head(&mut backend));
        }
        let answer = loop {
            let frame = peer.next().expect("an answer");
            if frame.stream == 1 && [HEADERS, RST_STREAM].contains(&frame.kind) {
                break frame;
            }
        };
        assert!(answer.kind == RST_STREAM || answer.status() == Some(400), "{path}: {answer:?}");
    }
}

#[test]
fn a_denied_method_is_denied_in_any_case() {
    let backend = saying(Protocol::Http1, "ok");
    let rules = "[[policy.rule]]\nname = \"no\"\naction = \"deny\"\nmethods = [\"DELETE\"]\n\
                 [[policy.rule]]\nname = \"rest\"\naction = \"allow\"\n";
    let parties = parties_with(&[backend.address], rules);
    let session = parties.session();
    for (method, status) in [("DELETE", 403), ("delete", 403), ("Delete", 403), ("GET", 200)] {
        let request = marked(method, "/a").body(Bytes::new()).expect("a request");
        let answer = run(session.send(request)).expect("a response");
        assert_eq!(answer.status.as_u16(), status, "{method}");
    }
}

const TRAILERS: &str = "keep-alive: 1\r\nproxy-connection: close\r\nconnection: x\r\nte: x\r\n\
    transfer-encoding: chunked\r\ncontent-length: 5\r\nhost: other\r\nl5d-client-id: root\r\n\
    l5d-orig-proto: HTTP/1.1\r\nl5d-dst-override: x:1\r\nl5d-dst-canonical: x:1\r\n\
    l5d-proxy-error: x\r\nl5d-proxy-connection: close\r\nforwarded: by=x\r\nupgrade: h2c\r\n";
const FORBIDDEN: [&str; 15] = [
    "keep-alive",
    "proxy-connection",
    "connection",
    "te",
    "transfer-encoding",
    "content-length",
    "host",
    "l5d-client-id",
    "l5d-orig-proto",
    "l5d-dst-override",
    "l5d-dst-canonical",
    "l5d-proxy-error",
    "l5d-proxy-connection",
    "forwarded",
    "upgrade",
];

#[test]
fn trailers_of_an_endpoint_cannot_speak_for_us() {
    let parties = scripted();
    let session = parties.session();
    let answer = session.spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(
        &mut backend,
        &format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-fine: 1\r\n{TRAILERS}\r\n"
        ),
    );
    let answer = finished(answer).expect("a response");
    assert_eq!((answer.body.as_ref(), answer.trailer("x-fine")), (&b"ok"[..], "1"));
    for name in FORBIDDEN {
        assert_eq!(answer.trailer(name), "", "{name}");
    }
}

#[test]
fn trailers_of_a_client_cannot_either_and_end_its_body() {
    let parties = scripted();
    let mut client =
        parties.parties.client.connect(parties.parties.gateway.address).expect("a handshake");
    client.write_all(&header_for(TARGET, Some(SessionProtocol::Http1))).expect("sent");
    say(
        &mut client,
        &format!(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntrailer: x-fine\r\n\r\n2\r\nok\r\n0\r\nx-fine: 1\r\n{TRAILERS}\r\n"
        ),
    );
    let mut backend = parties.backend();
    let request = head(&mut backend);
    let (data, trailers) = body(&mut backend, &request);
    assert_eq!(data, b"ok");
    assert!(trailers.iter().any(|(name, _)| name == "x-fine"), "{trailers:?}");
    for name in FORBIDDEN {
        assert!(!trailers.iter().any(|(n, _)| n == name), "{name}: {trailers:?}");
    }
    say(&mut backend, &ok("ok"));
    let mut first = [0; 12];
    client.read_exact(&mut first).expect("a response");
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[test]
fn headers_of_a_response_cannot_speak_for_us() {
    let spoken = "l5d-orig-proto: HTTP/1.0\r\nl5d-proxy-error: x\r\nl5d-proxy-connection: close\r\n\
                  l5d-client-id: root\r\n";
    let parties = scripted();
    let session = parties.session();
    let answer = session.spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &format!("HTTP/1.1 103 Early\r\n{spoken}\r\n"));
    say(&mut backend, &format!("HTTP/1.1 200 OK\r\n{spoken}content-length: 0\r\n\r\n"));
    let answer = finished(answer).expect("a response");
    assert_eq!(answer.header("l5d-orig-proto"), "HTTP/1.1");
    for name in ["l5d-proxy-error", "l5d-proxy-connection"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
}
