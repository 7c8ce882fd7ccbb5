//! The watches that fill `Local`, and whom they wake. One task for all of them.
//!
//! Run by `control::mirror` while this process leads.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;

use super::{RESOURCES, Touched};
use crate::control::kubernetes::watch::{Said, Scope, follow};
use crate::control::mirror::convert;
use crate::control::mirror::term::Term;
use crate::model::kubernetes::index::WatchEvent;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::mirror::keys;
use crate::model::mirror::object::{Kind, Object, Observed};

/// Follows all of them for ever.
pub async fn run(term: &Arc<Term>) {
    let client = &term.client;
    let mirrors = Scope::labels(format!("{}={}", keys::MIRRORED, keys::TRUE));
    let slices = Scope::labels(format!("{}={}", keys::MANAGED_BY, keys::MANAGER));
    let health = &term.local.health;
    let take = |kind: Kind| move |said: Said<Observed<Object>>| mirror(term, kind, said);
    let services = follow(
        client,
        Api::<Service>::all,
        &mirrors,
        &health[0],
        convert::mirror_service,
        take(Kind::Service),
    );
    let endpoints = follow(
        client,
        Api::<Endpoints>::all,
        &mirrors,
        &health[1],
        convert::mirror_endpoints,
        take(Kind::Endpoints),
    );
    let slices = follow(
        client,
        Api::<EndpointSlice>::all,
        &slices,
        &health[2],
        convert::mirror_slice,
        take(Kind::Slice),
    );
    tokio::join!(services, endpoints, slices, namespaces(term), members(term));
}

async fn namespaces(term: &Term) {
    let all = Scope::default();
    let convert = |namespace: Namespace| {
        // One that is going away takes nothing new.
        namespace.metadata.deletion_timestamp.is_none().then_some(())
    };
    follow(&term.client, Api::<Namespace>::all, &all, &term.local.health[3], convert, |said| {
        let Some(event) = heard(term, 3, said) else { return };
        let is_end = matches!(event, WatchEvent::ListEnds);
        let changes = term.local.lock().namespaces.take(event);
        for (namespace, _) in changes {
            term.links.namespace_changed(&namespace.name);
            let members = term.links.services_in(&namespace.name);
            term.federation.mark_all(members);
        }
        if is_end {
            completed(term);
        }
    })
    .await;
}

async fn members(term: &Term) {
    let selector = &term.settings.federated_selector;
    if selector.is_empty() {
        // Nothing is a member: that is known without asking.
        term.local.lock().members.take(WatchEvent::<Arc<_>>::ListEnds);
        completed(term);
        return;
    }
    let scope = Scope::labels(selector.to_string());
    let health = &term.local.health[4];
    follow(&term.client, Api::<Service>::all, &scope, health, convert::remote_service, |said| {
        let Some(event) = heard(term, 4, said) else { return };
        let is_end = matches!(event, WatchEvent::ListEnds);
        let changes = term.local.lock().members.take(event);
        term.federation.mark_all(changes.into_iter().map(|(key, _)| key));
        if is_end {
            completed(term);
        }
    })
    .await;
}

fn mirror(term: &Term, kind: Kind, said: Said<Observed<Object>>) {
    let Some(event) = heard(term, super::place(kind), said) else { return };
    let is_end = matches!(event, WatchEvent::ListEnds);
    let touched = term.local.lock().take(kind, event);
    touched.into_iter().for_each(|touched| wake(term, touched));
    if is_end {
        completed(term);
    }
}

fn wake(term: &Term, touched: Touched) {
    match touched {
        Touched::Group(cluster, group) => term.links.mark(&cluster, group),
        Touched::AnyGroup(group) => term.links.mark_everywhere(&group),
        Touched::Federated(member) => term.federation.mark(member),
    }
}

/// A list is complete: what was decided without it is decided anew.
fn completed(term: &Term) {
    if term.local.is_complete() {
        term.local_complete.send_replace(true);
        term.links.mark_all(&term.local);
        let members: Vec<ObjectKey> = term.local.federated().into_iter().collect();
        term.federation.mark_all(members);
    }
}

/// An event; a failure is told and gives none.
fn heard<T>(term: &Term, watch: usize, said: Said<T>) -> Option<WatchEvent<T>> {
    let resource = RESOURCES[watch];
    match said {
        Said::Event(event) => return Some(event),
        Said::Works => term.watch_failing("", resource, None),
        Said::Failed(failure, text) => {
            term.watch_failing("", resource, Some((failure, text)));
        }
        Said::Expired(_) => {}
    }
    None
}
