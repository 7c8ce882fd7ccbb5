//! What is exported may be reached, and nothing else; whose export ends is cut.

use bytes::Bytes;
use serde_json::json;

use crate::fixture::{
    FIRST, Open, PORT, SECOND, WEB, addresses, builder, cluster, ended, export, exported, leads_to,
    nothing_was_denied, outcomes, pods, reached, reaches, ready, route, service, start,
};
use crate::support::backend;
use crate::support::certs::TestCa;
use crate::support::client::{Client, header_for, refusal};
use crate::support::gateway::Gateway;
use crate::support::http::linkerd::{Session, finished};
use crate::support::http::run;
use crate::support::kubernetes::{FakeApi, objects};
use crate::support::namespace::inside;

const DB: &str = "db.test.svc.cluster.local:5432";

/// Another exported Service, which nothing happens to.
fn other(api: &FakeApi) {
    let db = objects::exported("test", "db", &[("", 5432, PORT)]);
    api.create(db.clone());
    api.create(objects::slice(&db, "1", &[SECOND]));
}

/// The label that exports a Service may be one that is copied to its mirrors: nobody here exports it.
#[test]
fn a_mirror_is_not_exported_again() {
    if inside("exports::a_mirror_is_not_exported_again") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let gateway = start(&ca, &api);
        export(&api, &[FIRST]);
        reaches(&ca, &gateway, WEB, FIRST);
        let label =
            json!({ "metadata": { "labels": { "mirror.linkerd.io/mirrored-service": "true" } } });
        api.patch("Service", "test", "web", &label);
        gateway.eventually("a refusal", |gateway| reached(&ca, gateway, WEB).is_empty());
        gateway.eventually("its line", |gateway| !outcomes(gateway, "not_exported").is_empty());
    }
}

#[test]
fn issue_4452_what_is_not_exported_is_refused_with_a_hint() {
    if inside("exports::issue_4452_what_is_not_exported_is_refused_with_a_hint") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let gateway = start(&ca, &api);
        let refused =
            |gateway: &Gateway| refusal(&Client::new(&ca), gateway.address, &header_for(WEB, None));
        refused(&gateway);
        let line = ended(&gateway, "not_exported");
        assert!(
            line["hint"].as_str().expect("a hint").contains("kubernetes.export_selectors"),
            "{line}"
        );
        assert!(
            line["detail"].as_str().expect("a detail").contains("mirror.linkerd.io/exported=true"),
            "{line}"
        );

        // It is there, and has endpoints; without its label it is not exported.
        api.create(service());
        api.create(objects::slice(&service(), "1", &[FIRST]));
        refused(&gateway);
        gateway.eventually("a second refusal", |g| outcomes(g, "not_exported").len() == 2);
        export(&api, &[FIRST]);
        reaches(&ca, &gateway, WEB, FIRST);
        let found = route(&gateway, WEB);
        assert_eq!(
            (&found["source"], &found["allowed_identities"]),
            (&"kubernetes".into(), &().into())
        );
        assert_eq!(reached(&ca, &gateway, "web.test.svc.cluster.local:81"), "");
        assert_eq!(reached(&ca, &gateway, "WEB.test.svc.cluster.local.:80"), FIRST);
        // A name of another domain is nothing that an export would make reachable.
        assert_eq!(reached(&ca, &gateway, "web.example.com:80"), "");
        ended(&gateway, "unknown_target");
        gateway.eventually("its count", |g| g.metric("gateway_exported_services") > 0.5);
        nothing_was_denied(&api);
    }
}

#[test]
fn un_exporting_cuts_exactly_its_own_connections() {
    if inside("exports::un_exporting_cuts_exactly_its_own_connections") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        other(&api);
        let gateway = start(&ca, &api);
        let mut kept = Open::to(&ca, &gateway, DB).expect("open");
        for (number, end) in [
            |api: &FakeApi| drop(api.apply(service())),
            |api: &FakeApi| drop(api.delete("Service", "test", "web")),
            // The port is another one.
            |api: &FakeApi| {
                drop(api.apply(objects::exported("test", "web", &[("http", 81, PORT)])))
            },
            |api: &FakeApi| {
                let key = "linkerd-gateway.io/exported-ports";
                let service =
                    objects::exported("test", "web", &[("http", 80, PORT), ("b", 81, 81)]);
                drop(api.apply(objects::annotated(service, key, "b")));
            },
        ]
        .iter()
        .enumerate()
        {
            export(&api, &[FIRST]);
            reaches(&ca, &gateway, WEB, FIRST);
            let mut cut = Open::to(&ca, &gateway, WEB).expect("open");
            assert!(cut.is_alive());
            end(&api);
            let is_cut = |g: &Gateway| outcomes(g, "no_longer_exported").len() == number + 1;
            gateway.eventually(&format!("cut {number}"), is_cut);
            assert!(!cut.is_alive());
            assert_eq!(reached(&ca, &gateway, WEB), "");
        }
        assert!(kept.is_alive());
        let cut = outcomes(&gateway, "no_longer_exported");
        assert!(cut.iter().all(|line| line["route"] == WEB), "{cut:?}");
        nothing_was_denied(&api);
    }
}

