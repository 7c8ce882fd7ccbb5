//! Objects of the API made into the compact values that are kept and decided by.
//!
//! Called by the watches of `local` and `remote` for everything they see, and by `apply` for the
//! answers to writes. Nothing here decides anything.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{self, EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::model::kubernetes::bounded::Weigh;
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::{
    EndpointPort, ObjectKey, Protocol, ServicePort, TargetPort, Version,
};
use crate::model::link::is_dns_label;
use crate::model::mirror::object::{
    Family, Meta, MirrorAddress, MirrorEndpoints, MirrorService, MirrorSlice, MirrorSubset, Object,
    Observed, SliceEndpoint,
};
use crate::model::mirror::remote::{
    MIRROR_COST, RemoteHost, RemoteService, RemoteSubset, ServiceKind,
};

mod recent;

use recent::Recent;

/// An annotation that repeats a whole object and is never mirrored usefully.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Longer texts, and maps with more bytes, are not kept for others to share: they would be kept
/// after their objects.
const MAX_SHARED: usize = 256;
const MAX_SHARED_MAP: usize = 1024;
/// Label of EndpointSlices: their Service.
const SLICE_SERVICE: &str = "kubernetes.io/service-name";
/// Label that Kubernetes puts on the Endpoints and EndpointSlices of headless Services.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// A local Service that mirrors.
pub fn mirror_service(service: Service) -> Option<Observed<Object>> {
    let (version, meta) = meta(service.metadata)?;
    let spec = service.spec.unwrap_or_default();
    let address = spec.cluster_ip.as_deref().unwrap_or_default();
    let object = MirrorService {
        meta,
        is_headless: address == "None",
        is_plain: spec.type_.as_deref().is_none_or(|of| of == "ClusterIP")
            && spec.selector.is_none_or(|selector| selector.is_empty())
            && spec.external_name.is_none(),
        cluster_ip: address.parse().ok(),
        ports: service_ports(spec.ports),
    };
    Some(Observed { version, object: Object::Service(object) })
}

/// Local Endpoints that mirror.
pub fn mirror_endpoints(endpoints: Endpoints) -> Option<Observed<Object>> {
    let (version, meta) = meta(endpoints.metadata)?;
    let addresses = |addresses: Option<Vec<EndpointAddress>>| {
        exact(addresses.into_iter().flatten().filter_map(mirror_address))
    };
    let subsets = endpoints.subsets.into_iter().flatten().map(|subset| MirrorSubset {
        addresses: addresses(subset.addresses),
        not_ready: addresses(subset.not_ready_addresses),
        ports: endpoints_ports(subset.ports),
    });
    let subsets = exact(subsets);
    let object = Object::Endpoints(MirrorEndpoints { meta, subsets });
    Some(Observed { version, object })
}

/// A local EndpointSlice of ours.
pub fn mirror_slice(slice: EndpointSlice) -> Option<Observed<Object>> {
    let family = Family::parse(&slice.address_type)?;
    let (version, meta) = meta(slice.metadata)?;
    let mut endpoints = Vec::with_capacity(slice.endpoints.len());
    for endpoint in slice.endpoints {
        let is_ready = endpoint.conditions.as_ref().and_then(|c| c.ready) != Some(false);
        let hostname: Option<Arc<str>> = endpoint.hostname.map(Into::into);
        let ips = endpoint.addresses.iter().filter_map(|ip| ip.parse().ok());
        endpoints.extend(ips.map(|ip| SliceEndpoint {
            address: MirrorAddress { ip, hostname: hostname.clone() },
            is_ready,
        }));
    }
    let ports = slice_ports(slice.ports);
    let object = Object::Slice(MirrorSlice { meta, family, endpoints, ports });
    Some(Observed { version, object })
}

/// A Service of the target, or a local member of a federated one. The target's API server may be
/// anybody's: a name that none can have would become part of paths, and of the list of members of a
/// federated Service.
pub fn remote_service(service: Service) -> Option<Arc<RemoteService>> {
    let (version, meta) = meta(service.metadata)?;
    if !is_dns_label(&meta.key.name) || !is_dns_label(&meta.key.namespace) {
        return None;
    }
    let spec = service.spec.unwrap_or_default();
    let kind = match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
        (Some("ExternalName"), _) => ServiceKind::ExternalName,
        (_, Some("None")) => ServiceKind::Headless,
        _ => ServiceKind::ClusterIp,
    };
    Some(Arc::new(RemoteService {
        key: meta.key,
        resource_version: version.resource_version,
        labels: meta.labels,
        annotations: meta.annotations,
        ports: service_ports(spec.ports),
        kind,
    }))
}

