//! Linkerd's own cases of gateway mode (`cluster_watcher_mirroring_test.go`), on whole objects.

use serde_json::json;

use crate::probes::{Answer, Probes};
use crate::support::kubernetes::objects;
use crate::whole::{
    annotations, endpoint_annotations, endpoint_ports, endpoints_object, labels, ports,
    slice_object, whole,
};
use crate::world::{
    APPS, CLUSTER, GATEWAY, QUIET, SYSTEM, World, exported, link, probed_link, two_ports, version,
};

const ONE: &str = "service-one.test.svc.cluster.local";

/// TestRemoteServiceCreatedMirroring 1.
#[test]
fn create_service_and_endpoints_when_gateway_can_be_resolved() {
    let world = World::joined();
    let service = objects::labelled(two_ports("service-one"), "lk", "lv");
    let service = objects::annotated(service, "ak", "av");
    let remote = world.serve(service, &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("service-one-remote", &[GATEWAY], &[]);

    let labels = labels(json!({ "lk": "lv" }));
    assert_eq!(
        whole(&world.west, "Service", "service-one-remote"),
        json!({
            "metadata": {
                "labels": labels,
                "annotations": annotations(ONE, &version(&remote), json!({ "ak": "av" })),
            },
            "spec": { "ports": ports(&[("port1", 555), ("port2", 666)]) },
        })
    );
    let to_gateway = endpoint_ports(&[("port1", 888), ("port2", 888)]);
    assert_eq!(
        whole(&world.west, "Endpoints", "service-one-remote"),
        endpoints_object(
            &labels,
            &endpoint_annotations(ONE),
            json!([{ "addresses": [{ "ip": GATEWAY }], "ports": to_gateway }]),
        )
    );
    assert_eq!(
        whole(&world.west, "EndpointSlice", "service-one-remote-ipv4"),
        slice_object(
            "service-one-remote",
            &labels,
            &endpoint_annotations(ONE),
            json!([{ "addresses": [GATEWAY], "conditions": { "ready": true } }]),
            to_gateway,
        )
    );
    assert_eq!(world.said("service-one", "Mirrored"), "");
}

/// TestLocalNamespaceCreatedAfterServiceExport.
#[test]
fn a_namespace_created_after_the_export_is_noticed() {
    let world = World::joined();
    world.east.create(objects::namespace("later"));
    let service = objects::exported("later", "service-one", &[("port1", 555, 555)]);
    world.serve(service, &["10.1.0.1"]);
    let _mirror = world.start("");
    let message = world.said("service-one", "MissingNamespace");
    assert!(message.contains("namespace later"), "{message}");
    world.west.wait_for("the Event", |west| {
        let is_it = |(object, reason, text): &(String, String, String)| {
            object == CLUSTER && reason == "ServiceMirroringSkipped" && text.contains("later")
        };
        west.events().iter().any(is_it)
    });
    world.quiet(QUIET, |line| line.starts_with("patch links") || line.contains("events"));
    assert!(world.west.get("Service", "later", "service-one-remote").is_none());

    world.west.create(objects::namespace("later"));
    world.west.wait_for("the mirror", |west| {
        let has = |kind| west.get(kind, "later", "service-one-remote").is_some();
        has("Service") && has("Endpoints")
    });
    world.said("service-one", "Mirrored");
}

/// TestServiceCreatedGatewayAlive.
#[test]
fn created_while_the_gateway_is_alive_and_updated_while_it_is_down() {
    let world = World::new();
    let probes = Probes::start(&["127.0.10.1"]);
    world.join(probed_link("127.0.10.1", probes.port));
    let service = two_ports("service-one");
    world.serve(service.clone(), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("service-one-remote", &["127.0.10.1"], &[]);
    probes.answer("127.0.10.1", Answer::Reset);
    world.wait_addresses("service-one-remote", &[], &["127.0.10.1"]);

    world.east.apply(objects::labelled(service, "lk", "lv"));
    world.west.wait_for("the label", |west| {
        ["Service", "Endpoints"].iter().all(|kind| {
            let mirror = west.get(kind, APPS, "service-one-remote").expect("kept");
            mirror["metadata"]["labels"]["lk"] == "lv"
        })
    });
    world.wait_addresses("service-one-remote", &[], &["127.0.10.1"]);
}

/// TestServiceCreatedGatewayDown.
#[test]
fn created_while_the_gateway_is_down() {
    let world = World::new();
    let probes = Probes::start(&["127.0.11.1"]);
    probes.answer("127.0.11.1", Answer::Reset);
    world.join(probed_link("127.0.11.1", probes.port));
    let _mirror = world.start("");
    world.condition(CLUSTER, "GatewayAlive", "False");
    world.serve(two_ports("service-one"), &["10.1.0.1"]);
    world.wait_addresses("service-one-remote", &[], &["127.0.11.1"]);
    // It was never ready, not even for a moment.
    let writes = world.west.writes();
    let mut endpoints = writes
        .iter()
        .filter(|write| write.access.resource == "endpoints" && write.access.namespace == APPS);
    assert!(endpoints.all(|write| write.body["subsets"][0]["addresses"].is_null()));
    probes.answer("127.0.11.1", Answer::Status(200));
    world.wait_addresses("service-one-remote", &["127.0.11.1"], &[]);
}

/// TestRemoteServiceDeletedMirroring.
#[test]
fn deletes_locally_mirrored_service() {
    let world = World::joined();
    world.serve(two_ports("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("service-one-remote", &[GATEWAY], &[]);
    let label = json!({ "metadata": { "labels": { "mirror.linkerd.io/exported": null } } });
    world.east.patch("Service", APPS, "service-one", &label);
    world.wait_gone("Service", "service-one-remote");
    world.wait_gone("Endpoints", "service-one-remote");
    world.wait_gone("EndpointSlice", "service-one-remote-ipv4");
    world.west.wait_for("an empty status", |west| {
        let link = west.get("Link", SYSTEM, CLUSTER).expect("there");
        link["status"]["mirrorServices"] == json!([])
    });
}

/// TestRemoteServiceUpdatedMirroring.
#[test]
fn updates_service_ports_on_both_service_and_endpoints() {
    let world = World::joined();
    world.serve(two_ports("service-one"), &["10.1.0.1"]);
    let _mirror = world.start("");
    world.wait_addresses("service-one-remote", &[GATEWAY], &[]);
    let changed =
        objects::exported(APPS, "service-one", &[("port1", 555, 555), ("port3", 777, 777)]);
    let remote = world.east.apply(changed);
    let version = version(&remote);
    world.west.wait_for("the version", |west| {
        let mirror = west.get("Service", APPS, "service-one-remote").expect("kept");
        mirror["metadata"]["annotations"]["mirror.linkerd.io/remote-resource-version"] == *version
    });
    assert_eq!(
        whole(&world.west, "Service", "service-one-remote"),
        json!({
            "metadata": {
                "labels": labels(json!({})), "annotations": annotations(ONE, &version, json!({})),
            },
            "spec": { "ports": ports(&[("port1", 555), ("port3", 777)]) },
        })
    );
    let to_gateway = endpoint_ports(&[("port1", 888), ("port3", 888)]);
    assert_eq!(
        whole(&world.west, "Endpoints", "service-one-remote"),
        endpoints_object(
            &labels(json!({})),
            &endpoint_annotations(ONE),
            json!([{ "addresses": [{ "ip": GATEWAY }], "ports": to_gateway }]),
        )
    );
    let slice = whole(&world.west, "EndpointSlice", "service-one-remote-ipv4");
    assert_eq!(slice["ports"], to_gateway);
}

/// TestEmptyRemoteSelectors: each selector left out or empty selects nothing.
#[test]
fn an_empty_selector_exports_nothing() {
    for (selector, flat, expected) in [
        (true, json!({}), &["gateway-remote"][..]),
        (true, json!(null), &["gateway-remote"][..]),
        (
            false,
            json!({ "matchLabels": { "mirror.linkerd.io/exported": "remote-discovery" } }),
            &["flat-remote"][..],
        ),
        (false, json!(null), &[][..]),
    ] {
        let world = World::new();
        let mut link = link();
        if !selector {
            link["spec"]["selector"] = json!({});
        }
        link["spec"]["remoteDiscoverySelector"] = flat.clone();
        world.join(link);
        world.serve(exported("gateway"), &["10.1.0.1"]);
        let mut service = exported("flat");
        service["metadata"]["labels"]["mirror.linkerd.io/exported"] = "remote-discovery".into();
        world.serve(service, &["10.1.0.2"]);
        let mirror = world.start("");
        mirror.eventually("the first look at the target", |mirror| {
            crate::world::shown(mirror, CLUSTER)
                .is_some_and(|link| link["target"]["status"] == "True" && link["pending"] == 0)
        });
        world.settle();
        assert_eq!(world.west.names("Service", APPS), expected, "{flat}");
    }
}

/// TestClusterUnregisteredMirroring: Linkerd has a cleanup that nothing ever starts. What its
/// controller really does is kept: the mirrors of a Link that is deleted stay.
#[test]
fn an_unregistered_cluster_keeps_its_mirrors_and_loses_its_metrics() {
    let (world, mirror) = World::mirroring(&["web"]);
    world.west.delete("Link", SYSTEM, CLUSTER);
    mirror
        .eventually("the end of the Link", |mirror| crate::world::shown(mirror, CLUSTER).is_none());
    world.east.delete("Service", APPS, "web");
    world.quiet(QUIET, |_| false);
    assert!(world.has("Service", "web-remote") && world.has("Endpoints", "web-remote"));
    let metrics = mirror.get("/metrics");
    let left: Vec<_> = metrics
        .lines()
        .filter(|line| line.starts_with("gateway_alive{") || line.starts_with("gateway_enabled{"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// TestGcOrphanedServicesMirroring.
#[test]
fn deletes_mirrored_resources_that_are_no_longer_present_on_the_remote_cluster() {
    let world = World::joined();
    world.serve(exported("orphan"), &["10.1.0.1"]);
    world.serve(exported("withdrawn"), &["10.1.0.1"]);
    world.serve(exported("live"), &["10.1.0.2"]);
    crate::headless::stateful(&world, "set", &["set-0"]);
    let headless = "headless_services = true";
    let mirror = world.start(headless);
    for name in ["orphan-remote", "withdrawn-remote", "live-remote", "set-0-remote"] {
        world.wait_addresses(name, &[GATEWAY], &[]);
    }
    world.west.wait_for("the host of the root", |west| {
        crate::headless::hosts(west, "set-remote") == ["set-0"]
    });
    world.settle();
    drop(mirror);
    world.east.delete("Service", APPS, "orphan");
    world.east.delete("Endpoints", APPS, "orphan");
    let label = json!({ "metadata": { "labels": { "mirror.linkerd.io/exported": "no" } } });
    world.east.patch("Service", APPS, "withdrawn", &label);
    world.west.reset_log();
    let _mirror = world.start(headless);
    world.wait_gone("Service", "orphan-remote");
    world.wait_gone("Service", "withdrawn-remote");
    world.settle();
    for kind in ["Service", "Endpoints"] {
        assert_eq!(
            world.west.names(kind, APPS),
            ["live-remote", "set-0-remote", "set-remote"],
            "{kind}"
        );
    }
    let writes = world.west.writes();
    let changed: Vec<_> = writes.iter().filter(|write| write.access.namespace == APPS).collect();
    let is_of_gone = |line: &str| line.contains("orphan") || line.contains("withdrawn");
    assert!(changed.iter().all(|write| is_of_gone(&write.line())), "{changed:?}");
}

/// TestOnAdd and TestOnUpdate 1 to 4, TestOnDelete 1 and 2.
#[test]
fn each_event_of_a_remote_service_leads_to_what_it_means_and_no_more() {
    let world = World::joined();
    let service = exported("web");
    world.serve(objects::service(APPS, "plain", &[("http", 80, 80)]), &["10.1.0.2"]);
    let _mirror = world.start("");
    // Exported and not mirrored.
    world.serve(service.clone(), &["10.1.0.1"]);
    world.wait_addresses("web-remote", &[GATEWAY], &[]);
    world.settle();
    // The same version again: no write.
    world.east.expire_watches();
    world.quiet(QUIET, |_| false);
    // Mirrored and a different version.
    world.west.reset_log();
    let remote = world.east.apply(objects::annotated(service, "note", "new"));
    world.west.wait_for("the update", |west| {
        let mirror = west.get("Service", APPS, "web-remote").expect("kept");
        let annotations = &mirror["metadata"]["annotations"];
        annotations["mirror.linkerd.io/remote-resource-version"] == *version(&remote)
            && annotations["note"] == "new"
    });
    world.settle();
    let lines: Vec<_> = world.west.writes().iter().map(|write| write.line()).collect();
    assert_eq!(lines, ["update services test/web-remote"]);
    // A deletion of what was never exported, and one of what was.
    world.east.delete("Service", APPS, "plain");
    world.quiet(QUIET, |_| false);
    world.east.delete("Service", APPS, "web");
    world.wait_gone("Service", "web-remote");
}
