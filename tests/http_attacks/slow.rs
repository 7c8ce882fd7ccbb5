//! Peers that are slow, or stop: what waits for them waits alone, and they lose nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use linkerd_gateway::model::header::SessionProtocol;

use crate::fixture::{Scripted, parties_with, post as upload, scripted, scripted_with};
use crate::support::client::{Stream, header_for};
use crate::support::http::backend::{Backend, Protocol, reply};
use crate::support::http::frames::{self, DATA, END_STREAM, Peer, frame, headers, post};
use crate::support::http::linkerd::{finished, unmarked};
use crate::support::http::scripted::{Head, body, head, ok, say};
use crate::support::http::{TARGET, run};
use crate::support::tcp::{pattern, reset};

fn client(parties: &Scripted) -> Stream {
    let address = parties.parties.gateway.address;
    let mut stream = parties.parties.client.connect(address).expect("a handshake");
    let header = header_for(TARGET, Some(SessionProtocol::Http1));
    stream.write_all(&header).and_then(|()| stream.flush()).expect("sent");
    stream
}

#[test]
fn a_last_response_waits_for_a_client_that_takes_a_break() {
    let parties = scripted();
    let mut client = client(&parties);
    say(&mut client, "GET /long HTTP/1.1\r\nconnection: close\r\n\r\n");
    let mut backend = parties.backend();
    head(&mut backend);
    let long = pattern(3 << 20);
    say(&mut backend, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", long.len()));
    backend.write_all(&long).expect("sent");
    std::thread::sleep(Duration::from_secs(4));
    head(&mut client);
    let mut got = vec![0; long.len()];
    client.read_exact(&mut got).expect("the whole of it");
    assert!(got == long);
}

/// Both are endless as far as the windows go; only who sends all of it first reads then.
#[test]
fn an_upload_goes_on_while_its_response_is_not_read() {
    const UPLOAD: usize = 1 << 20;
    let parties = scripted();
    let mut peer =
        Peer::connect(&parties.parties.client, parties.parties.gateway.address).greet(&[]);
    peer.send(&post(1, "/both"));
    let mut backend = parties.backend();
    head(&mut backend);
    let mut reader = backend.try_clone().expect("a descriptor");
    std::thread::spawn(move || {
        let length = 8 << 20;
        say(&mut backend, &format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"));
        let _ = backend.write_all(&pattern(length));
    });
    let uploaded = std::thread::spawn(move || {
        let (mut got, mut buffer) = (0, vec![0; 65_536]);
        reader.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        while got < UPLOAD {
            let count = reader.read(&mut buffer).unwrap_or_default();
            assert!(count > 0, "stopped after {got} bytes");
            got += count;
        }
    });
    // The response fills what there is of buffers.
    std::thread::sleep(Duration::from_millis(300));
    for _ in 0..UPLOAD / 16_384 {
        peer.send(&frame(DATA, 0, 1, &[7; 16_384]));
    }
    uploaded.join().expect("the whole of it");
}

fn big_and_small() -> Backend {
    let big = Bytes::from(pattern(6 << 20));
    Backend::start(Protocol::H2c, move |seen| {
        let body = if seen.uri.path() == "/big" { big.clone() } else { Bytes::from("small") };
        async move { reply(body) }
    })
}

#[test]
fn clients_that_read_nothing_do_not_stop_others_at_a_shared_connection() {
    let backend = big_and_small();
    let parties = parties_with(&[backend.address], "[runtime]\nworkers = 1");
    let gateway = parties.gateway.address;
    let mut hostile = Peer::connect(&parties.client, gateway).greet(&[(frames::SETTING_WINDOW, 0)]);
    for stream in 0..30 {
        let fields =
            [(":method", "GET"), (":scheme", "http"), (":authority", TARGET), (":path", "/big")];
        hostile.send(&headers(stream * 2 + 1, END_STREAM, &fields));
    }
    std::thread::sleep(Duration::from_millis(1500));
    let session = parties.session();
    let request = || unmarked("GET", "/small").body(Bytes::new()).expect("a request");
    let begun = Instant::now();
    for _ in 0..4 {
        let answer = run(async {
            tokio::time::timeout(Duration::from_secs(5), session.send(request())).await
        });
        let answer = answer.expect("in time").expect("a response");
        assert_eq!(answer.body, "small");
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(hostile);
}

#[test]
fn a_client_that_goes_during_an_upload_that_nobody_reads_leaves_nothing() {
    let parties = scripted();
    let mut client = client(&parties);
    client.sock.set_write_timeout(Some(Duration::from_millis(700))).expect("set");
    say(&mut client, "POST /a HTTP/1.1\r\ncontent-length: 100000000\r\n\r\n");
    let backend = parties.backend();
    let block = vec![7; 1 << 20];
    while client.write_all(&block).is_ok() {}
    reset(client.sock);
    let gateway = &parties.parties.gateway;
    let begun = Instant::now();
    while gateway.metric("gateway_http_requests_in_flight") > 0.0 {
        assert!(begun.elapsed() < Duration::from_secs(12), "the request is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(backend);
}

#[test]
fn a_client_that_goes_with_bytes_behind_its_request_leaves_nothing() {
    let parties = scripted();
    let mut client = client(&parties);
    say(&mut client, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    let backend = parties.backend();
    std::thread::sleep(Duration::from_millis(100));
    reset(client.sock);
    let gateway = &parties.parties.gateway;
    let begun = Instant::now();
    while gateway.metric("gateway_http_requests_in_flight") > 0.0 {
        assert!(begun.elapsed() < Duration::from_secs(12), "the request is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(backend);
}

#[test]
fn a_session_that_never_begins_ends_when_the_gateway_does() {
    let mut parties = scripted();
    let address = parties.parties.gateway.address;
    let silent = Peer::connect(&parties.parties.client, address);
    parties.parties.gateway.eventually("the session", |gateway| {
        gateway
            .get("/metrics")
            .lines()
            .any(|l| l.starts_with("gateway_http_sessions") && l.ends_with(" 1"))
    });
    let begun = Instant::now();
    parties.parties.gateway.signal("TERM");
    assert_eq!(parties.parties.gateway.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(silent);
}

const SHORT: &str = "[limits]\ntcp_user_timeout = \"1s\"";

#[test]
fn an_endpoint_may_take_a_break_in_an_upload() {
    let parties = scripted_with(SHORT);
    let session = parties.session();
    let bytes = pattern(12 << 20);
    let answer = session.spawn(upload("/up", bytes.clone()));
    let mut backend = parties.backend();
    let request = head(&mut backend);
    std::thread::sleep(Duration::from_secs(4));
    let mut got = vec![0; bytes.len()];
    assert_eq!(request.header("content-length"), "");
    read_chunked(&mut backend, &mut got);
    assert!(got == bytes);
    say(&mut backend, &ok("thanks"));
    let answer = finished(answer).expect("a response");
    assert_eq!(answer.status, 200);
}

fn read_chunked(stream: &mut TcpStream, got: &mut [u8]) {
    let head = Head {
        line: String::new(),
        headers: vec![("transfer-encoding".to_owned(), "chunked".to_owned())],
    };
    let mut buffered = std::io::BufReader::new(stream);
    got.copy_from_slice(&body(&mut buffered, &head).0);
}

#[test]
fn an_http_1_client_may_take_a_break_in_a_download() {
    let parties = scripted_with(SHORT);
    let mut client = client(&parties);
    say(&mut client, "GET /long HTTP/1.1\r\n\r\n");
    let mut backend = parties.backend();
    head(&mut backend);
    let long = pattern(16 << 20);
    say(&mut backend, &format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", long.len()));
    let sent = long.clone();
    let sender = std::thread::spawn(move || backend.write_all(&sent));
    std::thread::sleep(Duration::from_secs(4));
    head(&mut client);
    let mut got = vec![0; long.len()];
    client.read_exact(&mut got).expect("the whole of it");
    assert!(got == long);
    sender.join().expect("no panic").expect("sent");
}

/// With small windows nothing can come while the endpoint takes nothing: that is not the client's
/// doing.
#[test]
fn an_endpoint_that_stops_reading_is_not_the_clients_fault() {
    let parties = scripted_with("[http]\nbody_timeout = \"1s\"\nwindow_budget = \"1MiB\"");
    let session = parties.session();
    let answer = session.spawn(upload("/up", pattern(24 << 20)));
    let backend = parties.backend();
    std::thread::sleep(Duration::from_secs(4));
    assert!(!answer.is_finished(), "{:?}", finished(answer));
    drop(backend);
}
