//! Mirrors as values: what is wanted, and what `control::mirror` observed.
//!
//! Only what a decision looks at is kept: there may be tens of thousands of them.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::keys;
use super::render;
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::{EndpointPort, ObjectKey, ServicePort, Version};

/// What all mirrors have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
    /// The uid of the Service that an EndpointSlice belongs to.
    pub owner: Option<Arc<str>>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorService {
    /// Its metadata.
    pub meta: Meta,
    /// Its ports, in their order.
    pub ports: Vec<ServicePort>,
    /// True for `clusterIP: None`.
    pub is_headless: bool,
    /// Of type ClusterIP, without selector: what every mirror is. Anything else leads clients, and
    /// the cluster's own controllers, elsewhere.
    pub is_plain: bool,
    /// Its first address, once it has one; never part of what is wanted.
    pub cluster_ip: Option<IpAddr>,
}

/// Core Endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorEndpoints {
    /// Its metadata.
    pub meta: Meta,
    /// Its subsets; none when nothing is ready in the target.
    pub subsets: Vec<MirrorSubset>,
}

/// Addresses that share ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSubset {
    /// Ready ones, sorted.
    pub addresses: Vec<MirrorAddress>,
    /// Not ready ones, sorted.
    pub not_ready: Vec<MirrorAddress>,
    /// The ports.
    pub ports: Vec<EndpointPort>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MirrorAddress {
    /// The address.
    pub ip: IpAddr,
    /// The host's name under a headless mirror.
    pub hostname: Option<Arc<str>>,
}

/// One EndpointSlice of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSlice {
    /// Its metadata; the label `kubernetes.io/service-name` names its Service.
    pub meta: Meta,
    /// The family of all its addresses.
    pub family: Family,
    /// Its endpoints, one address each, sorted.
    pub endpoints: Vec<SliceEndpoint>,
    /// Its ports.
    pub ports: Vec<EndpointPort>,
}

/// One endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SliceEndpoint {
    /// Its address.
    pub address: MirrorAddress,
    /// Whether it is ready; one that does not say counts as ready.
    pub is_ready: bool,
}

/// An address family, `addressType` of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// `IPv4`.
    V4,
    /// `IPv6`.
    V6,
}

/// Something observed, and the state in which it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed<T> {
    /// Its uid and resourceVersion: preconditions of writes.
    pub version: Version,
    /// What it was.
    pub object: T,
}

/// The kinds that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Service.
    Service,
    /// `v1` Endpoints.
    Endpoints,
    /// `discovery.k8s.io/v1` EndpointSlice.
    Slice,
}

/// Any of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A Service.
    Service(MirrorService),
    /// Endpoints.
    Endpoints(MirrorEndpoints),
    /// An EndpointSlice.
    Slice(MirrorSlice),
}

impl Family {
    /// The family of an address.
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The value in objects.
    pub fn label(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// From the value in objects; `None` for FQDN.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::V4, Self::V6].into_iter().find(|family| family.label() == text)
    }
}

impl Kind {
    /// The kind's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Endpoints => "Endpoints",
            Self::Slice => "EndpointSlice",
        }
    }
}

impl Meta {
    /// Whether a label has a value.
    pub fn has_label(&self, key: &str, value: &str) -> bool {
        self.labels.get(key).is_some_and(|found| &**found == value)
    }

    /// Whether it is a mirror of `cluster`, whoever created it: mirrors of Linkerd's own controller
    /// are taken over.
    pub fn is_mirror_of(&self, cluster: &str) -> bool {
        self.has_label(keys::MIRRORED, keys::TRUE) && self.has_label(keys::CLUSTER, cluster)
    }
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Endpoints(_) => Kind::Endpoints,
            Self::Slice(_) => Kind::Slice,
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Service(service) => &service.meta,
            Self::Endpoints(endpoints) => &endpoints.meta,
            Self::Slice(slice) => &slice.meta,
        }
    }

    /// The body of a POST (`None`) or of a PUT that replaces the given state.
    pub fn to_json(&self, replaces: Option<&Version>) -> Value {
        render::object(self, replaces)
    }
}
