//! The watches of one Link's target. Run by the Link's task for as long as its credentials are the
//! same; a slow or dead API server stops nobody but them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{BoxFuture, FutureExt, join_all};
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::Notify;

use super::{Changed, LACKS_ROOM, Remote};
use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::{Said, Scope, follow};
use crate::control::mirror::convert;
use crate::control::mirror::link::LinkState;
use crate::control::mirror::term::Term;
use crate::model::kubernetes::index::WatchEvent;

/// The names of the watches in conditions and metrics.
const SERVICES: &str = "services";
const SLICES: &str = "endpointslices";
const ENDPOINTS: &str = "endpoints";
const NAMESPACES: &str = "namespaces";

/// So long slices must be refused before Endpoints are asked for.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// Between two looks at whether slices are refused still.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Between two lists of a target that has more than there is room for.
const ROOM_INTERVAL: Duration = Duration::from_secs(150);

/// Where what is heard goes.
#[derive(Clone, Copy)]
struct Hearing<'a> {
    term: &'a Term,
    link: &'a LinkState,
    remote: &'a Remote,
}

/// Follows everything that the Link needs, for ever.
pub async fn run(term: &Arc<Term>, link: &Arc<LinkState>, remote: &Arc<Remote>, client: &Client) {
    let hearing = Hearing { term, link, remote };
    loop {
        tokio::select! {
            () = hearing.everything(client) => {}
            () = hearing.lacking() => {
                tracing::info!(link = %link.name, "listing the target anew: there may be room now");
            }
        }
    }
}

