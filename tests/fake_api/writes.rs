//! Create, update, patch, delete: who wins, and which fields belong to whom.

use serde_json::{Value, json};

use crate::client::{JSON, MERGE, Plain, SERVICES, config_map, web};
use crate::support::kubernetes::objects;

const WEB: &str = "/api/v1/namespaces/test/services/web";
const MAPS: &str = "/api/v1/namespaces/test/configmaps";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/test/leases";

fn lease() -> Value {
    json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "l" }, "spec": { "holderIdentity": "a",
        "renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 30 } })
}

#[test]
fn the_server_sets_what_is_the_servers() {
    let api = Plain::start();
    let mut body = web();
    body["metadata"]["uid"] = "mine".into();
    body["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    let answer = api.post(SERVICES, &body);
    assert_eq!(answer.status, 201);
    let made = answer.ok();
    assert_eq!(made["kind"], "Service");
    assert_ne!(made["metadata"]["uid"], "mine");
    assert!(made["metadata"]["creationTimestamp"].is_string());
    assert_eq!(made["metadata"]["resourceVersion"], api.version().to_string());
    assert!(made["spec"]["clusterIP"].as_str().unwrap().starts_with("10."));
    assert_eq!(made["spec"]["type"], "ClusterIP");
    assert_eq!(made["spec"]["ports"][0]["protocol"], "TCP");
    assert_eq!(made["status"], json!({ "loadBalancer": {} }));
    assert_eq!(api.get(WEB).ok(), made);
}

#[test]
fn a_name_is_taken_once_and_a_namespace_must_exist() {
    let api = Plain::start();
    api.post(SERVICES, &web()).ok();
    let again = api.post(SERVICES, &web()).refusal();
    assert_eq!(again, (409, "AlreadyExists".into(), "services \"web\" already exists".into()));
    let mut elsewhere = web();
    elsewhere["metadata"]["namespace"] = "none".into();
    let answer = api.post("/api/v1/namespaces/none/services", &elsewhere).refusal();
    assert_eq!(answer, (404, "NotFound".into(), "namespaces \"none\" not found".into()));
    assert_eq!(api.post(SERVICES, &elsewhere).why(), (400, "BadRequest".into()));
    assert_eq!(api.get(&format!("{SERVICES}/no")).why(), (404, "NotFound".into()));
}

#[test]
fn names_are_generated() {
    let api = Plain::start();
    let mut map = config_map("");
    map["metadata"] = json!({ "generateName": "web-" });
    let names: Vec<_> =
        (0..2).map(|_| api.post(MAPS, &map).ok()["metadata"]["name"].clone()).collect();
    assert!(names.iter().all(|name| name.as_str().unwrap().starts_with("web-")), "{names:?}");
    assert_ne!(names[0], names[1]);
    map["metadata"] = json!({});
    assert_eq!(api.post(MAPS, &map).fields(), ["metadata.name"]);
}

#[test]
fn a_put_from_an_older_version_loses() {
    let api = Plain::start();
    let first = api.post(SERVICES, &web()).ok();
    let mut second = first.clone();
    second["metadata"]["labels"] = json!({ "a": "1" });
    let second = api.put(WEB, &second).ok();
    assert_ne!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let mut stale = first.clone();
    stale["metadata"]["labels"] = json!({ "a": "2" });
    let (code, reason, message) = api.put(WEB, &stale).refusal();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(message.contains("the object has been modified"), "{message}");
    assert_eq!(api.get(WEB).ok(), second);
    // Without a version it is whatever the kind allows.
    stale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    assert_eq!(api.put(WEB, &stale).ok()["metadata"]["labels"]["a"], "2");
    api.post(LEASES, &lease()).ok();
    let fields = api.put(&format!("{LEASES}/l"), &lease()).fields();
    assert_eq!(fields, ["metadata.resourceVersion"]);
}

#[test]
fn a_put_that_changes_nothing_is_no_write() {
    let api = Plain::start();
    let made = api.post(SERVICES, &web()).ok();
    let version = api.version();
    assert_eq!(api.put(WEB, &made).ok(), made);
    assert_eq!(api.merge(WEB, &json!({ "spec": { "type": "ClusterIP" } })).ok(), made);
    assert_eq!(api.version(), version);
}

#[test]
fn a_put_of_another_object_of_the_name_is_refused() {
    let api = Plain::start();
    let old = api.post(SERVICES, &web()).ok();
    api.delete(WEB, &Value::Null).ok();
    // Services are created by PUT, but not one that means an object that is gone.
    let (code, _, message) = api.put(WEB, &old).refusal();
    assert_eq!(code, 409);
    assert!(message.contains("UID in precondition"), "{message}");
    let new = api.put(WEB, &web());
    assert_eq!(new.status, 201);
    let mut other = new.ok();
    other["metadata"]["uid"] = old["metadata"]["uid"].clone();
    assert_eq!(api.put(WEB, &other).why(), (409, "Conflict".into()));
    assert_eq!(api.put(&format!("{MAPS}/m"), &config_map("m")).why(), (404, "NotFound".into()));
}

#[test]
fn a_cluster_ip_stays() {
    let api = Plain::start();
    let made = api.post(SERVICES, &web()).ok();
    let mut put = web();
    put["spec"]["ports"][0]["port"] = 81.into();
    let put = api.put(WEB, &put).ok();
    assert_eq!(put["spec"]["clusterIP"], made["spec"]["clusterIP"]);
    assert_eq!(put["spec"]["clusterIPs"], made["spec"]["clusterIPs"]);
    for address in ["None", "10.250.0.1"] {
        let patch = json!({ "spec": { "clusterIP": address, "clusterIPs": [address] } });
        assert_eq!(api.merge(WEB, &patch).fields(), ["spec.clusterIPs[0]"], "{address}");
    }
    let mut second = objects::service("test", "second", &[("http", 80, 80)]);
    second["spec"]["clusterIP"] = made["spec"]["clusterIP"].clone();
    assert_eq!(api.post(SERVICES, &second).fields(), ["spec.clusterIPs"]);
    api.delete(WEB, &Value::Null).ok();
    assert_eq!(api.post(SERVICES, &second).ok()["spec"]["clusterIP"], made["spec"]["clusterIP"]);
}

#[test]
fn a_merge_patch_changes_what_it_names() {
    let api = Plain::start();
    let made = api.post(SERVICES, &web()).ok();
    let patch = json!({ "metadata": { "labels": { "a": "1", "b": "2" } } });
    let first = api.merge(WEB, &patch).ok();
    assert_eq!(first["spec"], made["spec"]);
    let patch = json!({ "metadata": { "labels": { "a": null },
        "resourceVersion": first["metadata"]["resourceVersion"] } });
    assert_eq!(api.merge(WEB, &patch).ok()["metadata"]["labels"], json!({ "b": "2" }));
    // Its version is a condition.
    assert_eq!(api.merge(WEB, &patch).why(), (409, "Conflict".into()));
    assert_eq!(api.merge(&format!("{SERVICES}/no"), &patch).why(), (404, "NotFound".into()));
    let uid = json!({ "metadata": { "uid": "other" } });
    assert_eq!(api.merge(WEB, &uid).why(), (409, "Conflict".into()));
}

#[test]
fn other_patches_are_refused_and_seen() {
    let api = Plain::start();
    api.post(SERVICES, &web()).ok();
    api.reset_log();
    let apply = "application/apply-patch+yaml";
    for kind in [apply, "application/json-patch+json", "application/strategic-merge-patch+json"] {
        let answer = api.text("PATCH", WEB, kind, "{}");
        assert_eq!(answer.why(), (415, "UnsupportedMediaType".into()), "{kind}");
    }
    let writes = api.writes();
    assert_eq!(writes.len(), 3);
    assert_eq!(writes.iter().filter(|write| write.content_type == apply).count(), 1);
    assert!(
        writes.iter().all(|write| write.code == 415 && write.line() == "patch services test/web")
    );
}

#[test]
fn a_delete_may_say_which_object_it_means() {
    let api = Plain::start();
    let old = api.post(SERVICES, &web()).ok();
    let version = &old["metadata"]["resourceVersion"];
    api.merge(WEB, &json!({ "metadata": { "labels": { "a": "1" } } })).ok();
    for condition in [json!({ "resourceVersion": version }), json!({ "uid": "other" })] {
        let answer = api.delete(WEB, &json!({ "preconditions": condition }));
        assert_eq!(answer.why(), (409, "Conflict".into()));
    }
    let now = api.get(WEB).ok();
    let condition = json!({ "uid": now["metadata"]["uid"],
        "resourceVersion": now["metadata"]["resourceVersion"] });
    let status = api.delete(WEB, &json!({ "preconditions": condition })).ok();
    assert_eq!((&status["kind"], &status["status"]), (&"Status".into(), &"Success".into()));
    assert_eq!(api.delete(WEB, &Value::Null).why(), (404, "NotFound".into()));
}

#[test]
fn status_is_a_resource_of_its_own() {
    let api = Plain::start();
    let mut service = api.post(SERVICES, &web()).ok();
    let status = json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } });
    service["status"] = status.clone();
    service["metadata"]["labels"] = json!({ "a": "1" });
    let put = api.put(WEB, &service).ok();
    assert_eq!(put["status"], json!({ "loadBalancer": {} }));
    let mut service = put;
    service["status"] = status.clone();
    service["spec"]["ports"][0]["port"] = 81.into();
    let put = api.put(&format!("{WEB}/status"), &service).ok();
    assert_eq!(put["status"], status);
    assert_eq!(put["spec"]["ports"][0]["port"], 80);
    let patch = json!({ "status": { "loadBalancer": { "ingress": null } } });
    let patched = api.merge(&format!("{WEB}/status"), &patch).ok();
    assert_eq!(patched["status"], json!({ "loadBalancer": {} }));
    assert_eq!(api.get(&format!("{WEB}/status")).ok(), patched);
    let maps = format!("{MAPS}/m/status");
    assert_eq!(api.get(&maps).why(), (404, "NotFound".into()));
}

