//! The routes of one exported Service: its `name:port`s, each with the endpoints that may be dialled.
//!
//! A pod of which it is not known yet whether it is meshed is no endpoint yet: it would be dialled in
//! plaintext, without proof of who it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::object::{Pod, PodRef, Readiness, Service, ServiceKind, Slice, SliceEndpoint};
use super::restriction::{ALLOWED_IDENTITIES, EXPORTED_PORTS, Restriction, entries};
use crate::model::kubernetes::object::{ObjectKey, Protocol, ServicePort};
use crate::model::link::is_dns_label;
use crate::model::route::{Endpoint, Onward, Route, RouteSource, unusable};
use crate::model::service::{Port, ServiceName, Target};

/// What holds for all Services of the cluster.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The cluster's DNS domain.
    pub cluster_domain: Arc<str>,
    /// The trust domain of meshed pods.
    pub trust_domain: Arc<str>,
    /// Our own zone, for hints.
    pub zone: Option<Arc<str>>,
    /// Only Services whose name ends with one of these, at a label's boundary; `None` for all that
    /// are watched.
    pub suffixes: Option<Vec<Arc<str>>>,
}

impl Rules {
    /// A Service's DNS name.
    pub fn name(&self, service: &ObjectKey) -> String {
        format!("{}.{}.svc.{}", service.name, service.namespace, self.cluster_domain)
    }

    /// Whether a Service of this name may be exported at all.
    pub fn may_export(&self, name: &str) -> bool {
        let ends_with = |suffix: &Arc<str>| {
            let head = name.strip_suffix(&**suffix);
            head.is_some_and(|head| head.is_empty() || head.ends_with('.'))
        };
        self.suffixes.as_ref().is_none_or(|suffixes| suffixes.iter().any(ends_with))
    }
}

/// What an operator should know of an export. Told once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// A Service of type ExternalName has no endpoints of its own.
    ExternalName,
    /// An annotation that cannot be carried out; everybody is denied.
    InvalidAnnotation {
        /// Its key.
        annotation: Arc<str>,
        /// What is wrong with it.
        reason: String,
    },
    /// The Service's name is longer than a DNS name may be.
    Name(String),
    /// A meshed pod's parts give no identity.
    NoIdentity(Arc<str>),
    /// An address that must not become an endpoint.
    Unusable(IpAddr, &'static str),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExternalName => f.write_str(
                "a Service of type ExternalName cannot be exported, because it has no endpoints in \
                 this cluster: write a [[route]] with dns for it",
            ),
            Self::InvalidAnnotation { annotation, reason } => {
                write!(
                    f,
                    "annotation {annotation}: {reason}. Everybody is denied until it is right"
                )
            }
            Self::Name(name) => write!(f, "{name:?} is no DNS name"),
            Self::NoIdentity(pod) => write!(
                f,
                "pod {pod} is meshed, but its namespace, service account and trust domain give no \
                 identity; it gets no connections"
            ),
            Self::Unusable(address, reason) => {
                write!(f, "endpoint {address} is left out because {reason}")
            }
        }
    }
}

/// One exported Service.
#[derive(Debug, Default)]
pub struct Export {
    /// Its own name.
    pub name: String,
    /// The routes of its ports, then those of its hosts.
    pub routes: Vec<Arc<Route>>,
    /// The ports that may be reached.
    pub ports: Vec<Port>,
    /// The pods that its endpoints name, known or not.
    pub pods: BTreeSet<Arc<str>>,
    /// What an operator should know.
    pub findings: BTreeSet<Finding>,
}

impl Export {
    /// The restriction of all its routes.
    pub fn restriction(&self) -> Option<&Arc<Restriction>> {
        self.routes.first().and_then(|route| route.restriction.as_ref())
    }

