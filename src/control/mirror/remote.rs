//! What one Link's target cluster exports: Services, the readiness of their endpoints, and its
//! namespaces where the Link filters by them. Compact records only.
//!
//! Filled by `watch`, asked by the Link's reconciler and by federation. It lives through a rotation
//! of credentials, so that nothing is forgotten then; a Link with other selectors gets a new one,
//! which knows nothing until its lists are complete.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::convert::Readiness;
use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::Health;
use crate::model::kubernetes::bounded::{Bounded, Room, Weigh};
use crate::model::kubernetes::index::WatchEvent;
use crate::model::kubernetes::labels::Labels;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::kubernetes::selector::Selector;
use crate::model::link::Link;
use crate::model::mirror::group::GroupKey;
use crate::model::mirror::remote::{RemoteEndpoints, RemoteService};

mod standing;
pub mod watch;

pub use standing::{Kept, LACKS_ROOM};

/// How long a Service that has left one selector may take to appear under another: its events come
/// on different streams of one API server.
const LEAVE_INTERVAL: Duration = Duration::from_secs(1);

/// What of a Link decides which watches there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Each selector of Services once.
    pub selectors: Vec<Selector>,
    /// Namespaces are asked for.
    pub namespaces: bool,
    /// Hosts of headless Services are kept.
    pub headless: bool,
}

impl Wanted {
    /// What `link` needs.
    pub fn of(link: &Link, headless: bool) -> Self {
        let mut selectors: Vec<Selector> = Vec::new();
        for selector in [&link.selector, &link.remote_discovery, &link.federated] {
            if !selector.is_empty() && !selectors.contains(selector) {
                selectors.push(selector.clone());
            }
        }
        Self { selectors, namespaces: link.namespace_filter.is_some(), headless }
    }
}

/// One target.
#[derive(Debug)]
pub struct Remote {
    /// What is watched.
    pub wanted: Wanted,
    cluster: Arc<str>,
    inner: Mutex<Inner>,
    health: Watches,
    /// Woken when Services may have left.
    left: Notify,
}

/// How the watches fare.
#[derive(Debug)]
struct Watches {
    services: Vec<Health>,
    endpoints: Health,
    namespaces: Health,
}

#[derive(Debug)]
struct Inner {
    /// What all of it may take: another cluster's server may say what it likes.
    room: Room,
    /// One for each selector.
    services: Vec<Bounded<Arc<RemoteService>>>,
    /// By the slice's, or the Endpoints' own name.
    readiness: Bounded<Arc<Readiness>>,
    /// Readiness is that of Endpoints.
    is_of_endpoints: bool,
    /// The records of each Service, sorted: the names of slices follow from their order.
    of_service: HashMap<ObjectKey, Vec<ObjectKey>>,
    /// Services that no watch has any more, and until when they count as they were; what finds no
    /// room among them is given up at once.
    leaving: HashMap<ObjectKey, (Arc<RemoteService>, Instant)>,
    leaving_room: Room,
    namespaces: Bounded<Labels>,
    groups: HashMap<GroupKey, ObjectKey>,
    failures: BTreeMap<&'static str, (Failure, Arc<str>)>,
    /// That there is not room for everything was told.
    told_lacks: bool,
}

/// What a decision about one group takes from the target.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// The Service.
    pub service: Option<Arc<RemoteService>>,
    /// Its endpoints.
    pub endpoints: Option<RemoteEndpoints>,
    /// The labels of its namespace.
    pub namespace: Option<Labels>,
    /// Which lists were complete.
    pub complete: Complete,
}

/// Which lists were complete once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Complete {
    /// Those of all Services.
    pub services: bool,
    /// That of endpoints.
    pub endpoints: bool,
    /// That of namespaces.
    pub namespaces: bool,
}

/// Which keys a change concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Services whose groups, and federated Services, are to be looked at.
    pub services: Vec<ObjectKey>,
    /// A list has become complete: everything is to be looked at.
    pub everything: bool,
}

