//! Linkerd's own cases of headless mirrors, and those that it lacks.

use serde_json::{Value, json};

use crate::support::kubernetes::cluster::Cluster;
use crate::support::kubernetes::objects;
use crate::whole::{
    annotations, endpoint_annotations, endpoint_ports, endpoints_object, labels, ports,
    slice_object, whole,
};
use crate::world::{APPS, GATEWAY, World, text, version};

const HEADLESS: &str = "headless_services = true";

/// A headless Service of a StatefulSet in east: its pods have hostnames. Gives the Service.
pub fn stateful(world: &World, name: &str, hosts: &[&str]) -> Value {
    let hosts: Vec<_> = hosts.iter().map(|host| (Some(*host), Some(*host), true)).collect();
    stateful_in(world, APPS, name, &hosts)
}

/// The same with hostname, pod name and readiness of each address.
pub fn stateful_in(
    world: &World,
    namespace: &str,
    name: &str,
    hosts: &[(Option<&str>, Option<&str>, bool)],
) -> Value {
    let service = objects::exported(namespace, name, &[("port1", 555, 555), ("port2", 666, 666)]);
    let service = objects::headless(service);
    let (mut endpoints, mut slice) =
        (objects::endpoints(&service, &[]), objects::slice(&service, "1", &[]));
    let (mut ready, mut not_ready, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (hostname, pod, is_ready)) in hosts.iter().enumerate() {
        let ip = format!("10.1.1.{}", index + 1);
        let mut address = json!({ "ip": ip });
        let mut endpoint = json!({ "addresses": [ip], "conditions": { "ready": is_ready } });
        if let Some(hostname) = hostname {
            address["hostname"] = (*hostname).into();
            endpoint["hostname"] = (*hostname).into();
        }
        if let Some(pod) = pod {
            let target = json!({ "kind": "Pod", "namespace": namespace, "name": pod });
            address["targetRef"] = target.clone();
            endpoint["targetRef"] = target;
        }
        if *is_ready { &mut ready } else { &mut not_ready }.push(address);
        all.push(endpoint);
    }
    if !hosts.is_empty() {
        let mut subset = json!({ "ports": endpoint_ports(&[("port1", 555), ("port2", 666)]) });
        for (field, list) in [("addresses", ready), ("notReadyAddresses", not_ready)] {
            if !list.is_empty() {
                subset[field] = list.into();
            }
        }
        endpoints["subsets"] = json!([subset]);
    }
    slice["endpoints"] = all.into();
    world.east.apply(endpoints);
    world.east.apply(slice);
    world.east.apply(service)
}

