//! Federated Services: one Service for members of the same name in several clusters.
//!
//! All clusters write one object here, so that an entry is taken away only when its cluster is
//! known not to have the member: its list is complete without it, or it has no Link any more. The
//! order of entries stays, because a destination controller that sees another order sees a change.

mod members;

use std::sync::Arc;

use super::condition::{MirrorCondition, Reason};
use super::desired::refusal;
use super::object::{Kind, Meta, MirrorService, Object, Observed};
use super::plan::{Conflict, Plan, Write, same_ports};
use super::remote::{RemoteService, ServiceKind};
use super::{copy, keys, name};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::{ExcludedKey, Link};
use members::Members;

/// A cluster of a federated Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MemberCluster {
    /// This one.
    Local,
    /// The target of a Link.
    Remote(Arc<str>),
}

/// What is known of the member in the target of one Link.
#[derive(Clone, Copy, Debug)]
pub struct LinkMember<'a> {
    /// The Link.
    pub link: &'a Link,
    /// Its Service.
    pub member: Membership<'a>,
}

/// What is known of one member.
#[derive(Clone, Copy, Debug)]
pub enum Membership<'a> {
    /// The list is not complete, the Link is frozen, or another holds its Lease: an entry stays as
    /// it is.
    Unknown,
    /// The list is complete, and there is none.
    No,
    /// This Service.
    Yes(&'a RemoteService),
}

/// What a decision needs.
#[derive(Clone, Copy, Debug)]
pub struct FederatedView<'a> {
    /// Namespace and name of the members.
    pub service: &'a ObjectKey,
    /// The member in each Link's target, each cluster once.
    pub links: &'a [LinkMember<'a>],
    /// True once the list of Links is complete: entries of clusters without a Link then go.
    pub links_complete: bool,
    /// The local member.
    pub local: Membership<'a>,
    /// Labels of the local member that are not copied.
    pub local_excluded_labels: &'a [ExcludedKey],
    /// Annotations of the local member that are not copied.
    pub local_excluded_annotations: &'a [ExcludedKey],
    /// Whether the namespace exists here.
    pub namespace_exists: bool,
    /// What has the federated Service's name.
    pub observed: Option<&'a Observed<MirrorService>>,
}

/// What is to be done, and what is said of each member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FederatedPlan {
    /// The write, at most one.
    pub plan: Plan,
    /// The condition of each member that is there.
    pub conditions: Vec<(MemberCluster, MirrorCondition)>,
}

/// Whose labels, annotations and ports the federated Service has.
enum Donor<'a> {
    /// This member: the oldest.
    Member(&'a RemoteService, &'a [ExcludedKey], &'a [ExcludedKey]),
    /// The oldest is not known: they stay as they are.
    Unknown,
}

/// The federated Service of members with this name.
pub fn federated_key(service: &ObjectKey) -> ObjectKey {
    ObjectKey::new(service.namespace.clone(), name::federated_name(&service.name))
}

/// Whether a Service is a federated one, whoever created it: it is a mirror, but of no one cluster.
pub fn is_federated(meta: &Meta) -> bool {
    meta.has_label(keys::MIRRORED, keys::TRUE)
        && !meta.labels.contains_key(keys::CLUSTER)
        && [keys::REMOTE_DISCOVERY, keys::LOCAL_DISCOVERY]
            .iter()
            .any(|key| meta.annotations.contains_key(key))
}