#[test]
fn what_is_in_a_namespace_goes_with_it() {
    let api = Plain::start();
    api.post(SERVICES, &web()).ok();
    api.post(MAPS, &config_map("m")).ok();
    api.delete("/api/v1/namespaces/test", &Value::Null).ok();
    assert!(api.list("Service").is_empty() && api.list("ConfigMap").is_empty());
    assert_eq!(api.post(SERVICES, &web()).why(), (404, "NotFound".into()));
}

#[test]
fn bodies_that_say_something_else_are_refused() {
    let api = Plain::start();
    let bad = (400, "BadRequest".to_owned());
    for body in ["", "{", "[]", "7", r#"{"kind":"Service"}"#] {
        assert_eq!(api.text("POST", SERVICES, JSON, body).why(), bad, "{body}");
    }
    for (field, value) in [("kind", "Pod"), ("apiVersion", "v2"), ("specs", "x")] {
        let mut body = web();
        body[field] = value.into();
        assert_eq!(api.post(SERVICES, &body).why(), bad, "{field}");
    }
    let mut body = web();
    body["spec"]["ports"][0]["port"] = "80".into();
    assert_eq!(api.post(SERVICES, &body).why(), bad);
    api.post(SERVICES, &web()).ok();
    assert_eq!(api.put(WEB, &objects::service("test", "b", &[("a", 1, 1)])).why(), bad);
    assert_eq!(api.text("POST", SERVICES, "text/yaml", "{}").why().0, 415);
    assert_eq!(api.text("PATCH", WEB, MERGE, "[]").why(), bad);
    assert_eq!(api.text("POST", WEB, JSON, "{}").why().0, 405);
    let large = "x".repeat(3 * 1024 * 1024 + 1);
    assert_eq!(api.text("POST", SERVICES, JSON, &large).why().0, 413);
}

