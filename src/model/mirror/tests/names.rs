//! The names of mirrors.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::fixture::{World, host, hosts, service};
use crate::model::mirror::keys;
use crate::model::mirror::name::{endpoint_mirror_name, federated_name, mirror_name, slice_name};
use crate::model::mirror::object::Family;
use crate::model::mirror::remote::{RemoteService, ServiceKind};

#[test]
fn short_names_are_as_linkerds() {
    assert_eq!(&*mirror_name("podinfo", "east"), "podinfo-east");
    assert_eq!(&*federated_name("podinfo"), "podinfo-federated");
    assert_eq!(&*endpoint_mirror_name("pod-0", "east"), "pod-0-east");
    assert_eq!(&*slice_name("podinfo-east", Family::V4, 0), "podinfo-east-ipv4");
    assert_eq!(&*slice_name("podinfo-east", Family::V6, 2), "podinfo-east-ipv6-2");
    let just_fits = "a".repeat(58);
    assert_eq!(*mirror_name(&just_fits, "east"), format!("{just_fits}-east"));
}

/// "name > 63" (linkerd2 #7390). The values must never change: a mirror would be left behind.
#[test]
fn long_names_are_cut_and_hashed_always_the_same() {
    let long = "a".repeat(63);
    assert_eq!(*mirror_name(&long, "east"), format!("{}-{}", "a".repeat(54), "1ab517fa"));
    assert_eq!(&*endpoint_mirror_name("0-pod", "east"), "x0-pod-east-62852302");
    assert_ne!(mirror_name(&long, "east"), mirror_name(&long, "west"));
    assert_ne!(mirror_name(&"a".repeat(60), "east"), mirror_name(&"a".repeat(61), "east"));
}

/// The whole group under a hashed name is valid, and the annotation has the whole name.
#[test]
fn a_headless_service_with_the_longest_name_is_mirrored_and_unexported() {
    let name = "s".repeat(63);
    let db = RemoteService { kind: ServiceKind::Headless, ..service(&name) };
    let mut world = World::with(db, hosts(&[host(&"h".repeat(63)), host("0")]));
    world.settle(&name);
    assert_eq!(world.local.services.len(), 3);
    let root = world.mirror(&mirror_name(&name, "remote"));
    let full = &root.meta.annotations[keys::REMOTE_NAME];
    assert_eq!(**full, format!("{name}.ns1.svc.cluster.local"));
    world.remote.clear();
    world.settle(&name);
    assert!(world.local.services.is_empty() && world.local.slices.is_empty());
}

proptest! {
    #[test]
    fn any_input_gives_a_dns_1035_label(service in ".{0,80}", cluster in ".{0,80}") {
        let name = mirror_name(&service, &cluster);
        prop_assert!((1..=63).contains(&name.len()), "{}", name);
        prop_assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{}", name);
        prop_assert!(!name.ends_with('-'), "{}", name);
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        prop_assert!(name.bytes().all(allowed), "{}", name);
    }

    #[test]
    fn names_of_one_cluster_differ(services in prop::collection::btree_set("[a-z0-9][a-z0-9-]{50,61}[a-z0-9]", 2..50)) {
        let names: BTreeSet<_> = services.iter().map(|service| mirror_name(service, "east")).collect();
        prop_assert_eq!(names.len(), services.len());
    }
}
