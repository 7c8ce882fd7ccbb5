//! What an operator sees of requests: metrics with Linkerd's names, a line each in the log,
//! sessions and their streams in `/connections`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use serde_json::Value;

use crate::fixture::{get, grpc, parties_with, post, scripted};
use crate::support::gateway::{CLIENT, Gateway};
use crate::support::http::backend::{Backend, Protocol, Reply, reply, saying};
use crate::support::http::frames::{self, ACK, PING, Peer};
use crate::support::http::linkerd::{finished, unmarked};
use crate::support::http::scripted::{head, ok, say};
use crate::support::http::{TARGET, run};

/// The sum of all series of a metric whose labels have all of these.
fn sum(gateway: &Gateway, metric: &str, labels: &[&str]) -> f64 {
    let text = gateway.get("/metrics");
    let series = text.lines().filter(|line| {
        line.starts_with(&format!("{metric}{{")) && labels.iter().all(|l| line.contains(l))
    });
    series.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn requests(gateway: &Gateway) -> Vec<Value> {
    gateway.lines().into_iter().filter(|line| line["message"] == "request").collect()
}

#[test]
fn each_request_is_counted_with_its_target_client_and_end() {
    let backend = saying(Protocol::Http1, "ok");
    let parties = parties_with(&[backend.address], "[log]\naccess_requests = \"all\"");
    let (gateway, session) = (&parties.gateway, parties.session());
    for _ in 0..3 {
        assert_eq!(run(session.send(post("/path?secret=1", "body"))).expect("one").status, 200);
    }
    let unknown = parties.session_to("unknown.test.svc.cluster.local:80");
    assert_eq!(run(unknown.get("/")).expect("an answer").status, 404);
    let whose = [
        &format!("authority=\"{TARGET}\"")[..],
        &format!("client_id=\"{CLIENT}\""),
        "direction=\"inbound\"",
        "tls=\"true\"",
    ];
    gateway.eventually("four requests", |gateway| {
        sum(gateway, "response_total", &["direction=\"inbound\""]) >= 4.0
    });
    assert_eq!(sum(gateway, "request_total", &whose), 3.0);
    let good = [&whose[..], &["status_code=\"200\"", "classification=\"success\""]].concat();
    assert_eq!(sum(gateway, "response_total", &good), 3.0);
    assert_eq!(sum(gateway, "response_latency_ms_count", &whose), 3.0);
    let bucket = [&whose[..], &["le=\"50000\""]].concat();
    assert_eq!(sum(gateway, "response_latency_ms_bucket", &bucket), 3.0);
    assert_eq!(sum(gateway, "inbound_http_errors_total", &["gateway domain invalid"]), 1.0);
    gateway.eventually("none in flight", |gateway| {
        gateway.metric("gateway_http_requests_in_flight") == 0.0
    });
    gateway.eventually("a line each", |gateway| requests(gateway).len() == 4);
    let lines = requests(gateway);
    let first = &lines[0];
    for (key, value) in [
        ("method", "POST"),
        ("path", "/path"),
        ("version", "HTTP/1.1"),
        ("identity", CLIENT),
        ("route", TARGET),
    ] {
        assert_eq!(first[key], value, "{first}");
    }
    assert_eq!((first["status"].as_u64(), first["request_bytes"].as_u64()), (Some(200), Some(4)));
    let last = lines.iter().find(|line| line["status"] == 404).expect("the unknown one");
    assert_eq!((&last["level"], &last["error"]), (&"WARN".into(), &"bad gateway domain".into()));
}

#[test]
fn how_a_call_ended_is_in_its_trailers() {
    let backend = Backend::start(Protocol::H2c, |_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "14".parse().expect("a value"));
        let body = Full::new(Bytes::from_static(b"x")).with_trailers(async { Some(Ok(trailers)) });
        Reply::new(body.boxed())
    });
    let parties = parties_with(&[backend.address], "");
    let session = parties.session();
    let answer = run(session.send(grpc("/a.B/C"))).expect("an answer");
    assert_eq!(answer.trailer("grpc-status"), "14");
    let ended = ["status_code=\"200\"", "grpc_status=\"14\"", "classification=\"failure\""];
    parties.gateway.eventually("it is a failure", |gateway| {
        sum(gateway, "response_total", &ended) == 1.0 && requests(gateway).len() == 1
    });
    assert_eq!(requests(&parties.gateway)[0]["grpc_status"], 14);
}

