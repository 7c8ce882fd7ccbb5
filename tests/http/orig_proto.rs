//! Requests go on as what they were before their client's proxy carried them over HTTP/2.

use bytes::Bytes;
use http::Version;

use crate::fixture::{get, parties, post, scripted};
use crate::support::http::backend::{Protocol, saying};
use crate::support::http::linkerd::{finished, marked, unmarked};
use crate::support::http::run;
use crate::support::http::scripted::{head, ok, say};

const NAME: &str = "web.test.svc.cluster.local";

/// The target, whose port may be left out, being HTTP's own.
fn is_target(authority: &str) -> bool {
    authority == NAME || authority == format!("{NAME}:80")
}

#[test]
fn a_marked_request_is_http_1_1_for_the_target() {
    let parties = scripted();
    let request = marked("GET", "/path?q=1&r=%2f")
        .header("x-test", "one")
        .header("x-test", "two")
        .header("te", "trailers")
        .body(Bytes::new());
    let answer = parties.session().spawn(request.expect("a request"));
    let mut backend = parties.backend();
    let head = head(&mut backend);
    assert_eq!(head.line, "GET /path?q=1&r=%2f HTTP/1.1");
    assert!(is_target(&head.header("host")), "{head:?}");
    assert_eq!(head.header("x-test"), "one, two");
    for gone in ["l5d-orig-proto", "te", "connection", "content-length", "transfer-encoding"] {
        assert!(!head.has(gone), "{gone}: {head:?}");
    }
    say(&mut backend, "HTTP/1.1 201 Made\r\ncontent-length: 2\r\nx-answer: yes\r\n\r\nok");
    let answer = finished(answer).expect("a response");
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (201, &b"ok"[..]));
    assert_eq!(answer.header("l5d-orig-proto"), "HTTP/1.1");
    assert_eq!((answer.header("x-answer"), answer.header("content-length")), ("yes", "2"));
}

#[test]
fn the_host_is_the_target_whatever_the_request_says() {
    let parties = scripted();
    let request = http::Request::get("http://other.example.com:8080/")
        .header("l5d-orig-proto", "HTTP/1.1")
        .header("host", "third.example.com")
        .body(Bytes::new());
    let answer = parties.session().spawn(request.expect("a request"));
    let mut backend = parties.backend();
    let head = head(&mut backend);
    assert!(is_target(&head.header("host")), "{head:?}");
    assert_eq!(head.line, "GET / HTTP/1.1");
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
}

#[test]
fn http_1_0_stays_http_1_0() {
    let parties = scripted();
    let request = unmarked("GET", "/").header("l5d-orig-proto", "HTTP/1.0").body(Bytes::new());
    let answer = parties.session().spawn(request.expect("a request"));
    let mut backend = parties.backend();
    assert_eq!(head(&mut backend).line, "GET / HTTP/1.0");
    say(&mut backend, "HTTP/1.0 200 OK\r\n\r\nuntil the end");
    drop(backend);
    let answer = finished(answer).expect("a response");
    assert_eq!(&answer.body[..], b"until the end");
    assert_eq!(answer.header("l5d-orig-proto"), "HTTP/1.0");
}

#[test]
fn an_http_1_0_upload_needs_its_length() {
    let parties = scripted();
    let session = parties.session();
    let upload = || unmarked("POST", "/").header("l5d-orig-proto", "HTTP/1.0");
    let request = upload().body(Bytes::from("body")).expect("a request");
    assert_eq!(run(session.send(request)).expect("a response").status, 411);
    let request = upload().header("content-length", 4).body(Bytes::from("body"));
    let answer = session.spawn(request.expect("a request"));
    let mut backend = parties.backend();
    let head = head(&mut backend);
    assert_eq!((&head.line[..], head.header("content-length")), ("POST / HTTP/1.0", "4".into()));
    assert_eq!(crate::support::http::scripted::body(&mut backend, &head).0, b"body");
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
}

