//! Policy for each request: rules that name methods and paths, also in sessions that live on.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;

use crate::fixture::{Parties, get, grpc, parties_with, post};
use crate::support::http::backend::{Protocol, saying};
use crate::support::http::linkerd::{Answer, Session, marked};
use crate::support::http::run;
use crate::support::process::replace;

const RULES: &str = r#"
[[policy.rule]]
name = "no admin"
action = "deny"
paths = ["/admin", "/admin/*"]

[[policy.rule]]
name = "reading"
action = "allow"
methods = ["GET"]

[[policy.rule]]
name = "writing"
action = "allow"
methods = ["POST"]
paths = ["/inbox", "/a.B/Allowed"]
"#;

fn start(endpoint: SocketAddr) -> Parties {
    parties_with(&[endpoint], RULES)
}

fn asked(session: &Session, request: Request<Bytes>) -> Answer {
    run(session.send(request)).expect("a response")
}

fn denied(answer: &Answer) {
    assert_eq!((answer.status.as_u16(), answer.body.len()), (403, 0), "{answer:?}");
    assert_ne!(answer.header("l5d-proxy-error"), "");
    assert_eq!(answer.header("l5d-proxy-connection"), "");
}

#[test]
fn each_request_of_a_session_is_decided_on_its_own() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = start(backend.address);
    let session = parties.session();
    assert_eq!(asked(&session, get("/")).status, 200);
    denied(&asked(&session, post("/", "body")));
    assert_eq!(asked(&session, post("/inbox", "body")).status, 200);
    denied(&asked(&session, get("/admin")));
    denied(&asked(&session, get("/admin/users?all")));
    denied(&asked(&session, marked("DELETE", "/inbox").body(Bytes::new()).expect("a request")));
    assert_eq!(asked(&session, get("/administrator")).status, 200);
    assert_eq!(backend.seen().len(), 3);
}

#[test]
fn a_path_cannot_be_spelled_around_a_rule() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = start(backend.address);
    let session = parties.session();
    for path in
        ["/%61dmin", "/x/../admin", "//admin", "/./admin", "/admin/", "/admin?x", "/x/%2e%2e/admin"]
    {
        let answer = asked(&session, get(path));
        assert!([400, 403].contains(&answer.status.as_u16()), "{path}: {answer:?}");
    }
    assert_eq!(backend.seen().len(), 0);
}

#[test]
fn grpc_is_told_in_its_own_way() {
    let backend = saying(Protocol::H2c, "ok");
    let parties = start(backend.address);
    let session = parties.session();
    let answer = asked(&session, grpc("/a.B/Denied"));
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "7"), "{answer:?}");
    assert_eq!(asked(&session, grpc("/a.B/Allowed")).status, 200);
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_session_that_lives_sees_a_reload() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = start(backend.address);
    let session = parties.session();
    denied(&asked(&session, post("/", "body")));
    let file = parties.gateway.file("gateway.toml");
    let old = std::fs::read_to_string(&file).expect("it was written");
    replace(&file, old.replace(r#"methods = ["GET"]"#, r#"methods = ["POST"]"#));
    parties.gateway.signal("HUP");
    parties.gateway.eventually("the new rules", |_| asked(&session, get("/")).status == 403);
    assert_eq!(asked(&session, post("/", "body")).status, 200);
    replace(&file, old);
    parties.gateway.signal("HUP");
    parties.gateway.eventually("the old rules", |_| asked(&session, get("/")).status == 200);
    denied(&asked(&session, post("/", "body")));
}

#[test]
fn a_client_whom_no_rule_allows_is_denied_every_request() {
    let backend = saying(Protocol::Http1, "ok");
    let rules = "[[policy.rule]]\nname = \"others\"\naction = \"allow\"\n\
                 identities = [\"other.default.serviceaccount.identity.linkerd.cluster.local\"]";
    let parties = parties_with(&[backend.address], rules);
    let session = parties.session();
    denied(&asked(&session, get("/")));
    denied(&asked(&session, post("/", "body")));
    assert_eq!(backend.connections(), 0);
}