impl Remote {
    /// A target of which nothing is known. Of what it says about `memory` bytes are kept.
    pub fn new(wanted: Wanted, cluster: &Arc<str>, memory: usize) -> Self {
        let health = Watches {
            services: wanted.selectors.iter().map(|_| Health::default()).collect(),
            endpoints: Health::default(),
            namespaces: Health::default(),
        };
        let inner = Inner {
            room: Room::new(memory),
            services: wanted.selectors.iter().map(|_| Bounded::default()).collect(),
            readiness: Bounded::default(),
            is_of_endpoints: false,
            of_service: HashMap::new(),
            leaving: HashMap::new(),
            leaving_room: Room::new(memory / 4),
            namespaces: Bounded::default(),
            groups: HashMap::new(),
            failures: BTreeMap::new(),
            told_lacks: false,
        };
        let (cluster, inner, left) = (Arc::clone(cluster), Mutex::new(inner), Notify::new());
        Self { wanted, cluster, inner, health, left }
    }

    /// What is known of a group.
    pub fn input(&self, group: &GroupKey) -> Input {
        let inner = self.lock();
        let Some(key) = inner.groups.get(group) else {
            return Input { complete: self.complete(&inner), ..Input::default() };
        };
        let namespace = ObjectKey::new("", Arc::clone(&key.namespace));
        Input {
            service: inner.service(key),
            endpoints: inner.endpoints(key),
            namespace: inner.namespaces.get(&namespace).cloned(),
            complete: self.complete(&inner),
        }
    }

    /// One Service, with its namespace's labels, for federation.
    pub fn service(&self, key: &ObjectKey) -> (Option<Arc<RemoteService>>, Option<Labels>) {
        let inner = self.lock();
        let namespace = ObjectKey::new("", Arc::clone(&key.namespace));
        (inner.service(key), inner.namespaces.get(&namespace).cloned())
    }

    /// Which lists were complete.
    pub fn completeness(&self) -> Complete {
        self.complete(&self.lock())
    }

    /// Whether every list of Services has ended once, also where not all of it had room.
    pub fn is_listed(&self) -> bool {
        self.lock().services.iter().all(Bounded::is_listed)
    }

    /// Every Service that is known.
    pub fn services(&self) -> BTreeSet<ObjectKey> {
        let inner = self.lock();
        inner.services.iter().flat_map(Bounded::iter).map(|(key, _)| key.clone()).collect()
    }

    /// Every group that is known.
    pub fn groups(&self) -> Vec<GroupKey> {
        self.lock().groups.keys().cloned().collect()
    }

    fn complete(&self, inner: &Inner) -> Complete {
        Complete {
            services: inner.services.iter().all(Bounded::is_complete),
            endpoints: inner.readiness.is_complete(),
            namespaces: !self.wanted.namespaces || inner.namespaces.is_complete(),
        }
    }

    fn take_service(&self, index: usize, event: WatchEvent<Arc<RemoteService>>) -> Changed {
        let is_end = matches!(event, WatchEvent::ListEnds);
        let inner = &mut *self.lock();
        let was = self.complete(inner);
        let Some(services) = inner.services.get_mut(index) else { return Changed::default() };
        let changes = services.take(event, &mut inner.room);
        let keys: Vec<_> = changes.iter().map(|(key, _)| key.clone()).collect();
        if inner.services.len() > 1 {
            inner.note_leaving(changes);
            self.left.notify_one();
        }
        for key in &keys {
            let group = GroupKey::of_remote(key, &self.cluster);
            match inner.service(key) {
                Some(_) => drop(inner.groups.insert(group, key.clone())),
                None => drop(inner.groups.remove(&group)),
            }
        }
        let everything = is_end && was != self.complete(inner);
        Changed { services: keys, everything }
    }

    /// When the next Service that has left may be given up.
    fn next_leaves(&self) -> Option<Instant> {
        self.lock().leaving.values().map(|(_, until)| *until).min()
    }

    /// Gives up the Services that no other watch has taken over. While one of these fails it may not
    /// have been able to.
    fn give_up(&self, now: Instant) -> Changed {
        let is_failing = self.health.services.iter().any(Health::is_failing);
        let mut inner = self.lock();
        if is_failing {
            inner.leaving.values_mut().for_each(|(_, until)| *until = now + LEAVE_INTERVAL);
            return Changed::default();
        }
        let gone = inner.leaving.extract_if(|_, (_, until)| *until <= now);
        let gone: Vec<_> = gone.collect();
        let keys: Vec<_> = gone.iter().map(|(key, _)| key.clone()).collect();
        gone.iter().for_each(|(_, (service, _))| inner.leaving_room.give(service.weight()));
        for key in &keys {
            inner.groups.remove(&GroupKey::of_remote(key, &self.cluster));
        }
        Changed { services: keys, everything: false }
    }

