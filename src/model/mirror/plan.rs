//! The writes that lead from what is observed to what is wanted.
//!
//! Ours is what carries the labels of the Link's cluster and belongs to the group, whoever created
//! it. Everything else that has a wanted name is a conflict.
//!
//! *When* an object is written: when anything wanted is missing or different, when it has something
//! that only we set, or when the remote Service has changed since (the annotation
//! `remote-resource-version` of the root tells), and then exactly what is wanted is written. Labels
//! and annotations that others add (cloud controllers, admission hooks) are thus no reason to
//! write, so that nobody is fought with for ever, but whatever the remote lost goes.
//!
//! *In which order*: what goes, then Services that come, then endpoints of Services that are there,
//! and last the changes of the root Service, whose annotation says that all else is done. A process
//! that is killed in between finds the old version there and writes the rest.

mod difference;

use super::desired::{Desired, Keep};
use super::group::{GroupKey, ObservedGroup, group_of};
use super::keys;
use super::object::{Kind, Meta, MirrorAddress, MirrorService, Object, Observed};
use super::remote::GatewayIp;
use crate::model::kubernetes::object::{ObjectKey, Version};
use crate::model::link::Link;
use difference::Difference;

pub(super) use difference::same_ports;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// POST.
    Create(Object),
    /// PUT over the state that was observed.
    Update {
        /// What it becomes.
        object: Object,
        /// What it was.
        version: Version,
    },
    /// DELETE of the state that was observed.
    Delete {
        /// The kind.
        kind: Kind,
        /// The name.
        key: ObjectKey,
        /// What it was: uid and resourceVersion are preconditions.
        version: Version,
    },
}

impl Write {
    /// A word for logs and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update { .. } => "update",
            Self::Delete { .. } => "delete",
        }
    }

    /// What it is about.
    pub fn target(&self) -> (Kind, &ObjectKey) {
        match self {
            Self::Create(object) | Self::Update { object, .. } => {
                (object.kind(), &object.meta().key)
            }
            Self::Delete { kind, key, .. } => (*kind, key),
        }
    }
}

/// Something that is not ours has a name that we need: it is reported and never written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The kind.
    pub kind: Kind,
    /// The name.
    pub key: ObjectKey,
    /// What it is, and what to do.
    pub message: String,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The writes, in their order: one that fails stops those after it.
    pub writes: Vec<Write>,
    /// What stands in the way.
    pub conflicts: Vec<Conflict>,
}

/// Plans one group. `observed` holds every object whose [`group_of`] is the group, and every object
/// that has one of [`Desired::service_keys`] (Endpoints have the same names).
///
/// After the writes the same question asked of what is then observed may give more writes:
/// endpoints follow once their Service is there. It ends with none.
pub fn plan(link: &Link, group: &GroupKey, desired: &Desired, observed: &ObservedGroup) -> Plan {
    let mut planner = Planner {
        link,
        group,
        desired,
        observed,
        difference: Difference::new(link, desired, observed),
        plan: Plan::default(),
    };
    if desired.keep != Keep::All {
        planner.delete_services();
        let last = planner.write_services();
        if desired.keep == Keep::Nothing {
            planner.write_endpoints();
            planner.write_slices();
            // Waits for the endpoints, whose labels follow it.
            planner.plan.writes.extend(last);
        }
    }
    planner.write_readiness();
    planner.plan
}

