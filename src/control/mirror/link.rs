//! One Link: what is known of it, and the task that does its work.
//!
//! Started by `links`, one task for each Link, so that none of them waits for another's API server
//! or DNS. It works while it holds the Lease that Linkerd's own controller of this Link would hold.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::{Notify, watch};

use super::apply::Writer;
use super::credentials::{self, Credentials};
use super::lease::{Candidate, LeaseSettings, Standing};
use super::local::Local;
use super::queue::Queue;
use super::remote::{self, Remote, Wanted};
use super::term::Term;
use super::{gate, probe_service, reconcile, status};
use crate::control::mirror::links::Known;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::ParsedLink;
use crate::model::mirror::group::GroupKey;
use crate::model::mirror::object::{Kind, Object, Observed};
use crate::model::mirror::remote::GatewayView;
use crate::model::mirror::status::ServiceStatus;
use crate::state::links::AddressView;

/// Linkerd's controllers renew theirs every 2 s and are replaced after 30 s.
const LINKERD_LEASE: Duration = Duration::from_secs(30);
/// Services that are not mirrored which `/links` names.
const MOST_SHOWN: usize = 100;
/// Errors that `/links` shows.
const MOST_ERRORS: usize = 10;

/// What is known of one Link.
#[derive(Debug)]
pub struct LinkState {
    /// Its name.
    pub name: Arc<str>,
    /// The target cluster's.
    pub cluster: Arc<str>,
    /// The older Link that has the same target: it works, this one does not.
    pub older: Option<Arc<str>>,
    /// What it says, and its changes.
    pub spec: watch::Sender<Arc<ParsedLink>>,
    /// Its status: as read at the start, then as sent.
    pub last_status: Mutex<Arc<Value>>,
    /// Linkerd's Lease for it.
    pub lease: Candidate,
    /// The client of its target.
    pub credentials: watch::Sender<Credentials>,
    /// Groups to look at.
    pub queue: Queue<GroupKey>,
    /// The addresses of its gateway, as decisions see them.
    pub gateway: ArcSwap<GatewayView>,
    /// The same, as operators see them.
    pub addresses: ArcSwap<Vec<AddressView>>,
    /// Woken when its gateway's addresses have changed.
    pub gateway_changed: Notify,
    /// Woken when its status may have changed.
    pub status_changed: Notify,
    remote: ArcSwap<Remote>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What is said of each mirrored Service, by the mirror's name.
    mirrored: HashMap<ObjectKey, ServiceStatus>,
    /// What is said of each member of a federated Service, by the member's name.
    federated: HashMap<ObjectKey, ServiceStatus>,
    /// Objects that are not ours and have a name that we need.
    foreign: HashMap<(Kind, ObjectKey), Observed<Object>>,
    errors: VecDeque<String>,
}

impl LinkState {
    /// A Link that does nothing yet.
    pub fn new(term: &Term, known: &Known, older: Option<Arc<str>>) -> Self {
        let link = &known.parsed.link;
        let lease = Candidate::new(LeaseSettings {
            namespace: Arc::clone(&term.settings.namespace),
            name: format!("service-mirror-write-{}", link.key.name).into(),
            identity: Arc::clone(&term.pod),
            duration: term.settings.lease_duration.min(LINKERD_LEASE),
        });
        let wanted = Wanted::of(link, term.options.headless);
        Self {
            name: Arc::clone(&link.key.name),
            cluster: Arc::clone(&link.cluster),
            older,
            spec: watch::Sender::new(Arc::clone(&known.parsed)),
            last_status: Mutex::new(Arc::clone(&known.status)),
            lease,
            credentials: watch::Sender::default(),
            queue: Queue::default(),
            gateway: ArcSwap::default(),
            addresses: ArcSwap::default(),
            gateway_changed: Notify::new(),
            status_changed: Notify::new(),
            remote: ArcSwap::new(Arc::new(Remote::new(wanted, &link.cluster))),
            inner: Mutex::default(),
        }
    }

    /// What it says now.
    pub fn parsed(&self) -> Arc<ParsedLink> {
        Arc::clone(&self.spec.borrow())
    }

    /// What is known of its target.
    pub fn remote(&self) -> Arc<Remote> {
        self.remote.load_full()
    }

    /// True when what is known of its target may be acted upon.
    pub fn is_active(&self) -> bool {
        self.lease.hold().is_held() && !self.parsed().is_frozen()
    }

