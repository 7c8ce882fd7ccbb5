//! Endpoints that are told the client's address: no connection to them serves two clients.

use std::io::Read;
use std::net::TcpStream;

use bytes::Bytes;

use crate::fixture::get;
use crate::support::backend::handed_over;
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{Builder, PATIENCE};
use crate::support::http::frames::PREFACE;
use crate::support::http::linkerd::{Session, finished, unmarked};
use crate::support::http::scripted::{head, ok, say};
use crate::support::http::{TARGET, run};

/// The PROXY header that begins a connection, as text where it is text.
fn told(backend: &mut TcpStream) -> String {
    let mut fixed = [0; 16];
    backend.read_exact(&mut fixed).expect("a PROXY header");
    assert_eq!(&fixed[..12], b"\r\n\r\n\0\r\nQUIT\n");
    let mut rest = vec![0; usize::from(u16::from_be_bytes([fixed[14], fixed[15]]))];
    backend.read_exact(&mut rest).expect("all of it");
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn every_client_has_connections_of_its_own_that_name_it() {
    let (address, accepted) = handed_over();
    let ca = TestCa::new("ca");
    let route = format!(
        "[[route]]\ntarget = \"{TARGET}\"\nendpoints = [\"{address}\"]\nproxy_protocol = \"v2\""
    );
    let gateway = Builder::new(&ca).configure("[runtime]\nworkers = 1").configure(&route).start();
    let next = || accepted.recv_timeout(PATIENCE).expect("a connection");
    for name in ["one", "two", "one"] {
        let identity = format!("{name}.default.serviceaccount.identity.linkerd.cluster.local");
        let client = Client::with(&ca, Some(&ca.identity(&identity)));
        let session = run(Session::open(&client, gateway.address));
        let answer = session.spawn(get("/"));
        let mut backend = next();
        let header = told(&mut backend);
        assert!(header.contains(&identity), "{name}: {header}");
        assert_eq!(head(&mut backend).line, "GET / HTTP/1.1");
        say(&mut backend, &ok("ok"));
        assert_eq!(finished(answer).expect("a response").status, 200);
        let request = unmarked("GET", "/").body(Bytes::new()).expect("a request");
        let answer = session.spawn(request);
        let mut backend = next();
        let header = told(&mut backend);
        assert!(header.contains(&identity), "{name}: {header}");
        let mut preface = vec![0; PREFACE.len()];
        backend.read_exact(&mut preface).expect("a preface");
        assert_eq!(preface, PREFACE);
        answer.abort();
    }
}
