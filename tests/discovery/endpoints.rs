//! Which endpoints a Service has.

use serde_json::{Value, json};

use crate::fixture::{
    FIRST, PORT, SECOND, V6, WEB, addresses, builder, cluster, ended, endpoint, export, exported,
    leads_to, nothing_was_denied, pods, reached, reaches, ready, route, slice, start,
};
use crate::support::certs::TestCa;
use crate::support::kubernetes::objects;
use crate::support::namespace::inside;

fn at(address: &str) -> String {
    format!("{address}:{PORT}")
}

fn in_state(address: &str, ready: bool, serving: bool, terminating: bool) -> Value {
    let mut endpoint = endpoint(address, None);
    endpoint["conditions"] =
        json!({ "ready": ready, "serving": serving, "terminating": terminating });
    endpoint
}

#[test]
fn ready_endpoints_are_used_and_those_that_end_only_as_a_last_resort() {
    if inside("endpoints::ready_endpoints_are_used_and_those_that_end_only_as_a_last_resort") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        api.create(exported());
        let states = |first: Value, second: Value| {
            api.apply(slice(&exported(), vec![first, second]));
        };
        states(in_state(FIRST, true, true, false), in_state(SECOND, false, true, true));
        let gateway = start(&ca, &api);
        leads_to(&gateway, WEB, &[&at(FIRST)]);
        states(in_state(FIRST, false, false, true), in_state(SECOND, false, true, true));
        leads_to(&gateway, WEB, &[&at(SECOND)]);
        assert_eq!(reached(&ca, &gateway, WEB), SECOND);
        states(in_state(FIRST, false, false, false), in_state(SECOND, false, true, false));
        leads_to(&gateway, WEB, &[]);
        assert_eq!(reached(&ca, &gateway, WEB), "");
        ended(&gateway, "no_endpoints");
        // Nothing said is ready.
        let mut silent = endpoint(FIRST, None);
        silent.as_object_mut().expect("an object").remove("conditions");
        states(silent, in_state(SECOND, false, false, false));
        reaches(&ca, &gateway, WEB, FIRST);
    }
}

#[test]
fn both_families_and_named_ports_of_several_slices() {
    if inside("endpoints::both_families_and_named_ports_of_several_slices") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let mut service = exported();
        service["spec"]["ports"][0]["targetPort"] = "web".into();
        api.create(service);
        // The name stands for another number in these pods.
        let mut other = objects::slice(&exported(), "2", &[SECOND]);
        other["ports"][0]["port"] = 9999.into();
        for slice in [
            objects::slice(&exported(), "1", &[FIRST]),
            other,
            objects::slice(&exported(), "3", &[V6]),
        ] {
            api.create(slice);
        }
        let gateway = start(&ca, &api);
        let expected = [at(FIRST), format!("{SECOND}:9999"), format!("[{V6}]:{PORT}")];
        assert_eq!(addresses(&gateway, WEB), expected);
        api.delete("EndpointSlice", "test", "web-1");
        api.delete("EndpointSlice", "test", "web-2");
        reaches(&ca, &gateway, WEB, V6);
    }
}

#[test]
fn hosts_of_a_headless_service_are_reached_by_name() {
    if inside("endpoints::hosts_of_a_headless_service_are_reached_by_name") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let headless = objects::headless(exported());
        api.create(headless.clone());
        let pod = api.create(objects::pod("test", "web-1", "web", SECOND));
        let mut first = endpoint(FIRST, None);
        first["hostname"] = "web-0".into();
        // Without a hostname the pod's name is it.
        api.create(slice(&headless, vec![first, endpoint(SECOND, Some(&pod))]));
        let gateway = start(&ca, &api);
        reaches(&ca, &gateway, "web-0.web.test.svc.cluster.local:80", FIRST);
        reaches(&ca, &gateway, "web-1.web.test.svc.cluster.local:80", SECOND);
        assert_eq!(reached(&ca, &gateway, "web-2.web.test.svc.cluster.local:80"), "");
        ended(&gateway, "unknown_target");
        assert_eq!(addresses(&gateway, WEB), [at(FIRST), at(SECOND)]);
        nothing_was_denied(&api);
    }
}

#[test]
fn hints_for_our_zone_are_followed() {
    if inside("endpoints::hints_for_our_zone_are_followed") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let gateway = builder(&ca, &api, "zone = \"b\"").start();
        ready(&gateway);
        api.create(exported());
        let hinted = |address: &str, zone: &str| {
            let mut endpoint = endpoint(address, None);
            endpoint["hints"] = json!({ "forZones": [{ "name": zone }] });
            endpoint
        };
        api.apply(slice(&exported(), vec![hinted(FIRST, "a"), hinted(SECOND, "b")]));
        leads_to(&gateway, WEB, &[&at(SECOND)]);
        api.apply(slice(&exported(), vec![hinted(FIRST, "a"), endpoint(SECOND, None)]));
        leads_to(&gateway, WEB, &[&at(FIRST), &at(SECOND)]);
    }
}

#[test]
fn what_cannot_be_exported_says_why() {
    if inside("endpoints::what_cannot_be_exported_says_why") {
        pods();
        let (ca, api) = (TestCa::new("ca"), cluster());
        let gateway = start(&ca, &api);
        api.create(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "namespace": "test", "name": "alias",
                "labels": { "mirror.linkerd.io/exported": "true" } },
            "spec": { "type": "ExternalName", "externalName": "web.example.com",
                "ports": [{ "name": "http", "port": 80 }] },
        }));
        let said = |service: &str, what: &str| {
            gateway.line(what, |line| {
                let message = line["message"].as_str().unwrap_or_default();
                line["service"] == service && message.contains(what)
            })
        };
        said("test/alias", "a Service of type ExternalName cannot be exported");
        assert_eq!(reached(&ca, &gateway, "alias.test.svc.cluster.local:80"), "");
        ended(&gateway, "not_exported");
        assert!(route(&gateway, "alias.test.svc.cluster.local:80").is_null());
        export(&api, &["192.0.2.1"]);
        leads_to(&gateway, WEB, &[&at("192.0.2.1")]);
    }
}
