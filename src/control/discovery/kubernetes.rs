//! Routes from the exported Services of our own cluster.
//!
//! `app` starts [`Follower::follow`] as a task on the thread `kubernetes`. It watches Services,
//! EndpointSlices and Pods, keeps what they say in a [`Catalog`], and publishes tables. While the API
//! server is away nothing changes: what is exported stays so until the server says otherwise. Nothing
//! here ends the process, whatever the server does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::core::ApiResource;
use kube::{Api, Client};
use tokio::sync::Notify;
use tokio::sync::mpsc;

use super::Discovery;
use crate::config::{KubernetesSettings, Reachable};
use crate::control::kubernetes::client::Access;
use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::{Health, Said, Scope, chain, follow};
use crate::model::backoff::Backoff;
use crate::model::discovery::catalog::{Catalog, Changes};
use crate::model::discovery::export::{Finding, Rules};
use crate::model::discovery::guard::Guard;
use crate::model::kubernetes::index::WatchEvent;
use crate::model::mirror::keys::MIRRORED;
use crate::model::sharded::lock;
use crate::observe::metrics::Metrics;
use crate::runtime::fault;
use crate::state::readiness::Latch;

mod compact;
mod events;

use events::Notice;

/// Changes that come within so long are one table.
const COALESCE: Duration = Duration::from_millis(50);
/// Making tables takes at most one part in so many of this thread's time.
const SHARE: u32 = 10;
/// Waits between tries while there is no client.
const RETRY: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

const SERVICES: &str = "services";
const SLICES: &str = "endpointslices";
const PODS: &str = "pods";
const RESOURCES: [&str; 3] = [SERVICES, SLICES, PODS];

/// One watch, as log and metrics see it.
#[derive(Debug)]
struct Watch {
    resource: &'static str,
    health: Health,
    /// The failure that was told last, until it works again.
    told: Mutex<Option<Failure>>,
}

impl Watch {
    fn new(resource: &'static str) -> Self {
        Self { resource, health: Health::default(), told: Mutex::new(None) }
    }
}

/// Follows the Services of our own cluster. Survives a panic of its task with what it knows.
#[derive(Debug)]
pub struct Follower {
    access: Access,
    /// Of the watches of Services.
    scopes: Vec<Scope>,
    /// Mirrors of other clusters' Services are reachable by their names. What exports a Service may
    /// have been copied to its mirror, which nobody here has exported.
    takes_mirrors: bool,
    /// Those of Services, then EndpointSlices, then Pods.
    watches: Vec<Watch>,
    catalog: Mutex<Catalog>,
    /// Something was said since the last table.
    changed: Notify,
    guard: Guard,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
    gate: Latch,
    is_published: AtomicBool,
}

impl Follower {
    /// As configured; `gate` opens with the first table.
    pub fn new(
        settings: &KubernetesSettings,
        discovery: &Arc<Discovery>,
        metrics: &Arc<Metrics>,
        gate: Latch,
    ) -> Arc<Self> {
        let (scopes, suffixes, wanted) = reachable(settings);
        let rules = Rules {
            cluster_domain: Arc::clone(&settings.cluster_domain),
            trust_domain: Arc::clone(&settings.trust_domain),
            zone: settings.zone.clone(),
            suffixes,
        };
        let mut guard = Guard::new(&settings.cluster_domain, wanted);
        let nothing = Changes::default();
        discovery.exported(Vec::new(), Arc::new(guard.clone()), &nothing.gone, false);
        let watches = scopes.iter().map(|_| SERVICES).chain([SLICES, PODS]).map(Watch::new);
        // What every later table has.
        guard.is_complete = true;
        Arc::new(Self {
            access: match &settings.kubeconfig {
                Some(path) => Access::Kubeconfig(path.clone()),
                None => Access::InCluster,
            },
            catalog: Mutex::new(Catalog::new(rules, scopes.len())),
            watches: watches.collect(),
            scopes,
            takes_mirrors: matches!(settings.reachable, Reachable::Suffix(_)),
            changed: Notify::new(),
            guard,
            discovery: Arc::clone(discovery),
            metrics: Arc::clone(metrics),
            gate,
            is_published: AtomicBool::new(false),
        })
    }

