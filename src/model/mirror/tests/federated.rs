//! Federated Services: who joins, who leaves, and whose metadata counts.

use serde_json::json;

use super::cluster::{Cluster, meta};
use super::fixture::{key, link_with, port, service};
use crate::model::kubernetes::labels::tests::labels;
use crate::model::link::{ExcludedKey, Link};
use crate::model::mirror::condition::Reason;
use crate::model::mirror::federated::{
    FederatedPlan, FederatedView, LinkMember, MemberCluster, Membership, listed_names, plan,
};
use crate::model::mirror::keys;
use crate::model::mirror::object::MirrorService;
use crate::model::mirror::remote::{RemoteService, ServiceKind};

const NAME: &str = "service-one-federated";

struct World {
    /// Each Link, and its member: `None` is unknown.
    links: Vec<(Link, Option<Option<RemoteService>>)>,
    links_complete: bool,
    local: Option<Option<RemoteService>>,
    namespace_exists: bool,
    cluster: Cluster,
}

fn membership(known: &Option<Option<RemoteService>>) -> Membership<'_> {
    match known {
        None => Membership::Unknown,
        Some(None) => Membership::No,
        Some(Some(service)) => Membership::Yes(service),
    }
}

impl World {
    fn new(links: Vec<(Link, Option<Option<RemoteService>>)>) -> Self {
        let cluster = Cluster::default();
        Self { links, links_complete: true, local: Some(None), namespace_exists: true, cluster }
    }

    fn with_observed(mut self, annotations: &[(&str, &str)]) -> Self {
        let mut found = meta(key(NAME), &[(keys::MIRRORED, "true"), ("old", "label")]);
        found.annotations = labels(annotations);
        self.cluster.put_service(found);
        self
    }

    fn decide(&self) -> FederatedPlan {
        let links: Vec<_> = self
            .links
            .iter()
            .map(|(link, member)| LinkMember { link, member: membership(member) })
            .collect();
        plan(&FederatedView {
            service: &key("service-one"),
            links: &links,
            links_complete: self.links_complete,
            local: membership(&self.local),
            local_excluded_labels: &[ExcludedKey::parse("secret")],
            local_excluded_annotations: &[],
            namespace_exists: self.namespace_exists,
            observed: self.cluster.services.get(&key(NAME)),
        })
    }

    /// Decides and writes; the second time there is nothing to write.
    fn settle(&mut self) -> FederatedPlan {
        let planned = self.decide();
        assert!(planned.plan.writes.len() <= 1);
        planned.plan.writes.iter().for_each(|write| self.cluster.apply(write));
        assert_eq!(self.decide().plan.writes, [], "it converges");
        planned
    }

    fn found(&self) -> &MirrorService {
        &self.cluster.services[&key(NAME)].object
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.found().meta.annotations.get(key).map(|value| &**value)
    }
}

fn link(cluster: &str, created: &str) -> Link {
    let mut link = link_with(&[("targetClusterName", json!(cluster))]);
    link.created = created.into();
    link.key.name = cluster.into();
    link
}

fn member(label: &str) -> RemoteService {
    let labels =
        labels(&[("mirror.linkerd.io/federated", "member"), ("from", label), ("secret", "s")]);
    RemoteService { labels, ..service("service-one") }
}

fn yes(label: &str) -> Option<Option<RemoteService>> {
    Some(Some(member(label)))
}

/// "federated service created"
#[test]
fn the_first_member_creates_it() {
    let mut world = World::new(vec![(link("remote", "2026"), yes("remote"))]);
    let planned = world.settle();
    assert!(planned.conditions.iter().all(|(_, condition)| condition.is_mirrored));
    assert_eq!(planned.conditions[0].0, MemberCluster::Remote("remote".into()));
    let found = world.found();
    let expected = [("from", "remote"), ("secret", "s"), (keys::MIRRORED, "true")];
    assert_eq!(found.meta.labels, labels(&expected), "no cluster-name");
    assert_eq!(found.meta.annotations, labels(&[(keys::REMOTE_DISCOVERY, "service-one@remote")]));
    assert_eq!(found.ports, service("").ports);
    assert_eq!(listed_names(&found.meta), ["service-one".into()]);
}