#[test]
fn an_absolute_form_stays_one() {
    let parties = scripted();
    let mark = "HTTP/1.1; absolute-form";
    let request = unmarked("GET", "/path?q").header("l5d-orig-proto", mark).body(Bytes::new());
    let answer = parties.session().spawn(request.expect("a request"));
    let mut backend = parties.backend();
    let head = head(&mut backend);
    let authority = head.line.strip_prefix("GET http://").expect(&head.line);
    let authority = authority.strip_suffix("/path?q HTTP/1.1").expect(&head.line);
    assert!(is_target(authority), "{head:?}");
    assert!(is_target(&head.header("host")), "{head:?}");
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
}

#[test]
fn a_request_without_a_mark_stays_http_2() {
    let backend = saying(Protocol::H2c, "two");
    let parties = parties(&[backend.address]);
    let request = unmarked("POST", "/path?q").header("te", "trailers").header("x-test", "a");
    let request = request.body(Bytes::from("body")).expect("a request");
    let answer = run(parties.session().send(request)).expect("a response");
    assert_eq!(&answer.body[..], b"two");
    assert_eq!(answer.header("l5d-orig-proto"), "");
    let seen = backend.only();
    assert_eq!((seen.version, &seen.body[..]), (Version::HTTP_2, &b"body"[..]));
    assert_eq!(seen.uri.path_and_query().expect("a path"), "/path?q");
    assert!(is_target(seen.uri.authority().expect("an authority").as_str()), "{seen:?}");
    assert_eq!((seen.header("te"), seen.header("x-test")), ("trailers".into(), "a".into()));
}

#[test]
fn an_unknown_mark_leaves_a_request_as_it_is() {
    let backend = saying(Protocol::H2c, "two");
    let parties = parties(&[backend.address]);
    let request = unmarked("GET", "/").header("l5d-orig-proto", "HTTP/3").body(Bytes::new());
    let answer = run(parties.session().send(request.expect("a request"))).expect("a response");
    assert_eq!(&answer.body[..], b"two");
}

#[test]
fn crumbs_of_cookies_are_one_cookie_in_http_1() {
    // RFC 9113 8.2.3.
    let parties = scripted();
    let request = marked("GET", "/").header("cookie", "a=1").header("cookie", "b=2");
    let answer = parties.session().spawn(request.body(Bytes::new()).expect("a request"));
    let mut backend = parties.backend();
    let head = head(&mut backend);
    let cookies: Vec<_> = head.headers.iter().filter(|(name, _)| name == "cookie").collect();
    assert_eq!(cookies, [&("cookie".to_owned(), "a=1; b=2".to_owned())]);
    say(&mut backend, &ok("ok"));
    assert_eq!(finished(answer).expect("a response").status, 200);
}

#[test]
fn headers_of_the_endpoints_connection_stay_there() {
    let parties = scripted();
    let answer = parties.session().spawn(get("/"));
    let mut backend = parties.backend();
    head(&mut backend);
    let reply = "HTTP/1.1 200 OK\r\nconnection: x-hop, keep-alive\r\nx-hop: 1\r\n\
                 keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nupgrade: h2c\r\n\
                 transfer-encoding: chunked\r\nx-end: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    say(&mut backend, reply);
    let answer = finished(answer).expect("a response");
    assert_eq!((&answer.body[..], answer.header("x-end")), (&b"ok"[..], "1"));
    for gone in ["connection", "x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!answer.headers.contains_key(gone), "{gone}: {answer:?}");
    }
    assert!(!answer.headers.contains_key("transfer-encoding"), "{answer:?}");
}

#[test]
fn every_method_and_odd_status_passes() {
    let parties = scripted();
    let session = parties.session();
    let mut answer = session.spawn(post("/0", "x"));
    let mut backend = parties.backend();
    for (number, method) in
        ["PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "GET"].iter().enumerate()
    {
        let head = head(&mut backend);
        assert!(head.line.ends_with(&format!(" /{number} HTTP/1.1")), "{head:?}");
        crate::support::http::scripted::body(&mut backend, &head);
        let status = 400 + number as u16 * 33;
        say(&mut backend, &format!("HTTP/1.1 {status} \r\ncontent-length: 0\r\n\r\n"));
        assert_eq!(finished(answer).expect("a response").status.as_u16(), status);
        let path = format!("/{}", number + 1);
        answer = session.spawn(marked(method, &path).body(Bytes::new()).expect("a request"));
    }
}
