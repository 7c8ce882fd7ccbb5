//! Endpoints that are proxies: onward mTLS, the expected identity, our own header.

use std::io::{Read, Write};

use linkerd_gateway::model::header::SessionProtocol;

use crate::TARGET;
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, half_close, header_for, read_all, refusal};
use crate::support::gateway::{Builder, GATEWAY, Gateway};
use crate::support::server::{HEADER, Server};
use crate::support::tcp::{pattern, read_to_fault};

const ENDPOINT: &str = "web.test.serviceaccount.identity.linkerd.cluster.local";

fn route(endpoint: &str, identity: &str, port: u16, more: &str) -> String {
    format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{endpoint}\"]\n\
         tls = {{ identity = \"{identity}\", port = {port} }}\n{more}"
    )
}

/// A client's gateway and the gateway that it leads to, with an echo behind.
fn chain(ca: &TestCa) -> (Gateway, Gateway) {
    let echo = backend::echo();
    let local = format!("[gateway]\nlisten = [\"127.0.0.1:0\"]\nlocal_ports = [{}]", echo.port());
    let second = Builder::new(ca).configure(&local).start();
    let onward = route(&echo.to_string(), GATEWAY, second.address.port(), "");
    let first = Builder::new(ca).configure(&onward).start();
    (first, second)
}

#[test]
fn bytes_pass_through_a_second_gateway_that_knows_the_first() {
    let ca = TestCa::new("ca");
    let (mut first, mut second) = chain(&ca);
    let mut stream = Client::new(&ca).open(first.address, TARGET);
    let bytes = pattern(1 << 20);
    let mut back = vec![0; bytes.len()];
    for (sent, got) in bytes.chunks(32 << 10).zip(back.chunks_mut(32 << 10)) {
        stream.write_all(sent).and_then(|()| stream.flush()).expect("sent");
        stream.read_exact(got).expect("the echo");
    }
    assert!(back == bytes);
    half_close(&mut stream);
    assert_eq!(read_all(&mut stream), b"");
    assert_eq!(first.expect("closed")["server_identity"], GATEWAY);
    assert_eq!(second.expect("closed")["identity"], GATEWAY);
}

#[test]
fn a_gateway_killed_behind_another_is_a_reset_for_the_client() {
    let ca = TestCa::new("ca");
    let (mut first, second) = chain(&ca);
    let mut stream = Client::new(&ca).open(first.address, TARGET);
    stream.write_all(b"hello").and_then(|()| stream.flush()).expect("sent");
    stream.read_exact(&mut [0; 5]).expect("the echo");
    second.signal("KILL");
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    assert_eq!(read_to_fault(&mut stream), (Vec::new(), reset));
    first.expect("endpoint_reset");
}

#[test]
fn an_endpoint_with_another_identity_gets_no_byte() {
    let ca = TestCa::new("ca");
    let server =
        Server::new(&ca.identity("other.ns.serviceaccount.identity.linkerd.cluster.local"), HEADER);
    let onward = route("127.0.0.1:8080", ENDPOINT, server.address.port(), "");
    let mut gateway = Builder::new(&ca).configure(&onward).start();
    refused(&ca, &mut gateway, &server);
}

#[test]
fn an_endpoint_of_another_authority_gets_no_byte() {
    let ca = TestCa::new("ca");
    let server = Server::new(&TestCa::new("other").identity(ENDPOINT), HEADER);
    let onward = route("127.0.0.1:8080", ENDPOINT, server.address.port(), "");
    let mut gateway = Builder::new(&ca).configure(&onward).start();
    refused(&ca, &mut gateway, &server);
}

#[test]
fn an_endpoint_that_takes_no_header_gets_no_byte() {
    let ca = TestCa::new("ca");
    let server = Server::new(&ca.identity(ENDPOINT), &[]);
    let onward = route("127.0.0.1:8080", ENDPOINT, server.address.port(), "");
    let mut gateway = Builder::new(&ca).configure(&onward).start();
    refused(&ca, &mut gateway, &server);
}

fn refused(ca: &TestCa, gateway: &mut Gateway, server: &Server) {
    let first = [header_for(TARGET, None), b"secret".to_vec()].concat();
    std::thread::scope(|scope| {
        // The handshake itself may complete from the endpoint's point of view.
        let endpoint = scope.spawn(|| server.accept().map(|mut s| read_to_fault(&mut s)));
        refusal(&Client::new(ca), gateway.address, &first);
        if let Ok((bytes, fault)) = endpoint.join().expect("no panic") {
            assert_eq!(bytes, b"");
            assert!(fault.is_some(), "a clean end");
        }
    });
    gateway.expect("onward_tls_failed");
}

#[test]
fn an_endpoint_that_never_answers_the_handshake_is_given_up() {
    let ca = TestCa::new("ca");
    let (address, accepted) = backend::handed_over();
    let onward = route("127.0.0.1:8080", ENDPOINT, address.port(), "");
    let mut gateway = Builder::new(&ca).configure(&onward).start();
    refusal(&Client::new(&ca), gateway.address, &header_for(TARGET, None));
    gateway.expect("connect_timeout");
    drop(accepted);
}

#[test]
fn a_session_protocol_is_passed_on_with_passthrough() {
    for session in [SessionProtocol::Http1, SessionProtocol::Http2] {
        let ca = TestCa::new("ca");
        let server = Server::new(&ca.identity(ENDPOINT), HEADER);
        let port = server.address.port();
        let onward = route("127.0.0.1:8080", ENDPOINT, port, "session = \"passthrough\"");
        let gateway = Builder::new(&ca).configure(&onward).start();
        let mut client = Client::new(&ca).connect(gateway.address).expect("a handshake");
        client.write_all(&header_for(TARGET, Some(session))).expect("sent");
        client.write_all(b"PRI").and_then(|()| client.flush()).expect("sent");
        let mut endpoint = server.accept().expect("a handshake");
        let mut expected = header_for(":8080", Some(session));
        expected.extend(b"PRI");
        let mut got = vec![0; expected.len()];
        endpoint.read_exact(&mut got).expect("header and bytes");
        assert_eq!(got, expected);
    }
}