#[test]
fn a_version_is_not_for_new_objects() {
    let api = Plain::start();
    let mut body = web();
    body["metadata"]["resourceVersion"] = "7".into();
    assert_eq!(api.post(SERVICES, &body).why(), (500, "InternalError".into()));
}

#[test]
fn unknown_fields_below_are_dropped() {
    let api = Plain::start();
    let mut body = web();
    body["spec"]["color"] = "red".into();
    assert!(api.post(SERVICES, &body).ok()["spec"]["color"].is_null());
}

#[test]
fn a_dry_run_changes_nothing() {
    let api = Plain::start();
    let version = api.version();
    let answer = api.post(&format!("{SERVICES}?dryRun=All"), &web());
    assert_eq!(answer.status, 201);
    assert_eq!(api.post(&format!("{SERVICES}?dryRun=All"), &json!({})).why().0, 400);
    assert_eq!(api.version(), version);
    assert!(api.list("Service").is_empty());
}

#[test]
fn garbage_is_collected_on_demand() {
    let api = Plain::start();
    let owner = api.create(web());
    let mut owned = config_map("owned");
    owned["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "Service",
        "name": "web", "uid": owner["metadata"]["uid"] }]);
    api.create(owned);
    api.create(config_map("free"));
    api.collect_garbage();
    assert_eq!(api.names("ConfigMap", "test"), ["free", "owned"]);
    api.api.delete("Service", "test", "web");
    api.collect_garbage();
    assert_eq!(api.names("ConfigMap", "test"), ["free"]);
}
