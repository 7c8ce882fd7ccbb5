//! Whether an object differs from what is wanted so that it must be written.
//!
//! What a server changes by itself is no difference: it fills in target ports, and it regroups the
//! subsets of Endpoints and the order of their ports.

use std::collections::BTreeSet;

use super::super::copy;
use super::super::desired::Desired;
use super::super::group::ObservedGroup;
use super::super::keys;
use super::super::object::{
    Meta, MirrorAddress, MirrorEndpoints, MirrorService, MirrorSlice, MirrorSubset,
};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::{Protocol, ServicePort, TargetPort};
use crate::model::link::{ExcludedKey, Link};

/// What only we set: where it is not wanted it goes.
const OWN: [&str; 8] = [
    keys::GATEWAY_IDENTITY,
    keys::HEADLESS_ROOT,
    keys::LOCAL_DISCOVERY,
    keys::MIRRORED_GATEWAY,
    keys::REMOTE_DISCOVERY,
    keys::REMOTE_NAME,
    keys::REMOTE_SERVICE,
    keys::SKIP_MIRROR,
];

/// Compares the objects of one group.
pub(super) struct Difference<'a> {
    link: &'a Link,
    /// The remote Service has changed since the root was written: all that is extra goes.
    has_changed: bool,
}

impl<'a> Difference<'a> {
    pub(super) fn new(link: &'a Link, desired: &Desired, observed: &ObservedGroup) -> Self {
        let version =
            |service: &MirrorService| service.meta.annotations.get(keys::REMOTE_VERSION).cloned();
        let has_changed = desired.services.first().is_some_and(|root| {
            let mut services = observed.services.iter().map(|observed| &observed.object);
            let found = services.find(|found| {
                found.meta.key == root.meta.key && found.meta.is_mirror_of(&link.cluster)
            });
            found.is_some_and(|found| version(found) != version(root))
        });
        Self { link, has_changed }
    }

    pub(super) fn of_services(&self, wanted: &MirrorService, found: &MirrorService) -> bool {
        let is_host = wanted.meta.labels.contains_key(keys::HEADLESS_ROOT);
        // The version of a host's mirror is that of all Endpoints: each would be written whenever
        // any of them changes.
        let ignored = is_host.then_some(keys::REMOTE_VERSION);
        self.of_metas(&wanted.meta, &found.meta, ignored)
            || !same_ports(&wanted.ports, &found.ports)
            || !found.is_plain
    }

    pub(super) fn of_endpoints(&self, wanted: &MirrorEndpoints, found: &MirrorEndpoints) -> bool {
        self.of_metas(&wanted.meta, &found.meta, None)
            || triples(&wanted.subsets) != triples(&found.subsets)
    }

    pub(super) fn of_slices(&self, wanted: &MirrorSlice, found: &MirrorSlice) -> bool {
        let endpoints =
            |slice: &MirrorSlice| slice.endpoints.iter().cloned().collect::<BTreeSet<_>>();
        let ports = |slice: &MirrorSlice| slice.ports.iter().cloned().collect::<BTreeSet<_>>();
        self.of_metas(&wanted.meta, &found.meta, None)
            || wanted.meta.owner != found.meta.owner
            || endpoints(wanted) != endpoints(found)
            || ports(wanted) != ports(found)
    }

    fn of_metas(&self, wanted: &Meta, found: &Meta, ignored: Option<&str>) -> bool {
        let link = self.link;
        let is_extra = |wanted: &Labels, found: &Labels, excluded: &[ExcludedKey]| {
            found.keys().filter(|key| !wanted.contains_key(key)).any(|key| {
                self.has_changed || OWN.contains(&&**key) || copy::is_excluded(key, excluded)
            })
        };
        lacks(&wanted.labels, &found.labels, None)
            || lacks(&wanted.annotations, &found.annotations, ignored)
            || is_extra(&wanted.labels, &found.labels, &link.excluded_labels)
            || is_extra(&wanted.annotations, &found.annotations, &link.excluded_annotations)
    }
}

/// Whether anything wanted is missing or different.
fn lacks(wanted: &Labels, found: &Labels, ignored: Option<&str>) -> bool {
    let mut wanted = wanted.iter().filter(|(key, _)| ignored != Some(&***key));
    wanted.any(|(key, value)| found.get(key) != Some(value))
}

/// Whether two lists of ports are the same to a server, which fills in the target port.
pub(in crate::model::mirror) fn same_ports(a: &[ServicePort], b: &[ServicePort]) -> bool {
    let target =
        |port: &ServicePort| port.target_port.clone().unwrap_or(TargetPort::Number(port.port));
    a.len() == b.len()
        && a.iter().zip(b).all(|(a, b)| {
            (&a.name, a.protocol, a.port, target(a)) == (&b.name, b.protocol, b.port, target(b))
        })
}

/// An address, whether it is ready, and the name, transport and number of one of its ports.
type Reached<'a> = (&'a MirrorAddress, bool, Option<(&'a str, Protocol, u16)>);

/// Which address is ready on which port: what subsets say, however they are grouped.
fn triples(subsets: &[MirrorSubset]) -> BTreeSet<Reached<'_>> {
    let mut triples = BTreeSet::new();
    for subset in subsets {
        let ready = subset.addresses.iter().map(|address| (address, true));
        let not_ready = subset.not_ready.iter().map(|address| (address, false));
        for (address, is_ready) in ready.chain(not_ready) {
            triples.extend(
                subset
                    .ports
                    .iter()
                    .map(|port| (address, is_ready, Some((&*port.name, port.protocol, port.port)))),
            );
            if subset.ports.is_empty() {
                triples.insert((address, is_ready, None));
            }
        }
    }
    triples
}