/// What one EndpointSlice of the target, or its Endpoints, say of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// The Service.
    pub service: ObjectKey,
    /// Kept with hosts only: it changes with every pod.
    pub resource_version: Arc<str>,
    /// Whether any address is ready.
    pub has_ready: bool,
    /// The hosts of a headless Service.
    pub hosts: Vec<RemoteSubset>,
}

impl Weigh for Readiness {
    fn weight(&self) -> usize {
        let text = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        // A host with a name has a mirror of its own.
        let host = |host: &RemoteHost| {
            let mirror = host.hostname.as_ref().map_or(0, |_| MIRROR_COST);
            size_of::<RemoteHost>() + text(&host.hostname) + text(&host.target) + mirror
        };
        let subset = |subset: &RemoteSubset| {
            let ports = subset.ports.iter().map(|port| size_of::<EndpointPort>() + port.name.len());
            ports.chain(subset.hosts.iter().map(host)).sum::<usize>()
        };
        let names = self.service.namespace.len() + self.service.name.len();
        size_of::<Self>() + names + self.hosts.iter().map(subset).sum::<usize>()
    }
}

/// Readiness from an EndpointSlice. Hosts are kept when `headless` ones are mirrored at all.
pub fn slice_readiness(slice: EndpointSlice, headless: bool) -> Option<Readiness> {
    let labels = slice.metadata.labels.as_ref();
    let service = labels?.get(SLICE_SERVICE)?.as_str();
    let is_headless = labels.is_some_and(|labels| labels.contains_key(HEADLESS));
    let is_ready = |c: Option<bool>| c != Some(false);
    let mut hosts: Vec<_> = slice
        .endpoints
        .iter()
        .map(|endpoint| RemoteHost {
            hostname: endpoint.hostname.as_deref().map(Into::into),
            target: endpoint.target_ref.as_ref().and_then(|t| t.name.as_deref()).map(Into::into),
            is_ready: is_ready(endpoint.conditions.as_ref().and_then(|c| c.ready)),
        })
        .collect();
    hosts.sort_by(|a, b| (&a.hostname, &a.target).cmp(&(&b.hostname, &b.target)));
    let has_ready = hosts.iter().any(|host| host.is_ready);
    let keep = headless && (is_headless || hosts.iter().any(|host| host.hostname.is_some()));
    let service = key(slice.metadata.namespace.as_deref(), service);
    if !keep {
        return Some(Readiness { service, resource_version: "".into(), has_ready, hosts: vec![] });
    }
    let ports = slice_ports(slice.ports);
    let resource_version = slice.metadata.resource_version.unwrap_or_default().into();
    Some(Readiness {
        service,
        resource_version,
        has_ready,
        hosts: vec![RemoteSubset { hosts, ports }],
    })
}

/// Readiness from Endpoints.
pub fn endpoints_readiness(endpoints: Endpoints, headless: bool) -> Option<Readiness> {
    let labels = endpoints.metadata.labels.as_ref();
    let is_headless = labels.is_some_and(|labels| labels.contains_key(HEADLESS));
    let service = key(endpoints.metadata.namespace.as_deref(), &endpoints.metadata.name?);
    let mut subsets = Vec::new();
    for subset in endpoints.subsets.into_iter().flatten() {
        let host = |address: &EndpointAddress, is_ready| RemoteHost {
            hostname: address.hostname.as_deref().map(Into::into),
            target: address.target_ref.as_ref().and_then(|t| t.name.as_deref()).map(Into::into),
            is_ready,
        };
        let ready = subset.addresses.iter().flatten().map(|address| host(address, true));
        let not = subset.not_ready_addresses.iter().flatten().map(|address| host(address, false));
        let hosts = exact(ready.chain(not));
        subsets.push(RemoteSubset { hosts, ports: endpoints_ports(subset.ports) });
    }
    let all = || subsets.iter().flat_map(|subset| &subset.hosts);
    let has_ready = all().any(|host| host.is_ready);
    let keep = headless && (is_headless || all().any(|host| host.hostname.is_some()));
    let resource_version = match keep {
        true => endpoints.metadata.resource_version.unwrap_or_default().into(),
        false => "".into(),
    };
    let hosts = if keep { subsets } else { Vec::new() };
    Some(Readiness { service, resource_version, has_ready, hosts })
}

