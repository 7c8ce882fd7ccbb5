//! What the gateway says of a request, and what nobody else may say.

use bytes::Bytes;
use http::Request;

use crate::fixture::{Parties, grpc, parties};
use crate::support::gateway::{Builder, CLIENT, GATEWAY};
use crate::support::http::TARGET;
use crate::support::http::backend::{Backend, Protocol, Seen, saying};
use crate::support::http::linkerd::{Answer, marked, unmarked};
use crate::support::http::run;

const OTHER: &str = "other.test.svc.cluster.local:80";

/// What arrives of a marked and of an unmarked request with these headers.
fn arrives(headers: &[(&str, &str)]) -> [Seen; 2] {
    let with = |mut request: http::request::Builder| {
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Bytes::new()).expect("a request")
    };
    [(Protocol::Http1, with(marked("GET", "/"))), (Protocol::H2c, with(unmarked("GET", "/")))].map(
        |(protocol, request)| {
            let backend = saying(protocol, "ok");
            let parties = parties(&[backend.address]);
            let answer = run(parties.session().send(request)).expect("a response");
            assert_eq!(answer.status, 200, "{answer:?}");
            backend.only()
        },
    )
}

/// The element that the gateway appends.
fn element() -> String {
    format!("by={GATEWAY};for={CLIENT};host=web.test.svc.cluster.local;proto=https")
}

#[test]
fn a_request_says_whose_it_is() {
    for seen in arrives(&[]) {
        assert_eq!(seen.header("l5d-client-id"), CLIENT);
        assert_eq!(seen.header("forwarded"), element());
    }
}

#[test]
fn a_client_cannot_be_somebody_else() {
    let spoofed = [("l5d-client-id", "admin.example.com"), ("l5d-client-id", "root.example.com")];
    for seen in arrives(&spoofed) {
        assert_eq!(seen.header("l5d-client-id"), CLIENT);
    }
}

#[test]
fn forwarded_grows_at_its_end() {
    for seen in arrives(&[("forwarded", "for=a;by=b"), ("forwarded", "for=\"c, d\"")]) {
        let forwarded = seen.header("forwarded");
        assert_eq!(forwarded, format!("for=a;by=b, for=\"c, d\", {}", element()));
    }
}

#[test]
fn a_client_cannot_choose_another_destination() {
    let backend = saying(Protocol::Http1, "web");
    let other = saying(Protocol::Http1, "other");
    let ca = crate::support::certs::TestCa::new("ca");
    let gateway =
        Builder::new(&ca).route(TARGET, &[backend.address]).route(OTHER, &[other.address]).start();
    let client = crate::support::client::Client::new(&ca);
    let parties = Parties { client, gateway };
    let request = Request::get(format!("http://{OTHER}/"))
        .header("l5d-orig-proto", "HTTP/1.1")
        .header("l5d-dst-override", OTHER)
        .header("l5d-dst-canonical", OTHER)
        .header("host", OTHER)
        .body(Bytes::new());
    let answer = run(parties.session().send(request.expect("a request"))).expect("a response");
    assert_eq!(&answer.body[..], b"web");
    assert_eq!(other.seen().len(), 0);
    // A meshed endpoint's proxy would act on it.
    assert_eq!(backend.only().header("l5d-dst-override"), "");
}

fn asked(parties: &Parties, target: &str, request: Request<Bytes>) -> Answer {
    run(parties.session_to(target).send(request)).expect("a response")
}

#[test]
fn what_no_route_has_is_a_404_at_once() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = parties(&[backend.address]);
    for target in ["unknown.test.svc.cluster.local:80", "web.test.svc.cluster.local:81"] {
        let begun = std::time::Instant::now();
        let request = marked("GET", "/").body(Bytes::new()).expect("a request");
        let answer = asked(&parties, target, request);
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!((answer.header("content-length"), answer.body.len()), ("0", 0));
        assert_eq!(answer.header("l5d-proxy-error"), "bad gateway domain");
        assert_eq!(answer.header("l5d-proxy-connection"), "");
        assert!(begun.elapsed() < std::time::Duration::from_millis(500), "{:?}", begun.elapsed());
        let answer = asked(&parties, target, grpc("/a.B/C"));
        assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "5"));
        assert!(answer.header("content-type").starts_with("application/grpc"), "{answer:?}");
        assert_eq!(answer.header("grpc-message"), "bad gateway domain");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_request_that_comes_back_is_a_loop() {
    let backend = saying(Protocol::H2c, "ok");
    let parties = parties(&[backend.address]);
    let first = "by=other.example.com;for=a;host=web.test.svc.cluster.local;proto=https";
    for forwarded in [element(), format!("{first}, {}", element())] {
        let request = marked("GET", "/").header("forwarded", &forwarded).body(Bytes::new());
        let answer = asked(&parties, TARGET, request.expect("a request"));
        assert_eq!(answer.status, 508, "{answer:?}");
        assert_eq!(answer.header("l5d-proxy-error"), "gateway loop detected");
        assert_eq!(answer.header("l5d-proxy-connection"), "close");
        let mut request = grpc("/a.B/C");
        request.headers_mut().insert("forwarded", forwarded.parse().expect("a value"));
        let answer = asked(&parties, TARGET, request);
        assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "10"));
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_request_that_another_target_of_ours_has_seen_is_no_loop() {
    // Gateways of several clusters may share one identity.
    let elsewhere = format!("by={GATEWAY};for=a;host=other.test.svc.cluster.local;proto=https");
    for seen in arrives(&[("forwarded", &elsewhere)]) {
        assert_eq!(seen.header("forwarded"), format!("{elsewhere}, {}", element()));
    }
}

#[test]
fn many_headers_arrive_in_order_and_unchanged() {
    let backend = Backend::start(Protocol::Http1, |seen: Seen| async move {
        let mut reply = crate::support::http::backend::reply("ok");
        for (name, value) in &seen.headers {
            if name.as_str().starts_with("x-") {
                reply.headers_mut().append(name, value.clone());
            }
        }
        reply
    });
    let parties = parties(&[backend.address]);
    let mut request = marked("GET", "/");
    for number in 0..60 {
        request = request.header(format!("x-{}", number % 20), format!("value {number}"));
    }
    let request = request.body(Bytes::new()).expect("a request");
    let expected: Vec<_> = (0..20).map(|n| request.headers().get_all(format!("x-{n}"))).collect();
    let answer = run(parties.session().send(request.clone())).expect("a response");
    for (number, values) in expected.into_iter().enumerate() {
        let got = answer.headers.get_all(format!("x-{number}"));
        assert!(got.iter().eq(values.iter()), "x-{number}: {answer:?}");
    }
}