    /// Marks the group of a Service of the target.
    pub fn mark_service(&self, service: &ObjectKey) {
        self.queue.mark(GroupKey::of_remote(service, &self.cluster));
    }

    /// Marks everything that is there or wanted.
    pub fn mark_everything(&self, local: &Local) {
        let here = local.groups_of(&self.cluster);
        self.queue.mark_all(self.remote().groups().into_iter().chain(here));
    }

    /// What is said of a mirror; `None` when nothing is. Returns what was said before, if that was
    /// something else.
    pub fn says(&self, mirror: &ObjectKey, status: Option<ServiceStatus>) -> Option<Changed> {
        let changed = replace(&mut self.lock().mirrored, mirror, status);
        changed.inspect(|_| self.status_changed.notify_one())
    }

    /// The same for a member of a federated Service.
    pub fn says_federated(
        &self,
        service: &ObjectKey,
        status: Option<ServiceStatus>,
    ) -> Option<Changed> {
        let changed = replace(&mut self.lock().federated, service, status);
        changed.inspect(|_| self.status_changed.notify_one())
    }

    /// What is said of all mirrored Services, and of all members.
    pub fn statuses(&self) -> (Vec<ServiceStatus>, Vec<ServiceStatus>) {
        let inner = self.lock();
        let all = |map: &HashMap<_, ServiceStatus>| map.values().cloned().collect();
        (all(&inner.mirrored), all(&inner.federated))
    }

    /// Services that are not mirrored, and why: the first few, in order.
    pub fn not_mirrored(&self) -> Vec<String> {
        let inner = self.lock();
        let all = inner.mirrored.values().chain(inner.federated.values());
        let bad = all.filter(|status| !status.condition.is_mirrored);
        let mut bad: Vec<_> = bad
            .map(|s| {
                format!("{}: {}: {}", s.remote, s.condition.reason.label(), s.condition.message)
            })
            .collect();
        bad.sort();
        bad.truncate(MOST_SHOWN);
        bad
    }

    /// How many mirrored Services there are by the reason of what is said of them.
    pub fn counts(&self) -> Vec<(Arc<str>, usize)> {
        let inner = self.lock();
        let mut counts = std::collections::BTreeMap::new();
        for status in inner.mirrored.values() {
            *counts.entry(status.condition.reason).or_insert(0) += 1;
        }
        counts.into_iter().map(|(reason, count)| (reason.label().into(), count)).collect()
    }

    /// Remembers, or forgets, an object in the way.
    pub fn foreign(&self, kind: Kind, key: &ObjectKey, object: Option<Observed<Object>>) {
        let mut inner = self.lock();
        match object {
            Some(object) => drop(inner.foreign.insert((kind, key.clone()), object)),
            None => drop(inner.foreign.remove(&(kind, key.clone()))),
        }
    }

    /// Objects in the way that have one of `names`.
    pub fn foreign_of(&self, names: &[ObjectKey]) -> Vec<Observed<Object>> {
        let inner = self.lock();
        if inner.foreign.is_empty() {
            return Vec::new();
        }
        let kinds = [Kind::Service, Kind::Endpoints, Kind::Slice];
        let keys = names.iter().flat_map(|name| kinds.map(|kind| (kind, name.clone())));
        keys.filter_map(|key| inner.foreign.get(&key).cloned()).collect()
    }

    /// Remembers an error for `/links`.
    pub fn error(&self, text: String) {
        let mut inner = self.lock();
        if inner.errors.back() == Some(&text) {
            return;
        }
        if inner.errors.len() >= MOST_ERRORS {
            inner.errors.pop_front();
        }
        inner.errors.push_back(text);
    }

