//! What all tasks of the mirror share while this process leads, and the Links among it.
//!
//! Built by `control::mirror` when the Lease is taken, dropped with every task when it is lost:
//! nothing that was known then is carried over.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use tokio::sync::watch;

use super::apply::Writer;
use super::credentials;
use super::events::Events;
use super::lease::{Candidate, Hold};
use super::link::LinkState;
use super::local::Local;
use super::outages::Outages;
use super::queue::Queue;
use crate::config::MirrorSettings;
use crate::control::dns::Resolver;
use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::Health;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::ExcludedKey;
use crate::model::mirror::group::GroupKey;
use crate::model::mirror::remote::{EndpointObjects, Options};
use crate::observe::metrics::Metrics;
use crate::state::State;

/// One term of leadership.
pub struct Term {
    /// `[mirror]`.
    pub settings: MirrorSettings,
    /// What of it decisions need.
    pub options: Options,
    /// Labels that federated Services do not take from the local member.
    pub excluded_labels: Vec<ExcludedKey>,
    /// The same for annotations.
    pub excluded_annotations: Vec<ExcludedKey>,
    /// Our own cluster.
    pub client: Client,
    /// The meeting point: credentials for probes, what `/links` shows.
    pub state: Arc<State>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Whether we lead.
    pub leadership: Arc<Hold>,
    /// Linkerd's Lease for local members of federated Services.
    pub local_lease: Candidate,
    /// Who we are in Linkerd's Leases: the pod's name, by which its CLI finds our metrics.
    pub pod: Arc<str>,
    /// What our own cluster has.
    pub local: Local,
    /// True once all of it was listed.
    pub local_complete: watch::Sender<bool>,
    /// The Links.
    pub links: Registry,
    /// Watches that fail.
    pub outages: Outages,
    /// Members of federated Services to look at.
    pub federation: Queue<ObjectKey>,
    /// For gateways' names; `None` when the host has no usable one.
    pub resolver: Option<Resolver>,
    /// How writes are made.
    pub writer: Writer,
    /// Events.
    pub events: Events,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (settings, links) = (&self.settings, &self.links);
        f.debug_struct("Term")
            .field("settings", settings)
            .field("links", links)
            .finish_non_exhaustive()
    }
}

impl Term {
    /// What decisions need of the settings.
    pub fn options_of(settings: &MirrorSettings) -> Options {
        let endpoints = match settings.endpoints {
            crate::config::EndpointObjects::Both => EndpointObjects::Both,
            crate::config::EndpointObjects::Endpoints => EndpointObjects::Endpoints,
            crate::config::EndpointObjects::Slices => EndpointObjects::Slices,
        };
        Options { endpoints, headless: settings.headless_services }
    }

    /// True of an outage of our own cluster that the watches have told, once: each of thousands of
    /// objects would tell it every second.
    pub fn is_told(&self, failure: Failure) -> bool {
        failure == Failure::Unreachable && self.outages.has("")
    }

    /// A watch of `cluster` is no longer needed, whether it failed or not.
    pub fn watch_ended(&self, cluster: &str, resource: &'static str) {
        self.metrics.mirror_watch_failing(cluster, resource, false);
        self.outages.ends(cluster, resource);
    }

    /// A watch of `cluster` (ours: empty) has failed, or works again.
    pub fn watch_failing(
        &self,
        cluster: &str,
        resource: &'static str,
        failure: Option<(Failure, String)>,
    ) {
        if !cluster.is_empty() {
            self.metrics.mirror_watch_failing(cluster, resource, failure.is_some());
        }
        let of = if cluster.is_empty() { "our own cluster" } else { cluster };
        match failure {
            None if self.outages.ends(cluster, resource) => {
                tracing::info!(cluster = of, resource, "the watch works again");
            }
            None => {}
            Some((failure, text)) if self.outages.begins(cluster, resource, failure) => {
                tracing::warn!(
                    cluster = of,
                    resource,
                    reason = failure.reason(),
                    "a watch fails and is tried again; mirrors stay as they are: {text}"
                );
            }
            Some((failure, text)) => {
                let reason = failure.reason();
                tracing::debug!(cluster = of, resource, reason, "the watch still fails: {text}");
            }
        }
    }
}