    /// Makes the routes of `service`. `pod` finds a pod of the same namespace; what `old` has
    /// unchanged is shared with it.
    pub fn new<'a>(
        key: &ObjectKey,
        service: &Service,
        slices: impl Iterator<Item = &'a Slice>,
        pod: impl Fn(&str) -> Option<&'a Pod>,
        rules: &Rules,
        old: Option<&Self>,
    ) -> Self {
        let mut export = Self { name: rules.name(key), ..Self::default() };
        if service.kind == ServiceKind::ExternalName {
            export.findings.insert(Finding::ExternalName);
            return export;
        }
        let (ports, restriction) = export.annotations(service);
        export.ports = ports.iter().filter_map(|port| Port::new(port.port)).collect();
        let candidates = export.candidates(key, slices, pod, rules);
        let mut routes = Vec::new();
        for port in &ports {
            let of_port = || candidates.iter().filter_map(|candidate| candidate.at(port));
            routes.push((export.name.clone(), port.port, pick(of_port(), rules.zone.as_ref())));
            if service.kind != ServiceKind::Headless {
                continue;
            }
            let mut hosts = BTreeMap::<&str, Vec<Place<'_>>>::new();
            for place in of_port() {
                let host = place.candidate.host();
                host.into_iter().for_each(|host| hosts.entry(host).or_default().push(place));
            }
            for (host, places) in hosts {
                let name = format!("{host}.{}", export.name);
                routes.push((name, port.port, pick(places.into_iter(), None)));
            }
        }
        let olds = old.map(|old| old.routes.as_slice()).unwrap_or_default();
        let olds = olds.iter().map(|old| (&old.target, old)).collect();
        for (name, port, endpoints) in routes {
            let Some((service, port)) = ServiceName::parse(&name).ok().zip(Port::new(port)) else {
                export.findings.insert(Finding::Name(name));
                continue;
            };
            let mut route = Route::new(Target::Service(service, port), endpoints);
            (route.source, route.restriction) = (RouteSource::Kubernetes, restriction.clone());
            export.routes.push(shared(route, &olds));
        }
        export
    }

    /// The ports that may be reached, and who may reach them.
    fn annotations<'s>(
        &mut self,
        service: &'s Service,
    ) -> (Vec<&'s ServicePort>, Option<Arc<Restriction>>) {
        let mut invalid = |annotation: &str, reason| {
            let key = annotation.into();
            self.findings.insert(Finding::InvalidAnnotation { annotation: key, reason });
            Restriction::nobody(annotation)
        };
        let mut tcp: Vec<_> =
            service.ports.iter().filter(|port| port.protocol == Protocol::Tcp).collect();
        let mut restriction = service.allowed_identities.as_deref().map(|value| {
            Restriction::parse(value).unwrap_or_else(|reason| invalid(ALLOWED_IDENTITIES, reason))
        });
        if let Some(value) = service.exported_ports.as_deref() {
            match listed(value, &tcp) {
                Ok(listed) => tcp.retain(|port| listed.contains(&port.port)),
                Err(reason) => restriction = Some(invalid(EXPORTED_PORTS, reason)),
            }
        }
        if let Some(unknown) = &service.unknown_annotation {
            let known = format!("it is unknown; expected {ALLOWED_IDENTITIES} or {EXPORTED_PORTS}");
            invalid(unknown, known);
            // A closed set of rules: their names are labels of metrics.
            restriction = Some(Restriction::nobody("unknown"));
        }
        (tcp, restriction.map(Arc::new))
    }

    /// Every endpoint of the slices that has a usable address, with what is known of its proxy.
    fn candidates<'a>(
        &mut self,
        key: &ObjectKey,
        slices: impl Iterator<Item = &'a Slice>,
        pod: impl Fn(&str) -> Option<&'a Pod>,
        rules: &Rules,
    ) -> Vec<Candidate<'a>> {
        let mut candidates = Vec::new();
        for slice in slices {
            for endpoint in &slice.endpoints {
                if let Some(reason) = unusable(endpoint.address) {
                    self.findings.insert(Finding::Unusable(endpoint.address, reason));
                    continue;
                }
                let proxy = match &endpoint.pod {
                    None => Proxy::None,
                    Some(reference) => {
                        self.pods.insert(Arc::clone(&reference.name));
                        self.proxy(key, endpoint.address, reference, pod(&reference.name), rules)
                    }
                };
                candidates.push(Candidate { slice, endpoint, proxy });
            }
        }
        candidates
    }

    fn proxy(
        &mut self,
        key: &ObjectKey,
        address: IpAddr,
        reference: &PodRef,
        pod: Option<&Pod>,
        rules: &Rules,
    ) -> Proxy {
        // A pod of the same name may be another one by now: a StatefulSet's has been replaced.
        let is_it = |pod: &&Pod| match &*reference.uid {
            "" => pod.addresses.contains(&address),
            uid => uid == &*pod.uid,
        };
        let Some(pod) = pod.filter(is_it) else { return Proxy::Unknown };
        let Some(mesh) = &pod.mesh else { return Proxy::None };
        match mesh.onward(&key.namespace, &rules.trust_domain) {
            Ok(onward) => Proxy::Meshed(onward),
            Err(_) => {
                self.findings.insert(Finding::NoIdentity(Arc::clone(&reference.name)));
                Proxy::Unknown
            }
        }
    }
}