#[test]
fn sessions_are_listed_with_their_streams_and_end_without_a_trace() {
    let parties = scripted();
    let session = parties.session();
    let answers: Vec<_> = (0..3).map(|_| session.spawn(get("/"))).collect();
    let mut backends: Vec<_> = answers.iter().map(|_| parties.backend()).collect();
    backends.iter_mut().for_each(|backend| drop(head(backend)));
    let gateway = &parties.parties.gateway;
    let listed: Value = serde_json::from_str(&gateway.get("/connections")).expect("JSON");
    let shown = listed.to_string();
    assert!(shown.contains("\"streams\":3") && shown.contains("\"requests\":3"), "{shown}");
    assert!(shown.contains("\"stage\":\"http\"") && shown.contains(TARGET), "{shown}");
    assert_eq!(gateway.metric("gateway_http_requests_in_flight"), 3.0);
    assert!(gateway.metric("gateway_http_windows_bytes") >= 65536.0);
    backends.iter_mut().for_each(|backend| say(backend, &ok("ok")));
    for answer in answers {
        assert_eq!(finished(answer).expect("an answer").status, 200);
    }
    session.abort();
    gateway.eventually("nothing is left", |gateway| {
        gateway.metric("gateway_http_requests_in_flight") == 0.0
            && gateway.metric("gateway_http_sessions{version=\"2\"}") == 0.0
            && gateway.metric("gateway_http_windows_bytes") == 0.0
    });
}

#[test]
fn a_ping_is_answered_at_once_while_all_streams_are_busy() {
    let backend = Backend::start(Protocol::Http1, |_| async { reply("x".repeat(64 * 1024)) });
    let parties = parties_with(&[backend.address], "[runtime]\nworkers = 1");
    let load: Vec<_> = (0..4).map(|_| parties.session()).collect();
    let until = Instant::now() + Duration::from_secs(2);
    let busy = std::thread::spawn(move || {
        let mut served = 0;
        while Instant::now() < until {
            let answers: Vec<_> =
                load.iter().flat_map(|s| (0..25).map(|_| s.spawn(get("/")))).collect();
            served += answers.into_iter().map(finished).filter(Result::is_ok).count();
        }
        served
    });
    let mut peer = Peer::connect(&parties.client, parties.gateway.address).greet(&[]);
    let mut longest = Duration::ZERO;
    while Instant::now() < until {
        let asked = Instant::now();
        peer.send(&frames::frame(PING, 0, 0, b"12345678"));
        while !peer.next().expect("an answer").is(PING, ACK) {}
        longest = longest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    let served = busy.join().expect("no panic");
    assert!(served > 100, "{served} under load");
    // Linkerd's proxy ends a session whose PING is not answered for 3 s.
    assert!(longest < Duration::from_millis(2500), "{longest:?}");
}

#[test]
fn a_hot_endpoint_gets_several_http_2_connections() {
    let backend = Backend::start(Protocol::H2c, |_| async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        reply("ok")
    });
    let parties = parties_with(&[backend.address], "[runtime]\nworkers = 1");
    let sessions: Vec<_> = (0..4).map(|_| parties.session()).collect();
    let request = || unmarked("GET", "/").body(Bytes::new()).expect("a request");
    let one = finished(sessions[0].spawn(request())).expect("an answer");
    assert_eq!((one.status.as_u16(), backend.connections()), (200, 1));
    for _ in 0..2 {
        let answers: Vec<_> =
            (0..180).map(|n| sessions[n % sessions.len()].spawn(request())).collect();
        for answer in answers {
            assert_eq!(finished(answer).expect("an answer").status, 200);
        }
    }
    let connections = backend.connections();
    assert!((2..=4).contains(&connections), "{connections}");
}

#[test]
fn a_session_that_breaks_http_2_ends_as_such() {
    let nowhere = ([127, 0, 0, 1], 9).into();
    let mut parties = parties_with(&[nowhere], "");
    let mut peer = Peer::connect(&parties.client, parties.gateway.address).greet(&[]);
    peer.send(&frames::frame(PING, 0, 0, b"short"));
    let line = parties.gateway.expect("http_protocol_error");
    assert_eq!((&line["level"], &line["identity"]), (&"WARN".into(), &CLIENT.into()));
    assert_ne!(line["detail"].as_str(), None, "{line}");
    let errors = sum(&parties.gateway, "gateway_http_protocol_errors_total", &["protocol_error"]);
    assert_eq!(errors, 1.0);
}
