//! What is kept of Services, EndpointSlices and Pods: only what routes are made of, because a cluster
//! may have tens of thousands of each. Made by `control::discovery::kubernetes::compact`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::identity::{Identity, IdentityError};
use crate::model::kubernetes::object::{EndpointPort, ServicePort};
use crate::model::route::Onward;
use crate::model::service::Port;

/// How a Service is resolved inside the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// An address of its own, whatever the type.
    #[default]
    Address,
    /// An alias of a DNS name.
    ExternalName,
    /// The addresses of its pods, which have names of their own.
    Headless,
}

/// What is kept of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.resourceVersion` as a number, to tell which of two watches is ahead; 0 when it is
    /// none.
    pub version: u64,
    /// How it is resolved.
    pub kind: ServiceKind,
    /// Its ports, of all protocols.
    pub ports: Vec<ServicePort>,
    /// [`super::restriction::ALLOWED_IDENTITIES`] as written.
    pub allowed_identities: Option<Arc<str>>,
    /// [`super::restriction::EXPORTED_PORTS`] as written.
    pub exported_ports: Option<Arc<str>>,
    /// An annotation that looks like one of ours and is none.
    pub unknown_annotation: Option<Arc<str>>,
}

/// What is kept of an EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// The Service in the same namespace that it belongs to.
    pub service: Arc<str>,
    /// Its ports that have a number.
    pub ports: Vec<EndpointPort>,
    /// Its endpoints.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One endpoint of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// The first of its addresses: they all stand for the same.
    pub address: IpAddr,
    /// Whether it takes connections.
    pub readiness: Readiness,
    /// The host name that its pod has in a headless Service.
    pub hostname: Option<Arc<str>>,
    /// The pod behind it, when one is.
    pub pod: Option<PodRef>,
    /// The zones whose clients should use it; `None` without hints.
    pub zones: Option<Arc<[Arc<str>]>>,
}

/// Whether an endpoint takes connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It does not.
    NotReady,
    /// It does.
    Ready,
    /// It is about to end, and still does.
    Terminating,
}

impl Readiness {
    /// From an endpoint's conditions. One that says nothing is ready, and serves as it is ready.
    pub fn of(ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> Self {
        let is_ready = ready.unwrap_or(true);
        match (is_ready, serving.unwrap_or(is_ready), terminating.unwrap_or(false)) {
            (true, ..) => Self::Ready,
            (false, true, true) => Self::Terminating,
            (false, ..) => Self::NotReady,
        }
    }
}

/// Which pod an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// Its name; its namespace is the slice's.
    pub name: Arc<str>,
    /// Its uid; empty when the slice does not say.
    pub uid: Arc<str>,
}

/// What is kept of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its Linkerd proxy, when it has one that takes connections.
    pub mesh: Option<Mesh>,
}

/// What there is to know of a pod's proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mesh {
    /// The pod's service account.
    pub service_account: Arc<str>,
    /// The namespace of its control plane: label `linkerd.io/control-plane-ns`.
    pub control_plane: Arc<str>,
    /// Where the proxy listens.
    pub port: Port,
}

impl Mesh {
    /// How the proxy of a pod of `namespace` is reached.
    ///
    /// # Errors
    /// When the parts give no identity, which no certificate could have either.
    pub fn onward(&self, namespace: &str, trust_domain: &str) -> Result<Onward, IdentityError> {
        let Self { service_account, control_plane, port } = self;
        let name = format!(
            "{service_account}.{namespace}.serviceaccount.identity.{control_plane}.{trust_domain}"
        );
        Ok(Onward { identity: Identity::parse(&name)?, port: *port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_says_nothing_is_ready() {
        for (ready, serving, terminating, expected) in [
            (None, None, None, Readiness::Ready),
            (Some(true), Some(true), Some(false), Readiness::Ready),
            // A Service with publishNotReadyAddresses.
            (Some(true), Some(false), Some(true), Readiness::Ready),
            (Some(false), Some(true), Some(true), Readiness::Terminating),
            (Some(false), Some(true), Some(false), Readiness::NotReady),
            (Some(false), None, Some(true), Readiness::NotReady),
            (Some(false), Some(false), Some(true), Readiness::NotReady),
        ] {
            assert_eq!(Readiness::of(ready, serving, terminating), expected);
        }
    }

    #[test]
    fn a_proxy_is_who_linkerd_makes_it() {
        let port = Port::new(4143).expect("not 0");
        let mesh = Mesh { service_account: "web".into(), control_plane: "linkerd".into(), port };
        let onward = mesh.onward("shop", "east.example").expect("an identity");
        let expected = "web.shop.serviceaccount.identity.linkerd.east.example";
        assert_eq!(onward.identity.as_str(), expected);
    }
}