/// The numbers that an annotation lists, each of them a port of the Service.
fn listed(value: &str, ports: &[&ServicePort]) -> Result<Vec<u16>, String> {
    let mut listed = Vec::new();
    for entry in entries(value) {
        let is_it = |port: &&&ServicePort| match entry.parse::<u16>() {
            Ok(number) => port.port == number,
            Err(_) => &*port.name == entry,
        };
        let port = ports.iter().find(is_it).ok_or_else(|| {
            format!("{entry:?} is neither number nor name of a TCP port of this Service")
        })?;
        listed.push(port.port);
    }
    if listed.is_empty() {
        return Err("it names no port; expected numbers or names, or no annotation".to_owned());
    }
    Ok(listed)
}

/// What is known of an endpoint's proxy.
enum Proxy {
    /// There is none.
    None,
    /// It is reached so.
    Meshed(Onward),
    /// Whether there is one is not known: it is not dialled.
    Unknown,
}

struct Candidate<'a> {
    slice: &'a Slice,
    endpoint: &'a SliceEndpoint,
    proxy: Proxy,
}

/// A candidate and where it serves one port.
#[derive(Clone, Copy)]
struct Place<'c> {
    candidate: &'c Candidate<'c>,
    address: SocketAddr,
}

impl Candidate<'_> {
    /// Where it serves a Service's port: slices repeat its name, with the pods' own number.
    fn at(&self, port: &ServicePort) -> Option<Place<'_>> {
        let is_it = |p: &&crate::model::kubernetes::object::EndpointPort| {
            p.name == port.name && p.protocol == port.protocol
        };
        let number = Port::new(self.slice.ports.iter().find(is_it)?.port)?;
        let address = SocketAddr::new(self.endpoint.address, number.get());
        Some(Place { candidate: self, address })
    }

    /// The host name under a headless Service: the endpoint's, else that of its pod. Always one
    /// label: what holds for a Service is found for its hosts by taking one away
    /// (`RouteTable::governing`, `Gone`), and a pod's name may have dots.
    fn host(&self) -> Option<&str> {
        let pod = || self.endpoint.pod.as_ref().map(|pod| &*pod.name);
        let name = self.endpoint.hostname.as_deref().filter(|name| !name.is_empty()).or_else(pod);
        name.filter(|name| is_dns_label(name))
    }

    fn dialled(&self, address: SocketAddr) -> Option<Endpoint> {
        match &self.proxy {
            Proxy::None => Some(Endpoint::new(address, 1, None)),
            Proxy::Meshed(onward) => Some(Endpoint::new(address, 1, Some(onward.clone()))),
            Proxy::Unknown => None,
        }
    }
}

/// The endpoints that connections are spread over: ready ones; when there are none, those that still
/// serve while they end. In the order of their addresses, each once.
fn pick<'c>(
    places: impl Iterator<Item = Place<'c>>,
    zone: Option<&Arc<str>>,
) -> Vec<Arc<Endpoint>> {
    let usable = |place: &Place<'_>| !matches!(place.candidate.proxy, Proxy::Unknown);
    let (mut ready, mut terminating) = (Vec::new(), Vec::new());
    for place in places.filter(usable) {
        match place.candidate.endpoint.readiness {
            Readiness::Ready => ready.push(place),
            Readiness::Terminating => terminating.push(place),
            Readiness::NotReady => {}
        }
    }
    if let Some(zone) = zone {
        keep_zone(&mut ready, zone);
    }
    let mut picked = if ready.is_empty() { terminating } else { ready };
    picked.sort_unstable_by_key(|place| place.address);
    // A pod that moves from one slice to another is in both for a moment.
    picked.dedup_by_key(|place| place.address);
    let endpoints = picked.iter().filter_map(|place| place.candidate.dialled(place.address));
    endpoints.map(Arc::new).collect()
}

/// Hints count only when every endpoint has them and one is for our zone, as kube-proxy reads them.
fn keep_zone(ready: &mut Vec<Place<'_>>, zone: &Arc<str>) {
    let zones = |place: &Place<'_>| place.candidate.endpoint.zones.clone();
    let is_ours = |place: &Place<'_>| zones(place).is_some_and(|zones| zones.contains(zone));
    if ready.iter().all(|place| zones(place).is_some()) && ready.iter().any(is_ours) {
        ready.retain(is_ours);
    }
}

/// The old route itself when nothing of it changed, else the new one with the old one's endpoints.
fn shared(mut route: Route, olds: &HashMap<&Target, &Arc<Route>>) -> Arc<Route> {
    match olds.get(&route.target) {
        Some(old) if old.is_same(&route) => Arc::clone(old),
        Some(old) => {
            route.adopt(old);
            Arc::new(route)
        }
        None => Arc::new(route),
    }
}

#[cfg(test)]
mod tests;
