//! Policy on the real binary: decided before anything is dialled, explained offline and live.

#![allow(clippy::expect_used, reason = "test code")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use support::backend;
use support::certs::TestCa;
use support::cli::{gateway as command, refused, succeeds};
use support::client::{Client, half_close, header_for, read_all, refusal};
use support::gateway::{Builder, CLIENT, Gateway};

const WEB: &str = "web.test.svc.cluster.local:80";
const API: &str = "api.test.svc.cluster.local:80";
const RULES: &str = r#"
[[policy.rule]]
name = "nobody reaches api"
action = "deny"
targets = ["api.*.svc.cluster.local:*"]

[[policy.rule]]
name = "default accounts from loopback"
action = "allow"
identities = ["*.default.serviceaccount.identity.linkerd.cluster.local"]
networks = [{ cidr = "127.0.0.0/8", except = ["127.0.0.9/32"] }]
"#;

/// A gateway with two routes, and how many connections reached the services.
fn start(ca: &TestCa) -> (Gateway, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reached);
    let service = backend::serve(move |stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        drop(stream);
    });
    let builder = Builder::new(ca).configure(RULES).route(WEB, &[service]).route(API, &[service]);
    (builder.start(), reached)
}

#[test]
fn what_a_rule_denies_is_refused_before_anything_is_dialled() {
    let ca = TestCa::new("ca");
    let (mut gateway, reached) = start(&ca);
    refusal(&Client::new(&ca), gateway.address, &header_for(API, None));
    let line = gateway.expect("denied");
    assert_eq!((&line["rule"], &line["route"]), (&"nobody reaches api".into(), &API.into()));
    assert!(line["hint"].as_str().is_some_and(|hint| hint.contains("explain")), "{line}");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    let series = "inbound_tcp_authz_deny_total{authz_kind=\"rule\",authz_name=\"nobody reaches api\",tls=\"true\"}";
    assert!((gateway.metric(series) - 1.0).abs() < f64::EPSILON);
}

#[test]
fn what_no_rule_allows_is_denied_once_there_are_rules() {
    let ca = TestCa::new("ca");
    let (mut gateway, reached) = start(&ca);
    let stranger = ca.identity("client.other.serviceaccount.identity.linkerd.cluster.local");
    refusal(&Client::with(&ca, Some(&stranger)), gateway.address, &header_for(WEB, None));
    assert_eq!(gateway.expect("denied")["rule"], "default:deny");
    assert_eq!(reached.load(Ordering::SeqCst), 0);
    let mut stream = Client::new(&ca).open(gateway.address, WEB);
    half_close(&mut stream);
    read_all(&mut stream);
    assert_eq!(gateway.expect("closed")["rule"], "default accounts from loopback");
    assert_eq!(reached.load(Ordering::SeqCst), 1);
}

#[test]
fn explain_says_the_same_offline_and_live() {
    let ca = TestCa::new("ca");
    let (gateway, _) = start(&ca);
    let admin = gateway.admin.to_string();
    let file = gateway.file("gateway.toml");
    let file = file.to_str().expect("UTF-8");
    for (source, target, said) in [
        ("127.0.0.1", WEB, "allowed by default accounts from loopback"),
        ("127.0.0.9", WEB, "denied by default:deny"),
        ("127.0.0.1", API, "denied by nobody reaches api"),
        ("10.0.0.1", WEB, "10.0.0.1 is in none of its networks"),
        ("127.0.0.1", "localhost:80", "allowed by default accounts from loopback"),
    ] {
        let ask = ["explain", "--identity", CLIENT, "--source", source, "--target", target];
        let offline = succeeds(&command(&[&ask[..], &["--config", file]].concat(), b""));
        let live = succeeds(&command(&[&ask[..], &["--admin", &admin]].concat(), b""));
        assert_eq!(offline, live);
        assert!(offline.contains(said), "{offline}");
    }
    let ask = ["explain", "--identity", "a b", "--source", "127.0.0.1", "--target", WEB];
    refused(&command(&ask, b""), "malformed");
}

