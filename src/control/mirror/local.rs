//! What our own cluster has of mirrors, for all Links at once: Services, Endpoints, EndpointSlices,
//! namespaces, and the local members of federated Services.
//!
//! Filled by watches (`watch`) and by the answers to our own writes, which count at once, so that
//! the next decision sees them. Asked by the reconcilers. It never writes.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control::kubernetes::watch::Health;
use crate::model::kubernetes::index::{Index, WatchEvent};
use crate::model::kubernetes::object::{ObjectKey, Version};
use crate::model::mirror::federated::{is_federated, listed_names};
use crate::model::mirror::group::{GroupKey, ObservedGroup, group_of};
use crate::model::mirror::keys;
use crate::model::mirror::object::{Kind, Meta, MirrorService, Object, Observed};
use crate::model::mirror::remote::RemoteService;

pub mod watch;

/// Everything local.
#[derive(Debug, Default)]
pub struct Local {
    inner: Mutex<Inner>,
    /// One for each watch, in the order of [`RESOURCES`].
    health: [Health; 5],
}

/// The names of the watches; the first three hold mirrors, in the order of [`Kind`].
pub const RESOURCES: [&str; 5] =
    ["services", "endpoints", "endpointslices", "namespaces", "federated services"];

#[derive(Debug, Default)]
struct Inner {
    /// In the order of [`Kind`].
    mirrors: [Index<Box<Observed<Object>>>; 3],
    namespaces: Index<()>,
    members: Index<Arc<RemoteService>>,
    /// The objects of each group, few each.
    groups: HashMap<GroupKey, Vec<(Kind, ObjectKey)>>,
}

/// What a change concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// A group of this cluster's Link.
    Group(Arc<str>, GroupKey),
    /// A group whose object does not say the cluster.
    AnyGroup(GroupKey),
    /// The federated Service for this member.
    Federated(ObjectKey),
}

impl Local {
    /// True once every list was complete.
    pub fn is_complete(&self) -> bool {
        let inner = self.lock();
        inner.mirrors.iter().all(Index::is_complete)
            && inner.namespaces.is_complete()
            && inner.members.is_complete()
    }

    /// How the watches fare.
    pub fn health(&self) -> impl Iterator<Item = (&'static str, &Health)> {
        RESOURCES.into_iter().zip(&self.health)
    }

