//! Linkerd's own cases of remote discovery: mirrors without endpoints.

use serde_json::{Value, json};

use crate::support::kubernetes::objects;
use crate::whole::{annotations, labels, ports, whole};
use crate::world::{APPS, GATEWAY, World, exported, link, slices_of, two_ports, version};

const ONE: &str = "service-one.test.svc.cluster.local";

fn flat(name: &str) -> Value {
    objects::labelled(two_ports(name), "mirror.linkerd.io/exported", "remote-discovery")
}

/// The whole mirror of `service-one`, which has the remote version `version`.
fn expected(version: &str) -> Value {
    json!({
        "metadata": {
            "labels": labels(json!({
                "multicluster.linkerd.io/remote-discovery": "remote",
                "multicluster.linkerd.io/remote-service": "service-one",
            })),
            "annotations": annotations(ONE, version, json!({})),
        },
        "spec": { "ports": ports(&[("port1", 555), ("port2", 666)]) },
    })
}

/// TestRemoteServiceCreatedMirroring 3.
#[test]
fn remote_discovery_mirroring() {
    let world = World::joined();
    let remote = world.serve(flat("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.said("service-one", "Mirrored");
    let found = whole(&world.west, "Service", "service-one-remote");
    assert_eq!(found, expected(&version(&remote)));
    world.settle();
    assert!(!world.has("Endpoints", "service-one-remote"));
    assert!(slices_of(&world.west, "service-one-remote").is_empty());
}

/// TestRemoteServiceCreatedMirroring 4.
#[test]
fn link_with_no_gateway_mirrors_only_remote_discovery() {
    let world = World::new();
    let mut link = link();
    let spec = link["spec"].as_object_mut().expect("a map");
    for field in ["gatewayAddress", "gatewayPort", "gatewayIdentity"] {
        spec.insert(field.to_owned(), "".into());
    }
    spec.insert("selector".to_owned(), json!({}));
    world.join(link);
    let remote = world.serve(flat("service-one"), &["10.1.0.1"]);
    world.serve(exported("service-two"), &["10.1.0.2"]);
    let _mirror = world.start("");
    world.said("service-one", "Mirrored");
    world.settle();
    let found = whole(&world.west, "Service", "service-one-remote");
    assert_eq!(found, expected(&version(&remote)));
    assert_eq!(world.west.names("Service", APPS), ["service-one-remote"]);
}

/// A Service that both selectors match is flat; the same one may change sides.
#[test]
fn from_gateway_mode_to_flat_and_back() {
    let world = World::joined();
    world.serve(two_ports("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("service-one-remote", &[GATEWAY], &[]);
    let before = world.west.get("Service", APPS, "service-one-remote").expect("there");
    let remote = world.east.apply(flat("service-one"));
    world.wait_gone("Endpoints", "service-one-remote");
    world.wait_gone("EndpointSlice", "service-one-remote-ipv4");
    world.west.wait_for("the labels", |west| {
        whole(west, "Service", "service-one-remote") == expected(&version(&remote))
    });
    world.east.apply(two_ports("service-one"));
    world.wait_addresses("service-one-remote", &[GATEWAY], &[]);
    let after = world.west.get("Service", APPS, "service-one-remote").expect("there");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"], "one Service all the time");
    assert_eq!(after["spec"]["clusterIP"], before["spec"]["clusterIP"]);
}

#[test]
fn a_service_that_both_selectors_match_is_flat() {
    let world = World::new();
    let mut link = link();
    link["spec"]["remoteDiscoverySelector"] = json!({ "matchLabels": { "also": "flat" } });
    world.join(link);
    world.serve(objects::labelled(exported("web"), "also", "flat"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.said("web", "Mirrored");
    world.settle();
    let mirror = world.west.get("Service", APPS, "web-remote").expect("there");
    assert_eq!(mirror["metadata"]["labels"]["multicluster.linkerd.io/remote-discovery"], "remote");
    assert!(!world.has("Endpoints", "web-remote"));
}