/// The hostnames of a root's Endpoints, sorted.
pub fn hosts(cluster: &Cluster, root: &str) -> Vec<String> {
    let endpoints = cluster.get("Endpoints", APPS, root).unwrap_or_default();
    let subsets = endpoints["subsets"].as_array().into_iter().flatten();
    let addresses = subsets.flat_map(|subset| subset["addresses"].as_array()).flatten();
    let mut hosts: Vec<_> = addresses.map(|address| text(&address["hostname"])).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// TestRemoteServiceCreatedMirroring 2.
#[test]
fn create_headless_service_and_endpoints_when_gateway_can_be_resolved() {
    let world = World::joined();
    let remote = stateful(&world, "service-two", &["pod-0"]);
    let _mirror = world.start(HEADLESS);
    world.west.wait_for("the host", |west| hosts(west, "service-two-remote") == ["pod-0"]);
    world.wait_addresses("pod-0-remote", &[GATEWAY], &[]);
    world.settle();

    let full = "service-two.test.svc.cluster.local";
    let two = ports(&[("port1", 555), ("port2", 666)]);
    assert_eq!(
        whole(&world.west, "Service", "service-two-remote"),
        json!({
            "metadata": {
                "labels": labels(json!({})),
                "annotations": annotations(full, &version(&remote), json!({})),
            },
            "spec": { "clusterIP": "None", "ports": two },
        })
    );
    let address = world.west.get("Service", APPS, "pod-0-remote").expect("there");
    let address = address["spec"]["clusterIP"].clone();
    let original = endpoint_ports(&[("port1", 555), ("port2", 666)]);
    assert_eq!(
        whole(&world.west, "Endpoints", "service-two-remote"),
        endpoints_object(
            &labels(json!({})),
            &endpoint_annotations(full),
            json!([{ "addresses": [{ "ip": address, "hostname": "pod-0" }], "ports": original }]),
        )
    );
    assert_eq!(
        whole(&world.west, "EndpointSlice", "service-two-remote-ipv4"),
        slice_object(
            "service-two-remote",
            &labels(json!({})),
            &endpoint_annotations(full),
            json!([{ "addresses": [address], "hostname": "pod-0", "conditions": { "ready": true } }]),
            original,
        )
    );
    host_mirror(&world, "pod-0", "service-two", &two);
}

/// Compares the mirror of one host.
fn host_mirror(world: &World, host: &str, service: &str, two: &Value) {
    let (name, root) = (format!("{host}-remote"), format!("{service}-remote"));
    let of = world.east.get("EndpointSlice", APPS, &format!("{service}-1")).expect("there");
    let full = format!("{host}.{service}.test.svc.cluster.local");
    let labels = labels(json!({ "mirror.linkerd.io/headless-mirror-svc-name": root }));
    let version = version(&of);
    assert_eq!(
        whole(&world.west, "Service", &name),
        json!({
            "metadata": {
                "labels": labels, "annotations": annotations(&full, &version, json!({})),
            },
            "spec": { "ports": two },
        })
    );
    let to_gateway = endpoint_ports(&[("port1", 888), ("port2", 888)]);
    assert_eq!(
        whole(&world.west, "Endpoints", &name),
        endpoints_object(
            &labels,
            &endpoint_annotations(&full),
            json!([{ "addresses": [{ "ip": GATEWAY }], "ports": to_gateway }]),
        )
    );
}

/// TestRemoteEndpointsUpdatedMirroring.
#[test]
fn updates_headless_mirror_service_with_new_remote_endpoints_hosts() {
    let world = World::joined();
    stateful(&world, "set", &["pod-0"]);
    let _mirror = world.start(HEADLESS);
    world.west.wait_for("the host", |west| hosts(west, "set-remote") == ["pod-0"]);
    world.settle();
    let before = world.west.get("Service", APPS, "pod-0-remote").expect("there");
    let endpoints = world.west.get("Endpoints", APPS, "pod-0-remote").expect("there");
    stateful(&world, "set", &["pod-0", "pod-1"]);
    world.west.wait_for("both hosts", |west| hosts(west, "set-remote") == ["pod-0", "pod-1"]);
    world.wait_addresses("pod-1-remote", &[GATEWAY], &[]);
    world.settle();
    assert_eq!(world.west.get("Service", APPS, "pod-0-remote"), Some(before), "untouched");
    assert_eq!(world.west.get("Endpoints", APPS, "pod-0-remote"), Some(endpoints), "untouched");

    stateful(&world, "set", &["pod-1"]);
    world.wait_gone("Service", "pod-0-remote");
    world.west.wait_for("one host", |west| hosts(west, "set-remote") == ["pod-1"]);
}

/// Only ready addresses become hosts; one without a hostname is called as its pod, and one that has
/// neither is left out (the case that made Linkerd's controller panic).
#[test]
fn issue_10916_hosts_are_ready_and_have_a_name() {
    let world = World::joined();
    let all = [
        (Some("pod-0"), Some("pod-0"), true),
        (Some("pod-1"), None, true),
        (None, Some("pod-2"), true),
        (None, None, true),
        (Some("pod-4"), Some("pod-4"), false),
    ];
    stateful_in(&world, APPS, "set", &all);
    let _mirror = world.start(HEADLESS);
    let wanted = ["pod-0", "pod-1", "pod-2"];
    world.west.wait_for("the hosts", |west| hosts(west, "set-remote") == wanted);
    world.settle();
    let names = world.west.names("Service", APPS);
    assert_eq!(names, ["pod-0-remote", "pod-1-remote", "pod-2-remote", "set-remote"]);
    assert_eq!(world.said("set", "Mirrored"), "", "Linkerd says InvalidService of a working one");
}

/// No address has a hostname: an ordinary mirror.
#[test]
fn a_headless_service_without_hostnames_is_mirrored_through_the_gateway() {
    let world = World::joined();
    let all = [(None, Some("pod-0"), true), (None, Some("pod-1"), true)];
    stateful_in(&world, APPS, "set", &all);
    let _mirror = world.start(HEADLESS);
    world.wait_addresses("set-remote", &[GATEWAY], &[]);
    let mirror = world.west.get("Service", APPS, "set-remote").expect("there");
    assert_ne!(mirror["spec"]["clusterIP"], "None");
    assert_eq!(world.west.names("Service", APPS), ["set-remote"]);
}

/// With headless mirrors off, as by default, a headless Service has an ordinary mirror.
#[test]
fn headless_mirrors_are_made_only_where_configured() {
    let world = World::joined();
    stateful(&world, "set", &["pod-0"]);
    let mirror = world.start("");
    world.wait_addresses("set-remote", &[GATEWAY], &[]);
    assert_eq!(world.west.names("Service", APPS), ["set-remote"]);
    assert_eq!(world.said("set", "Mirrored"), "");
    drop(mirror);

    // Switched on: the Service cannot change its kind and is made anew; and back.
    let mirror = world.start(HEADLESS);
    world.west.wait_for("the host", |west| hosts(west, "set-remote") == ["pod-0"]);
    drop(mirror);
    let _mirror = world.start("");
    world.wait_gone("Service", "pod-0-remote");
    world.wait_addresses("set-remote", &[GATEWAY], &[]);
}

/// TestHeadlessEndpointMirrorCleanupRespectsNamespaces (a) and (b).
#[test]
fn issue_15200_cleanup_of_hosts_respects_namespaces() {
    let world = World::joined();
    for namespace in ["ns1", "ns2"] {
        world.east.create(objects::namespace(namespace));
        world.west.create(objects::namespace(namespace));
        let all = [(Some("pod-0"), None, true), (Some("pod-1"), None, true)];
        stateful_in(&world, namespace, "set", &all);
    }
    let _mirror = world.start(HEADLESS);
    let all = ["pod-0-remote", "pod-1-remote", "set-remote"];
    world.west.wait_for("both", |west| {
        ["ns1", "ns2"].iter().all(|ns| west.names("Endpoints", ns) == all)
    });
    world.settle();
    world.west.reset_log();
    // (a) a host of one of them vanishes.
    stateful_in(&world, "ns1", "set", &[(Some("pod-0"), None, true)]);
    world.west.wait_for("one host less", |west| {
        west.names("Service", "ns1") == ["pod-0-remote", "set-remote"]
    });
    // (b) one of them is not exported any more.
    let label = json!({ "metadata": { "labels": { "mirror.linkerd.io/exported": null } } });
    world.east.patch("Service", "ns1", "set", &label);
    world.west.wait_for("none", |west| west.names("Service", "ns1").is_empty());
    world.settle();
    assert_eq!(world.west.names("Endpoints", "ns1"), Vec::<String>::new());
    assert_eq!(world.west.names("Service", "ns2"), all);
    let writes = world.west.writes();
    assert!(writes.iter().all(|write| write.access.namespace != "ns2"), "{writes:?}");
}

/// Scaled to nothing and back: the mirror keeps its kind and its Service.
#[test]
fn a_headless_mirror_outlives_its_last_pod() {
    let world = World::joined();
    stateful(&world, "set", &["pod-0"]);
    let _mirror = world.start(HEADLESS);
    world.west.wait_for("the host", |west| hosts(west, "set-remote") == ["pod-0"]);
    let before = world.west.get("Service", APPS, "set-remote").expect("there");
    stateful(&world, "set", &[]);
    world.wait_gone("Service", "pod-0-remote");
    world.west.wait_for("no host", |west| hosts(west, "set-remote").is_empty());
    stateful(&world, "set", &["pod-0"]);
    world.west.wait_for("the host again", |west| hosts(west, "set-remote") == ["pod-0"]);
    let after = world.west.get("Service", APPS, "set-remote").expect("there");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
}
