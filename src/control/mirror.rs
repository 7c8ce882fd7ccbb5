//! The mirror: keeps copies of other clusters' exported Services in our own, as its Links say.
//!
//! Started by `app::mirror` on a thread of its own. Of several replicas one leads, by a Lease; only
//! it watches and writes. The files below, in the order of the work:
//!
//! `lease` who may write; `term` what is shared while we lead; `links` the Links, `link` one of them;
//! `credentials`, `remote` the target; `gate`, `gateway`, `probe` its gateway; `local` our own
//! cluster; `reconcile`, `federation`, `queue`, `apply` the writes; `probe_service`, `status`,
//! `events`, `view` what is said. What is wanted is decided in `model::mirror`.
//!
//! It never exits the process: what is missing is waited for, and mirrors stay as they are.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::{DnsSettings, MirrorSettings};
use crate::control::dns::Resolver;
use crate::control::kubernetes::client::Access;
use crate::model::link::ExcludedKey;
use crate::model::task::Task;
use crate::observe::metrics::Metrics;
use crate::runtime::supervise::Supervisor;
use crate::state::State;
use crate::state::links::MirrorView;
use crate::state::readiness::Latch;

use self::apply::Writer;
use self::lease::{Candidate, LeaseSettings, Standing};
use self::local::Local;
use self::term::{Registry, Term};

pub mod apply;
pub mod convert;
pub mod credentials;
pub mod events;
pub mod federation;
pub mod gate;
pub mod gateway;
pub mod lease;
pub mod link;
pub mod links;
pub mod local;
pub mod outages;
pub mod plan;
pub mod probe;
mod probe_service;
pub mod queue;
pub mod reconcile;
pub mod remote;
pub mod status;
pub mod term;
pub mod view;

/// The Lease of ours.
const LEASE: &str = "linkerd-gateway-mirror";
/// Linkerd's Lease for local members of federated Services.
const LOCAL_LEASE: &str = "local-service-mirror-write";
/// Linkerd's controllers are replaced after this long.
const LINKERD_LEASE: Duration = Duration::from_secs(30);
/// Between two tries to make a client.
const CLIENT_INTERVAL: Duration = Duration::from_secs(5);
/// How long the tasks of a term may take to end: with the release of two Leases it is less than the
/// process waits for the thread.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// The mirror of this process.
#[derive(Debug)]
pub struct Mirror {
    /// `[mirror]`.
    pub settings: MirrorSettings,
    /// `[dns]`, for gateways' names.
    pub dns: DnsSettings,
    /// How our own API server is reached.
    pub access: Access,
    /// The meeting point.
    pub state: Arc<State>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Opened at the first contact with our own API server.
    pub contact: Option<Latch>,
}