/// "federated service joined"; the order of those who are there stays.
#[test]
fn a_second_member_is_appended() {
    let links =
        vec![(link("remote", "2020"), yes("remote")), (link("other", "2026"), yes("other"))];
    let mut world =
        World::new(links).with_observed(&[(keys::REMOTE_DISCOVERY, "service-one@other")]);
    world.settle();
    let members = "service-one@other,service-one@remote";
    assert_eq!(world.annotation(keys::REMOTE_DISCOVERY), Some(members));
    assert_eq!(&*world.found().meta.labels["from"], "remote", "the oldest, though it joined last");
}

/// "federated service left"
#[test]
fn a_member_that_leaves_is_taken_from_the_list() {
    let links = vec![(link("remote", "2020"), Some(None)), (link("other", "2026"), yes("other"))];
    let listed = [(keys::REMOTE_DISCOVERY, "service-one@other,service-one@remote")];
    let mut world = World::new(links).with_observed(&listed);
    world.settle();
    assert_eq!(world.annotation(keys::REMOTE_DISCOVERY), Some("service-one@other"));
    assert_eq!(&*world.found().meta.labels["from"], "other");
    world.links[1].1 = Some(None);
    world.settle();
    assert!(world.cluster.services.is_empty(), "nobody is left");
}

/// "local federated service created"
#[test]
fn the_local_member_has_an_annotation_of_its_own() {
    let mut world = World::new(vec![]);
    world.local = yes("local");
    let planned = world.settle();
    assert_eq!(planned.conditions[0].0, MemberCluster::Local);
    let expected = labels(&[(keys::LOCAL_DISCOVERY, "service-one")]);
    assert_eq!(world.found().meta.annotations, expected);
    assert!(!world.found().meta.labels.contains_key("secret"), "excluded");
}

/// "local federated service joined"
#[test]
fn the_local_member_joins_remote_ones_and_counts_as_oldest() {
    let links = vec![(link("remote", "1999"), yes("remote"))];
    let mut world =
        World::new(links).with_observed(&[(keys::REMOTE_DISCOVERY, "service-one@remote")]);
    world.local = yes("local");
    if let Some(Some(local)) = &mut world.local {
        local.ports = vec![port("renamed", 555)];
    }
    world.settle();
    assert_eq!(world.annotation(keys::REMOTE_DISCOVERY), Some("service-one@remote"));
    assert_eq!(world.annotation(keys::LOCAL_DISCOVERY), Some("service-one"));
    assert_eq!(&*world.found().meta.labels["from"], "local");
    assert_eq!(world.found().ports, [port("renamed", 555)]);
}

/// "local federated service left"
#[test]
fn the_local_member_leaves_and_remote_ones_stay() {
    let links = vec![(link("remote", "2026"), yes("remote"))];
    let both =
        [(keys::REMOTE_DISCOVERY, "service-one@remote"), (keys::LOCAL_DISCOVERY, "service-one")];
    let mut world = World::new(links).with_observed(&both);
    world.settle();
    assert_eq!(world.annotation(keys::LOCAL_DISCOVERY), None);
    assert_eq!(world.annotation(keys::REMOTE_DISCOVERY), Some("service-one@remote"));
    assert_eq!(&*world.found().meta.labels["from"], "remote");
}

