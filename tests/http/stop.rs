//! A session's end by the gateway's own will: announced, in two steps, and without a loss.

use std::io::Write;
use std::time::{Duration, Instant};

use linkerd_gateway::model::header::SessionProtocol;

use crate::fixture::{get, parties_with, scripted, scripted_with};
use crate::support::client::header_for;
use crate::support::http::TARGET;
use crate::support::http::backend::{Protocol, saying};
use crate::support::http::frames::{self, DATA, END_STREAM, GOAWAY, HEADERS, Peer, frame, post};
use crate::support::http::linkerd::finished;
use crate::support::http::run;
use crate::support::http::scripted::{body, head, next_head, ok, say};

/// The last stream that a first GOAWAY takes: any.
const ANY: u32 = (1 << 31) - 1;

/// Reads to the next GOAWAY. The last stream it takes.
fn goaway(peer: &mut Peer) -> u32 {
    loop {
        let frame = peer.next().expect("GOAWAY");
        if frame.kind == GOAWAY {
            assert_eq!(frame.code(), frames::NO_ERROR);
            return frame.number();
        }
    }
}

#[test]
fn term_asks_sessions_to_end_and_lets_their_requests_finish() {
    let mut parties = scripted();
    let mut peer =
        Peer::connect(&parties.parties.client, parties.parties.gateway.address).greet(&[]);
    peer.send(&post(1, "/slow"));
    let mut backend = parties.backend();
    let slow = head(&mut backend);
    parties.parties.gateway.signal("TERM");
    // First all requests are taken that may be under way, then no more.
    assert_eq!(goaway(&mut peer), ANY);
    peer.send(&frames::get(3, "/late"));
    let mut late = parties.backend();
    assert_eq!(head(&mut late).line, "GET /late HTTP/1.1");
    assert!((3..ANY).contains(&goaway(&mut peer)));
    say(&mut late, &ok("late"));
    peer.send(&frame(DATA, END_STREAM, 1, b"body"));
    assert_eq!(body(&mut backend, &slow).0, b"body");
    say(&mut backend, &ok("slow"));
    let (mut ended, mut statuses) = (0, 0);
    while let Some(frame) = peer.next() {
        ended +=
            usize::from(frame.flags & END_STREAM != 0 && [DATA, HEADERS].contains(&frame.kind));
        statuses += usize::from(frame.status() == Some(200));
    }
    assert_eq!((ended, statuses), (2, 2), "{:?}", peer.end);
    assert_eq!(peer.end.as_deref(), Some("a clean end"));
    assert_eq!(parties.parties.gateway.wait().code(), Some(0));
}

#[test]
fn a_session_without_requests_ends_at_once() {
    let mut parties = scripted();
    let mut session = parties.session();
    let answer = session.spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
    let begun = Instant::now();
    parties.parties.gateway.signal("TERM");
    run(session.wait_for_end()).expect("a clean end");
    assert_eq!(parties.parties.gateway.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn an_http_1_session_is_told_with_its_response() {
    let mut parties = scripted();
    let gateway = &parties.parties.gateway;
    let mut client = parties.parties.client.connect(gateway.address).expect("a handshake");
    client.write_all(&header_for(TARGET, Some(SessionProtocol::Http1))).expect("sent");
    say(&mut client, "GET / HTTP/1.1\r\n\r\n");
    let mut backend = parties.backend();
    head(&mut backend);
    parties.parties.gateway.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    say(&mut backend, &ok("ok"));
    let response = head(&mut client);
    assert_eq!(
        (&response.line[..], response.header("connection")),
        ("HTTP/1.1 200 OK", "close".into())
    );
    assert_eq!(body(&mut client, &response).0, b"ok");
    assert_eq!(next_head(&mut client), None);
    assert_eq!(parties.parties.gateway.wait().code(), Some(0));
}

#[test]
fn a_request_that_outlives_the_deadline_is_cut() {
    let mut parties = scripted_with(
        "[gateway]\nlisten = [\"127.0.0.1:0\"]\nlame_duck = \"0s\"\ndrain_deadline = \"1s\"",
    );
    let answer = parties.session().spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    let begun = Instant::now();
    parties.parties.gateway.signal("TERM");
    finished(answer).expect_err("no clean end");
    parties.parties.gateway.wait();
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn an_old_session_is_asked_to_end_and_loses_nothing() {
    let parties = scripted_with("[http]\nmax_connection_age = \"1s\"");
    let begun = Instant::now();
    let mut peer =
        Peer::connect(&parties.parties.client, parties.parties.gateway.address).greet(&[]);
    peer.send(&frames::get(1, "/"));
    let mut backend = parties.backend();
    head(&mut backend);
    assert_eq!(goaway(&mut peer), ANY);
    let age = begun.elapsed();
    assert!(age > Duration::from_millis(850) && age < Duration::from_secs(4), "{age:?}");
    say(&mut backend, &ok("ok"));
    assert_eq!(peer.status(1), 200);
    while peer.next().is_some() {}
    assert_eq!(peer.end.as_deref(), Some("a clean end"));
}

#[test]
fn requests_one_after_the_other_survive_any_age() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = parties_with(&[backend.address], "[http]\nmax_connection_age = \"1s\"");
    let until = Instant::now() + Duration::from_secs(4);
    let (mut session, mut sessions) = (parties.session(), 1);
    while Instant::now() < until {
        match run(session.get("/")) {
            Ok(answer) => assert_eq!(answer.status, 200),
            Err(error) => {
                let asked = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
                assert!(asked, "{error:?}");
                session = parties.session();
                sessions += 1;
            }
        }
    }
    assert!((2..=7).contains(&sessions), "{sessions}");
}