const REQUEST_RULES: &str = r#"
[[policy.rule]]
name = "no admin"
action = "deny"
targets = ["api.*.svc.cluster.local:*"]
paths = ["/admin/*"]

[[policy.rule]]
name = "reading"
action = "allow"
methods = ["GET", "HEAD"]
paths = ["/api/*", "/healthz"]
"#;

/// A gateway with rules about requests.
fn start_with_request_rules(ca: &TestCa) -> Gateway {
    let nowhere = ([127, 0, 0, 1], 1).into();
    let builder = Builder::new(ca).configure(REQUEST_RULES);
    builder.route(WEB, &[nowhere]).route(API, &[nowhere]).start()
}

#[test]
fn explain_tells_requests_from_relays() {
    let ca = TestCa::new("ca");
    let gateway = start_with_request_rules(&ca);
    let (admin, file) = (gateway.admin.to_string(), gateway.file("gateway.toml"));
    let file = file.to_str().expect("UTF-8");
    let unseen = "a relay of bytes, whose requests are not seen";
    let either_way = "services may read differently";
    for (target, request, said) in [
        (WEB, "", ["denied by default:deny", unseen, "reading: it names methods or paths, and"]),
        (API, "", ["denied by no admin", unseen, "no admin: decides; it names methods or paths"]),
        (WEB, "GET /%61pi?x", ["allowed by reading", "asked: GET /%61pi?x, compared as /api", ""]),
        (
            WEB,
            "HEAD /healthz",
            ["allowed by reading", "asked: HEAD /healthz\n", "reading: decides"],
        ),
        (WEB, "POST /apix", ["denied by", "POST is none of its methods; /apix is none of its", ""]),
        (API, "GET /admin/x", ["denied by no admin", "> 0 deny no admin: decides\n", ""]),
        (API, "GET /api", ["allowed by reading", "no admin: /api is none of its paths", ""]),
        (API, "GET /api//x", ["denied by no admin", either_way, ""]),
        (WEB, "GET /api/..;/x", ["denied by default:deny", either_way, "none of its paths"]),
        (WEB, " /api", ["allowed by reading", "asked: GET /api\n", ""]),
        (WEB, "HEAD ", ["denied by default:deny", "asked: HEAD /\n", ""]),
    ] {
        let mut ask =
            vec!["explain", "--identity", CLIENT, "--source", "127.0.0.1", "--target", target];
        let (method, path) = request.split_once(' ').unwrap_or_default();
        for (flag, value) in [("--method", method), ("--path", path)] {
            ask.extend([flag, value].iter().filter(|_| !value.is_empty()));
        }
        let offline = succeeds(&command(&[&ask[..], &["--config", file]].concat(), b""));
        let live = succeeds(&command(&[&ask[..], &["--admin", &admin]].concat(), b""));
        assert_eq!(offline, live);
        said.iter().for_each(|said| assert!(offline.contains(said), "{request}: {offline}"));
    }
    let ask = ["explain", "--identity", CLIENT, "--source", "127.0.0.1", "--target", WEB];
    refused(&command(&[&ask[..], &["--method", "G T"]].concat(), b""), "no token");
    let policy = gateway.get("/policy");
    assert!(
        policy.contains(r#""methods":["GET","HEAD"],"paths":["/api/*","/healthz"]"#),
        "{policy}"
    );
    assert!(gateway.get("/config_dump").contains(r#""paths":["/admin/*"]"#));
}

#[test]
fn rules_about_requests_allow_no_relay_of_bytes_and_deny_all() {
    let ca = TestCa::new("ca");
    let mut gateway = start_with_request_rules(&ca);
    for (target, rule) in [(API, "no admin"), (WEB, "default:deny")] {
        refusal(&Client::new(&ca), gateway.address, &header_for(target, None));
        assert_eq!(gateway.expect("denied")["rule"], rule);
    }
}
