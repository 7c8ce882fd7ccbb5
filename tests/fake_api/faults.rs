//! Faults on demand: they hit what they are meant for, as often as they are meant to.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::client::{JSON, PATIENCE, Plain, SERVICES, client, config_map, web};
use crate::support::http::run;
use crate::support::kubernetes::{FakeApi, Fault, Matcher, Rules, Times, objects};

#[test]
fn refusals_on_demand() {
    let api = Plain::start();
    api.inject(Matcher::new("create", "services"), Fault::TooManyRequests(7), Times::Next(2));
    for _ in 0..2 {
        let answer = api.post(SERVICES, &web());
        assert_eq!(answer.why(), (429, "TooManyRequests".into()));
        assert_eq!(answer.headers["retry-after"], "7");
        assert_eq!(answer.json()["details"]["retryAfterSeconds"], 7);
    }
    api.post(SERVICES, &web()).ok();
    let matcher = Matcher::resource("services").name("web").token(&api.token).namespace("test");
    api.inject(matcher, Fault::Status(503), Times::Always);
    for _ in 0..3 {
        let answer = api.get(&format!("{SERVICES}/web"));
        assert_eq!(answer.why(), (503, "ServiceUnavailable".into()));
    }
    api.get(SERVICES).ok();
    assert_eq!(api.get(&format!("{SERVICES}/other")).why().0, 404);
    api.clear_faults();
    api.get(&format!("{SERVICES}/web")).ok();
    api.inject(Matcher::any(), Fault::Status(500), Times::Next(1));
    assert_eq!(api.get(SERVICES).why(), (500, "InternalError".into()));
    assert_eq!(api.counts()["create services test/web"], 3);
}

#[test]
fn answers_that_are_late_or_never_come() {
    let api = Plain::start();
    let delay = Duration::from_millis(300);
    api.inject(Matcher::any(), Fault::Delay(delay), Times::Next(1));
    let begin = Instant::now();
    api.get(SERVICES).ok();
    assert!(begin.elapsed() >= delay);
    api.inject(Matcher::any(), Fault::Hang, Times::Next(1));
    let answer = run(async { timeout(delay, api.send("GET", SERVICES, "", String::new())).await });
    assert!(answer.is_err(), "no answer");
    api.get(SERVICES).ok();
}

#[test]
fn answers_that_break_or_end_too_early() {
    let api = Plain::start();
    api.create(web());
    api.inject(Matcher::new("list", ""), Fault::Cut, Times::Next(1));
    let response = run(api.send("GET", SERVICES, "", String::new())).expect("a head");
    let body =
        run(async { timeout(PATIENCE, response.into_body().collect()).await }).expect("in time");
    assert!(body.is_err(), "the body breaks off");
    api.inject(Matcher::new("list", ""), Fault::Truncated, Times::Next(1));
    let answer = api.get(SERVICES);
    assert_eq!(answer.status, 200);
    assert!(serde_json::from_str::<Value>(&answer.text).is_err(), "{}", answer.text);
    api.get(SERVICES).ok();
    api.inject(Matcher::new("create", ""), Fault::Cut, Times::Next(1));
    let other = objects::service("test", "other", &[("a", 1, 1)]);
    let response = run(api.send("POST", SERVICES, JSON, other.to_string())).expect("a head");
    assert!(run(response.into_body().collect()).is_err());
    assert!(api.api.get("Service", "test", "other").is_some(), "done, but not answered");
    for fault in [Fault::Cut, Fault::Truncated] {
        api.inject(Matcher::new("watch", "services"), fault.clone(), Times::Next(1));
        let mut watch = api.watch(&format!("{SERVICES}?watch=1"));
        if fault == Fault::Cut {
            assert_eq!(watch.line(), "ADDED other");
        }
        assert_eq!(watch.try_next(), Err(()), "{fault:?}");
    }
}

#[test]
fn something_happens_between_a_check_and_a_write() {
    let api = Plain::start();
    let race = |api: &crate::support::kubernetes::Cluster| {
        api.create(objects::labelled(web(), "owner", "somebody"));
    };
    api.before(Matcher::new("create", "services").name("web"), race);
    let other = objects::service("test", "other", &[("a", 1, 1)]);
    api.post(SERVICES, &other).ok();
    assert!(api.api.get("Service", "test", "web").is_none(), "not before another write");
    assert_eq!(api.post(SERVICES, &web()).why(), (409, "AlreadyExists".into()));
    let found = api.api.get("Service", "test", "web").expect("the foreign one");
    assert_eq!(found["metadata"]["labels"]["owner"], "somebody");
}

