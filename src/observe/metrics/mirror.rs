//! What the mirror does: Linkerd's metrics of its service-mirror controller under exactly its names,
//! so that `linkerd multicluster gateways`, `check` and existing alerts read them, and our own per
//! address and per Link.
//!
//! Written by hand: Linkerd's counters have no `_total`, and its buckets are `le="1"`. A series
//! exists only for a Link that there is, because `linkerd multicluster gateways` shows each. Unlike
//! Linkerd's, `gateway_probes` counts failures below the threshold, too.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{MAX_SETS, Metrics};
use crate::model::mirror::probe::{Failure, Probed};

mod rows;
#[cfg(test)]
mod tests;

use rows::{Histogram, Rows};

/// The label that all of them have.
const CLUSTER: &str = "target_cluster_name";

/// All that [`Metrics`] knows of the mirror. Events are a few per second at most, so one lock is
/// enough; a scrape holds it while it writes.
#[derive(Debug)]
pub(super) struct Mirror(Mutex<All>);

#[derive(Debug)]
struct All {
    alive: Rows,
    enabled: Rows,
    latency: Rows,
    probes: Rows,
    latencies: BTreeMap<String, Histogram>,
    repairs: Rows,
    address_alive: Rows,
    address_failures: Rows,
    services: Rows,
    writes: Rows,
    conflicts: Rows,
    leader: Rows,
    watch_failing: Rows,
    too_large: Rows,
    memory: Rows,
    /// In the order of [`KEPT`].
    kept: [Rows; 4],
}

/// Kinds of objects that are kept in memory: Linkerd's names of its informers' sizes.
const KEPT: [&str; 4] = ["service", "endpoints", "namespace", "link"];

impl Mirror {
    pub(super) fn new() -> Self {
        let all = All {
            alive: Rows::gauge("gateway_alive", "1 while an address of the gateway is alive"),
            enabled: Rows::gauge("gateway_enabled", "1 while the gateway is probed"),
            latency: Rows::gauge("gateway_latency", "Of the last good probe, in milliseconds"),
            probes: Rows::counter("gateway_probes", "Probes of the gateway, by success"),
            latencies: BTreeMap::new(),
            repairs: Rows::counter(
                "service_mirror_endpoint_repairs",
                "Comparisons of all mirrors with what they should be",
            ),
            address_alive: Rows::gauge(
                "gateway_address_alive",
                "1 while the gateway's address is alive, 0 while it is down",
            ),
            address_failures: Rows::counter(
                "gateway_address_probe_failures_total",
                "Failed probes of the gateway's address, by reason",
            ),
            services: Rows::gauge("mirror_services", "Services mirrored here"),
            writes: Rows::counter("mirror_writes_total", "Writes to our own cluster"),
            conflicts: Rows::gauge(
                "mirror_conflicts",
                "Exported Services whose mirror's name a foreign Service has",
            ),
            leader: Rows::gauge("mirror_is_leader", "1 while this replica does the mirroring"),
            watch_failing: Rows::gauge(
                "mirror_watch_failing",
                "1 while the target's API server does not answer a watch",
            ),
            too_large: Rows::gauge(
                "mirror_target_too_large",
                "1 while the target has more than mirror.max_link_memory has room for",
            ),
            memory: Rows::gauge(
                "mirror_link_memory_bytes",
                "What is kept of the target, as mirror.max_link_memory counts it",
            ),
            kept: [
                Rows::gauge("service_cache_size", "Services kept in memory"),
                Rows::gauge("endpoints_cache_size", "Endpoints, or EndpointSlices, kept in memory"),
                Rows::gauge("namespace_cache_size", "Namespaces kept in memory"),
                Rows::gauge("link_cache_size", "Links kept in memory"),
            ],
        };
        Self(Mutex::new(all))
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, out: &mut impl Write) -> fmt::Result {
        let all = self.all();
        for rows in [
            &all.alive,
            &all.enabled,
            &all.latency,
            &all.probes,
            &all.repairs,
            &all.address_alive,
            &all.address_failures,
            &all.services,
            &all.writes,
            &all.conflicts,
            &all.leader,
            &all.watch_failing,
            &all.too_large,
            &all.memory,
        ]
        .into_iter()
        .chain(&all.kept)
        {
            rows.write(out)?;
        }
        rows::write_latencies(out, &all.latencies)
    }
}

impl Metrics {
    /// The gateway of this cluster is probed, or not.
    pub fn gateway_enabled(&self, cluster: &str, is_enabled: bool) {
        let mut all = self.mirror.all();
        all.enabled.set(&[(CLUSTER, cluster)], is_enabled.into());
        if is_enabled {
            // Rates see the first of each.
            all.probes.add(&[(CLUSTER, cluster), ("probe_successful", "true")], 0);
            all.probes.add(&[(CLUSTER, cluster), ("probe_successful", "false")], 0);
        } else {
            all.alive.remove(&[(CLUSTER, cluster)]);
        }
    }

    /// At least one address of the gateway is alive, or all are down.
    pub fn gateway_alive(&self, cluster: &str, is_alive: bool) {
        self.mirror.all().alive.set(&[(CLUSTER, cluster)], is_alive.into());
    }