impl Hearing<'_> {
    async fn everything(self, client: &Client) {
        let (hearing, remote) = (self, self.remote);
        let mut all: Vec<BoxFuture<'_, ()>> = Vec::new();
        for index in 0..remote.wanted.selectors.len() {
            all.push(hearing.services(index, client).boxed());
        }
        if !all.is_empty() {
            all.push(hearing.readiness(client).boxed());
        }
        if remote.wanted.selectors.len() > 1 {
            all.push(hearing.leaving().boxed());
        }
        if remote.wanted.namespaces {
            all.push(hearing.namespaces(client).boxed());
        }
        if all.is_empty() {
            // A Link that selects nothing: nothing is asked of the target.
            hearing.changed(Changed { everything: true, ..Changed::default() });
            std::future::pending::<()>().await;
        }
        join_all(all).await;
    }

    /// Until what was left out may find room.
    async fn lacking(self) {
        loop {
            tokio::time::sleep(ROOM_INTERVAL).await;
            if self.remote.lacks() {
                return;
            }
        }
    }

    async fn services(self, index: usize, client: &Client) {
        let (Some(selector), Some(health)) =
            (self.remote.wanted.selectors.get(index), self.remote.health.services.get(index))
        else {
            return;
        };
        let scope = Scope::labels(selector.to_string());
        follow(client, Api::<Service>::all, &scope, health, convert::remote_service, |said| {
            if let Some(event) = self.heard(SERVICES, said) {
                self.changed(self.remote.take_service(index, event));
            }
        })
        .await;
    }

    /// Gives up, a moment later, the Services that have left every selector.
    async fn leaving(self) {
        loop {
            match self.remote.next_leaves() {
                None => self.remote.left.notified().await,
                Some(at) => {
                    tokio::time::sleep_until(at.into()).await;
                    self.changed(self.remote.give_up(Instant::now()));
                }
            }
        }
    }

    /// From EndpointSlices, or from Endpoints where the credentials do not reach those.
    async fn readiness(self, client: &Client) {
        let link = &self.link.name;
        loop {
            if !self.remote.is_of_endpoints() {
                self.slices(client).await;
                // Whatever else it failed of before.
                self.heard::<()>(SLICES, Said::Works);
                tracing::info!(
                    %link,
                    "the target does not let us list endpointslices; readiness is taken from \
                     endpoints, until it does"
                );
                self.remote.take_from_endpoints(true);
            }
            tokio::select! {
                () = self.endpoints(client) => {}
                () = are_slices_allowed(client) => {}
            }
            tracing::info!(%link, "the target lets us list endpointslices: readiness is taken from them");
            self.heard::<()>(ENDPOINTS, Said::Works);
            self.remote.take_from_endpoints(false);
        }
    }

    /// Follows slices for as long as they are to be had. A server that has just started refuses
    /// everybody for a moment, and rights are taken away and given back: what was listed once is
    /// kept, and refused for a while before that is what counts.
    async fn slices(self, client: &Client) {
        let headless = self.remote.wanted.headless;
        let mut first = None;
        let is_refused = Notify::new();
        let convert = |slice| convert::slice_readiness(slice, headless).map(Arc::new);
        let health = &self.remote.health.endpoints;
        let api = Api::<EndpointSlice>::all;
        let all = Scope::default();
        let slices = follow(client, api, &all, health, convert, |said| {
            let is_refusal =
                matches!(said, Said::Failed(Failure::Forbidden | Failure::NotFound, _));
            if is_refusal && !self.remote.knows_readiness() {
                if first.get_or_insert_with(Instant::now).elapsed() >= REFUSED_FOR {
                    is_refused.notify_one();
                }
            } else if let Some(event) = self.heard(SLICES, said) {
                self.changed(self.remote.take_readiness(event));
            }
        });
        tokio::select! {
            () = slices => {}
            () = is_refused.notified() => {}
        }
    }

    async fn endpoints(self, client: &Client) {
        let headless = self.remote.wanted.headless;
        let convert = |endpoints| convert::endpoints_readiness(endpoints, headless).map(Arc::new);
        let (api, health) = (Api::<Endpoints>::all, &self.remote.health.endpoints);
        follow(client, api, &Scope::default(), health, convert, |said| {
            if let Some(event) = self.heard(ENDPOINTS, said) {
                self.changed(self.remote.take_readiness(event));
            }
        })
        .await;
    }

    async fn namespaces(self, client: &Client) {
        let api = Api::<Namespace>::all;
        let convert = |namespace: Namespace| Some(convert::labels(namespace.metadata.labels));
        let health = &self.remote.health.namespaces;
        follow(client, api, &Scope::default(), health, convert, |said| {
            if let Some(event) = self.heard(NAMESPACES, said) {
                self.changed(self.remote.take_namespace(event));
            }
        })
        .await;
    }

    /// An event; a failure is told and gives none.
    fn heard<T>(&self, watch: &'static str, said: Said<T>) -> Option<WatchEvent<T>> {
        let failure = match said {
            Said::Event(event) => return Some(event),
            Said::Expired(_) => return None,
            Said::Works => None,
            Said::Failed(failure, text) => Some((failure, text)),
        };
        let told = failure.as_ref().map(|(failure, text)| (*failure, Arc::from(text.as_str())));
        if self.remote.fails(watch, told) {
            self.link.status_changed.notify_one();
            self.term.watch_failing(&self.link.cluster, watch, failure);
        }
        None
    }

    fn changed(&self, changed: Changed) {
        if let Some(lacks) = self.remote.lacks_now() {
            match lacks {
                true => tracing::warn!(link = %self.link.name, "{LACKS_ROOM}"),
                false => {
                    tracing::info!(link = %self.link.name, "there is room for all of the target")
                }
            }
            self.link.status_changed.notify_one();
        }
        if changed.everything {
            self.link.mark_everything(&self.term.local);
            self.term.federation.mark_all(self.link.members(&self.term.local));
            self.link.status_changed.notify_one();
            return;
        }
        for service in changed.services {
            self.link.mark_service(&service);
            self.term.federation.mark(service);
        }
    }
}

/// Waits until slices can be listed.
async fn are_slices_allowed(client: &Client) {
    let api = Api::<EndpointSlice>::all(client.clone());
    let one = ListParams::default().limit(1);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if api.list(&one).await.is_ok() {
            return;
        }
    }
}