#[test]
fn a_server_restarts_at_its_port_with_its_objects() {
    let api = Plain::start();
    api.create(web());
    let version = api.version();
    let mut watch = api.watch(&format!("{SERVICES}?watch=1&resourceVersion={version}"));
    api.stop();
    assert_eq!(watch.try_next(), Err(()));
    assert!(std::net::TcpStream::connect(api.url().replace("http://", "")).is_err());
    api.serve();
    api.get(&format!("{SERVICES}/web")).ok();
    api.disconnect();
    // Restored from a backup: versions begin again further back.
    api.restart_at(500);
    assert_eq!(api.get(SERVICES).ok()["metadata"]["resourceVersion"], "500");
    assert_eq!(api.get(&format!("{SERVICES}?resourceVersion={version}")).why().0, 504);
    api.create(config_map("m"));
    assert_eq!(api.version(), 501);
}

#[test]
fn connections_break_on_demand() {
    let api = Plain::start();
    let mut watch = api.watch(&format!("{SERVICES}?watch=1"));
    api.create(web());
    assert_eq!(watch.line(), "ADDED web");
    api.disconnect();
    assert_eq!(watch.try_next(), Err(()));
}

#[test]
fn another_certificate_is_not_trusted() {
    let api = FakeApi::start();
    let token = api.token("admin", Rules::all());
    let (old, list) = (client(&api, &token), ListParams::default());
    run(async {
        let services: Api<Service> = Api::all(old.clone());
        services.list(&list).await.expect("a list over TLS");
    });
    api.change_certificate();
    api.disconnect();
    let new = client(&api, &token);
    run(async {
        let services: Api<Service> = Api::all(old);
        assert!(services.list(&list).await.is_err(), "the old authority is not this one's");
        let services: Api<Service> = Api::all(new);
        services.list(&list).await.expect("a list with the new one");
    });
}

/// The code of a refusal.
fn code<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("no refusal: {other:?}"),
    }
}

#[test]
fn the_gateways_client_understands_refusals() {
    let api = FakeApi::start();
    api.create(objects::namespace("test"));
    let token = api.token("admin", Rules::all());
    let services: Api<Service> = Api::namespaced(client(&api, &token), "test");
    run(async {
        let post = PostParams::default();
        let new: Service = serde_json::from_value(web()).expect("a Service");
        let made = services.create(&post, &new).await.expect("created");
        assert_eq!(code(services.create(&post, &new).await), 409);
        let mut stale = made.clone();
        stale.metadata.resource_version = Some("1".into());
        assert_eq!(code(services.replace("web", &post, &stale).await), 409);
        let patch = json!({ "metadata": { "resourceVersion": "1", "labels": { "a": "1" } } });
        let patched = services.patch("web", &PatchParams::default(), &Patch::Merge(&patch)).await;
        assert_eq!(code(patched), 409);
        let apply = PatchParams::apply("test").force();
        assert_eq!(code(services.patch("web", &apply, &Patch::Apply(&new)).await), 415);
        let conditions = Preconditions { uid: Some("other".into()), resource_version: None };
        let delete = DeleteParams::default().preconditions(conditions);
        assert_eq!(code(services.delete("web", &delete).await), 409);
        let conditions = Preconditions { uid: made.metadata.uid, resource_version: None };
        let delete = DeleteParams::default().preconditions(conditions);
        services.delete("web", &delete).await.expect("deleted");
        api.inject(Matcher::any(), Fault::TooManyRequests(1), Times::Always);
        assert_eq!(code(services.get("web").await), 429);
        api.clear_faults();
        api.allow(&token, Rules::none());
        assert_eq!(code(services.get("web").await), 403);
        api.revoke(&token);
        assert_eq!(code(services.get("web").await), 401);
    });
    assert_eq!(api.denied().len(), 1);
}

#[test]
fn many_writes_at_once_over_tls() {
    const COUNT: usize = 2000;
    let api = FakeApi::start();
    api.create(objects::namespace("test"));
    let token = api.token("admin", Rules::all());
    let services: Api<Service> = Api::namespaced(client(&api, &token), "test");
    let begin = Instant::now();
    run(async {
        let post = PostParams::default();
        let create = async |index: usize| {
            let name = format!("web-{index}");
            let service = objects::service("test", &name, &[("http", 80, 8080)]);
            let service = serde_json::from_value(service).expect("a Service");
            services.create(&post, &service).await.expect("created");
        };
        futures_util::stream::iter(0..COUNT).map(create).buffer_unordered(32).collect::<()>().await;
    });
    let time = begin.elapsed();
    assert_eq!(api.names("Service", "test").len(), COUNT);
    assert_eq!(api.writes().len(), COUNT);
    println!("{COUNT} in {time:?}");
    assert!(time < Duration::from_secs(30), "{time:?}");
}