/// Labels as they are kept.
pub fn labels(map: Option<BTreeMap<String, String>>) -> Labels {
    thread_local! {
        static LABELS: RefCell<Recent<Labels>> = RefCell::default();
    }
    let map = map.unwrap_or_default();
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    let labels: Labels = map.iter().map(|(key, value)| (shared(key), shared(value))).collect();
    if bytes > MAX_SHARED_MAP {
        return labels;
    }
    LABELS.with_borrow_mut(|recent| recent.share(&labels, || labels.clone()))
}

/// A text as it is kept.
fn shared(text: &str) -> Arc<str> {
    thread_local! {
        static TEXTS: RefCell<Recent<Arc<str>>> = RefCell::default();
    }
    if text.len() > MAX_SHARED {
        return text.into();
    }
    TEXTS.with_borrow_mut(|recent| recent.share(text, || text.into()))
}

/// A key as it is kept.
fn key(namespace: Option<&str>, name: &str) -> ObjectKey {
    ObjectKey::new(shared(namespace.unwrap_or_default()), shared(name))
}

/// Without the spare room that a vector otherwise has.
fn exact<T>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<_> = items.into_iter().collect();
    items.shrink_to_fit();
    items
}

fn meta(meta: ObjectMeta) -> Option<(Version, Meta)> {
    let version = Version {
        // The owner of a slice is what was written just before.
        uid: shared(&meta.uid.unwrap_or_default()),
        resource_version: meta.resource_version.unwrap_or_default().into(),
    };
    let mut annotations = meta.annotations;
    if let Some(annotations) = &mut annotations {
        annotations.remove(LAST_APPLIED);
    }
    let owners = meta.owner_references.into_iter().flatten();
    let owner = owners.filter(|owner| owner.kind == "Service").map(|o| shared(&o.uid)).next();
    let key = key(meta.namespace.as_deref(), &meta.name?);
    Some((
        version,
        Meta { key, labels: labels(meta.labels), annotations: labels(annotations), owner },
    ))
}

fn service_ports(ports: Option<Vec<v1::ServicePort>>) -> Vec<ServicePort> {
    let convert = |p: v1::ServicePort| {
        Some(ServicePort {
            name: shared(&p.name.unwrap_or_default()),
            protocol: Protocol::parse(p.protocol.as_deref().unwrap_or("TCP"))?,
            port: u16::try_from(p.port).ok()?,
            target_port: match p.target_port {
                None => None,
                Some(IntOrString::Int(number)) => {
                    Some(TargetPort::Number(u16::try_from(number).ok()?))
                }
                Some(IntOrString::String(name)) => Some(TargetPort::Name(shared(&name))),
            },
        })
    };
    exact(ports.into_iter().flatten().filter_map(convert))
}

fn endpoints_ports(ports: Option<Vec<v1::EndpointPort>>) -> Vec<EndpointPort> {
    let ports = ports.into_iter().flatten();
    exact(ports.filter_map(|p| endpoint_port(p.name, p.protocol, Some(p.port))))
}

fn slice_ports(ports: Option<Vec<discovery::v1::EndpointPort>>) -> Vec<EndpointPort> {
    let ports = ports.into_iter().flatten();
    exact(ports.filter_map(|p| endpoint_port(p.name, p.protocol, p.port)))
}

fn endpoint_port(
    name: Option<String>,
    protocol: Option<String>,
    port: Option<i32>,
) -> Option<EndpointPort> {
    Some(EndpointPort {
        name: shared(&name.unwrap_or_default()),
        protocol: Protocol::parse(protocol.as_deref().unwrap_or("TCP"))?,
        port: u16::try_from(port?).ok()?,
    })
}

fn mirror_address(address: EndpointAddress) -> Option<MirrorAddress> {
    let ip: IpAddr = address.ip.parse().ok()?;
    Some(MirrorAddress { ip, hostname: address.hostname.map(Into::into) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_whose_name_none_can_have_is_not_seen() {
        let named = |namespace: &str, name: &str| {
            let (namespace, name) = (Some(namespace.to_owned()), Some(name.to_owned()));
            let metadata = ObjectMeta { namespace, name, ..ObjectMeta::default() };
            remote_service(Service { metadata, ..Service::default() })
        };
        assert!(named("apps", "web").is_some());
        for (namespace, name) in [
            ("apps", "web@west,admin"),
            ("apps", "../services/kubernetes"),
            ("kube-system/services/x?", "web"),
            ("", "web"),
            ("apps", ""),
            ("apps", "we\u{202e}b"),
        ] {
            assert!(named(namespace, name).is_none(), "{namespace:?} {name:?}");
        }
    }
}
