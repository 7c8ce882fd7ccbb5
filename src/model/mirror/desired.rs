//! What a remote Service asks for here.
//!
//! What is not known is kept: a list that is not complete, a namespace that cannot be listed, a
//! gateway whose name was never resolved. Only what is known to be gone is taken away.

use super::condition::{MirrorCondition, Reason};
use super::group::ObservedGroup;
use super::headless;
use super::keys;
use super::object::{Family, MirrorEndpoints, MirrorService, MirrorSlice};
use super::parts::{self, AddressSet};
use super::remote::{Context, GatewayIp, RemoteService, RemoteView, ServiceKind};
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::Export;

/// What must not be touched, because something is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything is known.
    #[default]
    Nothing,
    /// Endpoints and slices stay as they are.
    Endpoints,
    /// The whole group stays as it is.
    All,
}

/// What is wanted of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Services, the root first.
    pub services: Vec<MirrorService>,
    /// Endpoints.
    pub endpoints: Vec<MirrorEndpoints>,
    /// EndpointSlices; their `owner` is filled in by the plan.
    pub slices: Vec<MirrorSlice>,
    /// What stays as it is, but for the readiness of `gateway`.
    pub keep: Keep,
    /// The gateway's addresses, where endpoints are kept: what is not known of a Service is no reason
    /// to send its clients to a gateway that is down.
    pub gateway: Vec<GatewayIp>,
    /// What is said of the Service; `None` when it is not exported (any more).
    pub condition: Option<MirrorCondition>,
}

/// Decides what is wanted. `observed` is asked only for the addresses of hosts' mirrors and for the
/// kind of a headless mirror whose pods are all gone.
pub fn desired(
    context: &Context<'_>,
    remote: &RemoteView<'_>,
    observed: &ObservedGroup,
) -> Desired {
    let mut desired = wanted(context, remote, observed);
    if desired.keep != Keep::Nothing {
        desired.gateway = context.gateway.addresses.clone().unwrap_or_default();
    }
    desired
}

fn wanted(context: &Context<'_>, remote: &RemoteView<'_>, observed: &ObservedGroup) -> Desired {
    let Some(service) = remote.service else {
        // Absence means something only in a complete list, and nothing while the Link is frozen.
        let is_gone = context.services_complete && !context.is_frozen;
        return if is_gone { Desired::default() } else { Desired::kept(None) };
    };
    let export = context.link.export(&service.labels, remote.namespace);
    if export == Export::No {
        return if context.is_frozen { Desired::kept(None) } else { Desired::default() };
    }
    if context.is_frozen {
        let message = "a field of the Link is wrong, its condition SpecValid says which: this mirror \
                       stays as it is until that is corrected";
        return Desired::kept(Some(MirrorCondition::failed(Reason::Error, message)));
    }
    if export == Export::Unknown {
        let message = match context.namespaces_complete {
            true => "its namespace in the target cluster is not known yet",
            false => {
                "the target cluster's namespaces could not be listed, and the Link's \
                      remoteDiscoverySelector chooses among them: what exists is kept"
            }
        };
        return Desired::kept(Some(MirrorCondition::failed(Reason::Pending, message)));
    }
    if let Some(message) = refusal(service) {
        let condition = Some(MirrorCondition::failed(Reason::InvalidService, message));
        return Desired { condition, ..Desired::default() };
    }
    if !remote.namespace_exists {
        return Desired::kept(Some(MirrorCondition::missing_namespace(&service.key.namespace)));
    }
    if export == Export::Flat {
        return flat(context, service);
    }
    if context.link.gateway.is_none() {
        let message = "the Link has no gatewayAddress: only remote discovery and federation work";
        return Desired::kept(Some(MirrorCondition::failed(Reason::Error, message)));
    }
    if service.kind == ServiceKind::Headless && context.options.headless {
        return headless::desired(context, service, remote, observed);
    }
    ordinary(context, service, remote)
}

/// A mirror whose endpoints are the gateway's addresses, as long as anything is ready behind it.
pub(super) fn ordinary(
    context: &Context<'_>,
    service: &RemoteService,
    remote: &RemoteView<'_>,
) -> Desired {
    let root = parts::root(context, service, false);
    let mut desired =
        Desired { condition: Some(MirrorCondition::mirrored()), ..Desired::default() };
    let is_ready = remote.endpoints.is_some_and(|endpoints| endpoints.has_ready);
    if context.endpoints_complete {
        put_gateway(&mut desired, context, &root, is_ready);
    } else {
        let message = "whether it has ready endpoints is not known yet: they stay as they are";
        desired.keep = Keep::Endpoints;
        desired.condition = Some(MirrorCondition::failed(Reason::Pending, message));
    }
    desired.services.push(root);
    desired
}

/// Adds the endpoints of one mirror that the gateway serves: none where nothing is ready behind it.
pub(super) fn put_gateway(
    desired: &mut Desired,
    context: &Context<'_>,
    service: &MirrorService,
    is_ready: bool,
) {
    let (Some(gateway), Some(addresses)) = (&context.link.gateway, &context.gateway.addresses)
    else {
        let message = "no gatewayAddress of the Link could be resolved yet: endpoints stay as \
                       they are";
        desired.keep = Keep::Endpoints;
        desired.condition = Some(MirrorCondition::failed(Reason::Error, message));
        return;
    };
    let addresses = parts::gateway_addresses(addresses);
    let families = addresses.keys().map(|address| Family::of(address.ip)).collect();
    let addresses = if is_ready { addresses } else { AddressSet::new() };
    let sets = [(parts::gateway_ports(service, gateway.port), addresses)];
    parts::put_endpoints(desired, context, service, &sets, &families);
}

/// A mirror whose endpoints the destination controller finds in the target.
fn flat(context: &Context<'_>, service: &RemoteService) -> Desired {
    let mut root = parts::root(context, service, false);
    let labels = &mut root.meta.labels;
    super::copy::put(labels, keys::REMOTE_DISCOVERY, context.link.cluster.clone());
    super::copy::put(labels, keys::REMOTE_SERVICE, service.key.name.clone());
    let condition = Some(MirrorCondition::mirrored());
    Desired { services: vec![root], condition, ..Desired::default() }
}

/// Why a Service cannot be mirrored or federated.
pub(super) fn refusal(service: &RemoteService) -> Option<&'static str> {
    if service.kind == ServiceKind::ExternalName {
        return Some(
            "it is of type ExternalName, which has no endpoints that the gateway could reach: \
             export the Service that it names",
        );
    }
    if service.labels.contains_key(keys::MIRRORED) {
        return Some(
            "it is itself a mirror: a mirror of it would be mirrored back, and so on; export the \
             original from its own cluster",
        );
    }
    if service.ports.is_empty() {
        return Some("it has no ports: add those that clients connect to");
    }
    None
}

impl Desired {
    /// The names that are wanted: whatever has one of them must be observed before planning.
    pub fn service_keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.services.iter().map(|service| &service.meta.key)
    }

    /// The group stays as it is.
    pub(super) fn kept(condition: Option<MirrorCondition>) -> Self {
        Self { keep: Keep::All, condition, ..Self::default() }
    }
}