/// The Links of the namespace.
#[derive(Debug, Default)]
pub struct Registry {
    /// How the watch of Links fares.
    pub health: Health,
    inner: Mutex<Inner>,
    is_complete: AtomicBool,
    /// There has been a Link.
    had_any: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    /// By target cluster: each has one Link that works.
    working: BTreeMap<Arc<str>, Arc<LinkState>>,
    /// Links that do not work because an older one has their target.
    idle: Vec<Arc<LinkState>>,
    version: Option<&'static str>,
    problem: Option<Arc<str>>,
}

impl Registry {
    /// Takes the Links that work, by their targets, and those that do not.
    pub fn replace(
        &self,
        working: BTreeMap<Arc<str>, Arc<LinkState>>,
        idle: Vec<Arc<LinkState>>,
        is_complete: bool,
    ) {
        self.had_any.fetch_or(!working.is_empty(), Ordering::Release);
        let mut inner = self.lock();
        inner.working = working;
        inner.idle = idle;
        self.is_complete.store(is_complete, Ordering::Release);
    }

    /// True when a cluster without a Link is one that is not linked any more. Where there never was
    /// a Link another namespace may have them all.
    pub fn is_whole(&self) -> bool {
        self.is_complete() && self.had_any.load(Ordering::Acquire)
    }

    /// True once the list of Links was complete, but while one is replaced.
    pub fn is_complete(&self) -> bool {
        self.is_complete.load(Ordering::Acquire)
    }

    /// The version in which Links are read.
    pub fn version(&self, version: Option<&'static str>) {
        self.lock().version = version;
    }

    /// Why no Links are read.
    pub fn problem(&self, problem: Option<&str>) {
        self.lock().problem = problem.map(Into::into);
    }

    /// Version and problem.
    pub fn standing(&self) -> (Option<&'static str>, Option<Arc<str>>) {
        let inner = self.lock();
        (inner.version, inner.problem.clone())
    }

    /// Whether a Secret is that of another Link than `this`, which uses it already or looks for one
    /// (`is_new`); `None` while not all are known.
    pub fn has_secret(&self, secret: &str, this: &str, is_new: bool) -> Option<bool> {
        if !self.is_complete() {
            return None;
        }
        let inner = self.lock();
        let all = || inner.working.values().chain(&inner.idle);
        let uses_it =
            |link: &Arc<LinkState>| link.credentials.borrow().secret.as_deref() == Some(secret);
        let is_wanting =
            |link: &Arc<LinkState>| link.older.is_none() && link.credentials.borrow().is_wanting();
        let mut others = all().filter(|link| &*link.name != this);
        Some(others.any(|link| match &link.parsed().link.credentials {
            Some(stated) => **stated == *secret,
            None => {
                credentials::default_name(&link.cluster) == secret
                    // Of two that use it one gives it up, of two that want one one is first.
                    || uses_it(link) && (&*link.name < this || is_new)
                    || is_wanting(link) && &*link.name < this && is_new
            }
        }))
    }

    /// All that work.
    pub fn working(&self) -> Vec<Arc<LinkState>> {
        self.lock().working.values().cloned().collect()
    }

    /// Those that do not.
    pub fn idle(&self) -> Vec<Arc<LinkState>> {
        self.lock().idle.clone()
    }

    /// Marks a group of the Link of `cluster`; of a cluster without a Link nobody cares.
    pub fn mark(&self, cluster: &str, group: GroupKey) {
        if let Some(link) = self.lock().working.get(cluster) {
            link.queue.mark(group);
        }
    }

    /// Marks a group of every Link.
    pub fn mark_everywhere(&self, group: &GroupKey) {
        self.lock().working.values().for_each(|link| link.queue.mark(group.clone()));
    }

    /// Marks every group of every Link.
    pub fn mark_all(&self, local: &Local) {
        self.working().iter().for_each(|link| link.mark_everything(local));
    }

    /// A namespace of our own cluster has come or gone.
    pub fn namespace_changed(&self, namespace: &str) {
        for link in self.working() {
            let groups = link.remote().groups().into_iter();
            link.queue.mark_all(groups.filter(|group| &*group.0.namespace == namespace));
        }
    }

    /// Services of all targets in a namespace.
    pub fn services_in(&self, namespace: &str) -> BTreeSet<ObjectKey> {
        let links = self.working();
        let all = links.iter().flat_map(|link| link.remote().services());
        all.filter(|service| &*service.namespace == namespace).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
