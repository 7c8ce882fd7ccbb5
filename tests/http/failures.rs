//! Endpoints that fail: a status where a response is still possible, else a reset, and never an end
//! that could be taken for a clean one.

use std::time::{Duration, Instant};

use crate::fixture::{get, grpc, parties, post, scripted};
use crate::support::backend::{black_hole, closed_port, serve};
use crate::support::http::backend::{Protocol, saying};
use crate::support::http::linkerd::{Answer, finished};
use crate::support::http::run;
use crate::support::http::scripted::{head, next_head, ok, say};
use crate::support::tcp::reset;

/// An answer of the gateway's own; its client's proxy is told to leave.
fn failed(answer: &Answer, status: u16) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!((answer.body.len(), answer.header("content-length")), (0, "0"));
    assert_ne!(answer.header("l5d-proxy-error"), "");
    assert_eq!(answer.header("l5d-proxy-connection"), "close");
}

#[test]
fn an_endpoint_that_ends_before_its_response_is_a_502() {
    for resets in [false, true] {
        let parties = scripted();
        let answer = parties.session().spawn(post("/", "body"));
        let mut backend = parties.backend();
        let head = head(&mut backend);
        crate::support::http::scripted::body(&mut backend, &head);
        if resets {
            reset(backend);
        } else {
            drop(backend);
        }
        failed(&finished(answer).expect("a response"), 502);
        assert!(!parties.has_connection(), "what may have been served is not sent again");
    }
}

#[test]
fn an_endpoint_that_ends_within_its_head_is_a_502() {
    let parties = scripted();
    let answer = parties.session().spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, "HTTP/1.1 200 OK\r\ncontent-le");
    drop(backend);
    failed(&finished(answer).expect("a response"), 502);
}

#[test]
fn what_is_no_response_is_a_502() {
    let long = format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    for reply in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header: a\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        &long,
    ] {
        let parties = scripted();
        let answer = parties.session().spawn(get("/"));
        let mut backend = parties.backend();
        head(&mut backend);
        let _ = std::io::Write::write_all(&mut backend, reply.as_bytes());
        let answer = finished(answer);
        failed(&answer.unwrap_or_else(|error| panic!("{error} after {reply:.40?}")), 502);
    }
}

#[test]
fn a_body_that_is_cut_is_a_reset_and_the_session_goes_on() {
    for (framing, resets) in [
        ("content-length: 10\r\n\r\nhalf", false),
        ("content-length: 10\r\n\r\nhalf", true),
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", false),
        ("transfer-encoding: chunked\r\n\r\n4\r\nha", true),
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n", false),
        ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n", false),
        ("connection: close\r\n\r\nhalf", true),
    ] {
        let parties = scripted();
        let session = parties.session();
        let answer = session.spawn(get("/"));
        let mut backend = parties.backend();
        head(&mut backend);
        say(&mut backend, &format!("HTTP/1.1 200 OK\r\n{framing}"));
        std::thread::sleep(Duration::from_millis(50));
        if resets {
            reset(backend);
        } else {
            drop(backend);
        }
        let error = finished(answer).expect_err("no clean end");
        assert!(error.is_reset() && error.is_remote(), "{framing}: {error:?}");
        let next = session.spawn(get("/"));
        let mut backend = parties.backend();
        head(&mut backend);
        say(&mut backend, &ok("ok"));
        assert_eq!(finished(next).expect("a response").status, 200);
    }
}

#[test]
fn where_nobody_listens_is_an_error_at_once() {
    let parties = parties(&[closed_port()]);
    let begun = Instant::now();
    let answer = run(parties.session().send(get("/"))).expect("a response");
    assert!([502, 504].contains(&answer.status.as_u16()), "{answer:?}");
    failed(&answer, answer.status.as_u16());
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[test]
fn where_nobody_answers_is_a_504_in_time() {
    let (silent, _sockets) = black_hole();
    let parties = parties(&[silent]);
    let begun = Instant::now();
    failed(&run(parties.session().send(get("/"))).expect("a response"), 504);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn failures_of_grpc_are_told_in_its_own_way() {
    let dies = serve(drop);
    for endpoint in [dies, closed_port()] {
        let parties = parties(&[endpoint]);
        let answer = run(parties.session().send(grpc("/a.B/C"))).expect("a response");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("content-type").starts_with("application/grpc"), "{answer:?}");
        assert!(["14", "4"].contains(&answer.header("grpc-status")), "{answer:?}");
        assert_ne!(answer.header("grpc-message"), "");
        assert_eq!(answer.header("l5d-proxy-connection"), "close");
    }
}

#[test]
fn an_endpoint_of_the_wrong_version_is_an_error_for_its_requests_only() {
    let backend = saying(Protocol::Http1, "one");
    let parties = parties(&[backend.address]);
    let answer = run(parties.session().send(grpc("/a.B/C"))).expect("a response");
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "14"), "{answer:?}");
    assert_eq!(run(parties.session().send(get("/"))).expect("a response").status, 200);
    assert!(backend.seen().len() == 1);
}

#[test]
fn bytes_behind_a_response_are_no_answer_to_the_next_request() {
    let parties = scripted();
    let session = parties.session();
    let answer = session.spawn(get("/first"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &format!("{}{}", ok("first"), ok("forged")));
    assert_eq!(&finished(answer).expect("a response").body[..], b"first");
    let answer = session.spawn(get("/second"));
    let mut second = parties.backend();
    assert_eq!(head(&mut second).line, "GET /second HTTP/1.1");
    say(&mut second, &ok("second"));
    assert_eq!(&finished(answer).expect("a response").body[..], b"second");
    assert_eq!(next_head(&mut backend), None);
}

#[test]
fn lengths_that_contradict_each_other_are_not_believed() {
    // RFC 9112 6.3: chunked counts, and the connection is not used again.
    let parties = scripted();
    let session = parties.session();
    let answer = session.spawn(get("/first"));
    let mut backend = parties.backend();
    head(&mut backend);
    let reply = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
                 2\r\nok\r\n0\r\n\r\n";
    say(&mut backend, reply);
    match finished(answer) {
        Ok(answer) if answer.status == 200 => {
            assert_eq!((&answer.body[..], answer.header("content-length")), (&b"ok"[..], ""));
        }
        Ok(answer) => assert_eq!(answer.status, 502),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    let answer = session.spawn(get("/second"));
    let mut second = parties.backend();
    head(&mut second);
    say(&mut second, &ok("second"));
    assert_eq!(&finished(answer).expect("a response").body[..], b"second");
}
