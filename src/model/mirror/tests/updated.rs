//! What a change in the target changes here, and what is no reason to write.

use serde_json::json;

use super::fixture::{World, gateway, ip, key, link_with, port, ready, service};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::labels::tests::labels;
use crate::model::kubernetes::object::TargetPort;
use crate::model::mirror::keys;
use crate::model::mirror::object::Kind;
use crate::model::mirror::plan::Write;

/// TestRemoteServiceUpdatedMirroring: "updates service ports on both service and endpoints"
#[test]
fn ports_are_updated_on_both_service_and_endpoints() {
    let mut world = World::with(service("service-one"), ready());
    world.settle("service-one");
    // As if Linkerd's controller had been told no identity.
    let endpoints = world.local.endpoints.get_mut(&key("service-one-remote")).expect("there");
    endpoints.object.meta.annotations.remove(keys::GATEWAY_IDENTITY);
    world.change("service-one", |service| {
        service.ports = vec![port("port1", 111), port("port3", 333)];
    });
    world.settle("service-one");
    let mirror = world.mirror("service-one-remote");
    assert_eq!(mirror.ports, [port("port1", 111), port("port3", 333)]);
    assert_eq!(&*mirror.meta.annotations[keys::REMOTE_VERSION], "1110");
    let endpoints = &world.local.endpoints[&key("service-one-remote")].object;
    assert_eq!(&*endpoints.meta.annotations[keys::GATEWAY_IDENTITY], "gateway-identity");
    let mut names: Vec<_> =
        endpoints.subsets[0].ports.iter().map(|port| (&*port.name, port.port)).collect();
    names.sort_unstable();
    assert_eq!(names, [("port1", 888), ("port3", 888)]);
    let slice = &world.local.slices[&key("service-one-remote-ipv4")].object;
    assert_eq!(slice.ports.len(), 2);
}

/// TestOnAdd and TestOnUpdate: "exported & not mirrored", "mirrored & different rv", "mirrored & same rv".
#[test]
fn another_version_is_written_and_the_same_is_not() {
    let mut world = World::with(service("a"), ready());
    assert!(!world.settle("a").writes.is_empty());
    assert!(world.settle("a").writes.is_empty());
    world.change("a", |_| {});
    let settled = world.settle("a");
    assert!(matches!(settled.writes.as_slice(), [Write::Update { object, .. }]
        if object.kind() == Kind::Service));
}

/// TestOnAdd and TestOnUpdate: "no longer exported".
#[test]
fn a_service_that_is_no_longer_exported_loses_its_mirror() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    world.change("a", |service| service.labels = Labels::default());
    let settled = world.settle("a");
    assert!(world.local.services.is_empty() && world.local.endpoints.is_empty());
    assert_eq!(settled.condition, None);
}

#[test]
fn what_the_remote_loses_the_mirror_loses() {
    let mut remote = service("a");
    remote.annotations = labels(&[("team", "x"), ("config.linkerd.io/opaque-ports", "1")]);
    let mut world = World::with(remote, ready());
    world.settle("a");
    world.change("a", |service| {
        service.labels.remove("lk");
        service.annotations = Labels::default();
    });
    world.settle("a");
    assert!(!world.mirror("a-remote").meta.labels.contains_key("lk"));
    assert_eq!(world.mirror("a-remote").meta.annotations.iter().count(), 2);
    assert!(!world.local.endpoints[&key("a-remote")].object.meta.labels.contains_key("lk"));
    assert!(!world.local.slices[&key("a-remote-ipv4")].object.meta.labels.contains_key("lk"));
}

