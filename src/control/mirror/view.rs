//! What `/links` and the gauges show, gathered once a second while this process leads.

use std::sync::Arc;
use std::time::Duration;

use super::lease::Standing;
use super::link::LinkState;
use super::links::LINKS;
use super::status::{credentials_view, target_view};
use super::term::Term;
use crate::control::kubernetes::watch::Health;
use crate::model::link::Link;
use crate::model::mirror::condition::Reason;
use crate::state::links::{LinkView, MirrorView, WatchView};

/// Linkerd's name for our own cluster in metrics.
pub const LOCAL: &str = "local";
/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Shows it for ever.
pub async fn run(term: &Arc<Term>) {
    loop {
        publish(term);
        tokio::time::sleep(INTERVAL).await;
    }
}

fn publish(term: &Term) {
    let (version, problem) = term.links.standing();
    let working = term.links.working();
    let mirrors = term.local.counts();
    for link in &working {
        let count = mirrors.get(&link.cluster).copied().unwrap_or(0);
        term.metrics.mirror_services(&link.cluster, count);
        let is_conflict = |(reason, _): &&(Arc<str>, usize)| **reason == *Reason::Conflict.label();
        let conflicts = link.counts().iter().find(is_conflict).map_or(0, |(_, count)| *count);
        term.metrics.mirror_conflicts(&link.cluster, conflicts);
        let kept = link.remote().kept();
        term.metrics.mirror_kept(&link.cluster, &kept.counts);
        term.metrics.mirror_memory(&link.cluster, kept.bytes, kept.is_cut);
    }
    let links = ("link", working.len() + term.links.idle().len());
    let [services, endpoints, namespaces] = term.local.kept();
    term.metrics.mirror_kept(LOCAL, &[services, endpoints, namespaces, links]);
    let mut links: Vec<_> = working.iter().map(|link| view_of(link)).collect();
    links.extend(term.links.idle().iter().map(|link| view_of(link)));
    links.sort_by(|a, b| a.name.cmp(&b.name));
    let local = term
        .local
        .health()
        .map(|(resource, health)| watch(resource, term.local.is_complete(), health));
    let local: Vec<_> =
        local.chain([watch(LINKS, term.links.is_complete(), &term.links.health)]).collect();
    term.state.links.store(Arc::new(MirrorView {
        enabled: true,
        leader: term.leadership.is_held(),
        holder: None,
        problem: problem.map(|problem| problem.to_string()),
        link_version: version.map(str::to_owned),
        watches: local,
        links,
    }));
}

fn view_of(link: &LinkState) -> LinkView {
    let parsed = link.parsed();
    let lease_holder = match &*link.lease.standing().borrow() {
        Standing::HeldBy(holder) => Some(holder.to_string()),
        _ => None,
    };
    let remote = link.remote();
    LinkView {
        name: link.name.to_string(),
        cluster: link.cluster.to_string(),
        modes: modes(&parsed.link),
        active: link.is_active(),
        duplicate_of: link.older.as_ref().map(ToString::to_string),
        lease_holder,
        field_problems: problems(&parsed),
        credentials: credentials_view(link),
        target: target_view(link),
        watches: remote.watches().into_iter().map(|(r, c, h)| watch(r, c, h)).collect(),
        services: link.counts().into_iter().map(|(reason, n)| (reason.to_string(), n)).collect(),
        not_mirrored: link.not_mirrored(),
        pending: link.queue.len(),
        addresses: link.addresses.load().to_vec(),
        errors: link.errors(),
    }
}

/// What is wrong with the Link's fields.
pub fn problems(parsed: &crate::model::link::ParsedLink) -> Vec<String> {
    parsed.problems.iter().map(|p| format!("{}: {}", p.field, p.expected)).collect()
}

/// What a Link mirrors by.
pub fn modes(link: &Link) -> Vec<&'static str> {
    [
        (!link.selector.is_empty(), "gateway"),
        (!link.remote_discovery.is_empty(), "remote-discovery"),
        (!link.federated.is_empty(), "federated"),
        (link.namespace_filter.is_some(), "namespaces"),
    ]
    .into_iter()
    .filter_map(|(is_used, mode)| is_used.then_some(mode))
    .collect()
}

fn watch(resource: &'static str, complete: bool, health: &Health) -> WatchView {
    WatchView {
        resource,
        complete,
        failing: health.is_failing(),
        seconds: health.age().map(|age| age.as_secs()),
    }
}
