//! Between a Link and the monitor of its gateway: what the Link says becomes the monitor's
//! specification, what the monitor finds becomes what decisions and operators see.
//!
//! Run by the Link's task. A change wakes every group of the Link, each of which is rewritten once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::gateway::{self, AddressState, GatewayMonitor, GatewaySpec, GatewayState};
use super::link::LinkState;
use super::term::Term;
use crate::model::link::{Link, ParsedLink};
use crate::model::mirror::probe::Schedule;
use crate::model::mirror::remote::{GatewayIp, GatewayView};
use crate::model::service::Port;
use crate::state::links::AddressView;

/// Runs for ever.
pub async fn run(term: &Arc<Term>, link: &Arc<LinkState>) {
    // Before anything is probed a gateway is as ready as its mirrors say that it was.
    let persisted: BTreeMap<_, _> = term.local.persisted(&link.cluster).into_iter().collect();
    let mut spec = link.spec.subscribe();
    let first = spec.borrow_and_update().clone();
    let (wanted, receiver) = watch::channel(spec_of(&first, &persisted));
    let (state, metrics) = (Arc::clone(&term.state), Arc::clone(&term.metrics));
    let (monitor, found) = GatewayMonitor::new(receiver, term.resolver.clone(), state, metrics);
    let changes = async {
        while spec.changed().await.is_ok() {
            let parsed = spec.borrow_and_update().clone();
            let new = spec_of(&parsed, &persisted);
            wanted.send_if_modified(|now| {
                let changed = *now != new;
                *now = new;
                changed
            });
        }
    };
    tokio::join!(monitor.run(), changes, follow(term, link, found, persisted.clone()));
}

/// Takes what the monitor finds.
async fn follow(
    term: &Arc<Term>,
    link: &Arc<LinkState>,
    mut found: watch::Receiver<GatewayState>,
    // What an earlier leader has found is no news.
    mut before: BTreeMap<IpAddr, bool>,
) {
    let mut spec = link.spec.subscribe();
    loop {
        let state = found.borrow_and_update().clone();
        let parsed = spec.borrow_and_update().clone();
        let view = view_of(&parsed, &state);
        link.addresses.store(Arc::new(state.addresses.iter().map(shown).collect()));
        if **link.gateway.load() != view {
            tracing::debug!(link = %link.name, ?view, "the gateway's addresses have changed");
            link.gateway.store(Arc::new(view));
            link.gateway_changed.notify_one();
            term.metrics.mirror_repaired(&link.cluster);
            link.mark_everything(&term.local);
        }
        let now: BTreeMap<_, _> = state.addresses.iter().map(|a| (a.ip, a.is_ready)).collect();
        for address in &state.addresses {
            let was = before.get(&address.ip).copied().unwrap_or(true);
            if was != address.is_ready {
                term.events.gateway(link, address);
            }
        }
        before = now;
        link.status_changed.notify_one();
        let ended = tokio::select! {
            changed = found.changed() => changed.is_err(),
            changed = spec.changed() => changed.is_err(),
        };
        if ended {
            return;
        }
    }
}

fn view_of(parsed: &ParsedLink, state: &GatewayState) -> GatewayView {
    if parsed.link.gateway.is_none() {
        return GatewayView { addresses: Some(Vec::new()) };
    }
    if state.addresses.is_empty() {
        return GatewayView { addresses: None };
    }
    let addresses = state.addresses.iter().map(|a| GatewayIp { ip: a.ip, is_ready: a.is_ready });
    GatewayView { addresses: Some(addresses.collect()) }
}

fn spec_of(parsed: &ParsedLink, persisted: &BTreeMap<IpAddr, bool>) -> GatewaySpec {
    let link = &parsed.link;
    let gateway = link.gateway.as_ref();
    GatewaySpec {
        cluster: Arc::clone(&link.cluster),
        addresses: gateway.map(|gateway| gateway.addresses.clone()).unwrap_or_default(),
        probe: probe_of(link).filter(|_| !parsed.is_unprobed()),
        keeps_readiness: parsed.is_unprobed(),
        persisted: persisted.clone(),
    }
}

fn probe_of(link: &Link) -> Option<gateway::ProbeSpec> {
    let (gateway, probe) = (link.gateway.as_ref()?, link.probe.as_ref()?);
    Some(gateway::ProbeSpec {
        port: Port::new(probe.port)?,
        path: probe.path.parse().ok()?,
        identity: gateway.identity.clone(),
        schedule: Schedule::new(probe.period, probe.timeout),
        threshold: probe.failure_threshold,
    })
}

fn shown(address: &AddressState) -> AddressView {
    AddressView {
        address: address.ip.to_string(),
        liveness: address.liveness.label(),
        ready: address.is_ready,
        reason: why(address),
        latency_ms: address.latency.and_then(|l| u64::try_from(l.as_millis()).ok()),
    }
}

/// Why an address is not known to be alive.
pub fn why(address: &AddressState) -> Option<String> {
    match (&address.unasked, &address.last_failure) {
        (Some(unasked), _) => Some(format!("{}: {}", unasked.label(), unasked.hint())),
        (None, Some(failure)) => Some(failure.to_string()),
        (None, None) => None,
    }
}
