//! Objects that a real server refuses, and why: each a mistake that the gateway could make.

use serde_json::{Value, json};

use crate::client::{Plain, SERVICES, config_map, web};
use crate::support::kubernetes::{Options, objects};

const ENDPOINTS: &str = "/api/v1/namespaces/test/endpoints";
const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/test/endpointslices";
const MAPS: &str = "/api/v1/namespaces/test/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/test/leases";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/test/events";
const SECRETS: &str = "/api/v1/namespaces/test/secrets";

/// `object` with one value changed, by JSON pointer.
fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} exists")) = value;
    object
}

#[test]
fn names_have_the_form_of_their_kind() {
    let api = Plain::start();
    let long = "a".repeat(64);
    for name in ["Web", "1web", "web.a", "web-", "-web", "we_b", long.as_str()] {
        let body = with(web(), "/metadata/name", name.into());
        assert_eq!(api.post(SERVICES, &body).fields(), ["metadata.name"], "{name}");
    }
    api.post(SERVICES, &with(web(), "/metadata/name", "a".repeat(63).into())).ok();
    for name in ["1web", "web.a", long.as_str()] {
        api.post(MAPS, &config_map(name)).ok();
    }
    for name in ["Web", "web..a", "a".repeat(254).as_str()] {
        assert_eq!(api.post(MAPS, &config_map(name)).fields(), ["metadata.name"], "{name}");
    }
    for name in ["a.b", long.as_str()] {
        let fields = api.post("/api/v1/namespaces", &objects::namespace(name)).fields();
        assert_eq!(fields, ["metadata.name"], "{name}");
    }
}

#[test]
fn labels_and_annotations_have_their_forms() {
    let api = Plain::start();
    let long = "a".repeat(64);
    for (key, value) in [
        ("a b", "1"),
        ("a/b/c", "1"),
        (&long, "1"),
        ("A.B_/c", "1"),
        ("a", "b c"),
        ("a", &long),
        ("a", "-"),
    ] {
        let answer = api.post(SERVICES, &objects::labelled(web(), key, value));
        assert_eq!(answer.fields(), ["metadata.labels"], "{key}={value}");
    }
    assert_eq!(api.post(SERVICES, &objects::annotated(web(), "a b", "1")).fields().len(), 1);
    let large = "x".repeat(256 * 1024);
    let answer = api.post(SERVICES, &objects::annotated(web(), "a", &large));
    assert_eq!(answer.fields(), ["metadata.annotations"]);
    let fine =
        objects::annotated(objects::labelled(web(), "A.b/C_d", ""), "Example.com/a", " any ");
    // The prefix of a label is in lower case.
    assert_eq!(api.post(SERVICES, &fine).fields(), ["metadata.labels"]);
    let fine =
        objects::annotated(objects::labelled(web(), "a.b/C_d", ""), "Example.com/a", " any ");
    api.post(SERVICES, &fine).ok();
}

#[test]
fn owners_are_complete() {
    let api = Plain::start();
    let mut map = config_map("m");
    map["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Service", "name": "web", "uid": "" }]);
    assert_eq!(api.post(MAPS, &map).fields(), ["metadata.ownerReferences.uid"]);
}

#[test]
fn ports_of_services() {
    let api = Plain::start();
    let port = |value: Value| api.post(SERVICES, &with(web(), "/spec/ports", value)).fields();
    let one = json!({ "name": "a", "port": 1 });
    let case = |changes: Value| {
        let mut second = json!({ "name": "b", "port": 2 });
        for (name, value) in changes.as_object().unwrap() {
            second[name] = value.clone();
        }
        port(json!([one.clone(), second]))
    };
    assert_eq!(port(json!([])), ["spec.ports"]);
    assert_eq!(case(json!({ "name": null })), ["spec.ports[1].name"]);
    assert_eq!(case(json!({ "name": "a" })), ["spec.ports[1].name"]);
    assert_eq!(case(json!({ "name": "B" })), ["spec.ports[1].name"]);
    assert_eq!(case(json!({ "port": 1 })), ["spec.ports[1]"]);
    assert_eq!(case(json!({ "port": 0, "targetPort": 1 })), ["spec.ports[1].port"]);
    assert_eq!(case(json!({ "port": 65536, "targetPort": 1 })), ["spec.ports[1].port"]);
    assert_eq!(
        case(json!({ "targetPort": "a-name-that-is-too-long" })),
        ["spec.ports[1].targetPort"]
    );
    assert_eq!(case(json!({ "protocol": "HTTP" })), ["spec.ports[1].protocol"]);
    let both = json!([{ "name": "a", "port": 1 }, { "name": "b", "port": 1, "protocol": "UDP" }]);
    api.post(SERVICES, &with(web(), "/spec/ports", both)).ok();
}

