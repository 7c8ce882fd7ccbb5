//! Linkerd's own cases of federated Services, and those that it lacks.

use serde_json::{Value, json};

use crate::support::kubernetes::{Fault, Matcher, Times, objects};
use crate::whole::{ports, whole};
use crate::world::{APPS, CLUSTER, SYSTEM, World, link, shown, two_ports};

const REMOTE: &str = "multicluster.linkerd.io/remote-discovery";
const LOCAL: &str = "multicluster.linkerd.io/local-discovery";

/// A member: not exported otherwise.
fn member(name: &str) -> Value {
    let service = objects::service(APPS, name, &[("port1", 555, 555), ("port2", 666, 666)]);
    objects::labelled(service, "mirror.linkerd.io/federated", "member")
}

/// A federated Service that is there already, with these annotations.
fn existing(annotations: Value) -> Value {
    let mut service = two_ports("service-one-federated");
    service["spec"].as_object_mut().expect("a map").remove("selector");
    service["metadata"]["labels"] = json!({ "mirror.linkerd.io/mirrored-service": "true" });
    service["metadata"]["annotations"] = annotations;
    service
}

/// A second Link, to a cluster about which nothing can be known: it has no Secret.
fn other() -> Value {
    let mut link = link();
    link["metadata"]["name"] = "other".into();
    link["spec"]["targetClusterName"] = "other".into();
    link["spec"]["clusterCredentialsSecret"] = "cluster-credentials-other".into();
    link
}

fn wait(world: &World, annotations: &Value) {
    world.west.wait_for(&format!("{annotations}"), |west| {
        let found = west.get("Service", APPS, "service-one-federated");
        found.is_some_and(|found| found["metadata"]["annotations"] == *annotations)
    });
}

/// TestRemoteServiceCreatedMirroring 5.
#[test]
fn federated_service_created() {
    let world = World::joined();
    world.serve(objects::labelled(member("service-one"), "lk", "lv"), &["10.1.0.1"]);
    let _mirror = world.start("");
    wait(&world, &json!({ REMOTE: "service-one@remote" }));
    world.settle();
    assert_eq!(
        whole(&world.west, "Service", "service-one-federated"),
        json!({
            "metadata": {
                "labels": { "mirror.linkerd.io/mirrored-service": "true", "lk": "lv" },
                "annotations": { REMOTE: "service-one@remote" },
            },
            "spec": { "ports": ports(&[("port1", 555), ("port2", 666)]) },
        })
    );
    assert_eq!(world.west.names("Service", APPS), ["service-one-federated"]);
    assert!(world.west.names("Endpoints", APPS).is_empty());
    let link = world.west.get("Link", SYSTEM, CLUSTER).expect("there");
    let entry = &link["status"]["federatedServices"][0];
    assert_eq!(entry["remoteRef"]["name"], "service-one");
    assert_eq!(entry["conditions"][0]["localRef"]["name"], "service-one-federated");
}