    /// Whether a namespace exists.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.lock().namespaces.get(&ObjectKey::new("", namespace)).is_some()
    }

    /// A namespace was created by us.
    pub fn namespace_created(&self, namespace: &str) {
        self.lock().namespaces.put(ObjectKey::new("", namespace), ());
    }

    /// The local member of a federated Service; `None` while the list is not complete.
    pub fn member(&self, service: &ObjectKey) -> Option<Option<Arc<RemoteService>>> {
        let inner = self.lock();
        inner.members.is_complete().then(|| inner.members.get(service).cloned())
    }

    /// One Service that mirrors.
    pub fn service(&self, key: &ObjectKey) -> Option<Observed<MirrorService>> {
        let inner = self.lock();
        let Observed { version, object } = &**inner.mirrors[place(Kind::Service)].get(key)?;
        match object {
            Object::Service(object) => {
                Some(Observed { version: version.clone(), object: object.clone() })
            }
            _ => None,
        }
    }

    /// All objects of a group, and those that have one of `names`.
    pub fn group<'a>(
        &self,
        group: &GroupKey,
        names: impl Iterator<Item = &'a ObjectKey>,
    ) -> ObservedGroup {
        let inner = self.lock();
        let own = inner.groups.get(group).into_iter().flatten().map(|(kind, key)| (*kind, key));
        let named = names.flat_map(|name| [(Kind::Service, name), (Kind::Endpoints, name)]);
        let keys: BTreeSet<_> = own.chain(named).collect();
        let mut found = ObservedGroup::default();
        let observed = keys.iter().filter_map(|(kind, key)| inner.mirrors[place(*kind)].get(key));
        observed.for_each(|observed| found.add((**observed).clone()));
        found
    }

    /// Every group that has a mirror of `cluster`.
    pub fn groups_of(&self, cluster: &str) -> BTreeSet<GroupKey> {
        let inner = self.lock();
        let all = inner.metas().filter(|meta| meta.has_label(keys::CLUSTER, cluster));
        all.map(group_of).collect()
    }

    /// How many objects are kept, by their kind as metrics call it.
    pub fn kept(&self) -> [(&'static str, usize); 3] {
        let inner = self.lock();
        let [services, endpoints, slices] = &inner.mirrors;
        [
            ("service", services.len() + inner.members.len()),
            ("endpoints", endpoints.len() + slices.len()),
            ("namespace", inner.namespaces.len()),
        ]
    }

    /// Mirror Services of each cluster.
    pub fn counts(&self) -> HashMap<Arc<str>, usize> {
        let inner = self.lock();
        let mut counts = HashMap::new();
        let services = inner.mirrors[place(Kind::Service)].iter();
        for cluster in services.filter_map(|(_, s)| s.object.meta().labels.get(keys::CLUSTER)) {
            *counts.entry(Arc::clone(cluster)).or_insert(0) += 1;
        }
        counts
    }

    /// The members that federated Services here are for, and local ones that want to be.
    pub fn federated(&self) -> BTreeSet<ObjectKey> {
        let inner = self.lock();
        let services = inner.mirrors[place(Kind::Service)].iter();
        let here = services.filter_map(|(_, service)| member_of(service.object.meta()));
        here.chain(inner.members.iter().map(|(key, _)| key.clone())).collect()
    }

    /// The readiness that mirrors of `cluster` have for each address: what the gateway's was when
    /// it was last known. An address that is ready anywhere counts as ready. Those with a host's
    /// name are addresses of Services, below a headless mirror.
    pub fn persisted(&self, cluster: &str) -> HashMap<IpAddr, bool> {
        let inner = self.lock();
        let mut found = HashMap::new();
        let mut see = |ip: IpAddr, is_ready: bool| *found.entry(ip).or_insert(false) |= is_ready;
        let objects = inner.mirrors.iter().flat_map(Index::iter).map(|(_, o)| &o.object);
        for object in objects.filter(|object| object.meta().has_label(keys::CLUSTER, cluster)) {
            match object {
                Object::Service(_) => {}
                Object::Endpoints(endpoints) => {
                    for subset in &endpoints.subsets {
                        let ready = subset.addresses.iter().map(|address| (address, true));
                        let not = subset.not_ready.iter().map(|address| (address, false));
                        let gateways = ready.chain(not).filter(|(a, _)| a.hostname.is_none());
                        gateways.for_each(|(address, is_ready)| see(address.ip, is_ready));
                    }
                }
                Object::Slice(slice) => {
                    let gateways = slice.endpoints.iter().filter(|e| e.address.hostname.is_none());
                    gateways.for_each(|endpoint| see(endpoint.address.ip, endpoint.is_ready));
                }
            }
        }
        found
    }

    /// The answer to a write of ours, or a look at one object. One older than what is known says
    /// nothing new.
    pub fn put(&self, observed: Observed<Object>) {
        let (kind, key) = (observed.object.kind(), observed.object.meta().key.clone());
        self.lock().take(kind, WatchEvent::Applied(key, observed));
    }

    /// The answer to a delete of ours, or a look at an object that is not there.
    pub fn remove(&self, kind: Kind, key: &ObjectKey) {
        self.lock().take(kind, WatchEvent::Deleted(key.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn metas(&self) -> impl Iterator<Item = &Meta> {
        self.mirrors.iter().flat_map(Index::iter).map(|(_, observed)| observed.object.meta())
    }

    /// Takes what is said of one kind, and says what that touches.
    fn take(&mut self, kind: Kind, event: WatchEvent<Observed<Object>>) -> Vec<Touched> {
        let index = &mut self.mirrors[place(kind)];
        // A watch lags behind the answers to our own writes.
        let newest =
            |key: &ObjectKey, new: Observed<Object>, index: &Index<Box<Observed<Object>>>| {
                let known = index.get(key).filter(|known| is_older(&new.version, &known.version));
                known.cloned().unwrap_or_else(|| Box::new(new))
            };
        let event = match event {
            WatchEvent::Applied(key, new) => {
                let newest = newest(&key, new, index);
                WatchEvent::Applied(key, newest)
            }
            WatchEvent::Listed(key, new) => {
                let newest = newest(&key, new, index);
                WatchEvent::Listed(key, newest)
            }
            WatchEvent::ListBegins => WatchEvent::ListBegins,
            WatchEvent::ListEnds => WatchEvent::ListEnds,
            WatchEvent::Deleted(key) => WatchEvent::Deleted(key),
        };
        let mut all = Vec::new();
        for (key, old) in index.take(event) {
            let new = index.get(&key).map(|new| new.object.meta());
            if let Some(old) = &old {
                let meta = old.object.meta();
                all.extend(touched(meta));
                let group = group_of(meta);
                if let Some(members) = self.groups.get_mut(&group) {
                    members.retain(|(of, member)| (*of, member) != (kind, &key));
                    if members.is_empty() {
                        self.groups.remove(&group);
                    }
                }
            }
            if let Some(meta) = new {
                all.extend(touched(meta).filter(|touched| !all.contains(touched)));
                let members = self.groups.entry(group_of(meta)).or_default();
                members.reserve_exact(1);
                members.push((kind, key));
            }
        }
        all
    }
}

/// A kind's place among the indexes.
fn place(kind: Kind) -> usize {
    match kind {
        Kind::Service => 0,
        Kind::Endpoints => 1,
        Kind::Slice => 2,
    }
}

/// True when `a` is an earlier state than `b` of the same object. Versions are numbers in every
/// server there is; where they are not, none is older.
fn is_older(a: &Version, b: &Version) -> bool {
    let number = |version: &Version| version.resource_version.parse::<u64>().ok();
    a.uid == b.uid && matches!((number(a), number(b)), (Some(a), Some(b)) if a < b)
}

/// What a change of an object concerns.
fn touched(meta: &Meta) -> Option<Touched> {
    if let Some(cluster) = meta.labels.get(keys::CLUSTER) {
        return Some(Touched::Group(Arc::clone(cluster), group_of(meta)));
    }
    Some(member_of(meta).map_or_else(|| Touched::AnyGroup(group_of(meta)), Touched::Federated))
}

/// The member that a federated Service is for. Its own name may have been shortened; its members'
/// names, which are all the same, stand in its annotations.
fn member_of(meta: &Meta) -> Option<ObjectKey> {
    if !is_federated(meta) {
        return None;
    }
    let listed = listed_names(meta).into_iter().next();
    let name = listed.or_else(|| meta.key.name.strip_suffix("-federated").map(Into::into))?;
    Some(ObjectKey::new(Arc::clone(&meta.key.namespace), name))
}
