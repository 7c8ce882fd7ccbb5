//! What is not ours is never written, whatever its name.

use super::cluster::meta;
use super::fixture::{World, key, ready, service};
use crate::model::mirror::keys;
use crate::model::mirror::object::{Kind, MirrorEndpoints, Observed};

/// "foreign Service with mirror name on export *and* on target delete"
#[test]
fn a_foreign_service_with_the_mirrors_name_is_never_touched() {
    let others = [
        vec![],
        vec![(keys::MIRRORED, "true"), (keys::CLUSTER, "elsewhere")],
        vec![(keys::MIRRORED, "true")],
        vec![(keys::CLUSTER, "remote")],
        vec![(keys::MIRRORED, "false"), (keys::CLUSTER, "remote")],
    ];
    for foreign in others {
        let mut world = World::with(service("a"), ready());
        world.local.put_service(meta(key("a-remote"), &foreign));
        let before = world.local.clone();
        let settled = world.settle("a");
        assert_eq!(settled.conflicts.len(), 1, "{foreign:?}");
        assert_eq!(settled.conflicts[0].kind, Kind::Service);
        assert!(settled.conflicts[0].message.contains("ns1/a-remote"));
        assert!(settled.writes.is_empty() && world.local == before);
        world.remote.clear();
        assert!(world.settle("a").writes.is_empty() && world.local == before);
    }
}

#[test]
fn foreign_endpoints_and_slices_under_our_service_are_not_touched() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    let version = crate::model::kubernetes::object::Version::default();
    let object = MirrorEndpoints { meta: meta(key("a-remote"), &[]), subsets: Vec::new() };
    world.local.endpoints.insert(key("a-remote"), Observed { version, object });
    let slice = world.local.slices.get_mut(&key("a-remote-ipv4")).expect("there");
    slice.object.meta.labels.insert(keys::MANAGED_BY.into(), "somebody".into());
    let before = world.local.clone();
    let settled = world.settle("a");
    let kinds: Vec<_> = settled.conflicts.iter().map(|conflict| conflict.kind).collect();
    assert_eq!(kinds, [Kind::Endpoints, Kind::Slice]);
    assert!(world.local == before);
}

/// Mirrors of Linkerd's own controller are taken over: its Endpoints have no label of ours, and
/// there are no slices.
#[test]
fn a_mirror_of_linkerds_controller_is_taken_over_without_making_it_anew() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    let uid = world.local.services[&key("a-remote")].version.uid.clone();
    world.local.slices.clear();
    let endpoints = &mut world.local.endpoints.get_mut(&key("a-remote")).expect("there").object;
    endpoints.meta.labels.remove(keys::SKIP_MIRROR);
    world.settle("a");
    assert_eq!(world.local.services[&key("a-remote")].version.uid, uid);
    let endpoints = &world.local.endpoints[&key("a-remote")].object;
    assert!(endpoints.meta.has_label(keys::SKIP_MIRROR, "true"));
    assert_eq!(world.local.slices.len(), 1);
}

/// Two Services whose names have one hash: the annotation tells them apart.
#[test]
fn a_mirror_of_another_service_by_the_same_name_is_a_conflict() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    let mirror = &mut world.local.services.get_mut(&key("a-remote")).expect("there").object;
    mirror.meta.annotations.put_all(&[(keys::REMOTE_NAME, "b.ns1.svc.cluster.local")]);
    let settled = world.settle("a");
    assert!(settled.writes.is_empty() && settled.conflicts.len() == 1);
    // The cluster's domain is no other Service.
    let mirror = &mut world.local.services.get_mut(&key("a-remote")).expect("there").object;
    mirror.meta.annotations.put_all(&[(keys::REMOTE_NAME, "a.ns1.svc.old.example")]);
    assert!(world.settle("a").conflicts.is_empty());
    let name = &world.mirror("a-remote").meta.annotations[keys::REMOTE_NAME];
    assert_eq!(&**name, "a.ns1.svc.cluster.local");
}