/// "federated GC after downtime/unlink"
#[test]
fn entries_without_a_link_go_once_the_links_are_complete_and_unknown_ones_stay() {
    let listed = [(
        keys::REMOTE_DISCOVERY,
        "service-one@unlinked,service-one@unknown,service-one@gone,other@unlinked",
    )];
    let links = vec![(link("unknown", "2020"), None), (link("gone", "2021"), Some(None))];
    let mut world = World::new(links).with_observed(&listed);
    world.links_complete = false;
    world.settle();
    let members = "service-one@unlinked,service-one@unknown,other@unlinked";
    assert_eq!(world.annotation(keys::REMOTE_DISCOVERY), Some(members));
    world.links_complete = true;
    world.settle();
    let members = "service-one@unknown,other@unlinked";
    assert_eq!(world.annotation(keys::REMOTE_DISCOVERY), Some(members));
    assert_eq!(&*world.found().meta.labels["old"], "label", "whose it has is not known");
}

/// A target that cannot be reached takes no member away, nor does it change whose metadata counts.
#[test]
fn an_unreachable_cluster_changes_nothing() {
    let links = vec![(link("old", "2020"), yes("old")), (link("young", "2026"), yes("young"))];
    let mut world = World::new(links);
    world.settle();
    let before = world.cluster.clone();
    world.links[0].1 = None;
    world.links[1].1 = None;
    world.local = None;
    assert_eq!(world.settle().plan.writes, []);
    world.links[1].1 = yes("changed");
    world.local = Some(None);
    assert_eq!(world.settle().plan.writes, []);
    assert!(world.cluster == before);
}

#[test]
fn equal_ages_are_decided_by_name() {
    let links = vec![(link("b", "2026"), yes("b")), (link("a", "2026"), yes("a"))];
    let mut world = World::new(links);
    world.settle();
    assert_eq!(&*world.found().meta.labels["from"], "a");
    assert_eq!(world.annotation(keys::REMOTE_DISCOVERY), Some("service-one@a,service-one@b"));
}

/// Facts 5.2: headless members are refused.
#[test]
fn headless_members_are_refused_and_one_that_becomes_headless_leaves() {
    let headless = RemoteService { kind: ServiceKind::Headless, ..member("x") };
    let mut world = World::new(vec![(link("remote", "2026"), yes("remote"))]);
    world.settle();
    world.links[0].1 = Some(Some(headless));
    let planned = world.settle();
    assert_eq!(planned.conditions[0].1.reason, Reason::InvalidService);
    assert!(world.cluster.services.is_empty());
}

#[test]
fn a_missing_namespace_and_a_foreign_service_are_said_and_left() {
    let mut world = World::new(vec![(link("remote", "2026"), yes("remote"))]);
    world.namespace_exists = false;
    let planned = world.settle();
    assert_eq!(planned.conditions[0].1.reason, Reason::MissingNamespace);
    world.namespace_exists = true;
    for foreign in [vec![], vec![(keys::MIRRORED, "true"), (keys::CLUSTER, "federated")]] {
        world.cluster = Cluster::default();
        world.cluster.put_service(meta(key(NAME), &foreign));
        let before = world.cluster.clone();
        let planned = world.settle();
        assert_eq!(planned.conditions[0].1.reason, Reason::Conflict);
        assert_eq!(planned.plan.conflicts.len(), 1);
        assert!(world.cluster == before);
    }
    world.links[0].1 = Some(None);
    let planned = world.settle();
    assert!(planned.plan.conflicts.is_empty() && planned.conditions.is_empty());
}

#[test]
fn what_others_add_is_no_reason_to_write_unless_it_is_linkerds() {
    let mut world = World::new(vec![(link("remote", "2026"), yes("remote"))]);
    world.settle();
    let add = |world: &mut World, annotation: &str| {
        let found = world.cluster.services.get_mut(&key(NAME)).expect("there");
        found.object.meta.annotations.insert(annotation.into(), "x".into());
    };
    add(&mut world, "cloud.google.com/neg-status");
    assert_eq!(world.settle().plan.writes, []);
    add(&mut world, "config.linkerd.io/opaque-ports");
    assert_eq!(world.settle().plan.writes.len(), 1);
    assert_eq!(world.found().meta.annotations.iter().count(), 1);
}
