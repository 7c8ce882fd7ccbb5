//! The source cluster as values: it refuses what a real API server refuses.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::fixture::{ip, port};
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::labels::tests::labels;
use crate::model::kubernetes::object::{ObjectKey, Version};
use crate::model::mirror::group::{GroupKey, ObservedGroup, group_of};
use crate::model::mirror::keys;
use crate::model::mirror::object::{
    Kind, Meta, MirrorEndpoints, MirrorService, MirrorSlice, Object, Observed,
};
use crate::model::mirror::plan::Write;

/// The objects of the source cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    pub services: BTreeMap<ObjectKey, Observed<MirrorService>>,
    pub endpoints: BTreeMap<ObjectKey, Observed<MirrorEndpoints>>,
    pub slices: BTreeMap<ObjectKey, Observed<MirrorSlice>>,
    writes: u32,
}

pub fn meta(key: ObjectKey, pairs: &[(&str, &str)]) -> Meta {
    Meta { key, labels: labels(pairs), annotations: Labels::default(), owner: None }
}

impl Cluster {
    pub fn names(&self) -> Vec<String> {
        self.services.keys().map(|key| key.name.to_string()).collect()
    }

    /// Puts an object that somebody else made.
    pub fn put_service(&mut self, meta: Meta) {
        let version = self.version();
        let ports = vec![port("", 80)];
        let cluster_ip = Some(ip("10.9.9.9"));
        let object = MirrorService { meta, ports, is_headless: false, is_plain: true, cluster_ip };
        self.services.insert(object.meta.key.clone(), Observed { version, object });
    }

    pub fn of_group(&self, group: &GroupKey, names: &[ObjectKey]) -> ObservedGroup {
        let belongs = |meta: &Meta| group_of(meta) == *group || names.contains(&meta.key);
        let is_slice = |meta: &Meta| {
            let service = meta.labels.get(keys::SERVICE_NAME);
            let mut names = names.iter().filter(|name| name.namespace == meta.key.namespace);
            belongs(meta) || names.any(|name| Some(&name.name) == service)
        };
        ObservedGroup {
            services: self.services.values().filter(|o| belongs(&o.object.meta)).cloned().collect(),
            endpoints: self
                .endpoints
                .values()
                .filter(|o| belongs(&o.object.meta))
                .cloned()
                .collect(),
            slices: self.slices.values().filter(|o| is_slice(&o.object.meta)).cloned().collect(),
        }
    }

    pub fn apply(&mut self, write: &Write) {
        match write {
            Write::Create(object) => {
                self.validate(object);
                let version = self.version();
                self.store(object.clone(), version, true);
            }
            Write::Update { object, version } => {
                self.validate(object);
                let (kind, key) = (object.kind(), &object.meta().key);
                assert_eq!(self.stored(kind, key), Some(version), "a stale write of {key}");
                let next = self.version();
                let version = Version { uid: version.uid.clone(), ..next };
                self.store(object.clone(), version, false);
            }
            Write::Delete { kind, key, version } => {
                assert_eq!(self.stored(*kind, key), Some(version), "a stale delete of {key}");
                match kind {
                    Kind::Service => drop(self.services.remove(key)),
                    Kind::Endpoints => drop(self.endpoints.remove(key)),
                    Kind::Slice => drop(self.slices.remove(key)),
                }
            }
        }
    }

    fn stored(&self, kind: Kind, key: &ObjectKey) -> Option<&Version> {
        match kind {
            Kind::Service => self.services.get(key).map(|found| &found.version),
            Kind::Endpoints => self.endpoints.get(key).map(|found| &found.version),
            Kind::Slice => self.slices.get(key).map(|found| &found.version),
        }
    }

    fn store(&mut self, object: Object, version: Version, is_new: bool) {
        let key = object.meta().key.clone();
        let is_there = self.stored(object.kind(), &key).is_some();
        assert_eq!(is_there, !is_new, "{key} is there already, or is not");
        match object {
            Object::Service(mut service) => {
                let old = self.services.get(&key).map(|old| &old.object);
                if let Some(old) = old {
                    assert_eq!(
                        old.is_headless, service.is_headless,
                        "{key}: clusterIP is immutable"
                    );
                    assert_eq!(old.cluster_ip, service.cluster_ip, "{key}: clusterIP is immutable");
                } else if !service.is_headless {
                    let [_, _, high, low] = self.writes.to_be_bytes();
                    service.cluster_ip = Some(IpAddr::from([10, 96, high, low]));
                }
                self.services.insert(key, Observed { version, object: service });
            }
            Object::Endpoints(mut endpoints) => {
                // A server regroups and sorts in its own way.
                endpoints.subsets.iter_mut().for_each(|subset| subset.ports.reverse());
                endpoints.subsets.reverse();
                self.endpoints.insert(key, Observed { version, object: endpoints });
            }
            Object::Slice(slice) => {
                let old = self.slices.get(&key).map(|old| old.object.family);
                assert!(old.is_none_or(|old| old == slice.family), "addressType is immutable");
                self.slices.insert(key, Observed { version, object: slice });
            }
        }
    }

    fn validate(&self, object: &Object) {
        let key = &object.meta().key;
        let labels = &object.meta().labels;
        assert!(labels.iter().all(|(_, value)| value.len() <= 63), "{key}: a label is too long");
        match object {
            Object::Service(service) => {
                let name = &key.name;
                assert!((1..=63).contains(&name.len()), "{name}");
                assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
                assert!(
                    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
                );
                assert!(!service.ports.is_empty() && !name.ends_with('-'), "{name}");
            }
            Object::Endpoints(endpoints) => {
                for set in &endpoints.subsets {
                    assert!(
                        !(set.addresses.is_empty() && set.not_ready.is_empty()),
                        "{key}: empty"
                    );
                }
            }
            Object::Slice(slice) => {
                let service = ObjectKey::new(
                    key.namespace.clone(),
                    slice.meta.labels[keys::SERVICE_NAME].clone(),
                );
                let owner = self.services.get(&service).map(|owner| &owner.version.uid);
                assert_eq!(slice.meta.owner.as_ref(), owner, "{key} has an owner that is there");
                assert!(slice.endpoints.len() <= 1000);
            }
        }
    }

    fn version(&mut self) -> Version {
        self.writes += 1;
        let text: Arc<str> = self.writes.to_string().into();
        Version { uid: format!("uid-{text}").into(), resource_version: text }
    }
}
