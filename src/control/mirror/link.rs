//! One Link: what is known of it, and the task that does its work.
//!
//! Started by `links`, one task for each Link, so that none of them waits for another's API server
//! or DNS. It works while it holds the Lease that Linkerd's own controller of this Link would hold.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use super::apply::Writer;
use super::credentials::{self, Credentials};
use super::lease::{Candidate, LeaseSettings, Standing};
use super::local::Local;
use super::queue::Queue;
use super::remote::{self, Remote, Wanted};
use super::term::Term;
use super::{gate, probe_service, reconcile, status};
use crate::model::kubernetes::object::ObjectKey;
use crate::model::link::ParsedLink;
use crate::model::mirror::group::GroupKey;
use crate::model::mirror::object::{Kind, Object, Observed};
use crate::model::mirror::remote::GatewayView;
use crate::model::mirror::status::ServiceStatus;
use crate::state::links::AddressView;

mod said;

pub use said::Changed;

/// Linkerd's controllers renew theirs every 2 s and are replaced after 30 s.
const LINKERD_LEASE: Duration = Duration::from_secs(30);
/// So long after all Services were listed they count as looked at.
const MOST_SURVEY: Duration = Duration::from_secs(60);

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
    last_status: Mutex<Option<Arc<str>>>,
    survey: Mutex<Survey>,
    inner: Mutex<Inner>,
}

/// Whether each Service of the target was looked at.
#[derive(Debug, Default)]
struct Survey {
    /// When all were listed.
    listed: Option<Instant>,
    is_done: bool,
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
    pub fn new(term: &Term, parsed: &Arc<ParsedLink>, older: Option<Arc<str>>) -> Self {
        let link = &parsed.link;
        let lease = Candidate::new(LeaseSettings {
            namespace: Arc::clone(&term.settings.namespace),
            name: format!("service-mirror-write-{}", link.key.name).into(),
            identity: Arc::clone(&term.pod),
            duration: term.settings.lease_duration.min(LINKERD_LEASE),
        });
        let wanted = Wanted::of(link, term.options.headless);
        let memory = term.settings.max_link_memory;
        Self {
            name: Arc::clone(&link.key.name),
            cluster: Arc::clone(&link.cluster),
            older,
            spec: watch::Sender::new(Arc::clone(parsed)),
            lease,
            credentials: watch::Sender::default(),
            queue: Queue::default(),
            gateway: ArcSwap::default(),
            addresses: ArcSwap::default(),
            gateway_changed: Notify::new(),
            status_changed: Notify::new(),
            remote: ArcSwap::new(Arc::new(Remote::new(wanted, &link.cluster, memory))),
            last_status: Mutex::default(),
            survey: Mutex::default(),
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

    /// It says something else. One that selects other things begins with a target of which nothing
    /// is known, before anything is decided by the new selectors: what the old lists lack is not
    /// gone.
    pub fn replace(&self, term: &Term, parsed: &Arc<ParsedLink>) {
        let wanted = Wanted::of(&parsed.link, term.options.headless);
        if self.remote().wanted != wanted {
            self.begin_anew(term, wanted);
        }
        self.spec.send_if_modified(|now| {
            let changed = **now != **parsed;
            *now = Arc::clone(parsed);
            changed
        });
    }

    /// Begins anew with its target.
    fn forget_target(&self, term: &Term) {
        self.begin_anew(term, Wanted::of(&self.parsed().link, term.options.headless));
    }

    fn begin_anew(&self, term: &Term, wanted: Wanted) {
        let memory = term.settings.max_link_memory;
        let new = Arc::new(Remote::new(wanted, &self.cluster, memory));
        // What is said of Services holds until all of them were looked at again.
        *self.survey.lock().unwrap_or_else(PoisonError::into_inner) = Survey::default();
        // What failed is not watched any more.
        for watch in self.remote.swap(new).failures().keys() {
            term.watch_ended(&self.cluster, watch);
        }
    }

    /// True when what is known of its target may be acted upon.
    pub fn is_active(&self) -> bool {
        self.lease.hold().is_held() && !self.parsed().is_frozen()
    }

    /// Marks the group of a Service of the target.
    pub fn mark_service(&self, service: &ObjectKey) {
        self.queue.mark(GroupKey::of_remote(service, &self.cluster));
    }

    /// Marks everything that is there, or wanted, or spoken of.
    pub fn mark_everything(&self, local: &Local) {
        let here = local.groups_of(&self.cluster);
        self.queue
            .mark_all(self.remote().groups().into_iter().chain(here).chain(self.groups_said()));
    }

    /// Members of federated Services that may have changed with the target.
    pub fn members(&self, local: &Local) -> impl Iterator<Item = ObjectKey> {
        let said = self.members_said();
        self.remote().services().into_iter().chain(local.federated()).chain(said)
    }

    /// True once each Service of the target was looked at: before, a list of what is said of them
    /// would take away what an earlier leader has said.
    pub fn is_surveyed(&self, federation: &Queue<ObjectKey>) -> bool {
        let mut survey = self.survey.lock().unwrap_or_else(PoisonError::into_inner);
        if !survey.is_done && self.remote().is_listed() {
            let since = *survey.listed.get_or_insert_with(Instant::now);
            // One that fails, or another Link, must not keep what is known from being said.
            let is_idle = self.queue.is_idle() && federation.is_idle();
            survey.is_done = is_idle || since.elapsed() >= MOST_SURVEY;
        }
        survey.is_done
    }

    /// Its status as JSON, as read or sent last; `None` while it is to be read.
    pub fn last_status(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.last_status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
                // Federation must not go by it when the Lease is held again.
                link.forget_target(term);
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
    *link.last_status() = None;
    link.queue.clear();
    link.forget_target(term);
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
        term.federation.mark_all(link.members(&term.local));
        link.status_changed.notify_one();
    }
}

async fn follow_credentials(term: &Arc<Term>, link: &Arc<LinkState>) {
    let mut spec = link.spec.subscribe();
    loop {
        let name = spec.borrow_and_update().link.credentials.clone();
        let (own, namespace) = (&term.client, &term.settings.namespace);
        let run = async {
            match &name {
                Some(name) => {
                    credentials::follow_stated(own, namespace, name, &link.credentials).await;
                }
                None => {
                    let is_of_another =
                        |secret: &str, is_new| term.links.has_secret(secret, &link.name, is_new);
                    let (cluster, credentials) = (&link.cluster, &link.credentials);
                    let run = credentials::follow_default(
                        own,
                        namespace,
                        cluster,
                        is_of_another,
                        credentials,
                    );
                    run.await;
                }
            }
        };
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