    /// Follows until it is dropped.
    pub async fn follow(&self) {
        // After a panic some change may have been seen and not published.
        self.changed.notify_one();
        loop {
            let (client, kubeconfig) = self.connect().await;
            let (notices, mut waiting) = mpsc::channel(events::QUEUE);
            tokio::select! {
                () = self.watch(&client) => {}
                () = self.publish(&notices) => {}
                () = events::post(client.clone(), &mut waiting) => {}
                () = self.access.changed(kubeconfig) => {
                    tracing::info!("the kubeconfig has changed: {}", self.place());
                }
            }
        }
    }

    /// A client, however long it takes, and what it was made of.
    async fn connect(&self) -> (Client, Option<Vec<u8>>) {
        let mut failures = 0;
        loop {
            match self.access.client().await {
                Ok(made) => return made,
                Err(error) => {
                    failures += 1;
                    for resource in RESOURCES {
                        self.metrics.watch_failing(resource, true);
                    }
                    if failures == 1 {
                        let (error, at) = (chain(&error), self.place());
                        tracing::error!(
                            error,
                            "no client for the cluster's API server ({at}); exported Services are \
                             not known, and it is tried again and again"
                        );
                    }
                    tokio::time::sleep(RETRY.jittered(failures, fastrand::u8(..))).await;
                }
            }
        }
    }

    fn place(&self) -> String {
        match &self.access {
            Access::InCluster => "kubernetes.kubeconfig is not set: service account".to_owned(),
            Access::Kubeconfig(path) => format!("kubernetes.kubeconfig {}", path.display()),
        }
    }

    /// All watches, for ever.
    async fn watch(&self, client: &Client) {
        let everything = Scope::default();
        let pods = ApiResource::erase::<Pod>(&());
        let mut all: Vec<BoxFuture<'_, ()>> = Vec::new();
        let [services @ .., slice, pod] = self.watches.as_slice() else { return };
        for (selector, (scope, watch)) in self.scopes.iter().zip(services).enumerate() {
            let tell = move |said| {
                self.take(watch, said, |catalog, event| catalog.service(selector, event));
            };
            let takes_mirrors = self.takes_mirrors;
            let convert = move |object: Service| {
                (takes_mirrors || !is_mirror(&object)).then(|| compact::service(object))
            };
            all.push(follow(client, Api::all, scope, &watch.health, convert, tell).boxed());
        }
        let tell = |said| self.take(slice, said, Catalog::slice);
        let api = Api::<EndpointSlice>::all;
        all.push(follow(client, api, &everything, &slice.health, compact::slice, tell).boxed());
        let tell = |said| self.take(pod, said, Catalog::pod);
        let api = |client| Api::<compact::PodObject>::all_with(client, &pods);
        let convert = |object| Some(compact::pod(object));
        all.push(follow(client, api, &everything, &pod.health, convert, tell).boxed());
        join_all(all).await;
    }

    /// Takes what one watch says.
    fn take<T>(&self, watch: &Watch, said: Said<T>, put: impl FnOnce(&mut Catalog, WatchEvent<T>)) {
        match said {
            Said::Event(event) => {
                put(&mut lock(&self.catalog), event);
                self.changed.notify_one();
            }
            Said::Works => {
                let told = lock(&watch.told).take();
                let mut of_it =
                    self.watches.iter().filter(|other| other.resource == watch.resource);
                let is_failing = of_it.any(|other| lock(&other.told).is_some());
                self.metrics.watch_failing(watch.resource, is_failing);
                if told.is_some() {
                    let resource = watch.resource;
                    tracing::info!(resource, "the cluster's API server is watched again");
                }
            }
            Said::Expired(error) => {
                self.metrics.watch_failed(watch.resource, Failure::Gone.reason());
                tracing::debug!(resource = watch.resource, error, "listing anew");
            }
            Said::Failed(failure, error) => {
                self.metrics.watch_failed(watch.resource, failure.reason());
                self.metrics.watch_failing(watch.resource, true);
                if lock(&watch.told).replace(failure) != Some(failure) {
                    tracing::warn!(
                        resource = watch.resource,
                        reason = failure.reason(),
                        error,
                        "the cluster's API server cannot be watched ({}); what was known stays in \
                         use, and it is tried again and again",
                        self.place()
                    );
                }
            }
        }
    }