/// TestRemoteServiceCreatedMirroring 6.
#[test]
fn federated_service_joined() {
    let world = World::joined();
    world.west.create(other());
    world.west.create(existing(json!({ REMOTE: "service-one@other" })));
    world.serve(member("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    wait(&world, &json!({ REMOTE: "service-one@other,service-one@remote" }));
}

/// TestRemoteServiceCreatedMirroring 7.
#[test]
fn federated_service_left() {
    let world = World::joined();
    world.west.create(other());
    world.west.create(existing(json!({ REMOTE: "service-one@other,service-one@remote" })));
    world.serve(member("service-one"), &["10.1.0.1"]);
    let mirror = world.start("");
    world.west.wait_for("its status", |west| {
        let link = west.get("Link", SYSTEM, CLUSTER).expect("there");
        link["status"]["federatedServices"][0]["remoteRef"]["name"] == "service-one"
    });
    let label = json!({ "metadata": { "labels": { "mirror.linkerd.io/federated": null } } });
    world.east.patch("Service", APPS, "service-one", &label);
    wait(&world, &json!({ REMOTE: "service-one@other" }));
    world.west.wait_for("no status", |west| {
        let link = west.get("Link", SYSTEM, CLUSTER).expect("there");
        link["status"]["federatedServices"] == json!([])
    });
    drop(mirror);
}

/// TestRemoteServiceCreatedMirroring 8.
#[test]
fn local_federated_service_created() {
    let world = World::new();
    world.west.create(member("service-one"));
    let _mirror = world.start("");
    wait(&world, &json!({ LOCAL: "service-one" }));
}

/// TestRemoteServiceCreatedMirroring 9 and 10.
#[test]
fn local_federated_service_joined_and_left() {
    let world = World::joined();
    world.serve(member("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    wait(&world, &json!({ REMOTE: "service-one@remote" }));
    world.west.create(member("service-one"));
    wait(&world, &json!({ LOCAL: "service-one", REMOTE: "service-one@remote" }));
    world.west.delete("Service", APPS, "service-one");
    wait(&world, &json!({ REMOTE: "service-one@remote" }));
    world.east.delete("Service", APPS, "service-one");
    world.wait_gone("Service", "service-one-federated");
}

/// Labels, annotations and ports are the oldest member's; the local one counts as the oldest.
#[test]
fn the_oldest_member_decides_and_the_local_one_is_the_oldest() {
    let world = World::joined();
    let mut remote = objects::annotated(member("service-one"), "from", "remote");
    remote["spec"]["ports"][0]["port"] = 5555.into();
    world.serve(remote, &["10.1.0.1"]);
    let _mirror = world.start("excluded_annotations = [\"secret.example.com/*\"]");
    wait(&world, &json!({ "from": "remote", REMOTE: "service-one@remote" }));
    let local = objects::annotated(member("service-one"), "from", "local");
    let local = objects::annotated(local, "secret.example.com/a", "b");
    world.west.create(local);
    wait(&world, &json!({ "from": "local", LOCAL: "service-one", REMOTE: "service-one@remote" }));
    let ports = whole(&world.west, "Service", "service-one-federated")["spec"]["ports"].clone();
    assert_eq!(ports[0]["port"], 555);
}

/// Linkerd never removes members that left while nobody watched, nor those of unlinked clusters.
#[test]
fn members_that_left_during_downtime_and_those_of_unlinked_clusters_go() {
    let world = World::joined();
    world.west.create(existing(json!({ REMOTE: "service-one@gone,service-one@remote" })));
    world.serve(member("service-one"), &["10.1.0.1"]);
    let mirror = world.start("");
    wait(&world, &json!({ REMOTE: "service-one@remote" }));
    drop(mirror);
    world.east.delete("Service", APPS, "service-one");
    let mirror = world.start("");
    world.wait_gone("Service", "service-one-federated");

    world.serve(member("service-one"), &["10.1.0.1"]);
    wait(&world, &json!({ REMOTE: "service-one@remote" }));
    world.west.delete("Link", SYSTEM, CLUSTER);
    world.wait_gone("Service", "service-one-federated");
    assert!(shown(&mirror, CLUSTER).is_none());
}

/// What the API server does not take is said of the member, until it takes it.
#[test]
fn a_federated_service_that_is_refused_is_not_called_mirrored() {
    let world = World::joined();
    let create = Matcher::new("create", "services").name("service-one-federated");
    world.west.inject(create, Fault::Status(403), Times::Always);
    world.serve(member("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    let reason_is = |reason: &str| {
        world.west.wait_for(reason, |west| {
            let link = west.get("Link", SYSTEM, CLUSTER).expect("there");
            link["status"]["federatedServices"][0]["conditions"][0]["reason"] == reason
        });
    };
    reason_is("Error");
    assert!(!world.has("Service", "service-one-federated"));
    world.west.clear_faults();
    reason_is("Mirrored");
    assert!(world.has("Service", "service-one-federated"));
}

#[test]
fn a_headless_member_is_refused() {
    let world = World::joined();
    world.serve(objects::headless(member("service-one")), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.west.wait_for("its status", |west| {
        let link = west.get("Link", SYSTEM, CLUSTER).expect("there");
        let entry = &link["status"]["federatedServices"][0]["conditions"][0];
        entry["reason"] == "InvalidService" && entry["localRef"].is_null()
    });
    assert!(!world.has("Service", "service-one-federated"));
}

/// A Service may be both; each without the other.
#[test]
fn mirroring_and_federation_are_independent() {
    let world = World::joined();
    let both = objects::labelled(member("service-one"), "mirror.linkerd.io/exported", "true");
    world.serve(both, &["10.1.0.1"]);
    let _mirror = world.start("");
    wait(&world, &json!({ REMOTE: "service-one@remote" }));
    world.wait_addresses("service-one-remote", &["192.0.2.127"], &[]);
    let label = json!({ "metadata": { "labels": { "mirror.linkerd.io/federated": null } } });
    world.east.patch("Service", APPS, "service-one", &label);
    world.wait_gone("Service", "service-one-federated");
    assert!(world.has("Service", "service-one-remote"));
}

/// A Service that only has the name is not adopted.
#[test]
fn a_foreign_service_with_the_federated_name_is_left_alone() {
    let world = World::joined();
    let foreign = world.west.create(two_ports("service-one-federated"));
    world.serve(member("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.west.wait_for("the conflict", |west| {
        let link = west.get("Link", SYSTEM, CLUSTER).expect("there");
        link["status"]["federatedServices"][0]["conditions"][0]["reason"] == "Conflict"
    });
    world.east.delete("Service", APPS, "service-one");
    world.settle();
    assert_eq!(world.west.get("Service", APPS, "service-one-federated"), Some(foreign));
}
