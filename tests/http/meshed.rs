//! Endpoints with a proxy of their own: mTLS, our header, HTTP/2, and never a byte in plaintext.

use std::io::Read;

use bytes::Bytes;
use linkerd_gateway::model::header::SessionProtocol;

use crate::fixture::{get, grpc};
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, header_for};
use crate::support::gateway::{Builder, CLIENT, Gateway};
use crate::support::http::linkerd::{Session, connect_session, finished, marked, unmarked};
use crate::support::http::meshed::Meshed;
use crate::support::http::{TARGET, run};

const ENDPOINT: &str = "web.test.serviceaccount.identity.linkerd.cluster.local";
const PORT: u16 = 8080;

/// A gateway whose one endpoint's proxy is at a port, and must be `ENDPOINT`.
fn gateway(ca: &TestCa, proxy: u16) -> Gateway {
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"127.0.0.1:{PORT}\"]\n\
         tls = {{ identity = \"{ENDPOINT}\", port = {proxy} }}"
    );
    Builder::new(ca).configure(&route).start()
}

#[test]
fn requests_of_both_kinds_share_one_http_2_connection() {
    let ca = TestCa::new("ca");
    let meshed = Meshed::start(&ca.identity(ENDPOINT), PORT);
    let gateway = gateway(&ca, meshed.address.port());
    let session = run(Session::open(&Client::new(&ca), gateway.address));
    let first = marked("POST", "/marked").body(Bytes::from("body")).expect("a request");
    let answer = run(session.send(first)).expect("a response");
    assert_eq!((&answer.body[..], answer.status.as_u16()), (&b"meshed"[..], 200));
    let second = unmarked("GET", "/unmarked").body(Bytes::new()).expect("a request");
    assert_eq!(run(session.send(second)).expect("a response").status, 200);
    let answers: Vec<_> = (0..30).map(|_| session.spawn(get("/many"))).collect();
    for answer in answers {
        assert_eq!(finished(answer).expect("a response").status, 200);
    }
    assert_eq!(meshed.sessions(), [SessionProtocol::Http2]);
    let seen = meshed.seen();
    assert_eq!(seen.len(), 32);
    // What was HTTP/1.1 is said to the proxy, which makes it so again.
    let marks: Vec<_> = seen[..2].iter().map(|seen| seen.header("l5d-orig-proto")).collect();
    assert_eq!(marks, ["HTTP/1.1", ""]);
    assert_eq!(&seen[0].body[..], b"body");
    for seen in seen {
        assert_eq!(seen.version, http::Version::HTTP_2);
        assert!(seen.header("forwarded").contains(&format!("for={CLIENT};")), "{seen:?}");
    }
}

#[test]
fn an_upgrade_goes_over_an_http_1_session_of_its_own() {
    let ca = TestCa::new("ca");
    let meshed = Meshed::start(&ca.identity(ENDPOINT), PORT);
    let gateway = gateway(&ca, meshed.address.port());
    let client = Client::new(&ca);
    let answer = run(async {
        let stream =
            connect_session(&client, gateway.address, TARGET, SessionProtocol::Http1).await?;
        let stream = hyper_util::rt::TokioIo::new(stream);
        let (mut requests, connection) =
            hyper::client::conn::http1::handshake(stream).await.expect("a session");
        crate::support::http::runtime().spawn(connection);
        let request = http::Request::get("/")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(http_body_util::Empty::<Bytes>::new());
        let response = requests.send_request(request.expect("a request")).await;
        std::io::Result::Ok(response.expect("a response").status())
    });
    assert_eq!(answer.expect("a handshake"), 200);
    assert_eq!(meshed.sessions(), [SessionProtocol::Http1]);
    assert_eq!(meshed.seen()[0].header("upgrade"), "websocket");
}

#[test]
fn a_request_passes_through_a_second_gateway() {
    let ca = TestCa::new("ca");
    let backend = crate::support::http::backend::saying(
        crate::support::http::backend::Protocol::Http1,
        "behind both",
    );
    let port = backend.address.port();
    let local = format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nlocal_ports = [{port}]");
    let second = Builder::new(&ca).configure(&local).start();
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{}\"]\n\
         tls = {{ identity = \"{}\", port = {} }}",
        backend.address,
        crate::support::gateway::GATEWAY,
        second.address.port()
    );
    let first = Builder::new(&ca).configure(&route).start();
    let session = run(Session::open(&Client::new(&ca), first.address));
    let answer = run(session.get("/path")).expect("a response");
    assert_eq!(
        (&answer.body[..], answer.header("l5d-orig-proto")),
        (&b"behind both"[..], "HTTP/1.1")
    );
    let seen = backend.only();
    assert_eq!(seen.version, http::Version::HTTP_11);
    // The client is named in it; the next hop names the first gateway.
    assert!(seen.header("forwarded").contains(&format!("for={CLIENT};")), "{seen:?}");
}

#[test]
fn an_endpoint_with_another_identity_gets_no_request() {
    for leaf in [
        TestCa::new("other").identity(ENDPOINT),
        TestCa::new("other").identity("other.ns.serviceaccount.identity.linkerd.cluster.local"),
    ] {
        let ca = TestCa::new("ca");
        refused(&ca, &Meshed::start(&leaf, PORT));
    }
    let ca = TestCa::new("ca");
    let other = ca.identity("other.ns.serviceaccount.identity.linkerd.cluster.local");
    refused(&ca, &Meshed::start(&other, PORT));
}

fn refused(ca: &TestCa, meshed: &Meshed) {
    let gateway = gateway(ca, meshed.address.port());
    let answer = run(async {
        let session = Session::open(&Client::new(ca), gateway.address).await;
        session.get("/").await
    });
    let answer = answer.expect("a response");
    assert!([502, 504].contains(&answer.status.as_u16()), "{answer:?}");
    assert_eq!(meshed.seen().len(), 0);
    let answer = run(async {
        let session = Session::open(&Client::new(ca), gateway.address).await;
        session.send(grpc("/a.B/C")).await
    });
    assert_eq!(answer.expect("a response").status, 200);
    assert_eq!(meshed.seen().len(), 0);
}

#[test]
fn nothing_is_ever_said_in_plaintext() {
    let ca = TestCa::new("ca");
    let (address, accepted) = backend::handed_over();
    let gateway = gateway(&ca, address.port());
    let session = run(Session::open(&Client::new(&ca), gateway.address));
    let request = marked("GET", "/secret").header("x-secret", "secret").body(Bytes::new());
    let answer = session.spawn(request.expect("a request"));
    let mut endpoint = accepted.recv_timeout(crate::support::gateway::PATIENCE).expect("a client");
    let mut hello = vec![0; 4096];
    let count = endpoint.read(&mut hello).expect("a ClientHello");
    assert_eq!(&hello[..2], &[22, 3], "a TLS handshake");
    let text = String::from_utf8_lossy(&hello[..count]);
    assert!(!text.contains("secret") && !text.contains("HTTP"), "{text}");
    let plain = header_for(&format!(":{PORT}"), Some(SessionProtocol::Http2));
    assert!(!hello.windows(plain.len()).any(|window| window == plain));
    // It does not fall back to plaintext when TLS fails either.
    drop(endpoint);
    let answer = finished(answer).expect("a response");
    assert!([502, 504].contains(&answer.status.as_u16()), "{answer:?}");
    while let Ok(mut again) = accepted.try_recv() {
        let count = again.read(&mut hello).unwrap_or(0);
        assert!(count == 0 || hello[0] == 22);
    }
}