#[test]
fn an_http_session_ends_with_the_export_of_its_service() {
    if inside("exports::an_http_session_ends_with_the_export_of_its_service") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let gateway = start(&ca, &api);
        let session = run(Session::open_to(&Client::new(&ca), gateway.address, WEB));
        let answer = run(session.get("/")).expect("a response");
        assert_eq!(answer.status, 404);
        assert_eq!(answer.header("l5d-proxy-error"), "the service or its port is not exported");

        // A pod that never answers: the request is in flight.
        let (silent, accepted) = backend::handed_over_at(&format!("{FIRST}:9000"));
        let web = objects::exported("test", "web", &[("http", 80, silent.port())]);
        api.create(web.clone());
        api.create(objects::slice(&web, "1", &[FIRST]));
        leads_to(&gateway, WEB, &[&silent.to_string()]);
        let answer = session
            .spawn(http::Request::post("/").body(Bytes::from_static(b"body")).expect("a request"));
        let is_there = |g: &Gateway| g.get("/connections").contains("\"streams\":1");
        gateway.eventually("the request", is_there);
        api.delete("Service", "test", "web");
        ended(&gateway, "no_longer_exported");
        assert!(finished(answer).is_err());
        drop(accepted);
    }
}

#[test]
fn an_endpoint_that_goes_away_cuts_nothing() {
    if inside("exports::an_endpoint_that_goes_away_cuts_nothing") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let headless = objects::headless(exported());
        api.create(headless.clone());
        let mut slice = objects::slice(&headless, "1", &[FIRST]);
        slice["endpoints"][0]["hostname"] = "web-0".into();
        api.create(slice);
        let gateway = start(&ca, &api);
        let host = "web-0.web.test.svc.cluster.local:80";
        let mut open = [WEB, host].map(|target| Open::to(&ca, &gateway, target).expect("open"));
        api.delete("EndpointSlice", "test", "web-1");
        gateway.eventually("no endpoint", |g| {
            addresses(g, WEB).is_empty() && route(g, host).is_null()
        });
        assert!(open.iter_mut().all(Open::is_alive));
        // A host that is gone is no Service that is not exported.
        assert_eq!(reached(&ca, &gateway, host), "");
        ended(&gateway, "unknown_target");
        assert_eq!(reached(&ca, &gateway, WEB), "");
        ended(&gateway, "no_endpoints");
        // When the Service is exported no longer, its hosts end as well.
        api.delete("Service", "test", "web");
        gateway.eventually("both cut", |g| outcomes(g, "no_longer_exported").len() == 2);
    }
}

#[test]
fn a_route_of_the_configuration_wins_and_is_not_affected() {
    if inside("exports::a_route_of_the_configuration_wins_and_is_not_affected") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let pod = format!("{SECOND}:{PORT}").parse().expect("an address");
        let gateway = builder(&ca, &api, "").route(WEB, &[pod]).start();
        ready(&gateway);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        assert_eq!(open.pod, SECOND);
        let hidden = |line: &serde_json::Value| {
            let message = line["message"].as_str().unwrap_or_default();
            line["route"] == WEB && message.contains("the [[route]] is used")
        };
        gateway.line("what is hidden", hidden);
        assert_eq!(route(&gateway, WEB)["source"], "static");
        api.delete("Service", "test", "web");
        gateway.eventually("nothing exported", |g| g.metric("gateway_exported_services") < 0.5);
        assert!(open.is_alive());
        assert_eq!(reached(&ca, &gateway, WEB), SECOND);
    }
}

#[test]
fn several_selectors_and_another_domain() {
    if inside("exports::several_selectors_and_another_domain") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let more = "cluster_domain = \"east.example\"\n\
                    export_selectors = [\"export=yes\", \"tier in (a, b),!private\"]";
        let gateway = builder(&ca, &api, more).start();
        ready(&gateway);
        let web = "web.test.svc.east.example:80";
        let labelled = |labels: serde_json::Value| {
            let mut service = service();
            service["metadata"]["labels"] = labels;
            api.apply(service);
        };
        labelled(json!({ "mirror.linkerd.io/exported": "true", "tier": "c" }));
        api.apply(objects::slice(&service(), "1", &[FIRST]));
        assert_eq!(reached(&ca, &gateway, web), "");
        labelled(json!({ "tier": "b" }));
        reaches(&ca, &gateway, web, FIRST);
        let mut open = Open::to(&ca, &gateway, web).expect("open");
        // From one selector to both, and to the other: exported all the time.
        labelled(json!({ "tier": "b", "export": "yes" }));
        labelled(json!({ "tier": "b", "export": "yes", "private": "" }));
        let db =
            objects::labelled(objects::service("test", "db", &[("", 80, PORT)]), "export", "yes");
        api.create(db);
        gateway
            .eventually("what came later", |g| !route(g, "db.test.svc.east.example:80").is_null());
        assert!(open.is_alive());
        labelled(json!({ "tier": "b", "private": "" }));
        ended(&gateway, "no_longer_exported");
        assert_eq!(reached(&ca, &gateway, WEB), "");
        ended(&gateway, "unknown_target");
    }
}

#[test]
fn by_suffix_every_service_below_is_reached() {
    if inside("exports::by_suffix_every_service_below_is_reached") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        api.create(objects::namespace("other"));
        api.create(service());
        api.create(objects::slice(&service(), "1", &[FIRST]));
        let elsewhere = objects::service("other", "web", &[("http", 80, PORT)]);
        api.create(elsewhere.clone());
        api.create(objects::slice(&elsewhere, "1", &[FIRST]));
        let more = "reachable = \"suffix\"\nsuffixes = [\"test.svc.cluster.local\"]";
        let gateway = builder(&ca, &api, more).start();
        ready(&gateway);
        reaches(&ca, &gateway, WEB, FIRST);
        assert_eq!(reached(&ca, &gateway, "web.other.svc.cluster.local:80"), "");
        let line = ended(&gateway, "not_exported");
        assert!(
            line["detail"]
                .as_str()
                .expect("a detail")
                .contains("test.svc.cluster.local (kubernetes.suffixes)"),
            "{line}"
        );
    }
}
