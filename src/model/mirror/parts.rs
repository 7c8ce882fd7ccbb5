//! The parts that mirrors are put together of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::desired::Desired;
use super::object::{
    Family, Meta, MirrorAddress, MirrorEndpoints, MirrorService, MirrorSlice, MirrorSubset,
    SliceEndpoint,
};
use super::remote::{Context, EndpointObjects, GatewayIp, RemoteService};
use super::{copy, keys, name};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::{EndpointPort, ObjectKey, ServicePort};

/// The most endpoints that the API takes in one slice.
const MAX_SLICE: usize = 1000;

/// Addresses that share ports, and whether each is ready.
pub(super) type AddressSet = BTreeMap<MirrorAddress, bool>;

/// The root mirror of a Service.
pub(super) fn root(
    context: &Context<'_>,
    remote: &RemoteService,
    is_headless: bool,
) -> MirrorService {
    let link = context.link;
    let mut meta = Meta {
        key: ObjectKey::new(
            remote.key.namespace.clone(),
            name::mirror_name(&remote.key.name, &link.cluster),
        ),
        labels: copy::labels(remote, &link.excluded_labels),
        annotations: copy::annotations(remote, &link.excluded_annotations),
        owner: None,
    };
    put_mirrored(&mut meta.labels, &link.cluster);
    copy::put(&mut meta.annotations, keys::REMOTE_NAME, full_name(context, remote, None));
    copy::put(&mut meta.annotations, keys::REMOTE_VERSION, remote.resource_version.clone());
    MirrorService {
        meta,
        ports: remote.ports.clone(),
        is_headless,
        is_plain: true,
        cluster_ip: None,
    }
}

/// The labels of every mirror.
pub(super) fn put_mirrored(labels: &mut Labels, cluster: &Arc<str>) {
    copy::put(labels, keys::MIRRORED, keys::TRUE);
    copy::put(labels, keys::CLUSTER, cluster.clone());
}

/// The name by which the gateway knows a Service, or one host of it.
pub(super) fn full_name(
    context: &Context<'_>,
    remote: &RemoteService,
    host: Option<&str>,
) -> Arc<str> {
    let (key, domain) = (&remote.key, &context.link.domain);
    match host {
        Some(host) => format!("{host}.{}.{}.svc.{domain}", key.name, key.namespace).into(),
        None => format!("{}.{}.svc.{domain}", key.name, key.namespace).into(),
    }
}

/// The gateway's addresses, each once. One that is down is not ready; it stays, so that clients
/// learn the difference between a gateway that is down and a Service without pods.
pub(super) fn gateway_addresses(addresses: &[GatewayIp]) -> AddressSet {
    let mut set = AddressSet::new();
    for address in addresses {
        let is_ready = set.entry(MirrorAddress { ip: address.ip, hostname: None }).or_default();
        *is_ready |= address.is_ready;
    }
    set
}

/// The gateway's port once for each port of the Service, told apart by their names.
pub(super) fn gateway_ports(service: &MirrorService, port: u16) -> Vec<EndpointPort> {
    let port =
        |of: &ServicePort| EndpointPort { name: of.name.clone(), protocol: of.protocol, port };
    service.ports.iter().map(port).collect()
}

/// Adds the objects that carry the endpoints of one mirror: `sets` are its addresses by their
/// ports, `families` those that have a slice even without an address.
pub(super) fn put_endpoints(
    desired: &mut Desired,
    context: &Context<'_>,
    service: &MirrorService,
    sets: &[(Vec<EndpointPort>, AddressSet)],
    families: &BTreeSet<Family>,
) {
    let objects = context.options.endpoints;
    if objects != EndpointObjects::Slices {
        let mut meta = endpoints_meta(context, service);
        if objects == EndpointObjects::Both {
            copy::put(&mut meta.labels, keys::SKIP_MIRROR, keys::TRUE);
        }
        let subsets = sets.iter().filter(|(_, addresses)| !addresses.is_empty());
        let subsets = subsets.map(|(ports, addresses)| subset(ports, addresses)).collect();
        desired.endpoints.push(MirrorEndpoints { meta, subsets });
    }
    if objects != EndpointObjects::Endpoints {
        for family in [Family::V4, Family::V6] {
            put_slices(desired, context, service, sets, (family, families.contains(&family)));
        }
    }
}

fn put_slices(
    desired: &mut Desired,
    context: &Context<'_>,
    service: &MirrorService,
    sets: &[(Vec<EndpointPort>, AddressSet)],
    (family, is_always): (Family, bool),
) {
    let mut contents: Vec<(&[EndpointPort], Vec<SliceEndpoint>)> = Vec::new();
    for (ports, addresses) in sets {
        let of_family = addresses.iter().filter(|(address, _)| Family::of(address.ip) == family);
        let endpoints: Vec<_> = of_family
            .map(|(address, is_ready)| SliceEndpoint {
                address: address.clone(),
                is_ready: *is_ready,
            })
            .collect();
        contents.extend(endpoints.chunks(MAX_SLICE).map(|chunk| (&**ports, chunk.to_vec())));
    }
    if let (true, true, Some((ports, _))) = (contents.is_empty(), is_always, sets.first()) {
        contents.push((ports, Vec::new()));
    }
    for (index, (ports, endpoints)) in contents.into_iter().enumerate() {
        let mut meta = endpoints_meta(context, service);
        copy::put(&mut meta.labels, keys::SERVICE_NAME, service.meta.key.name.clone());
        copy::put(&mut meta.labels, keys::MANAGED_BY, keys::MANAGER);
        meta.key.name = name::slice_name(&service.meta.key.name, family, index);
        desired.slices.push(MirrorSlice { meta, family, endpoints, ports: ports.to_vec() });
    }
}

fn endpoints_meta(context: &Context<'_>, service: &MirrorService) -> Meta {
    let mut annotations = Labels::default();
    if let Some(name) = service.meta.annotations.get(keys::REMOTE_NAME) {
        copy::put(&mut annotations, keys::REMOTE_NAME, name.clone());
    }
    let gateway = context.link.gateway.as_ref();
    if let Some(identity) = gateway.and_then(|gateway| gateway.identity.as_ref()) {
        copy::put(&mut annotations, keys::GATEWAY_IDENTITY, identity.as_str());
    }
    let labels = service.meta.labels.clone();
    Meta { key: service.meta.key.clone(), labels, annotations, owner: None }
}

/// One subset; the API refuses one without any address.
fn subset(ports: &[EndpointPort], addresses: &AddressSet) -> MirrorSubset {
    let of = |wanted: bool| {
        let some = addresses.iter().filter(|(_, is_ready)| **is_ready == wanted);
        some.map(|(address, _)| address.clone()).collect()
    };
    MirrorSubset { addresses: of(true), not_ready: of(false), ports: ports.to_vec() }
}
