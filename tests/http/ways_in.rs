//! The ways in: plain TLS clients by server name, ports of this host, and routes that pass bytes.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};

use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, CLIENT, Gateway};
use crate::support::http::TARGET;
use crate::support::http::backend::{Backend, Protocol, saying};
use crate::support::http::frames::{HEADERS, PREFACE, Peer, get, settings};
use crate::support::http::linkerd::{Session, connect, plain_http1};
use crate::support::http::run;

const NAME: &str = "web.example.com";

/// A gateway that serves `NAME` to plain clients, and such a client.
fn plain(backend: &Backend) -> (Gateway, Client) {
    let ca = TestCa::new("ca");
    let builder = Builder::new(&ca);
    ca.identity(NAME).write_to(&builder.path().join("web"));
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{}\"]\nsession = \"http\"\n\
         sni = [\"{NAME}\"]\ncertificate = \"web/tls.crt\"\nkey = \"web/tls.key\"",
        backend.address
    );
    (builder.configure(&route).start(), Client::new(&ca).server_name(NAME))
}

#[test]
fn a_plain_client_that_speaks_http_2_reaches_http_1_endpoints() {
    // It has chosen HTTP/2 with us; nobody says that its service speaks it.
    let backend = saying(Protocol::Http1, "ok");
    let (gateway, client) = plain(&backend);
    let request = Request::post(format!("https://{NAME}/path?q")).body(Bytes::from("body"));
    let answer = run(async {
        let session = Session::plain(client, gateway.address).await;
        session.send(request.expect("a request")).await
    });
    let answer = answer.expect("a response");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"ok"[..]), "{answer:?}");
    assert_eq!(answer.header("l5d-orig-proto"), "");
    let seen = backend.only();
    assert_eq!((seen.version, &seen.body[..]), (Version::HTTP_11, &b"body"[..]));
    assert_eq!(
        (seen.uri.to_string(), seen.header("l5d-client-id")),
        ("/path?q".into(), CLIENT.into())
    );
}

#[test]
fn a_plain_client_that_speaks_grpc_reaches_http_2_endpoints() {
    let backend = saying(Protocol::H2c, "ok");
    let (gateway, client) = plain(&backend);
    let request = Request::post(format!("https://{NAME}/a.B/C"))
        .header("content-type", "application/grpc+proto")
        .body(Bytes::from_static(&[0; 5]));
    let answer = run(async {
        let session = Session::plain(client, gateway.address).await;
        session.send(request.expect("a request")).await
    });
    assert_eq!(answer.expect("a response").status, 200);
    let seen = backend.only();
    assert_eq!((seen.version, seen.header("l5d-client-id")), (Version::HTTP_2, CLIENT.to_owned()));
    assert_eq!(seen.uri.path(), "/a.B/C");
}

#[test]
fn a_plain_client_that_speaks_http_1_1_is_served() {
    let backend = saying(Protocol::Http1, "ok");
    let (gateway, client) = plain(&backend);
    run(async {
        let mut requests = plain_http1(client, gateway.address).await;
        for _ in 0..3 {
            requests.ready().await.expect("kept alive");
            let request = Request::post("/path?q").header("host", NAME);
            let request = request.body(Full::new(Bytes::from("body"))).expect("a request");
            let response = requests.send_request(request).await.expect("a response");
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(&body[..], b"ok");
        }
    });
    for seen in backend.seen() {
        assert_eq!((seen.version, &seen.body[..]), (Version::HTTP_11, &b"body"[..]));
        assert_eq!(seen.header("l5d-client-id"), CLIENT);
        assert_eq!(seen.uri, "/path?q");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_plain_client_that_offers_both_gets_http_2() {
    let backend = saying(Protocol::H2c, "ok");
    let (gateway, client) = plain(&backend);
    let both = client.alpn(&[b"http/1.1", b"h2"]);
    let stream = run(connect(&both, gateway.address)).expect("a handshake");
    let chosen = stream.get_ref().1.alpn_protocol();
    assert_eq!(chosen, Some(b"h2".as_slice()));
}

#[test]
fn a_header_without_a_name_reaches_a_port_of_this_host() {
    let backend = saying(Protocol::Http1, "local");
    let other = saying(Protocol::Http1, "other");
    let ca = TestCa::new("ca");
    let local = format!(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlocal_ports = [{}]",
        backend.address.port()
    );
    let gateway = Builder::new(&ca).configure(&local).start();
    let client = Client::new(&ca);
    let session = |port: u16| run(Session::open_to(&client, gateway.address, &format!(":{port}")));
    let answer = run(session(backend.address.port()).get("/path")).expect("a response");
    assert_eq!(&answer.body[..], b"local");
    let seen = backend.only();
    assert_eq!((seen.version, seen.header("l5d-client-id")), (Version::HTTP_11, CLIENT.to_owned()));
    // Any other port is refused, the gateway's own above all.
    for port in [other.address.port(), gateway.address.port(), gateway.admin.port()] {
        let mut peer = Peer::connect_to(&client, gateway.address, &format!(":{port}"));
        peer.send(&[PREFACE, &settings(&[]), &get(1, "/")].concat());
        while let Some(frame) = peer.next() {
            assert!(frame.status().is_none_or(|status| [403, 404].contains(&status)), "{frame:?}");
            if frame.kind == HEADERS {
                break;
            }
        }
    }
    assert_eq!(other.connections(), 0);
}

#[test]
fn passthrough_is_bytes() {
    let backend = saying(Protocol::H2c, "raw");
    let ca = TestCa::new("ca");
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{}\"]\nsession = \"passthrough\"",
        backend.address
    );
    let gateway = Builder::new(&ca).configure(&route).start();
    let session = run(Session::open(&Client::new(&ca), gateway.address));
    let answer = run(session.get("/")).expect("a response");
    assert_eq!(&answer.body[..], b"raw");
    // As the client sent it: its mark is there, and nothing of ours.
    let seen = backend.only();
    assert_eq!(
        (seen.header("l5d-orig-proto"), seen.header("forwarded")),
        ("HTTP/1.1".into(), String::new())
    );
}
