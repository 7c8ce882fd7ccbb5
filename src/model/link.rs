//! A Link as a value: another cluster, its gateway, and what of it is mirrored.
//!
//! Read by `control::mirror` from objects of any of the three served versions, untyped, because
//! they differ only in what they leave out, and because guides write ports as numbers. Nothing here
//! panics on any input, and a field that is wrong is named instead of guessed.

mod excluded;
mod fields;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::identity::Identity;
use super::kubernetes::labels::Labels;
use super::kubernetes::object::ObjectKey;
use super::kubernetes::selector::Selector;
use super::service::is_dns_name;

pub use excluded::ExcludedKey;
pub use fields::{is_dns_label, parse};

/// The label by which a `remoteDiscoverySelector` says that it chooses namespaces, not Services.
pub const NAMESPACE_FILTER_LABEL: &str = "linkerd.io/is-remote-discovery";

/// A Link with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation`: changes with the spec only; 0 where the CRD has no status.
    pub generation: i64,
    /// `metadata.creationTimestamp`; such timestamps sort as text.
    pub created: Arc<str>,
    /// `targetClusterName`, else the Link's name: a DNS label, part of every mirror's name.
    pub cluster: Arc<str>,
    /// `targetClusterDomain`, else `cluster.local`.
    pub domain: Arc<str>,
    /// `clusterCredentialsSecret`, when stated.
    pub credentials: Option<Arc<str>>,
    /// The gateway; `None` when there is no `gatewayAddress`.
    pub gateway: Option<LinkGateway>,
    /// How the gateway is probed; `None` when there is no `probeSpec.path`, or when it is wrong.
    pub probe: Option<ProbeSpec>,
    /// Which Services are mirrored through the gateway.
    pub selector: Selector,
    /// Which Services are mirrored for remote discovery (flat mode).
    pub remote_discovery: Selector,
    /// Which Services join a federated one.
    pub federated: Selector,
    /// Which of the target's namespaces are looked at; `None` is all. Comes from a
    /// `remoteDiscoverySelector` that names [`NAMESPACE_FILTER_LABEL`].
    pub namespace_filter: Option<Selector>,
    /// Labels that are not copied.
    pub excluded_labels: Vec<ExcludedKey>,
    /// Annotations that are not copied.
    pub excluded_annotations: Vec<ExcludedKey>,
}

/// The gateway of a Link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkGateway {
    /// Its addresses, in the order of `gatewayAddress`, each once.
    pub addresses: Vec<GatewayAddress>,
    /// Its port.
    pub port: u16,
    /// The identity that it must prove; `None` means plaintext.
    pub identity: Option<Identity>,
}

/// One address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GatewayAddress {
    /// A literal.
    Ip(IpAddr),
    /// A name to resolve, in lower case and without a dot at its end.
    Name(Arc<str>),
}

impl GatewayAddress {
    /// From a part of `gatewayAddress`.
    pub fn parse(part: &str) -> Option<Self> {
        let bare = part.strip_prefix('[').and_then(|part| part.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(part).parse::<IpAddr>() {
            // Kubernetes refuses v4-mapped addresses in endpoints.
            return Some(Self::Ip(ip.to_canonical()));
        }
        let name = part.strip_suffix('.').unwrap_or(part).to_ascii_lowercase();
        // What ends in digits is an address with a slip, not a name.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_name = is_dns_name(&name) && !last.bytes().all(|b| b.is_ascii_digit());
        is_name.then(|| Self::Name(name.into()))
    }
}

/// How a gateway is probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSpec {
    /// The path of the GET.
    pub path: Arc<str>,
    /// The port.
    pub port: u16,
    /// The pause between two probes.
    pub period: Duration,
    /// The total timeout of one probe, never longer than the period: with Linkerd's default of 30 s
    /// and a period of 3 s, probes of a gateway that swallows packets would pile up.
    pub timeout: Duration,
    /// How many failures in a row mean that the gateway is down; at least 1.
    pub failure_threshold: u32,
}

/// What a wrong field stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stops {
    /// The Link is frozen: nothing of it is created, changed or deleted.
    Mirroring,
    /// Only probing stops: the gateway's readiness stays as it was last known.
    Probing,
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// Where: `spec.gatewayPort`.
    pub field: String,
    /// What was expected, and what was found.
    pub expected: String,
    /// What it stops.
    pub stops: Stops,
}

/// A Link and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedLink {
    /// The Link, with defaults where a field is wrong.
    pub link: Link,
    /// All that is wrong.
    pub problems: Vec<FieldProblem>,
}

/// How a remote Service is to be mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Through the gateway.
    Gateway,
    /// By remote discovery.
    Flat,
    /// Not.
    No,
    /// Its namespace is not known, but a namespace filter must be asked: what exists is kept.
    Unknown,
}

impl ParsedLink {
    /// True when a field is wrong that mirroring depends on.
    pub fn is_frozen(&self) -> bool {
        self.problems.iter().any(|problem| problem.stops == Stops::Mirroring)
    }

    /// True when a field is wrong without which nobody knows how to probe.
    pub fn is_unprobed(&self) -> bool {
        let is_one = |problem: &FieldProblem| {
            problem.stops == Stops::Probing || &*problem.field == "spec.gatewayIdentity"
        };
        self.problems.iter().any(is_one)
    }
}

impl Link {
    /// How a Service with these labels is mirrored. `namespace` is the labels of its namespace, or
    /// `None` when they are not known; it is not looked at without a namespace filter.
    pub fn export(&self, labels: &Labels, namespace: Option<&Labels>) -> Export {
        // Flat wins where both match, as in Linkerd.
        let wanted = if self.remote_discovery.matches(labels) {
            Export::Flat
        } else if self.selector.matches(labels) {
            Export::Gateway
        } else {
            return Export::No;
        };
        self.within(namespace)
            .map_or(Export::Unknown, |is_in| if is_in { wanted } else { Export::No })
    }

    /// Whether a Service with these labels joins a federated one; `None` when the namespace filter
    /// cannot tell yet.
    pub fn federates(&self, labels: &Labels, namespace: Option<&Labels>) -> Option<bool> {
        if self.federated.matches(labels) { self.within(namespace) } else { Some(false) }
    }

    fn within(&self, namespace: Option<&Labels>) -> Option<bool> {
        match &self.namespace_filter {
            None => Some(true),
            Some(filter) => namespace.map(|labels| filter.matches(labels)),
        }
    }
}

#[cfg(test)]
mod tests;