#[test]
fn kinds_of_services() {
    let api = Plain::start();
    let mut headless = objects::headless(web());
    headless["spec"]["ports"] = json!([]);
    let made = api.post(SERVICES, &headless).ok();
    assert_eq!(made["spec"]["clusterIPs"], json!(["None"]));
    let mut external = objects::service("test", "external", &[]);
    external["spec"]["type"] = "ExternalName".into();
    assert_eq!(api.post(SERVICES, &external).fields(), ["spec.externalName"]);
    external["spec"]["externalName"] = "example.com".into();
    assert!(api.post(SERVICES, &external).ok()["spec"]["clusterIP"].is_null());
    let mut other = objects::service("test", "other", &[("a", 1, 1)]);
    other["spec"]["type"] = "Other".into();
    assert_eq!(api.post(SERVICES, &other).fields(), ["spec.type"]);
    other["spec"]["type"] = "NodePort".into();
    assert!(api.post(SERVICES, &other).ok()["spec"]["ports"][0]["nodePort"].is_number());
}

fn endpoints(subset: Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "e" },
        "subsets": [subset] })
}

#[test]
fn a_subset_without_addresses_is_refused() {
    let api = Plain::start();
    let ports = json!([{ "port": 1 }]);
    for subset in [
        json!({ "ports": ports }),
        json!({ "addresses": [], "ports": ports }),
        json!({ "addresses": [], "notReadyAddresses": [], "ports": ports }),
    ] {
        assert_eq!(api.post(ENDPOINTS, &endpoints(subset)).fields(), ["subsets[0]"]);
    }
    let none = json!({ "apiVersion": "v1", "kind": "Endpoints", "metadata": { "name": "e" },
        "subsets": [] });
    api.post(ENDPOINTS, &none).ok();
}

#[test]
fn endpoints_lead_to_other_hosts() {
    let api = Plain::start();
    let refused = [
        "127.0.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "ff02::1",
        "example.com",
        "192.0.2.256",
        "",
    ];
    for ip in refused {
        let subset = json!({ "addresses": [{ "ip": ip }], "ports": [{ "port": 1 }] });
        let fields = api.post(ENDPOINTS, &endpoints(subset)).fields();
        assert_eq!(fields, ["subsets[0].addresses[0].ip"], "{ip}");
    }
    for (port, field) in [
        (json!([{ "port": 1 }, { "port": 2, "name": "b" }]), "ports[0].name"),
        (json!([{ "port": 0 }]), "ports[0].port"),
        (json!([{ "port": 1, "name": "A" }]), "ports[0].name"),
        (json!([{ "port": 1, "protocol": "X" }]), "ports[0].protocol"),
    ] {
        let subset = json!({ "notReadyAddresses": [{ "ip": "192.0.2.1" }], "ports": port });
        let fields = api.post(ENDPOINTS, &endpoints(subset)).fields();
        assert_eq!(fields, [format!("subsets[0].{field}")]);
    }
}

#[test]
fn loopback_is_allowed_on_demand_and_nothing_else_is() {
    let api = Plain::with(Options { allow_loopback: true, ..Options::default() });
    let subset = json!({ "addresses": [{ "ip": "127.0.0.1" }], "ports": [{ "port": 1 }] });
    api.post(ENDPOINTS, &endpoints(subset)).ok();
    api.post(SLICES, &objects::slice(&web(), "a", &["127.0.0.1"])).ok();
    let subset = json!({ "addresses": [{ "ip": "169.254.0.1" }], "ports": [{ "port": 1 }] });
    assert_eq!(api.post(ENDPOINTS, &endpoints(subset)).fields().len(), 1);
}

#[test]
fn slices_are_of_one_family() {
    let api = Plain::start();
    let slice = |addresses: &[&str]| objects::slice(&web(), "a", addresses);
    let good = slice(&["192.0.2.1"]);
    let path = "endpoints[0].addresses[0]";
    for ip in ["2001:db8::1", "127.0.0.1", "169.254.0.1", "0.0.0.0", "x"] {
        let bad = with(good.clone(), "/endpoints/0/addresses/0", ip.into());
        assert_eq!(api.post(SLICES, &bad).fields(), [path], "{ip}");
    }
    let many: Vec<String> = (0..101).map(|i| format!("192.0.2.{i}")).collect();
    let one_too_many = |pointer: &str, value: Value| {
        api.post(SLICES, &with(good.clone(), pointer, value)).fields()
    };
    assert_eq!(one_too_many("/endpoints/0/addresses", json!(many)), ["endpoints[0].addresses"]);
    assert_eq!(one_too_many("/endpoints/0/addresses", json!([])), ["endpoints[0].addresses"]);
    let thousand = vec![good["endpoints"][0].clone(); 1001];
    assert_eq!(one_too_many("/endpoints", json!(thousand)), ["endpoints"]);
    assert_eq!(one_too_many("/addressType", json!("")), ["addressType"]);
    assert_eq!(one_too_many("/addressType", json!("IPv5")), ["addressType"]);
    let twice = json!([{ "name": "a", "port": 1 }, { "name": "a", "port": 2 }]);
    assert_eq!(one_too_many("/ports", twice), ["ports[1].name"]);
    let unnamed = json!([{ "port": 1 }, { "port": 2 }]);
    assert_eq!(one_too_many("/ports", unnamed), ["ports[1].name"]);

    let made = api.post(SLICES, &good).ok();
    assert_eq!(made["metadata"]["generation"], 1);
    let mut six = slice(&["2001:db8::1"]);
    six["metadata"] = made["metadata"].clone();
    let path = format!("{SLICES}/web-a");
    assert_eq!(api.put(&path, &six).fields(), ["addressType"]);
    let patch = json!({ "endpoints": null });
    let patched = api.merge(&path, &patch).ok();
    assert_eq!(patched["metadata"]["generation"], 2);
}

