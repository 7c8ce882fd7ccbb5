//! What is known of the target cluster and of its gateway: the inputs of every decision.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::kubernetes::bounded::Weigh;
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::{EndpointPort, ObjectKey, ServicePort};
use crate::model::link::Link;

/// A Service of the target, or a local one that may join a federated Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteService {
    /// Its namespace and name.
    pub key: ObjectKey,
    /// Its `resourceVersion`.
    pub resource_version: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations; `kubectl.kubernetes.io/last-applied-configuration` need not be kept.
    pub annotations: Labels,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// What it is.
    pub kind: ServiceKind,
}

/// What a mirrored Service costs in memory with all that is kept for it, in bytes: its Service,
/// Endpoints and EndpointSlice here, its condition (`benches/mirror.rs` measures it).
pub const MIRROR_COST: usize = 6 << 10;

/// Every Service counts as one that is mirrored.
impl Weigh for RemoteService {
    fn weight(&self) -> usize {
        // The mirror has labels and annotations once more.
        let ports = self.ports.iter().map(|port| size_of::<ServicePort>() + port.name.len());
        MIRROR_COST + 2 * (self.labels.weight() + self.annotations.weight() + ports.sum::<usize>())
    }
}

/// What a Service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// It has an address: ClusterIP, NodePort or LoadBalancer.
    ClusterIp,
    /// `clusterIP: None`.
    Headless,
    /// Another name for a host: it has no endpoints and cannot be mirrored.
    ExternalName,
}

/// The endpoints of a Service of the target, from its EndpointSlices or its Endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteEndpoints {
    /// The `resourceVersion` of the Endpoints, or of the newest EndpointSlice.
    pub resource_version: Arc<str>,
    /// Whether any address is ready.
    pub has_ready: bool,
    /// The addresses; kept for headless Services only.
    pub subsets: Vec<RemoteSubset>,
}

/// Addresses that share ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteSubset {
    /// The addresses.
    pub hosts: Vec<RemoteHost>,
    /// Their ports.
    pub ports: Vec<EndpointPort>,
}

/// One address of a headless Service; its IP means nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteHost {
    /// `hostname`.
    pub hostname: Option<Arc<str>>,
    /// `targetRef.name`.
    pub target: Option<Arc<str>>,
    /// Whether it is ready.
    pub is_ready: bool,
}

/// The addresses of a Link's gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayView {
    /// The addresses; `None` before any name was resolved: then endpoints stay as they are.
    pub addresses: Option<Vec<GatewayIp>>,
}

/// One address of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatewayIp {
    /// The address.
    pub ip: IpAddr,
    /// False when it is down.
    pub is_ready: bool,
}

/// Which objects carry a mirror's endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointObjects {
    /// Core Endpoints and EndpointSlices of ours.
    #[default]
    Both,
    /// EndpointSlices of ours only.
    Slices,
    /// Core Endpoints only; Kubernetes copies them into slices.
    Endpoints,
}

/// Settings that concern all Links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which objects carry endpoints.
    pub endpoints: EndpointObjects,
    /// Whether headless Services become headless mirrors.
    pub headless: bool,
}

/// What a decision about any group of one Link needs.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The Link.
    pub link: &'a Link,
    /// A wrong field stops mirroring ([`crate::model::link::ParsedLink::is_frozen`]).
    pub is_frozen: bool,
    /// The settings.
    pub options: Options,
    /// The gateway.
    pub gateway: &'a GatewayView,
    /// True once every list of the target's Services was complete: only then absence means
    /// anything.
    pub services_complete: bool,
    /// The same for endpoints.
    pub endpoints_complete: bool,
    /// The same for namespaces; not looked at without a namespace filter. Stays false where
    /// listing them is forbidden.
    pub namespaces_complete: bool,
}

/// What a decision about one group needs.
#[derive(Clone, Copy, Debug)]
pub struct RemoteView<'a> {
    /// The Service, if there is one.
    pub service: Option<&'a RemoteService>,
    /// Its endpoints, if there are any.
    pub endpoints: Option<&'a RemoteEndpoints>,
    /// The labels of its namespace in the target, if that is known.
    pub namespace: Option<&'a Labels>,
    /// Whether the namespace exists here.
    pub namespace_exists: bool,
}
