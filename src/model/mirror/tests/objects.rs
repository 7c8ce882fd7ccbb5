//! Mirrors as JSON, and what they weigh.

use serde_json::json;

use super::fixture::{World, gateway, host, hosts, key, ready, service};
use crate::model::mirror::group::group_of;
use crate::model::mirror::object::Object;
use crate::model::mirror::remote::{RemoteService, ServiceKind};
use crate::model::mirror::render;

#[test]
fn objects_are_rendered_as_the_api_takes_them() {
    let mut world = World::with(service("a"), ready());
    world.gateway = gateway(&[("192.0.2.1", true), ("192.0.2.2", false)]);
    world.settle("a");
    let found = &world.local.services[&key("a-remote")];
    let object = Object::Service(found.object.clone());
    let created = object.to_json(None);
    let port =
        |name, port| json!({ "name": name, "protocol": "TCP", "port": port, "targetPort": port });
    assert_eq!(created["spec"], json!({ "ports": [port("port1", 555), port("port2", 666)] }));
    assert_eq!(created["kind"], "Service");
    assert_eq!(created["metadata"]["labels"]["mirror.linkerd.io/cluster-name"], "remote");
    assert!(created["metadata"].get("resourceVersion").is_none());
    let updated = object.to_json(Some(&found.version));
    assert_eq!(updated["metadata"]["resourceVersion"], *found.version.resource_version);
    assert_eq!(updated["metadata"]["uid"], *found.version.uid);
    let ip = found.object.cluster_ip.expect("an address").to_string();
    assert_eq!(updated["spec"]["clusterIP"], ip, "an address cannot be taken away");

    let endpoints = world.local.endpoints[&key("a-remote")].object.clone();
    let endpoints = Object::Endpoints(endpoints).to_json(None);
    let subset = &endpoints["subsets"][0];
    assert_eq!(subset["addresses"], json!([{ "ip": "192.0.2.1" }]));
    assert_eq!(subset["notReadyAddresses"], json!([{ "ip": "192.0.2.2" }]));
    let slice = world.local.slices[&key("a-remote-ipv4")].object.clone();
    let slice = Object::Slice(slice).to_json(None);
    assert_eq!(
        (&slice["apiVersion"], &slice["addressType"]),
        (&json!("discovery.k8s.io/v1"), &json!("IPv4"))
    );
    assert_eq!(
        slice["endpoints"][1],
        json!({ "addresses": ["192.0.2.2"], "conditions": { "ready": false } })
    );
    assert_eq!(
        slice["metadata"]["ownerReferences"],
        json!([{ "apiVersion": "v1", "kind": "Service", "name": "a-remote", "uid": *found.version.uid }])
    );
    let namespace = render::namespace("ns9", "remote");
    assert_eq!(namespace["metadata"]["labels"]["mirror.linkerd.io/cluster-name"], "remote");
}

#[test]
fn a_headless_root_has_no_address_and_its_hosts_have_names() {
    let db = RemoteService { kind: ServiceKind::Headless, ..service("db") };
    let mut world = World::with(db, hosts(&[host("pod-0")]));
    world.settle("db");
    let root = Object::Service(world.mirror("db-remote").clone()).to_json(None);
    assert_eq!(root["spec"]["clusterIP"], "None");
    let slice = world.local.slices[&key("db-remote-ipv4")].object.clone();
    assert_eq!(Object::Slice(slice).to_json(None)["endpoints"][0]["hostname"], "pod-0");
    let endpoints = world.local.endpoints[&key("db-remote")].object.clone();
    let endpoints = Object::Endpoints(endpoints).to_json(None);
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["hostname"], "pod-0");
    // Every object of the group finds it again by itself.
    let local = &world.local;
    let services = local.services.values().map(|found| &found.object.meta);
    let endpoints = local.endpoints.values().map(|found| &found.object.meta);
    let slices = local.slices.values().map(|found| &found.object.meta);
    for meta in services.chain(endpoints).chain(slices) {
        assert_eq!(group_of(meta).0, key("db-remote"), "{}", meta.key);
    }
}
