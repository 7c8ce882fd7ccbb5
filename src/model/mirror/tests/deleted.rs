//! What is taken away, when, and in which order.

use super::fixture::{World, host, hosts, key, ready, service};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::mirror::object::Kind;
use crate::model::mirror::plan::Write;
use crate::model::mirror::remote::{RemoteService, ServiceKind};

/// TestRemoteServiceDeletedMirroring: "deletes locally mirrored service"
#[test]
fn a_deleted_service_takes_its_mirror_with_it() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    world.remote.clear();
    world.settle("a");
    let local = &world.local;
    assert!(local.services.is_empty() && local.endpoints.is_empty() && local.slices.is_empty());
}

/// TestOnDelete: what was never exported had no mirror, and its end means nothing.
#[test]
fn a_deleted_service_that_was_not_exported_means_nothing() {
    let mut plain = service("a");
    plain.labels = Labels::default();
    let mut world = World::with(plain, ready());
    assert!(world.settle("a").writes.is_empty());
    world.remote.clear();
    assert!(world.settle("a").writes.is_empty());
}

/// TestClusterUnregisteredMirroring: "unregisters cluster and cleans up all mirrored resources":
/// when a complete list of the target is empty.
#[test]
fn an_empty_target_leaves_nothing() {
    let db = RemoteService { kind: ServiceKind::Headless, ..service("db") };
    let mut world = World::with(service("a"), ready());
    world.export(db, Some(hosts(&[host("db-0")])));
    world.export(service("b"), None);
    for name in ["a", "b", "db"] {
        world.settle(name);
    }
    assert_eq!(world.local.services.len(), 4);
    world.remote.clear();
    for name in ["a", "b", "db"] {
        world.settle(name);
    }
    let local = &world.local;
    assert!(local.services.is_empty() && local.endpoints.is_empty() && local.slices.is_empty());
}

/// Never because a remote cannot be reached: absence counts in a complete list only.
#[test]
fn nothing_is_deleted_before_the_list_is_complete() {
    let mut world = World::with(service("a"), ready());
    world.settle("a");
    world.remote.clear();
    world.services_complete = false;
    assert!(world.settle("a").writes.is_empty());
    assert_eq!(world.local.names(), ["a-remote"]);
}

/// TestGcOrphanedServicesMirroring: "deletes mirrored resources that are no longer present on the
/// remote cluster"
#[test]
fn orphans_go_and_live_and_headless_mirrors_with_their_hosts_stay() {
    let mut world = World::with(service("live"), ready());
    world.export(service("orphan"), Some(ready()));
    let headless = || RemoteService { kind: ServiceKind::Headless, ..service("db") };
    world.export(headless(), Some(hosts(&[host("db-0")])));
    for name in ["live", "orphan", "db"] {
        world.settle(name);
    }
    world.remote.remove(&key("orphan"));
    for name in ["live", "orphan", "db"] {
        world.settle(name);
    }
    assert_eq!(world.local.names(), ["db-0-remote", "db-remote", "live-remote"]);
}

/// Un-export of a headless mirror: its hosts' mirrors first, so that what is left is found again.
#[test]
fn hosts_mirrors_are_deleted_before_their_root() {
    let headless = RemoteService { kind: ServiceKind::Headless, ..service("db") };
    let mut world = World::with(headless, hosts(&[host("db-0"), host("a-0")]));
    world.settle("db");
    world.remote.clear();
    let settled = world.settle("db");
    let names: Vec<_> = settled
        .writes
        .iter()
        .filter_map(|write| match write {
            Write::Delete { kind: Kind::Service, key, .. } => Some(&*key.name),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["a-0-remote", "db-0-remote", "db-remote"]);
    assert!(world.local.endpoints.is_empty() && world.local.slices.is_empty());
}

/// TestHeadlessEndpointMirrorCleanupRespectsNamespaces, both cases (linkerd2 #15200).
#[test]
fn same_named_headless_services_in_other_namespaces_are_not_touched() {
    let mut world = World::new();
    let headless = |namespace: &str| RemoteService {
        key: ObjectKey::new(namespace, "db"),
        kind: ServiceKind::Headless,
        ..service("db")
    };
    let (one, two) = (ObjectKey::new("ns1", "db"), ObjectKey::new("ns2", "db"));
    for key in [&one, &two] {
        world.export(headless(&key.namespace), Some(hosts(&[host("db-0"), host("db-1")])));
        world.settle_key(key);
    }
    let of_two = |world: &World| -> Vec<_> {
        let services = world.local.services.values();
        let services = services.filter(|found| &*found.object.meta.key.namespace == "ns2");
        services.map(|found| (found.object.meta.key.clone(), found.version.clone())).collect()
    };
    let before = of_two(&world);
    assert_eq!(before.len(), 3);
    world.export(headless("ns1"), Some(hosts(&[host("db-0")])));
    world.settle_key(&one);
    assert_eq!(world.local.services.len(), 5);
    assert_eq!(of_two(&world), before);
    world.remote.remove(&one);
    world.settle_key(&one);
    assert_eq!(world.local.services.len(), 3);
    assert_eq!(of_two(&world), before);
}