impl Mirror {
    /// Runs until `stop`, and gives its Leases away then.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.run_with_client(&stop).await;
        }
    }

    /// The same, until the kubeconfig is another one.
    async fn run_with_client(&self, stop: &CancellationToken) {
        self.show(None, Some("connecting to the API server"));
        let made = stop.run_until_cancelled(self.client()).await;
        let Some((client, kubeconfig)) = made else { return };
        let pod = pod_name();
        let stop = stop.child_token();
        let changed = async {
            self.access.changed(kubeconfig).await;
            tracing::info!("the kubeconfig has changed: the mirror begins anew with it");
            stop.cancel();
            std::future::pending().await
        };
        let candidate = Candidate::new(LeaseSettings {
            namespace: Arc::clone(&self.settings.namespace),
            name: LEASE.into(),
            // Two processes on one host are two.
            identity: format!("{pod}_{:08x}", fastrand::u32(..)).into(),
            duration: self.settings.lease_duration,
        });
        tokio::select! {
            () = candidate.run(&client) => {}
            () = self.lead(&client, &candidate, &pod, &stop) => {}
            () = changed => {}
        }
        self.metrics.mirror_leader(false);
        candidate.release(&client).await;
    }

    /// A client of our own API server, whenever there is what makes one, and what it was made of.
    async fn client(&self) -> (Client, Option<Vec<u8>>) {
        let mut told = String::new();
        loop {
            match self.access.client().await {
                Ok(made) => return made,
                Err(error) => {
                    let text = error.to_string();
                    if text != told {
                        tracing::error!("the mirror waits: {text}");
                        self.show(None, Some(&text));
                        told = text;
                    }
                }
            }
            tokio::time::sleep(CLIENT_INTERVAL).await;
        }
    }

    /// Leads whenever the Lease is held, until `stop`.
    async fn lead(
        &self,
        client: &Client,
        candidate: &Candidate,
        pod: &Arc<str>,
        stop: &CancellationToken,
    ) {
        let mut standing = candidate.standing();
        loop {
            let now = standing.borrow_and_update().clone();
            self.metrics.mirror_leader(now == Standing::Held);
            match &now {
                Standing::Unknown => {}
                Standing::Held => {
                    self.contact.iter().for_each(Latch::open);
                    tracing::info!(namespace = %self.settings.namespace, "leading the mirror");
                    let lost = async {
                        drop(standing.wait_for(|now| *now != Standing::Held).await);
                    };
                    self.term(client, candidate, pod, stop, lost).await;
                    if stop.is_cancelled() {
                        return;
                    }
                    continue;
                }
                Standing::HeldBy(holder) => {
                    self.contact.iter().for_each(Latch::open);
                    tracing::info!(%holder, "another replica leads the mirror");
                    self.show(Some(holder), None);
                }
                Standing::Failed(failure, text) => {
                    let text = format!(
                        "the lease {LEASE} in {} cannot be taken: {}: {text}",
                        self.settings.namespace,
                        failure.reason()
                    );
                    tracing::warn!("the mirror waits: {text}");
                    self.show(None, Some(&text));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = standing.changed() => if changed.is_err() { return },
            }
        }
    }

    /// One term, until the Lease is lost or the process stops.
    async fn term(
        &self,
        client: &Client,
        candidate: &Candidate,
        pod: &Arc<str>,
        stop: &CancellationToken,
        lost: impl Future<Output = ()>,
    ) {
        let stop = stop.child_token();
        // A panic here must not leave a term running beside the next.
        let _guard = stop.clone().drop_guard();
        let term = Arc::new(self.new_term(client, candidate, pod, Writer::Api));
        let supervisor = Supervisor::new(&self.metrics, &stop);
        start(&term, &supervisor, &stop);
        tokio::select! {
            () = lost => tracing::warn!("the mirror's lease is lost; nothing is written any more"),
            () = stop.cancelled() => tracing::info!("the mirror stops; its mirrors stay"),
        }
        self.metrics.mirror_leader(false);
        stop.cancel();
        if timeout(END_DEADLINE, supervisor.finished()).await.is_err() {
            tracing::warn!("a task of the mirror does not end; left behind");
        }
        term.local_lease.release(client).await;
        self.metrics.mirror_gone(view::LOCAL);
        self.show(None, None);
    }

    fn new_term(
        &self,
        client: &Client,
        candidate: &Candidate,
        pod: &Arc<str>,
        writer: Writer,
    ) -> Term {
        let settings = self.settings.clone();
        let excluded = |keys: &[Arc<str>]| keys.iter().map(|key| ExcludedKey::parse(key)).collect();
        let resolver = Resolver::new(&self.dns).map_err(|error| {
            tracing::warn!("names of gateways do not resolve, addresses do: {error}");
        });
        Term {
            options: Term::options_of(&settings),
            excluded_labels: excluded(&settings.excluded_labels),
            excluded_annotations: excluded(&settings.excluded_annotations),
            client: client.clone(),
            state: Arc::clone(&self.state),
            metrics: Arc::clone(&self.metrics),
            leadership: candidate.hold(),
            local_lease: Candidate::new(LeaseSettings {
                namespace: Arc::clone(&settings.namespace),
                name: LOCAL_LEASE.into(),
                identity: Arc::clone(pod),
                duration: settings.lease_duration.min(LINKERD_LEASE),
            }),
            pod: Arc::clone(pod),
            local: Local::default(),
            local_complete: tokio::sync::watch::Sender::new(false),
            links: Registry::default(),
            outages: outages::Outages::default(),
            federation: queue::Queue::default(),
            resolver: resolver.ok(),
            writer,
            events: events::Events::default(),
            settings,
        }
    }

    /// What `/links` shows while we do not lead.
    fn show(&self, holder: Option<&Arc<str>>, problem: Option<&str>) {
        self.state.links.store(Arc::new(MirrorView {
            enabled: true,
            holder: holder.map(ToString::to_string),
            problem: problem.map(str::to_owned),
            ..MirrorView::default()
        }));
    }
}

/// Starts the tasks of a term.
fn start(term: &Arc<Term>, supervisor: &Supervisor, stop: &CancellationToken) {
    let spawn = |task, run: fn(Arc<Term>) -> futures_util::future::BoxFuture<'static, ()>| {
        let term = Arc::clone(term);
        supervisor.spawn_until(supervisor.token(), task, move || {
            let run = run(Arc::clone(&term));
            async move {
                run.await;
                Ok(())
            }
        });
    };
    spawn(Task::MirrorLocal, |term| Box::pin(async move { local::watch::run(&term).await }));
    spawn(Task::MirrorFederation, |term| {
        Box::pin(async move {
            tokio::join!(
                term.local_lease.run(&term.client),
                federation::follow_lease(&term),
                federation::run(&term),
            );
        })
    });
    spawn(Task::MirrorReport, |term| {
        Box::pin(async move {
            let version = || {
                let version = term.links.standing().0.unwrap_or("v1alpha3");
                format!("multicluster.linkerd.io/{version}")
            };
            let events = term.events.run(&term.client, &term.settings.namespace, version);
            tokio::join!(events, view::run(&term));
        })
    });
    // It has Leases to give away at its end.
    let (term, stop) = (Arc::clone(term), stop.clone());
    supervisor.spawn(Task::MirrorLinks, move || {
        let run = links::run(Arc::clone(&term), stop.clone());
        async move {
            run.await;
            Ok(())
        }
    });
}

/// The pod's name: Kubernetes makes it the host's name, too.
fn pod_name() -> Arc<str> {
    let variable = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = variable.or_else(host);
    name.as_deref()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .unwrap_or("linkerd-gateway")
        .into()
}
