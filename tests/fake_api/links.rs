//! Custom resources: Links in three versions, their status, and a CRD that is not there.

use serde_json::{Value, json};

use crate::client::Plain;
use crate::support::kubernetes::{Options, objects, resources};

const LINKS: &str = "namespaces/test/links";

fn path(version: &str) -> String {
    format!("/apis/multicluster.linkerd.io/{version}/{LINKS}")
}

fn link() -> Value {
    objects::link("test", "east", "192.0.2.1", 4143)
}

/// A status with fields that Linkerd's CRD does not know.
fn status() -> Value {
    json!({ "mirrorServices": [{
        "controllerName": "linkerd.io/service-mirror",
        "remoteRef": { "name": "web", "namespace": "test" },
        "conditions": [{ "type": "Mirrored", "status": "True", "reason": "Mirrored",
            "message": "", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    }], "conditions": [{ "type": "GatewayAlive", "status": "True" }] })
}

#[test]
fn one_link_is_seen_in_three_versions() {
    let api = Plain::start();
    let mut body = link();
    body["spec"]["excludedLabels"] = json!(["a"]);
    body["spec"]["color"] = "red".into();
    body["status"] = status();
    let made = api.post(&path("v1alpha3"), &body).ok();
    assert_eq!(made["metadata"]["generation"], 1);
    assert!(made["status"].is_null(), "status is not for POST");
    assert!(made["spec"]["color"].is_null(), "unknown fields are dropped");
    for (version, has_exclusions, has_federation) in
        [("v1alpha1", false, false), ("v1alpha2", false, true), ("v1alpha3", true, true)]
    {
        let link = api.get(&format!("{}/east", path(version))).ok();
        assert_eq!(link["apiVersion"], format!("multicluster.linkerd.io/{version}"));
        assert_eq!(link["metadata"]["uid"], made["metadata"]["uid"]);
        assert_eq!(link["spec"]["gatewayPort"], "4143");
        assert_eq!(link["spec"]["excludedLabels"].is_array(), has_exclusions);
        assert_eq!(link["spec"]["federatedServiceSelector"].is_object(), has_federation);
        let list = api.get(&path(version)).ok();
        assert_eq!((&list["kind"], &list["items"][0]), (&"LinkList".into(), &link));
    }
    assert_eq!(api.get(&path("v1")).why(), (404, "NotFound".into()));
}

#[test]
fn status_is_pruned_as_linkerds_crd_does() {
    let api = Plain::start();
    api.post(&path("v1alpha3"), &link()).ok();
    let written = json!({ "status": status() });
    for version in ["v1alpha2", "v1alpha3"] {
        let patched = api.merge(&format!("{}/east/status", path(version)), &written).ok();
        assert!(patched["status"]["conditions"].is_null());
        let service = &patched["status"]["mirrorServices"][0];
        assert!(service["conditions"][0]["observedGeneration"].is_null());
        assert_eq!(service["conditions"][0]["reason"], "Mirrored");
        assert_eq!(service["remoteRef"]["kind"], "Service", "a default");
        assert_eq!(patched["metadata"]["generation"], 1);
    }
    let old = format!("{}/east", path("v1alpha1"));
    assert!(api.get(&old).ok()["status"].is_null());
    assert_eq!(api.merge(&format!("{old}/status"), &written).why(), (404, "NotFound".into()));
    // The resource itself leaves status alone.
    let both = json!({ "status": null, "spec": { "gatewayPort": "1" } });
    let patched = api.merge(&format!("{}/east", path("v1alpha3")), &both).ok();
    assert!(patched["status"]["mirrorServices"].is_array());
    assert_eq!(patched["metadata"]["generation"], 2);
}

#[test]
fn fields_of_links_have_types() {
    let api = Plain::start();
    for (pointer, value, field) in [
        ("/spec/gatewayPort", json!(4143), "spec.gatewayPort"),
        ("/spec/probeSpec/period", json!("3"), "spec.probeSpec.period"),
        (
            "/spec/selector",
            json!({ "matchExpressions": [{ "key": "a", "operator": "Like" }] }),
            "spec.selector.matchExpressions[0].operator",
        ),
        (
            "/spec/selector",
            json!({ "matchExpressions": [{ "key": "a" }] }),
            "spec.selector.matchExpressions[0].operator",
        ),
    ] {
        let mut link = link();
        *link.pointer_mut(pointer).expect("a field") = value;
        assert_eq!(api.post(&path("v1alpha3"), &link).fields(), [field]);
    }
    let mut old = link();
    old["apiVersion"] = "multicluster.linkerd.io/v1alpha1".into();
    old["spec"]["probeSpec"]["period"] = "3".into();
    old["spec"]["probeSpec"].as_object_mut().unwrap().remove("failureThreshold");
    let made = api.post(&path("v1alpha1"), &old).ok();
    assert_eq!(made["spec"]["probeSpec"]["failureThreshold"], "3", "a default");
    let mut bad = status();
    bad["mirrorServices"][0].as_object_mut().unwrap().remove("controllerName");
    let answer = api.merge(&format!("{}/east/status", path("v1alpha3")), &json!({ "status": bad }));
    let fields = answer.fields();
    assert!(fields.contains(&"status.mirrorServices[0].controllerName".to_owned()), "{fields:?}");
}

#[test]
fn a_custom_resource_is_never_written_without_its_version() {
    let api = Plain::start();
    api.post(&path("v1alpha3"), &link()).ok();
    let at = format!("{}/east", path("v1alpha3"));
    assert_eq!(api.put(&at, &link()).fields(), ["metadata.resourceVersion"]);
    api.delete(&at, &Value::Null).ok();
    assert_eq!(api.put(&at, &link()).why(), (404, "NotFound".into()), "nor created by PUT");
}

#[test]
fn a_crd_may_be_missing_come_and_go() {
    let api = Plain::with(Options { crds: vec![], ..Options::default() });
    let at = path("v1alpha3");
    let message = "the server could not find the requested resource";
    assert_eq!(api.get(&at).refusal(), (404, "NotFound".into(), message.into()));
    assert_eq!(api.get("/apis/multicluster.linkerd.io").why().0, 404);
    let mut crd = resources::linkerd_links();
    let spec = "/spec/versions/2/schema/openAPIV3Schema/properties/spec/properties/gatewayPort";
    *crd.pointer_mut(spec).expect("a schema") = json!({ "x-kubernetes-int-or-string": true });
    api.install_crd(&crd);
    let mut link = link();
    link["spec"]["gatewayPort"] = 4143.into();
    assert_eq!(api.post(&at, &link).ok()["spec"]["gatewayPort"], 4143);
    let mut watch = api.watch(&format!("{at}?watch=true"));
    assert_eq!(watch.line(), "ADDED east");
    api.remove_crd("links.multicluster.linkerd.io");
    assert_eq!(watch.try_next(), Ok(None));
    assert_eq!(api.get(&at).why().0, 404);
}

#[test]
fn what_is_served_can_be_learnt() {
    let api = Plain::start();
    assert_eq!(api.get("/version").ok()["major"], "1");
    let groups = api.get("/apis").ok();
    let names: Vec<_> =
        groups["groups"].as_array().unwrap().iter().map(|group| group["name"].clone()).collect();
    assert!(names.contains(&"multicluster.linkerd.io".into()), "{names:?}");
    let list = api.get("/apis/multicluster.linkerd.io/v1alpha1").ok();
    assert_eq!(list["resources"].as_array().map(Vec::len), Some(1), "no status: {list}");
    let list = api.get("/apis/multicluster.linkerd.io/v1alpha2").ok();
    assert_eq!(list["resources"].as_array().map(Vec::len), Some(2));
    assert!(api.get("/api/v1").ok()["resources"].as_array().unwrap().len() > 7);
}
