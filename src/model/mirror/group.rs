//! Groups: everything here that mirrors one remote Service.
//!
//! An object's group follows from the object alone, so that objects of a run that was killed, and
//! those of Linkerd's own controller, find their group again.

use std::sync::Arc;

use super::object::{Meta, MirrorEndpoints, MirrorService, MirrorSlice, Object, Observed};
use super::{keys, name};
use crate::model::kubernetes::object::ObjectKey;

/// A group of one Link: the namespace and name of its root mirror.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupKey(pub ObjectKey);

/// All that is observed of a group, and of the names that it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedGroup {
    /// Services.
    pub services: Vec<Observed<MirrorService>>,
    /// Endpoints.
    pub endpoints: Vec<Observed<MirrorEndpoints>>,
    /// EndpointSlices that we manage ([`keys::MANAGER`]).
    pub slices: Vec<Observed<MirrorSlice>>,
}

impl ObservedGroup {
    /// Puts an object where its kind belongs.
    pub fn add(&mut self, observed: Observed<Object>) {
        let Observed { version, object } = observed;
        match object {
            Object::Service(object) => self.services.push(Observed { version, object }),
            Object::Endpoints(object) => self.endpoints.push(Observed { version, object }),
            Object::Slice(object) => self.slices.push(Observed { version, object }),
        }
    }
}

impl GroupKey {
    /// The group of a remote Service of `cluster`.
    pub fn of_remote(service: &ObjectKey, cluster: &str) -> Self {
        Self(ObjectKey::new(service.namespace.clone(), name::mirror_name(&service.name, cluster)))
    }
}

/// The group that a mirror belongs to: of a headless mirror's host that of the headless mirror, of
/// a slice that of its Service.
pub fn group_of(meta: &Meta) -> GroupKey {
    let label = |key: &str| meta.labels.get(key).cloned();
    let root: Arc<str> = label(keys::HEADLESS_ROOT)
        .or_else(|| {
            label(keys::SERVICE_NAME).filter(|_| meta.has_label(keys::MANAGED_BY, keys::MANAGER))
        })
        .unwrap_or_else(|| meta.key.name.clone());
    GroupKey(ObjectKey::new(meta.key.namespace.clone(), root))
}
