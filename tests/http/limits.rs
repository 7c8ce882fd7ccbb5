//! Limits on bodies, and windows as large as distance needs.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::fixture::{get, parties, parties_with, post, scripted_with};
use crate::support::http::backend::{Protocol, saying};
use crate::support::http::linkerd::{Session, answer, finished, marked, upload};
use crate::support::http::scripted::{head, ok, say};
use crate::support::http::{delay, run};
use crate::support::tcp::read_to_fault;

#[test]
fn a_body_longer_than_allowed_is_a_413() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = parties_with(&[backend.address], "[http]\nmax_body_size = \"1MiB\"");
    let session = parties.session();
    for (length, status) in [(1 << 20, 200), ((1 << 20) + 1, 413)] {
        let request = marked("POST", "/").header("content-length", length);
        let request = request.body(Bytes::from(vec![0; length])).expect("a request");
        let answer = run(session.send(request)).expect("a response");
        assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    }
    assert_eq!(backend.seen().len(), 1);
    // Without a length it shows only on the way.
    match run(session.send(post("/", vec![0; (1 << 20) + 1]))) {
        Ok(answer) => assert_eq!(answer.status, 413),
        Err(error) => assert!(error.is_reset(), "{error}"),
    }
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_body_that_stops_coming_is_a_408() {
    let parties = scripted_with("[http]\nbody_timeout = \"500ms\"");
    let session = parties.session();
    let request = marked("POST", "/").header("content-length", 10).body(()).expect("a request");
    let (response, mut stream) = run(session.begin(request, false)).expect("a stream");
    stream.send_data(Bytes::from("half"), false).expect("room");
    let mut backend = parties.backend();
    head(&mut backend);
    let answer = run(answer(response)).expect("a response");
    assert_eq!(answer.status, 408, "{answer:?}");
    // Half a body is no request for the endpoint either.
    assert!(read_to_fault(&mut backend).0 == b"half");
}

#[test]
fn a_slow_body_is_no_silent_one() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = parties_with(&[backend.address], "[http]\nbody_timeout = \"1500ms\"");
    let session = parties.session();
    let request = marked("POST", "/").body(()).expect("a request");
    let (response, mut stream) = run(session.begin(request, false)).expect("a stream");
    for number in 0..8 {
        std::thread::sleep(Duration::from_millis(300));
        stream.send_data(Bytes::from("x"), number == 7).expect("room");
    }
    assert_eq!(run(answer(response)).expect("a response").status, 200);
    assert_eq!(&backend.only().body[..], b"xxxxxxxx");
}

#[test]
fn a_long_upload_from_far_away_does_not_wait_for_its_windows() {
    const UPLOAD: usize = 8 << 20;
    const ROUND_TRIP: Duration = Duration::from_millis(100);
    let backend = saying(Protocol::Http1, "ok");
    let parties = parties(&[backend.address]);
    let far = delay::relay(parties.gateway.address, ROUND_TRIP);
    let session = run(Session::open(&parties.client, far));
    // Settings have come, and the connection is warm, as a proxy's is.
    assert_eq!(run(session.get("/")).expect("a response").status, 200);
    let begun = Instant::now();
    let answer = finished(session.spawn(post("/", vec![b'x'; UPLOAD])));
    let took = begun.elapsed();
    assert_eq!(answer.expect("a response").status, 200);
    // 64 KiB per round trip would take 12.8 s.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(backend.seen().last().expect("one").body.len(), UPLOAD);
}

#[test]
fn uploads_are_bounded_by_the_budget_of_all_sessions() {
    // What clients may send without being read is bounded, whatever their number.
    let parties = scripted_with("[http]\nwindow_budget = \"8MiB\"");
    let before = crate::support::process::resident(parties.parties.gateway.pid());
    let sessions: Vec<_> = (0..20).map(|_| parties.session()).collect();
    let mut held = Vec::new();
    for session in &sessions {
        let request = marked("POST", "/").body(()).expect("a request");
        let (response, mut stream) = run(session.begin(request, false)).expect("a stream");
        let sending = crate::support::http::runtime().spawn(async move {
            let _ = upload(&mut stream, vec![0; 32 << 20].into(), true).await;
        });
        held.push((response, sending, parties.backend()));
    }
    std::thread::sleep(Duration::from_secs(3));
    let grown =
        crate::support::process::resident(parties.parties.gateway.pid()).saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more");
}

#[test]
fn more_requests_than_allowed_at_one_time_are_a_503_at_once() {
    let parties = scripted_with("[http]\nmax_requests_in_flight = 2");
    let sessions = [parties.session(), parties.session()];
    let slow: Vec<_> = sessions.iter().map(|session| session.spawn(get("/slow"))).collect();
    let mut backends: Vec<_> = slow.iter().map(|_| parties.backend()).collect();
    let answer = run(sessions[0].get("/")).expect("an answer");
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("l5d-proxy-connection"), "close");
    for backend in &mut backends {
        head(backend);
        say(backend, &ok("ok"));
    }
    for answer in slow {
        assert_eq!(finished(answer).expect("an answer").status, 200);
    }
    // There is room again.
    drop(backends);
    let served = sessions[1].spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(served).expect("an answer").status, 200);
}