    /// A probe of one address has ended. One that could not be asked is none.
    pub fn gateway_probed(&self, cluster: &str, address: IpAddr, probed: Probed) {
        let mut all = self.mirror.all();
        match probed {
            Probed::Alive(latency) => {
                all.probes.add(&[(CLUSTER, cluster), ("probe_successful", "true")], 1);
                all.latency.set(&[(CLUSTER, cluster)], whole_millis(latency));
                if let Some(histogram) = all.latencies.get_mut(cluster) {
                    histogram.observe(latency);
                } else if all.latencies.len() < MAX_SETS {
                    let mut histogram = Histogram::default();
                    histogram.observe(latency);
                    all.latencies.insert(cluster.to_owned(), histogram);
                }
            }
            Probed::Failed(failure) => {
                all.probes.add(&[(CLUSTER, cluster), ("probe_successful", "false")], 1);
                all.count_failure(cluster, address, failure);
            }
            Probed::Unknown(_) => {}
        }
    }

    /// The address is alive or down.
    pub fn gateway_address_alive(&self, cluster: &str, address: IpAddr, is_alive: bool) {
        let address = address.to_string();
        let labels = [(CLUSTER, cluster), ("address", &*address)];
        self.mirror.all().address_alive.set(&labels, is_alive.into());
    }

    /// The gateway has lost this address.
    pub fn gateway_address_gone(&self, cluster: &str, address: IpAddr) {
        let address = address.to_string();
        let labels = [(CLUSTER, cluster), ("address", &*address)];
        let mut all = self.mirror.all();
        all.address_alive.remove(&labels);
        all.address_failures.remove(&labels);
    }

    /// The gateway is watched no longer. As with Linkerd, `gateway_latency` and `gateway_probes`
    /// stay.
    pub fn gateway_gone(&self, cluster: &str) {
        let mut all = self.mirror.all();
        let labels = [(CLUSTER, cluster)];
        all.enabled.remove(&labels);
        all.alive.remove(&labels);
        all.latencies.remove(cluster);
        all.address_alive.remove(&labels);
        all.address_failures.remove(&labels);
    }

    /// All mirrors of a cluster were compared with what they should be.
    pub fn mirror_repaired(&self, cluster: &str) {
        self.mirror.all().repairs.add(&[(CLUSTER, cluster)], 1);
    }

    /// So many Services of a cluster are mirrored here.
    pub fn mirror_services(&self, cluster: &str, count: usize) {
        self.mirror.all().services.set(&[(CLUSTER, cluster)], wide(count));
    }

    /// So many of its exported Services are not mirrored, because a foreign Service has the name.
    pub fn mirror_conflicts(&self, cluster: &str, count: usize) {
        self.mirror.all().conflicts.set(&[(CLUSTER, cluster)], wide(count));
    }

    /// So much is kept of a target, in bytes; whether some of it was left out.
    pub fn mirror_memory(&self, cluster: &str, bytes: usize, is_too_large: bool) {
        let mut all = self.mirror.all();
        all.memory.set(&[(CLUSTER, cluster)], wide(bytes));
        all.too_large.set(&[(CLUSTER, cluster)], is_too_large.into());
    }

    /// So many objects of a cluster are kept in memory, by their kind as Linkerd calls it.
    pub fn mirror_kept(&self, cluster: &str, counts: &[(&'static str, usize)]) {
        let mut all = self.mirror.all();
        for (kind, rows) in KEPT.into_iter().zip(&mut all.kept) {
            if let Some((_, count)) = counts.iter().find(|(of, _)| *of == kind) {
                rows.set(&[("cluster", cluster)], wide(*count));
            }
        }
    }

    /// A write to our own cluster ended: its verb, the kind of object, and `ok` or the reason of the
    /// failure, each from a closed set.
    pub fn mirror_write(
        &self,
        cluster: &str,
        verb: &'static str,
        kind: &'static str,
        result: &'static str,
    ) {
        let labels = [(CLUSTER, cluster), ("verb", verb), ("kind", kind), ("result", result)];
        self.mirror.all().writes.add(&labels, 1);
    }

    /// The watch of a resource in the target cluster fails, or goes on again.
    pub fn mirror_watch_failing(&self, cluster: &str, resource: &'static str, is_failing: bool) {
        let labels = [(CLUSTER, cluster), ("resource", resource)];
        self.mirror.all().watch_failing.set(&labels, is_failing.into());
    }

    /// This replica does the mirroring, or another one.
    pub fn mirror_leader(&self, is_leader: bool) {
        self.mirror.all().leader.set(&[], is_leader.into());
    }

    /// A Link is gone: what it is now about has no series any more. Counters stay.
    pub fn mirror_gone(&self, cluster: &str) {
        let mut all = self.mirror.all();
        let labels = [(CLUSTER, cluster)];
        all.services.remove(&labels);
        all.conflicts.remove(&labels);
        all.watch_failing.remove(&labels);
        all.too_large.remove(&labels);
        all.memory.remove(&labels);
        all.kept.iter_mut().for_each(|rows| rows.remove(&[("cluster", cluster)]));
    }
}

impl All {
    fn count_failure(&mut self, cluster: &str, address: IpAddr, failure: Failure) {
        let address = address.to_string();
        let reason = failure.label();
        let labels = [(CLUSTER, cluster), ("address", &*address), ("reason", reason)];
        self.address_failures.add(&labels, 1);
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Linkerd's latency is whole milliseconds.
fn whole_millis(latency: Duration) -> u64 {
    u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)
}
