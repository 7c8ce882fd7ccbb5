//! Headless mirrors: a root without an address, whose endpoints are one mirror for each host.
//!
//! A host's mirror is an ordinary one, so that `<host>.<service>-<cluster>` resolves to an address
//! whose connections the gateway carries to that host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::condition::{MirrorCondition, Reason};
use super::copy;
use super::desired::{self, Desired};
use super::group::{GroupKey, ObservedGroup, group_of};
use super::keys;
use super::name;
use super::object::{Meta, MirrorAddress, MirrorService};
use super::parts::{self, AddressSet};
use super::remote::{Context, RemoteHost, RemoteService, RemoteSubset, RemoteView};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::{EndpointPort, ObjectKey};
use crate::model::link::is_dns_label;

/// What a headless Service asks for. Where no pod has a hostname, an ordinary mirror; hosts without
/// one beside others that have are called as their pods (`targetRef`), or left out without that.
pub(super) fn desired(
    context: &Context<'_>,
    service: &RemoteService,
    remote: &RemoteView<'_>,
    observed: &ObservedGroup,
) -> Desired {
    if !context.endpoints_complete {
        let message = "its endpoints are not known yet: what exists is kept";
        return Desired::kept(Some(MirrorCondition::failed(Reason::Pending, message)));
    }
    let subsets = remote.endpoints.map(|endpoints| &*endpoints.subsets).unwrap_or_default();
    match has_hostnames(subsets).or_else(|| observed_kind(context, service, observed)) {
        Some(true) => root_and_hosts(context, service, remote, observed),
        Some(false) => desired::ordinary(context, service, remote),
        None => {
            let message = "it is headless and has no pods yet: whether they have hostnames decides \
                           what its mirror is";
            Desired::kept(Some(MirrorCondition::failed(Reason::Pending, message)))
        }
    }
}

/// `None` when there is no address at all.
fn has_hostnames(subsets: &[RemoteSubset]) -> Option<bool> {
    let mut hosts = subsets.iter().flat_map(|subset| &subset.hosts).peekable();
    hosts.peek()?;
    Some(hosts.any(|host| host.hostname.is_some()))
}

/// A StatefulSet that is scaled to nothing keeps the mirror that it had: another kind would cost
/// its Service, and clients their connections.
fn observed_kind(
    context: &Context<'_>,
    service: &RemoteService,
    observed: &ObservedGroup,
) -> Option<bool> {
    let root = GroupKey::of_remote(&service.key, &context.link.cluster);
    let services = observed.services.iter().map(|observed| &observed.object);
    let root = services
        .filter(|found| found.meta.is_mirror_of(&context.link.cluster))
        .find(|found| found.meta.key == root.0);
    root.map(|root| root.is_headless)
}

fn root_and_hosts(
    context: &Context<'_>,
    service: &RemoteService,
    remote: &RemoteView<'_>,
    observed: &ObservedGroup,
) -> Desired {
    let root = parts::root(context, service, true);
    let mut desired =
        Desired { condition: Some(MirrorCondition::mirrored()), ..Desired::default() };
    let subsets = remote.endpoints.map(|endpoints| &*endpoints.subsets).unwrap_or_default();
    let mut hosts = BTreeSet::new();
    let mut sets: BTreeMap<Vec<EndpointPort>, AddressSet> = BTreeMap::new();
    for subset in subsets {
        let mut ports = subset.ports.clone();
        ports.sort();
        ports.dedup();
        let addresses = sets.entry(ports).or_default();
        for host in subset.hosts.iter().filter(|host| host.is_ready).filter_map(host_name) {
            if let Some(ip) = address_of(context, &root, host, observed) {
                addresses.insert(MirrorAddress { ip, hostname: Some(host.clone()) }, true);
            }
            hosts.insert(host.clone());
        }
    }
    let sets: Vec<_> = sets.into_iter().collect();
    parts::put_endpoints(&mut desired, context, &root, &sets, &BTreeSet::new());
    let version = remote.endpoints.map(|endpoints| endpoints.resource_version.clone());
    let version = version.unwrap_or_default();
    let root_key = root.meta.key.clone();
    let mut mirrors = vec![root];
    for host in &hosts {
        let mirror = host_mirror(context, service, host, (&root_key, &version));
        if mirror.meta.key == root_key {
            let message = format!(
                "its host {host} is called as the Service itself: both mirrors would be {}",
                root_key.name
            );
            desired.condition = Some(MirrorCondition::failed(Reason::Conflict, message));
            continue;
        }
        desired::put_gateway(&mut desired, context, &mirror, true);
        mirrors.push(mirror);
    }
    desired.services = mirrors;
    desired
}

fn host_mirror(
    context: &Context<'_>,
    service: &RemoteService,
    host: &Arc<str>,
    (root, version): (&ObjectKey, &Arc<str>),
) -> MirrorService {
    let cluster = &context.link.cluster;
    let (mut labels, mut annotations) = (Labels::default(), Labels::default());
    parts::put_mirrored(&mut labels, cluster);
    copy::put(&mut labels, keys::HEADLESS_ROOT, root.name.clone());
    let full_name = parts::full_name(context, service, Some(host));
    copy::put(&mut annotations, keys::REMOTE_NAME, full_name);
    copy::put(&mut annotations, keys::REMOTE_VERSION, version.clone());
    if let Some(ports) = service.annotations.get(keys::OPAQUE_PORTS) {
        // Else clients of one host would detect protocols where clients of the root do not.
        copy::put(&mut annotations, keys::OPAQUE_PORTS, ports.clone());
    }
    let name = name::endpoint_mirror_name(host, cluster);
    let key = ObjectKey::new(root.namespace.clone(), name);
    let meta = Meta { key, labels, annotations, owner: None };
    MirrorService {
        meta,
        ports: service.ports.clone(),
        is_headless: false,
        is_plain: true,
        cluster_ip: None,
    }
}

/// The host's name; a pod's name with dots is none.
fn host_name(host: &RemoteHost) -> Option<&Arc<str>> {
    let mut names = [&host.hostname, &host.target].into_iter().flatten();
    names.find(|name| is_dns_label(name))
}

/// The address of a host's mirror, once that is there.
fn address_of(
    context: &Context<'_>,
    root: &MirrorService,
    host: &str,
    observed: &ObservedGroup,
) -> Option<IpAddr> {
    let cluster = &context.link.cluster;
    let name = name::endpoint_mirror_name(host, cluster);
    let services = observed.services.iter().map(|observed| &observed.object);
    let mut mirrors = services.filter(|mirror| {
        let meta = &mirror.meta;
        meta.key.name == name
            && meta.key.namespace == root.meta.key.namespace
            && meta.key != root.meta.key
            && meta.is_mirror_of(cluster)
            && group_of(meta).0 == root.meta.key
    });
    mirrors.next()?.cluster_ip
}