/// A process that is killed between two writes: the root tells the next that all is not done.
#[test]
fn a_change_that_was_cut_off_is_finished() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    world.change("a", |service| service.labels.remove("lk"));
    let (_, plan) = world.decide(&key("a"));
    assert!(plan.writes.len() > 2, "{plan:?}");
    for cut in 0..plan.writes.len() {
        let mut world = world.clone();
        plan.writes[..cut].iter().for_each(|write| world.local.apply(write));
        world.settle("a");
        let metas = [
            &world.mirror("a-remote").meta,
            &world.local.endpoints[&key("a-remote")].object.meta,
            &world.local.slices[&key("a-remote-ipv4")].object.meta,
        ];
        assert!(metas.iter().all(|meta| !meta.labels.contains_key("lk")), "cut after {cut}");
    }
}

/// A cloud's controller or an admission hook adds what it wants: nobody fights with it.
#[test]
fn what_others_add_is_no_reason_to_write() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    let foreign = ("cloud.google.com/neg-status", "{}");
    let service = &mut world.local.services.get_mut(&key("a-remote")).expect("there").object;
    service.meta.annotations.put_all(&[foreign]);
    service.meta.labels.put_all(&[("hook", "on")]);
    service.ports.iter_mut().for_each(|port| {
        port.target_port = Some(TargetPort::Number(port.port));
    });
    let endpoints = &mut world.local.endpoints.get_mut(&key("a-remote")).expect("there").object;
    endpoints.meta.annotations.put_all(&[foreign]);
    assert!(world.settle("a").writes.is_empty());
    // What only we set is ours alone.
    let service = &mut world.local.services.get_mut(&key("a-remote")).expect("there").object;
    service.meta.labels.put_all(&[(keys::REMOTE_DISCOVERY, "remote")]);
    world.settle("a");
    assert!(!world.mirror("a-remote").meta.labels.contains_key(keys::REMOTE_DISCOVERY));
}

/// "excluded labels/annotations", "prefix rule of `group/*`": the group ends at its slash.
#[test]
fn excluded_keys_are_not_copied_and_go_when_they_become_excluded() {
    let mut remote = service("a");
    let pairs = [
        ("evil", "1"),
        ("evil.linkerd/a", "1"),
        ("evil.linkerdx/a", "1"),
        ("good.linkerd/a", "1"),
        ("config.linkerd.io/opaque-ports", "25"),
    ];
    remote.labels.put_all(&pairs[..4]);
    remote.annotations.put_all(&pairs);
    let mut world = World::with(remote, ready());
    world.settle("a");
    let excluded = json!(["evil.linkerd/*", "evil", "config.linkerd.io/*"]);
    world.link =
        link_with(&[("excludedLabels", excluded.clone()), ("excludedAnnotations", excluded)]);
    world.settle("a");
    let meta = &world.mirror("a-remote").meta;
    for of in [&meta.labels, &meta.annotations] {
        assert!(!of.contains_key("evil") && !of.contains_key("evil.linkerd/a"));
        assert!(of.contains_key("evil.linkerdx/a") && of.contains_key("good.linkerd/a"));
    }
    assert_eq!(&*meta.annotations[keys::OPAQUE_PORTS], "25", "copied whatever is excluded");
    assert!(!world.local.endpoints[&key("a-remote")].object.meta.labels.contains_key("evil"));
}

/// Facts 3.3: what of the remote's metadata is never copied.
#[test]
fn metadata_that_has_a_meaning_of_its_own_is_not_copied() {
    let mut remote = service("a");
    remote.labels.put_all(&[
        ("mirror.linkerd.io/other", "x"),
        (keys::REMOTE_DISCOVERY, "elsewhere"),
        (keys::SKIP_MIRROR, "true"),
    ]);
    remote.annotations.put_all(&[
        ("service.kubernetes.io/topology-mode", "Auto"),
        ("service.kubernetes.io/topology-aware-hints", "auto"),
        ("kubectl.kubernetes.io/last-applied-configuration", "{}"),
        (keys::REMOTE_DISCOVERY, "a@elsewhere"),
        (keys::REMOTE_NAME, "b.ns2.svc.elsewhere"),
        ("kept", "yes"),
    ]);
    let mut world = World::with(remote, ready());
    world.settle("a");
    let meta = &world.mirror("a-remote").meta;
    let own = [("lk", "lv"), (keys::CLUSTER, "remote"), (keys::MIRRORED, "true")];
    assert_eq!(meta.labels, labels(&own));
    let expected = [
        ("kept", "yes"),
        (keys::REMOTE_NAME, "a.ns1.svc.cluster.local"),
        (keys::REMOTE_VERSION, "111"),
    ];
    assert_eq!(meta.annotations, labels(&expected));
}

