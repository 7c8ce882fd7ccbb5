//! A request that its client gives up is given up, and a slow side holds up nobody but its peer.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::fixture::{get, scripted};
use crate::support::http::linkerd::{finished, marked};
use crate::support::http::run;
use crate::support::http::scripted::{head, ok, say};
use crate::support::process::resident;
use crate::support::tcp::read_to_fault;

/// The gateway has ended a connection, in whatever way.
fn is_ended(backend: &mut TcpStream) {
    let (_, fault) = read_to_fault(backend);
    let gone = matches!(fault, None | Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
    assert!(gone, "{fault:?}");
}

#[test]
fn a_request_given_up_before_its_response_ends_the_endpoints_connection() {
    let parties = scripted();
    let session = parties.session();
    let (response, mut stream) =
        run(session.begin(marked("GET", "/").body(()).expect("a request"), true)).expect("sent");
    let mut backend = parties.backend();
    head(&mut backend);
    stream.send_reset(h2::Reason::CANCEL);
    is_ended(&mut backend);
    drop(response);
    // The session is as good as before.
    let next = session.spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(next).expect("a response").status, 200);
}

#[test]
fn an_upload_given_up_is_no_complete_request() {
    let parties = scripted();
    let session = parties.session();
    let request = marked("POST", "/").body(()).expect("a request");
    let (_response, mut stream) = run(session.begin(request, false)).expect("a stream");
    stream.send_data(Bytes::from("half"), false).expect("room");
    let mut backend = parties.backend();
    head(&mut backend);
    backend.read_exact(&mut [0; 9]).expect("a chunk");
    stream.send_reset(h2::Reason::CANCEL);
    let (rest, _) = read_to_fault(&mut backend);
    // Never the last chunk, which would say that this was all.
    assert_eq!(rest, b"");
}

#[test]
fn a_download_given_up_ends_the_endpoints_connection() {
    let parties = scripted();
    let session = parties.session();
    let (response, mut stream) =
        run(session.begin(marked("GET", "/").body(()).expect("a request"), true)).expect("sent");
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nhalf");
    let response = run(response).expect("a head");
    stream.send_reset(h2::Reason::CANCEL);
    drop(response);
    is_ended(&mut backend);
}

#[test]
fn a_client_that_is_gone_takes_its_requests_along() {
    let parties = scripted();
    let session = parties.session();
    let requests: Vec<_> = (0..3).map(|_| session.spawn(get("/"))).collect();
    let mut backends: Vec<_> = (0..3).map(|_| parties.backend()).collect();
    for backend in &mut backends {
        head(backend);
    }
    requests.iter().for_each(tokio::task::JoinHandle::abort);
    session.abort();
    for backend in &mut backends {
        is_ended(backend);
    }
}

#[test]
fn a_client_that_does_not_read_stops_its_endpoint_and_nobody_else() {
    let parties = scripted();
    let session = parties.session();
    let (response, _stream) =
        run(session.begin(marked("GET", "/").body(()).expect("a request"), true)).expect("sent");
    let mut slow = parties.backend();
    head(&mut slow);
    say(&mut slow, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n");
    let response = run(response).expect("a head");
    let before = resident(parties.parties.gateway.pid());
    slow.set_write_timeout(Some(Duration::from_secs(1))).expect("set");
    let mut taken = 0;
    while std::io::Write::write_all(&mut slow, &[0; 65_536]).is_ok() {
        taken += 65_536;
        assert!(taken < 64 << 20, "it takes whatever comes");
    }
    let grown = resident(parties.parties.gateway.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
    let begun = Instant::now();
    let other = session.spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(other).expect("a response").status, 200);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(response);
}

#[test]
fn an_endpoint_that_does_not_read_stops_its_client_and_nobody_else() {
    let parties = scripted();
    let session = parties.session();
    let request = marked("POST", "/").body(()).expect("a request");
    let (_response, mut stream) = run(session.begin(request, false)).expect("a stream");
    let mut slow = parties.backend();
    head(&mut slow);
    let before = resident(parties.parties.gateway.pid());
    let upload =
        crate::support::http::linkerd::upload(&mut stream, vec![0; 200 << 20].into(), true);
    let stopped = run(async { tokio::time::timeout(Duration::from_secs(3), upload).await });
    assert!(stopped.is_err(), "200 MiB were taken: {stopped:?}");
    let grown = resident(parties.parties.gateway.pid()).saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    // The connection's window is shared: a session of its own is not held up.
    let other = parties.session().spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(other).expect("a response").status, 200);
}