    /// The last errors, newest last.
    pub fn errors(&self) -> Vec<String> {
        self.lock().errors.iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is said of a Service has changed: what was said before.
#[derive(Debug)]
pub struct Changed(pub Option<ServiceStatus>);

fn replace(
    map: &mut HashMap<ObjectKey, ServiceStatus>,
    key: &ObjectKey,
    status: Option<ServiceStatus>,
) -> Option<Changed> {
    if map.get(key) == status.as_ref() {
        return None;
    }
    Some(Changed(match status {
        Some(status) => map.insert(key.clone(), status),
        None => map.remove(key),
    }))
}

/// Runs for ever.
pub async fn run(term: &Arc<Term>, link: &Arc<LinkState>) {
    if link.older.is_some() {
        link.status_changed.notify_one();
        return status::run(term, link).await;
    }
    if let Writer::Record(_) = term.writer {
        link.lease.hold().assume();
        return work(term, link).await;
    }
    tokio::join!(link.lease.run(&term.client), status::run(term, link), while_held(term, link));
}

async fn while_held(term: &Arc<Term>, link: &Arc<LinkState>) {
    let mut standing = link.lease.standing();
    let mut told = Standing::Unknown;
    loop {
        let now = standing.borrow_and_update().clone();
        link.status_changed.notify_one();
        match &now {
            Standing::Held => {
                tracing::info!(link = %link.name, cluster = %link.cluster, "mirroring");
                let lost = async { drop(standing.wait_for(|now| *now != Standing::Held).await) };
                tokio::select! {
                    () = work(term, link) => {}
                    () = lost => {}
                }
                tracing::warn!(link = %link.name, "the Link's lease is lost; nothing is written");
                continue;
            }
            Standing::HeldBy(holder) if now != told => tracing::info!(
                link = %link.name, %holder,
                "another holds the lease service-mirror-write-{}: the Link is left alone",
                link.name
            ),
            Standing::Failed(failure, text) if now != told => tracing::warn!(
                link = %link.name, reason = failure.reason(),
                "the lease service-mirror-write-{} cannot be taken: {text}", link.name
            ),
            _ => {}
        }
        told = now;
        if standing.changed().await.is_err() {
            return;
        }
    }
}

/// The Link's work, while its Lease is held. What was known of the target in an earlier term, or
/// before the Lease was lost, is forgotten: others have been at work since.
pub async fn work(term: &Arc<Term>, link: &Arc<LinkState>) {
    // The sender lives as long as the term.
    let _ = term.local_complete.subscribe().wait_for(|complete| *complete).await;
    status::refresh(term, link).await;
    link.queue.clear();
    let wanted = Wanted::of(&link.parsed().link, term.options.headless);
    link.remote.store(Arc::new(Remote::new(wanted, &link.cluster)));
    tokio::join!(
        follow_spec(term, link),
        follow_credentials(term, link),
        follow_remote(term, link),
        gate::run(term, link),
        reconcile::run(term, link),
        probe_service::run(term, link),
    );
}

/// A Link that says something else: everything is decided anew.
async fn follow_spec(term: &Arc<Term>, link: &Arc<LinkState>) {
    let mut spec = link.spec.subscribe();
    while spec.changed().await.is_ok() {
        link.mark_everything(&term.local);
        let members = link.remote().services();
        term.federation.mark_all(members.into_iter().chain(term.local.federated()));
        link.status_changed.notify_one();
    }
}

async fn follow_credentials(term: &Arc<Term>, link: &Arc<LinkState>) {
    let mut spec = link.spec.subscribe();
    loop {
        let name = spec.borrow_and_update().link.credentials.clone();
        let namespace = &term.settings.namespace;
        let run = credentials::run(
            &term.client,
            namespace,
            name.as_deref(),
            &link.cluster,
            &link.credentials,
        );
        let other = async { drop(spec.wait_for(|now| now.link.credentials != name).await) };
        tokio::select! {
            () = run => {}
            () = other => {}
        }
        link.status_changed.notify_one();
    }
}

async fn follow_remote(term: &Arc<Term>, link: &Arc<LinkState>) {
    let (mut spec, mut credentials) = (link.spec.subscribe(), link.credentials.subscribe());
    loop {
        let wanted = Wanted::of(&spec.borrow_and_update().link, term.options.headless);
        if link.remote().wanted != wanted {
            link.remote.store(Arc::new(Remote::new(wanted.clone(), &link.cluster)));
        }
        let Credentials { client, generation, .. } = credentials.borrow_and_update().clone();
        link.status_changed.notify_one();
        let remote = link.remote();
        let watch = async {
            match &client {
                Some(client) => remote::watch::run(term, link, &remote, client).await,
                None => std::future::pending().await,
            }
        };
        let headless = term.options.headless;
        let other =
            async { drop(spec.wait_for(|now| Wanted::of(&now.link, headless) != wanted).await) };
        let rotated = async {
            let same = |now: &Credentials| {
                now.generation == generation && now.client.is_some() == client.is_some()
            };
            // Also a problem that has nothing to do with the client is news.
            loop {
                if credentials.changed().await.is_err() || !same(&credentials.borrow()) {
                    return;
                }
                link.status_changed.notify_one();
            }
        };
        tokio::select! {
            () = watch => {}
            () = other => {}
            () = rotated => {}
        }
    }
}