struct Planner<'a> {
    link: &'a Link,
    group: &'a GroupKey,
    desired: &'a Desired,
    observed: &'a ObservedGroup,
    difference: Difference<'a>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    /// What is not wanted any more, hosts' mirrors before their root; each with its endpoints, as
    /// nobody else may be there to remove them.
    fn delete_services(&mut self) {
        let observed = self.observed;
        let mut gone: Vec<_> = observed
            .services
            .iter()
            .filter(|service| self.is_ours(&service.object.meta))
            .filter(|service| self.wanted(&service.object.meta.key).is_none())
            .collect();
        gone.sort_by_key(|service| service.object.meta.key == self.group.0);
        for service in gone {
            self.delete(Kind::Service, &service.object.meta, &service.version);
        }
        // Also those whose Service is gone already.
        for endpoints in &observed.endpoints {
            let meta = &endpoints.object.meta;
            if self.is_ours(meta) && self.wanted(&meta.key).is_none() {
                self.delete(Kind::Endpoints, meta, &endpoints.version);
            }
        }
        for slice in &observed.slices {
            let meta = &slice.object.meta;
            if self.is_our_slice(meta) && self.wanted(&service_of(meta)).is_none() {
                self.delete(Kind::Slice, meta, &slice.version);
            }
        }
    }

    /// Creates and changes Services. A change of the root is returned: it is written last.
    fn write_services(&mut self) -> Option<Write> {
        let mut last = None;
        for wanted in &self.desired.services {
            let key = &wanted.meta.key;
            let Some(found) = self.service(key) else {
                self.plan.writes.push(Write::Create(Object::Service(wanted.clone())));
                continue;
            };
            let (meta, version) = (&found.object.meta, found.version.clone());
            if !self.is_ours(meta) || self.is_of_another(wanted, meta) {
                self.conflict(Kind::Service, meta);
            } else if found.object.is_headless != wanted.is_headless {
                self.replace(wanted, found);
            } else if self.difference.of_services(wanted, &found.object) {
                let cluster_ip = found.object.cluster_ip.filter(|_| !wanted.is_headless);
                let object = Object::Service(MirrorService { cluster_ip, ..wanted.clone() });
                let write = Write::Update { object, version };
                if *key == self.group.0 {
                    last = Some(write);
                } else {
                    self.plan.writes.push(write);
                }
            }
        }
        last
    }

    /// An address cannot be given to a Service or taken from it: it is made anew, and its endpoints
    /// with it, since slices belong to the old one.
    fn replace(&mut self, wanted: &MirrorService, found: &Observed<MirrorService>) {
        let observed = self.observed;
        self.delete(Kind::Service, &found.object.meta, &found.version);
        for endpoints in &observed.endpoints {
            let meta = &endpoints.object.meta;
            if self.is_ours(meta) && meta.key == wanted.meta.key {
                self.delete(Kind::Endpoints, meta, &endpoints.version);
            }
        }
        for slice in &observed.slices {
            let meta = &slice.object.meta;
            if self.is_our_slice(meta) && service_of(meta) == wanted.meta.key {
                self.delete(Kind::Slice, meta, &slice.version);
            }
        }
        self.plan.writes.push(Write::Create(Object::Service(wanted.clone())));
    }

    fn write_endpoints(&mut self) {
        let observed = self.observed;
        let find =
            |key: &ObjectKey| observed.endpoints.iter().find(|found| found.object.meta.key == *key);
        for wanted in &self.desired.endpoints {
            if self.owner(&wanted.meta.key).is_none() {
                continue;
            }
            match find(&wanted.meta.key) {
                None => self.plan.writes.push(Write::Create(Object::Endpoints(wanted.clone()))),
                Some(found) if !self.is_ours(&found.object.meta) => {
                    self.conflict(Kind::Endpoints, &found.object.meta);
                }
                Some(found) if self.difference.of_endpoints(wanted, &found.object) => {
                    let object = Object::Endpoints(wanted.clone());
                    let version = found.version.clone();
                    self.plan.writes.push(Write::Update { object, version });
                }
                Some(_) => {}
            }
        }
        for found in &observed.endpoints {
            let meta = &found.object.meta;
            let is_wanted = self.desired.endpoints.iter().any(|wanted| wanted.meta.key == meta.key);
            if !is_wanted && self.is_ours(meta) && self.owner(&meta.key).is_some() {
                self.delete(Kind::Endpoints, meta, &found.version);
            }
        }
    }

    fn write_slices(&mut self) {
        let observed = self.observed;
        let find =
            |key: &ObjectKey| observed.slices.iter().find(|found| found.object.meta.key == *key);
        for wanted in &self.desired.slices {
            let Some(owner) = self.owner(&service_of(&wanted.meta)) else { continue };
            let mut wanted = wanted.clone();
            wanted.meta.owner = Some(owner.version.uid.clone());
            let Some(found) = find(&wanted.meta.key) else {
                self.plan.writes.push(Write::Create(Object::Slice(wanted)));
                continue;
            };
            let (meta, version) = (&found.object.meta, found.version.clone());
            if !self.is_our_slice(meta) {
                self.conflict(Kind::Slice, meta);
            } else if found.object.family != wanted.family {
                // The family of a slice cannot change.
                self.delete(Kind::Slice, meta, &version);
                self.plan.writes.push(Write::Create(Object::Slice(wanted)));
            } else if self.difference.of_slices(&wanted, &found.object) {
                self.plan.writes.push(Write::Update { object: Object::Slice(wanted), version });
            }
        }
        for found in &observed.slices {
            let meta = &found.object.meta;
            let is_wanted = self.desired.slices.iter().any(|wanted| wanted.meta.key == meta.key);
            if !is_wanted && self.is_our_slice(meta) && self.owner(&service_of(meta)).is_some() {
                self.delete(Kind::Slice, meta, &found.version);
            }
        }
    }

    /// Of endpoints that are kept only the readiness of the gateway's addresses follows. Those with
    /// a host's name are addresses of Services, below a headless mirror.
    fn write_readiness(&mut self) {
        let observed = self.observed;
        let gateway = &self.desired.gateway;
        let is = |address: &MirrorAddress, is_ready: bool| {
            let is_it = |ip: &GatewayIp| ip.ip == address.ip && ip.is_ready == is_ready;
            address.hostname.is_none() && gateway.iter().any(is_it)
        };
        for found in &observed.endpoints {
            if !self.is_ours(&found.object.meta) {
                continue;
            }
            let mut object = found.object.clone();
            let mut is_other = false;
            for subset in &mut object.subsets {
                // In the order in which they were found: a server may have one of its own.
                let down: Vec<_> = subset.addresses.extract_if(.., |a| is(a, false)).collect();
                let up: Vec<_> = subset.not_ready.extract_if(.., |a| is(a, true)).collect();
                is_other |= !down.is_empty() || !up.is_empty();
                subset.not_ready.extend(down);
                subset.addresses.extend(up);
            }
            if is_other {
                self.update(Object::Endpoints(object), &found.version);
            }
        }
        for found in &observed.slices {
            if !self.is_our_slice(&found.object.meta) {
                continue;
            }
            let mut object = found.object.clone();
            let mut is_other = false;
            for endpoint in &mut object.endpoints {
                if is(&endpoint.address, !endpoint.is_ready) {
                    endpoint.is_ready = !endpoint.is_ready;
                    is_other = true;
                }
            }
            if is_other {
                self.update(Object::Slice(object), &found.version);
            }
        }
    }

    /// Unless the plan does something else with it.
    fn update(&mut self, object: Object, version: &Version) {
        let target = (object.kind(), &object.meta().key);
        if self.plan.writes.iter().all(|write| write.target() != target) {
            let version = version.clone();
            self.plan.writes.push(Write::Update { object, version });
        }
    }

    /// The Service that endpoints belong to: there, ours, wanted, and not about to be replaced.
    fn owner(&self, key: &ObjectKey) -> Option<&'a Observed<MirrorService>> {
        let wanted = self.wanted(key)?;
        self.service(key).filter(|found| {
            let meta = &found.object.meta;
            self.is_ours(meta)
                && !self.is_of_another(wanted, meta)
                && found.object.is_headless == wanted.is_headless
        })
    }

    fn service(&self, key: &ObjectKey) -> Option<&'a Observed<MirrorService>> {
        self.observed.services.iter().find(|found| found.object.meta.key == *key)
    }

    fn wanted(&self, key: &ObjectKey) -> Option<&'a MirrorService> {
        self.desired.services.iter().find(|wanted| wanted.meta.key == *key)
    }

    fn is_ours(&self, meta: &Meta) -> bool {
        meta.is_mirror_of(&self.link.cluster) && group_of(meta) == *self.group
    }

    fn is_our_slice(&self, meta: &Meta) -> bool {
        self.is_ours(meta) && meta.has_label(keys::MANAGED_BY, keys::MANAGER)
    }

    /// Two names with one hash, or one name for a host here and a Service there: the first stays.
    /// The cluster's domain may have changed, the Service may not.
    fn is_of_another(&self, wanted: &MirrorService, found: &Meta) -> bool {
        let service = |meta: &Meta| {
            let name = meta.annotations.get(keys::REMOTE_NAME)?;
            Some(
                name.split_once(".svc.")
                    .map_or_else(|| name.to_string(), |(head, _)| head.to_owned()),
            )
        };
        let (wanted, found) = (service(&wanted.meta), service(found));
        found.is_some() && wanted != found
    }

    fn delete(&mut self, kind: Kind, meta: &Meta, version: &Version) {
        let (key, version) = (meta.key.clone(), version.clone());
        self.plan.writes.push(Write::Delete { kind, key, version });
    }

    fn conflict(&mut self, kind: Kind, meta: &Meta) {
        let (name, cluster) = (&meta.key, &self.link.cluster);
        let what = if meta.is_mirror_of(cluster) {
            "mirrors another Service or host of the same cluster"
        } else if meta.labels.contains_key(keys::MIRRORED) {
            "is a mirror of another cluster"
        } else {
            "is no mirror"
        };
        let message = format!(
            "{} {name} has the name of this mirror but {what}: it is left alone; rename or delete it",
            kind.label()
        );
        self.plan.conflicts.push(Conflict { kind, key: meta.key.clone(), message });
    }
}

/// The Service of a slice.
fn service_of(slice: &Meta) -> ObjectKey {
    let name = slice.labels.get(keys::SERVICE_NAME).unwrap_or(&slice.key.name);
    ObjectKey::new(slice.key.namespace.clone(), name.clone())
}
