//! Connections to endpoints: used again, one request at a time, and never a dead one's loss.

use std::time::Duration;

use bytes::Bytes;

use crate::fixture::{get, parties, parties_with, post, scripted};
use crate::support::backend::serve;
use crate::support::http::backend::{Backend, Protocol, reply, saying};
use crate::support::http::linkerd::{finished, unmarked};
use crate::support::http::run;
use crate::support::http::scripted::{body, head, next_head, ok, say};

#[test]
fn requests_one_after_the_other_share_a_connection() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = parties(&[backend.address]);
    let session = parties.session();
    for _ in 0..20 {
        assert_eq!(run(session.get("/")).expect("a response").status, 200);
        assert_eq!(run(session.send(post("/", "body"))).expect("a response").status, 200);
    }
    assert_eq!(backend.seen().len(), 40);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn requests_at_one_time_have_a_connection_each_in_http_1() {
    let parties = scripted();
    let session = parties.session();
    let answers: Vec<_> = (0..5).map(|n| session.spawn(get(&format!("/{n}")))).collect();
    // None of them is answered before all have come.
    let mut backends: Vec<_> = answers.iter().map(|_| parties.backend()).collect();
    for backend in backends.iter_mut().rev() {
        let line = head(backend).line;
        say(backend, &ok(&line));
    }
    for (number, answer) in answers.into_iter().enumerate() {
        let answer = finished(answer).expect("a response");
        assert_eq!(answer.body, format!("GET /{number} HTTP/1.1"));
    }
}

#[test]
fn requests_at_one_time_share_a_connection_in_http_2() {
    let backend = Backend::start(Protocol::H2c, |_| async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        reply("ok")
    });
    let parties = parties(&[backend.address]);
    let session = parties.session();
    let request = || unmarked("GET", "/").body(Bytes::new()).expect("a request");
    assert_eq!(finished(session.spawn(request())).expect("a response").status, 200);
    let answers: Vec<_> = (0..50).map(|_| session.spawn(request())).collect();
    for answer in answers {
        assert_eq!(finished(answer).expect("a response").status, 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn sessions_share_connections_too() {
    let backend = saying(Protocol::Http1, "ok");
    // Pools belong to workers.
    let parties = parties_with(&[backend.address], "[runtime]\nworkers = 1");
    for _ in 0..5 {
        assert_eq!(run(parties.session().get("/")).expect("a response").status, 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_connection_that_the_endpoint_has_closed_loses_no_request() {
    // Each connection takes one request and is closed without having said so.
    let endpoint = serve(|mut stream| {
        if let Some(request) = next_head(&mut stream) {
            body(&mut stream, &request);
            say(&mut stream, &ok("once"));
        }
    });
    let parties = parties(&[endpoint]);
    let session = parties.session();
    for number in 0..30 {
        let request = if number % 2 == 0 { get("/") } else { post("/", "body") };
        let answer = run(session.send(request)).expect("a response");
        assert_eq!(answer.status, 200, "request {number}: {answer:?}");
        // The end has come when the next one begins.
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_connection_that_says_close_is_not_used_again() {
    let parties = scripted();
    let session = parties.session();
    for reply in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let answer = session.spawn(get("/"));
        let mut backend = parties.backend();
        head(&mut backend);
        say(&mut backend, reply);
        assert_eq!(&finished(answer).expect("a response").body[..], b"ok");
        assert_eq!(next_head(&mut backend), None);
    }
}

#[test]
fn a_connection_without_requests_is_closed_in_time() {
    let parties = crate::fixture::scripted_with("[http]\npool_idle_timeout = \"300ms\"");
    let session = parties.session();
    let answer = session.spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    let begun = std::time::Instant::now();
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
    assert_eq!(next_head(&mut backend), None);
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(290) && took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn waiting_connections_are_bounded() {
    let backend = Backend::start(Protocol::Http1, |_| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        reply("ok")
    });
    let toml =
        "[runtime]\nworkers = 1\n[http]\nmax_idle_connections = 2\npool_idle_timeout = \"1m\"";
    let parties = parties_with(&[backend.address], toml);
    let session = parties.session();
    let answers: Vec<_> = (0..8).map(|_| session.spawn(get("/"))).collect();
    for answer in answers {
        assert_eq!(finished(answer).expect("a response").status, 200);
    }
    assert_eq!(backend.connections(), 8);
    let kept = |parties: &crate::fixture::Parties| {
        let sockets = crate::support::process::sockets(parties.gateway.pid());
        let Ok(sockets) = sockets else { return 2 };
        let to = |socket: &socket2::Socket| socket.peer_addr().ok().and_then(|a| a.as_socket());
        sockets.iter().filter(|socket| to(socket) == Some(backend.address)).count()
    };
    parties.gateway.eventually("the end of all but two", |_| kept(&parties) <= 2);
}