#[test]
fn leases_secrets_and_config_maps() {
    let api = Plain::start();
    let lease = |spec: Value| {
        json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": { "name": "l" }, "spec": spec })
    };
    let answer = api.post(LEASES, &lease(json!({ "leaseDurationSeconds": 0 })));
    assert_eq!(answer.fields(), ["spec.leaseDurationSeconds"]);
    let answer = api.post(LEASES, &lease(json!({ "leaseTransitions": -1 })));
    assert_eq!(answer.fields(), ["spec.leaseTransitions"]);
    assert_eq!(api.post(LEASES, &lease(json!({ "renewTime": "soon" }))).why().0, 400);

    let secret = objects::credentials("test", "s", "text");
    api.post(SECRETS, &secret).ok();
    let patch = json!({ "type": "Opaque" });
    assert_eq!(api.merge(&format!("{SECRETS}/s"), &patch).fields(), ["type"]);
    let bad = with(secret.clone(), "/data/kubeconfig", "not base64!".into());
    assert_eq!(api.post(SECRETS, &bad).why().0, 400);
    let mut text = secret;
    text["metadata"]["name"] = "t".into();
    text["stringData"] = json!({ "other": "text" });
    let made = api.post(SECRETS, &text).ok();
    assert_eq!(made["data"]["other"], "dGV4dA==");
    assert!(made.get("stringData").is_none());

    let mut map = config_map("m");
    map["data"] = json!({ "a b": "1" });
    assert_eq!(api.post(MAPS, &map).fields(), ["data[a b]"]);
}

fn event() -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": { "name": "e" },
        "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal", "reason": "Mirrored",
        "action": "Mirror", "reportingController": "linkerd-gateway.io/mirror",
        "reportingInstance": "pod", "note": "text",
        "regarding": { "kind": "Link", "namespace": "test", "name": "east" },
    })
}

#[test]
fn events_are_complete() {
    let api = Plain::start();
    let event = event();
    let made = api.post(EVENTS, &event).ok();
    assert_eq!((&made["note"], &made["regarding"]["name"]), (&json!("text"), &json!("east")));
    for field in ["action", "reason", "reportingController", "reportingInstance"] {
        let mut event = event.clone();
        event[field] = "".into();
        assert_eq!(api.post(EVENTS, &event).fields(), [field]);
    }
    for (pointer, value, field) in [
        ("/type", "Bad".into(), "type"),
        ("/note", "x".repeat(1025), "message"),
        ("/reason", "x".repeat(129), "reason"),
        ("/reportingController", "a b".into(), "reportingController"),
        ("/regarding/namespace", String::new(), "involvedObject.namespace"),
    ] {
        let event = with(event.clone(), pointer, value.into());
        assert_eq!(api.post(EVENTS, &event).fields(), [field]);
    }
    let old = json!({ "apiVersion": "v1", "kind": "Event", "metadata": { "name": "old" },
        "reason": "Mirrored", "involvedObject": { "kind": "Link", "namespace": "other" } });
    let events = "/api/v1/namespaces/test/events";
    assert_eq!(api.post(events, &old).fields(), ["involvedObject.namespace"]);
    api.post(events, &with(old, "/involvedObject/namespace", "test".into())).ok();
}

#[test]
fn events_say_what_they_said() {
    let api = Plain::start();
    api.post(EVENTS, &event()).ok();
    let path = format!("{EVENTS}/e");
    assert_eq!(api.merge(&path, &json!({ "note": "other" })).fields(), ["message"]);
    let once =
        json!({ "series": { "count": 1, "lastObservedTime": "2026-01-01T00:00:00.000000Z" } });
    assert_eq!(api.merge(&path, &once).fields(), ["series.count"]);
    let twice =
        json!({ "series": { "count": 2, "lastObservedTime": "2026-01-01T00:00:00.000000Z" } });
    api.merge(&path, &twice).ok();
}

#[test]
fn pods_have_containers() {
    let api = Plain::start();
    let path = "/api/v1/namespaces/test/pods";
    let pod = objects::pod("test", "a", "web", "192.0.2.1");
    assert_eq!(api.post(path, &with(pod.clone(), "/spec/containers", json!([]))).fields().len(), 1);
    // A client cannot say that a pod runs; a test can.
    assert_eq!(api.post(path, &pod).ok()["status"]["phase"], "Pending");
    let meshed = objects::meshed(objects::pod("test", "b", "web", "192.0.2.2"), true);
    assert_eq!(api.create(meshed)["status"]["podIP"], "192.0.2.2");
}