/// Facts 5.1: gateway to flat and back.
#[test]
fn a_switch_to_flat_takes_the_endpoints_away_and_back_brings_them() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    let set = |world: &mut World, value: &str| {
        world.change("a", |service| {
            service.labels.insert("mirror.linkerd.io/exported".into(), value.into());
        });
        world.settle("a");
    };
    set(&mut world, "remote-discovery");
    assert!(world.mirror("a-remote").meta.labels.contains_key(keys::REMOTE_DISCOVERY));
    assert!(world.local.endpoints.is_empty() && world.local.slices.is_empty());
    set(&mut world, "true");
    assert!(!world.mirror("a-remote").meta.labels.contains_key(keys::REMOTE_DISCOVERY));
    assert_eq!(world.addresses("a-remote").0, ["192.0.2.127"]);
    assert_eq!(world.local.slices.len(), 1);
}

/// "Endpoints missing then repaired", and a Service that somebody deleted.
#[test]
fn what_is_missing_is_made_again() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    world.local.endpoints.clear();
    world.settle("a");
    assert_eq!(world.addresses("a-remote").0, ["192.0.2.127"]);
    world.local.slices.clear();
    world.settle("a");
    assert_eq!(world.slice("a-remote-ipv4").len(), 1);
    world.local.services.clear();
    world.settle("a");
    let uid = &world.local.services[&key("a-remote")].version.uid;
    let slice = &world.local.slices[&key("a-remote-ipv4")].object;
    assert_eq!(slice.meta.owner.as_ref(), Some(uid), "the slice belongs to the new one");
}

/// Facts 1.1: a Link whose field is wrong changes nothing.
#[test]
fn a_frozen_link_changes_nothing() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    world.is_frozen = true;
    world.change("a", |service| service.labels = Labels::default());
    assert!(world.settle("a").writes.is_empty());
    world.remote.clear();
    assert!(world.settle("a").writes.is_empty());
    world.export(service("b"), Some(ready()));
    let settled = world.settle("b");
    assert!(settled.writes.is_empty() && settled.condition.is_some_and(|it| !it.is_mirrored));
}

/// A server may keep addresses in an order of its own, as text for one: what is kept is not written
/// for that, and of what is written only the readiness changes.
#[test]
fn what_is_kept_keeps_its_order() {
    let (nine, ten) = ("192.0.2.9", "192.0.2.10");
    let mut world = World::with(service("a"), ready());
    world.gateway = gateway(&[(nine, true), (ten, true)]);
    world.settle("a");
    let endpoints = world.local.endpoints.get_mut(&key("a-remote")).expect("there");
    endpoints.object.subsets[0].addresses.reverse();
    // Nothing is known of the target.
    world.remote.clear();
    world.services_complete = false;
    assert_eq!(world.settle("a").writes, []);
    world.gateway = gateway(&[(nine, false), (ten, true)]);
    assert_eq!(world.settle("a").writes.len(), 2, "its Endpoints and its slice");
    let subset = &world.local.endpoints[&key("a-remote")].object.subsets[0];
    assert_eq!((subset.addresses[0].ip, subset.not_ready[0].ip), (ip(ten), ip(nine)));
    world.gateway = gateway(&[(nine, true), (ten, true)]);
    assert_eq!(world.settle("a").writes.len(), 2);
    assert_eq!(world.settle("a").writes, []);
    let subset = &world.local.endpoints[&key("a-remote")].object.subsets[0];
    assert_eq!((subset.addresses.len(), subset.not_ready.len()), (2, 0));
}