/// The names of the members that a federated Service lists: `name` of `name@cluster`, and the
/// local member's. For control, to find the members of what it observes.
pub fn listed_names(meta: &Meta) -> Vec<Arc<str>> {
    let mut names: Vec<Arc<str>> = members::entries(meta)
        .filter_map(|entry| entry.split_once('@').map(|(name, _)| name.into()))
        .chain(members::local(meta).map(Into::into))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Plans one federated Service.
pub fn plan(view: &FederatedView<'_>) -> FederatedPlan {
    let mut planned = FederatedPlan::default();
    let key = federated_key(view.service);
    let fits: Vec<_> =
        members_of(view).map(|(cluster, service)| (cluster, refused(service))).collect();
    let condition = |otherwise: &dyn Fn() -> MirrorCondition| -> Vec<_> {
        let one = |(cluster, refused): &(MemberCluster, Option<&str>)| {
            let refused = refused.map(|why| MirrorCondition::failed(Reason::InvalidService, why));
            (cluster.clone(), refused.unwrap_or_else(otherwise))
        };
        fits.iter().map(one).collect()
    };
    let found = view.observed.filter(|found| found.object.meta.key == key);
    if let Some(found) = found.filter(|found| !is_federated(&found.object.meta)) {
        // Only who wants the name has a conflict.
        if fits.iter().any(|(_, refused)| refused.is_none()) {
            let conflict = conflict(&found.object.meta);
            planned.conditions =
                condition(&|| MirrorCondition::failed(Reason::Conflict, conflict.message.clone()));
            planned.plan.conflicts.push(conflict);
        } else {
            planned.conditions = condition(&MirrorCondition::mirrored);
        }
        return planned;
    }
    if !view.namespace_exists {
        let namespace = &view.service.namespace;
        planned.conditions = condition(&|| MirrorCondition::missing_namespace(namespace));
        return planned;
    }
    planned.conditions = condition(&MirrorCondition::mirrored);
    planned.plan.writes.extend(write(view, key, found));
    planned
}

fn write(
    view: &FederatedView<'_>,
    key: ObjectKey,
    found: Option<&Observed<MirrorService>>,
) -> Option<Write> {
    let members = Members::of(view, found.map(|found| &found.object.meta));
    if members.are_none() {
        let Observed { version, .. } = found?;
        return Some(Write::Delete { kind: Kind::Service, key, version: version.clone() });
    }
    let (mut meta, ports) = match members.donor {
        Donor::Member(service, labels, annotations) => (
            Meta {
                key,
                labels: copy::labels(service, labels),
                annotations: copy::annotations(service, annotations),
                owner: None,
            },
            service.ports.clone(),
        ),
        Donor::Unknown => {
            let found = &found?.object;
            (found.meta.clone(), found.ports.clone())
        }
    };
    copy::put(&mut meta.labels, keys::MIRRORED, keys::TRUE);
    // An annotation that is there but empty would still make it federated.
    meta.annotations.remove(keys::REMOTE_DISCOVERY);
    meta.annotations.remove(keys::LOCAL_DISCOVERY);
    if !members.remote.is_empty() {
        copy::put(&mut meta.annotations, keys::REMOTE_DISCOVERY, members.remote.join(","));
    }
    if let Some(local) = members.local {
        copy::put(&mut meta.annotations, keys::LOCAL_DISCOVERY, local);
    }
    let wanted =
        MirrorService { meta, ports, is_headless: false, is_plain: true, cluster_ip: None };
    match found {
        None => Some(Write::Create(Object::Service(wanted))),
        Some(found) if differs(&wanted, &found.object) => {
            let cluster_ip = found.object.cluster_ip;
            let object = Object::Service(MirrorService { cluster_ip, ..wanted });
            Some(Write::Update { object, version: found.version.clone() })
        }
        Some(_) => None,
    }
}

/// Labels and ports must be the same. So must annotations, except that those of others that are
/// extra (a cloud's controller, an admission hook) are no reason to write: they would come back,
/// for ever. Linkerd's own decide how clients treat the Service: they count.
fn differs(wanted: &MirrorService, found: &MirrorService) -> bool {
    let lacks = |wanted: &Labels, found: &Labels| {
        wanted.iter().any(|(key, value)| found.get(key) != Some(value))
    };
    let is_linkerds = |key: &str| {
        let group = key.split_once('/').map_or("", |(group, _)| group);
        group == "linkerd.io" || group.ends_with(".linkerd.io")
    };
    let (a, b) = (&wanted.meta, &found.meta);
    a.labels != b.labels
        || lacks(&a.annotations, &b.annotations)
        || b.annotations.keys().any(|key| !a.annotations.contains_key(key) && is_linkerds(key))
        || !same_ports(&wanted.ports, &found.ports)
        || !found.is_plain
}

/// All members that are there, fit or not.
fn members_of<'a>(
    view: &FederatedView<'a>,
) -> impl Iterator<Item = (MemberCluster, &'a RemoteService)> {
    let service = |member: Membership<'a>| match member {
        Membership::Yes(service) => Some(service),
        _ => None,
    };
    let local = service(view.local).map(|service| (MemberCluster::Local, service));
    let remote = view.links.iter().filter_map(move |link| {
        let cluster = MemberCluster::Remote(link.link.cluster.clone());
        service(link.member).map(|service| (cluster, service))
    });
    local.into_iter().chain(remote)
}

/// Why a Service cannot be a member.
fn refused(service: &RemoteService) -> Option<&'static str> {
    if service.kind == ServiceKind::Headless {
        return Some(
            "it is headless, and a federated Service has one address: export it instead, or give \
             it a ClusterIP",
        );
    }
    refusal(service)
}

fn conflict(found: &Meta) -> Conflict {
    let message = format!(
        "Service {} has the name of this federated Service but is none: it is left alone; rename or \
         delete it",
        found.key
    );
    Conflict { kind: Kind::Service, key: found.key.clone(), message }
}
