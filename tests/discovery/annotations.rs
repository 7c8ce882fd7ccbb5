//! Annotations narrow who may reach a Service, and a wrong one closes it.

use serde_json::Value;

use crate::fixture::{
    FIRST, Open, PORT, WEB, cluster, ended, export, exported, leads_to, nothing_was_denied,
    outcomes, pods, reached, reaches, route, start,
};
use crate::support::certs::TestCa;
use crate::support::client::Client;
use crate::support::gateway::{CLIENT, Gateway};
use crate::support::http::linkerd::Session;
use crate::support::http::run;
use crate::support::kubernetes::{FakeApi, objects};
use crate::support::namespace::inside;

const IDENTITIES: &str = "linkerd-gateway.io/allowed-identities";
const PORTS: &str = "linkerd-gateway.io/exported-ports";

fn annotate(api: &FakeApi, key: &str, value: &str) {
    api.apply(objects::annotated(exported(), key, value));
}

fn events(api: &FakeApi) -> Vec<Value> {
    let is_ours = |event: &Value| event["reason"] == "InvalidExportAnnotation";
    api.list("events").into_iter().filter(is_ours).collect()
}

#[test]
fn issue_9848_only_the_identities_of_the_annotation_get_through() {
    if inside("annotations::issue_9848_only_the_identities_of_the_annotation_get_through") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        annotate(
            &api,
            IDENTITIES,
            "nobody.test, *.default.serviceaccount.identity.linkerd.cluster.local",
        );
        let gateway = start(&ca, &api);
        reaches(&ca, &gateway, WEB, FIRST);
        let allowed = &route(&gateway, WEB)["allowed_identities"];
        assert_eq!(allowed.as_array().map(Vec::len), Some(2), "{allowed}");
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        let session = run(Session::open_to(&Client::new(&ca), gateway.address, WEB));

        annotate(&api, IDENTITIES, "nobody.test");
        let cut = ended(&gateway, "no_longer_allowed");
        assert_eq!((&cut["route"], &cut["identity"]), (&WEB.into(), &CLIENT.into()));
        assert!(!open.is_alive());
        assert_eq!(reached(&ca, &gateway, WEB), "");
        assert_eq!(ended(&gateway, "denied")["rule"], "annotation:allowed-identities");
        drop(session);
        let session = run(Session::open_to(&Client::new(&ca), gateway.address, WEB));
        assert_eq!(run(session.get("/")).expect("a response").status, 403);
        let denied = "gateway_http_authz_deny_total";
        let text = gateway.get("/metrics");
        assert!(text.contains("annotation:allowed-identities"), "{denied}: {text}");

        // Without the annotation the policy alone decides.
        api.apply(exported());
        reaches(&ca, &gateway, WEB, FIRST);
        assert_eq!(events(&api).len(), 0);
        nothing_was_denied(&api);
    }
}

#[test]
fn an_annotation_that_cannot_be_read_denies_everybody_and_tells_the_owner() {
    if inside("annotations::an_annotation_that_cannot_be_read_denies_everybody_and_tells_the_owner")
    {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        export(&api, &[FIRST]);
        let gateway = start(&ca, &api);
        reaches(&ca, &gateway, WEB, FIRST);
        let mut open = Open::to(&ca, &gateway, WEB).expect("open");
        annotate(&api, IDENTITIES, "web..test");
        ended(&gateway, "no_longer_allowed");
        assert!(!open.is_alive());
        assert_eq!(reached(&ca, &gateway, WEB), "");
        ended(&gateway, "denied");
        gateway.eventually("the Event", |_| events(&api).len() == 1);
        let event = &events(&api)[0];
        assert_eq!(
            (&event["type"], &event["metadata"]["namespace"]),
            (&"Warning".into(), &"test".into())
        );
        let about = &event["involvedObject"];
        let service = api.get("Service", "test", "web").expect("there");
        assert_eq!((&about["kind"], &about["name"]), (&"Service".into(), &"web".into()));
        assert_eq!(about["uid"], service["metadata"]["uid"]);
        assert!(
            event["message"].as_str().expect("text").contains("\"web..test\" is no identity"),
            "{event}"
        );
        gateway.line("the error", |line| line["level"] == "ERROR" && line["service"] == "test/web");

        // What changes nothing about it is not told again; another mistake is.
        api.apply(objects::labelled(
            objects::annotated(exported(), IDENTITIES, "web..test"),
            "a",
            "b",
        ));
        annotate(&api, PORTS, "http, htpp");
        gateway.eventually("another Event", |_| events(&api).len() == 2);
        let text =
            events(&api).iter().map(|event| event["message"].to_string()).collect::<String>();
        assert!(text.contains("htpp"), "{text}");
        assert_eq!(reached(&ca, &gateway, WEB), "");
        gateway.eventually("its rule", |g| {
            outcomes(g, "denied").iter().any(|line| line["rule"] == "annotation:exported-ports")
        });
        // Nor does a slip in the name of an annotation open anything.
        api.apply(exported());
        reaches(&ca, &gateway, WEB, FIRST);
        annotate(&api, "linkerd-gateway.io/allowed-identites", "web.test");
        gateway.eventually("a third Event", |_| events(&api).len() == 3);
        assert_eq!(reached(&ca, &gateway, WEB), "");
        api.apply(exported());
        reaches(&ca, &gateway, WEB, FIRST);
        nothing_was_denied(&api);
    }
}

#[test]
fn issue_7099_only_the_ports_of_the_annotation_are_exported() {
    if inside("annotations::issue_7099_only_the_ports_of_the_annotation_are_exported") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let service = objects::exported(
            "test",
            "web",
            &[("http", 80, PORT), ("more", 81, PORT), ("last", 82, PORT)],
        );
        api.create(objects::annotated(service.clone(), PORTS, "http 82"));
        api.create(objects::slice(&service, "1", &[FIRST]));
        let gateway: Gateway = start(&ca, &api);
        leads_to(&gateway, WEB, &[&format!("{FIRST}:{PORT}")]);
        assert_eq!(reached(&ca, &gateway, "web.test.svc.cluster.local:82"), FIRST);
        assert_eq!(reached(&ca, &gateway, "web.test.svc.cluster.local:81"), "");
        ended(&gateway, "not_exported");
    }
}