    fn take_readiness(&self, event: WatchEvent<Arc<Readiness>>) -> Changed {
        let inner = &mut *self.lock();
        let was = inner.readiness.is_complete();
        let mut services = BTreeSet::new();
        for (record, old) in inner.readiness.take(event, &mut inner.room) {
            if let Some(old) = old {
                if let Some(records) = inner.of_service.get_mut(&old.service) {
                    records.retain(|own| *own != record);
                    if records.is_empty() {
                        inner.of_service.remove(&old.service);
                    }
                }
                services.insert(old.service.clone());
            }
            if let Some(new) = inner.readiness.get(&record).map(|new| new.service.clone()) {
                let records = inner.of_service.entry(new.clone()).or_default();
                if let Err(place) = records.binary_search(&record) {
                    records.reserve_exact(1);
                    records.insert(place, record);
                }
                services.insert(new);
            }
        }
        services.retain(|key| inner.service(key).is_some());
        let everything = was != inner.readiness.is_complete();
        Changed { services: services.into_iter().collect(), everything }
    }

    /// Whether readiness was once listed completely.
    fn knows_readiness(&self) -> bool {
        self.lock().readiness.is_complete()
    }

    /// Whether readiness is taken from Endpoints, not from slices.
    fn is_of_endpoints(&self) -> bool {
        self.lock().is_of_endpoints
    }

    /// Takes readiness from Endpoints from now on, or from slices: what was learnt from the others
    /// is forgotten, and not yet replaced.
    fn take_from_endpoints(&self, is_of_endpoints: bool) {
        let inner = &mut *self.lock();
        inner.is_of_endpoints = is_of_endpoints;
        inner.readiness.clear(&mut inner.room);
        inner.of_service.clear();
    }

    fn take_namespace(&self, event: WatchEvent<Labels>) -> Changed {
        let inner = &mut *self.lock();
        let was = inner.namespaces.is_complete();
        let changes = inner.namespaces.take(event, &mut inner.room);
        let changed: BTreeSet<_> = changes.into_iter().map(|(key, _)| key.name).collect();
        let everything = was != inner.namespaces.is_complete();
        let all = inner.services.iter().flat_map(Bounded::iter).map(|(key, _)| key);
        let services: BTreeSet<_> =
            all.filter(|key| changed.contains(&key.namespace)).cloned().collect();
        Changed { services: services.into_iter().collect(), everything }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The newest of what the watches know: an object that leaves one selector stays, for a moment,
    /// as it was in the other's.
    fn service(&self, key: &ObjectKey) -> Option<Arc<RemoteService>> {
        let version = |service: &&Arc<RemoteService>| service.resource_version.parse::<u64>().ok();
        let watched = self.services.iter().filter_map(|index| index.get(key));
        watched.max_by_key(version).or_else(|| Some(&self.leaving.get(key)?.0)).cloned()
    }

    /// A Service that changes from one selector to another is, for a moment, in no watch. Were its
    /// mirror deleted then, its clients would lose its address.
    fn note_leaving(&mut self, changes: Vec<(ObjectKey, Option<Arc<RemoteService>>)>) {
        for (key, old) in changes {
            let is_watched = self.services.iter().any(|index| index.get(&key).is_some());
            match old {
                Some(old) if !is_watched => self.leaves(key, old),
                _ if is_watched => {
                    let back = self.leaving.remove(&key);
                    back.iter().for_each(|(it, _)| self.leaving_room.give(it.weight()));
                }
                _ => {}
            }
        }
    }

    fn leaves(&mut self, key: ObjectKey, service: Arc<RemoteService>) {
        if self.leaving_room.take(service.weight()) {
            let until = Instant::now() + LEAVE_INTERVAL;
            let before = self.leaving.insert(key, (service, until));
            before.iter().for_each(|(it, _)| self.leaving_room.give(it.weight()));
        }
    }

    fn endpoints(&self, service: &ObjectKey) -> Option<RemoteEndpoints> {
        let records = self.of_service.get(service)?;
        let mut merged = RemoteEndpoints::default();
        let version = |text: &str| text.parse::<u64>().unwrap_or(0);
        for record in records.iter().filter_map(|record| self.readiness.get(record)) {
            merged.has_ready |= record.has_ready;
            merged.subsets.extend(record.hosts.iter().cloned());
            if version(&record.resource_version) >= version(&merged.resource_version) {
                merged.resource_version = Arc::clone(&record.resource_version);
            }
        }
        Some(merged)
    }
}