    /// Publishes what has changed, for ever.
    async fn publish(&self, notices: &mpsc::Sender<Notice>) {
        loop {
            self.changed.notified().await;
            tokio::time::sleep(COALESCE).await;
            fault::point("kubernetes");
            let begun = Instant::now();
            self.refresh(notices);
            tokio::time::sleep(begun.elapsed() * SHARE).await;
        }
    }

    fn refresh(&self, notices: &mpsc::Sender<Notice>) {
        let mut catalog = lock(&self.catalog);
        if !catalog.is_complete() {
            return;
        }
        // False from here on: what a panic interrupts is published by the next one.
        let was_published = self.is_published.swap(false, Ordering::Relaxed);
        let (changes, exported) = (catalog.refresh(), catalog.exported());
        if changes.has_routes || !was_published {
            let routes = catalog.routes().cloned().collect();
            drop(catalog);
            let guard = Arc::new(self.guard.clone());
            let narrowed = changes.has_restrictions;
            let cut = self.discovery.exported(routes, guard, &changes.gone, narrowed);
            tell(&changes, exported, cut);
        }
        self.is_published.store(true, Ordering::Relaxed);
        self.metrics.exported_services(exported);
        self.gate.open();
        for (service, uid, finding) in changes.findings {
            if !matches!(finding, Finding::InvalidAnnotation { .. }) {
                tracing::warn!(%service, "{finding}");
                continue;
            }
            tracing::error!(%service, "{finding}");
            let notice = Notice { service, uid, message: finding.to_string() };
            if let Err(error) = notices.try_send(notice) {
                tracing::warn!(%error, "too many Events about Services wait; one is left out");
            }
        }
    }
}

fn is_mirror(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(MIRRORED))
}

fn tell(changes: &Changes, exported: usize, cut: usize) {
    /// Services named in one line.
    const MOST: usize = 10;
    let names = |keys: &[crate::model::kubernetes::object::ObjectKey]| {
        let mut names: Vec<_> = keys.iter().take(MOST).map(ToString::to_string).collect();
        names.extend((keys.len() > MOST).then(|| format!("and {} more", keys.len() - MOST)));
        names.join(", ")
    };
    if changes.exported.is_empty() && changes.unexported.is_empty() && cut == 0 {
        return tracing::debug!(exported, "endpoints of exported Services changed");
    }
    tracing::info!(
        exported,
        new = names(&changes.exported),
        gone = names(&changes.unexported),
        cut,
        "exported Services changed"
    );
}

/// What is watched, which names may be exported, and in words what exports a Service.
fn reachable(settings: &KubernetesSettings) -> (Vec<Scope>, Option<Vec<Arc<str>>>, String) {
    match &settings.reachable {
        Reachable::Exported => {
            // One without requirements selects nothing; a server would take it for everything.
            let selectors = settings.export_selectors.iter().filter(|one| !one.is_empty());
            let texts: Vec<_> = selectors.map(ToString::to_string).collect();
            let wanted = format!(
                "its labels match {} (kubernetes.export_selectors), and the annotation \
                 linkerd-gateway.io/exported-ports, where it has one, lists the port",
                texts.join(" or ")
            );
            (texts.into_iter().map(Scope::labels).collect(), None, wanted)
        }
        Reachable::Suffix(suffixes) => {
            let wanted = format!(
                "its name ends with {} (kubernetes.suffixes), and the annotation \
                 linkerd-gateway.io/exported-ports, where it has one, lists the port",
                suffixes.join(" or ")
            );
            (vec![Scope::default()], Some(suffixes.clone()), wanted)
        }
    }
}
