//! Which labels and annotations of a remote Service its mirrors carry.

use std::sync::Arc;

use super::keys;
use super::remote::RemoteService;
use crate::model::kubernetes::labels::Labels;
use crate::model::link::ExcludedKey;

/// Never copied, as in Linkerd: they are about the target's own endpoints.
const TOPOLOGY: [&str; 2] =
    ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
/// Never copied, unlike in Linkerd: it describes the remote object, and may have 256 KiB.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Never copied, unlike in Linkerd: a Service that is flat or federated in the target would
/// otherwise be so here, where its members are other clusters.
const MULTICLUSTER: &str = "multicluster.linkerd.io/";
/// Never copied, unlike in Linkerd: with them Kubernetes would not copy the mirror's Endpoints, or
/// take our slices for another's.
const SLICES: &str = "endpointslice.kubernetes.io/";

/// Labels.
pub fn labels(remote: &RemoteService, excluded: &[ExcludedKey]) -> Labels {
    let is_copied = |key: &str| {
        !key.starts_with("mirror.linkerd.io")
            && !key.starts_with(MULTICLUSTER)
            && !key.starts_with(SLICES)
            && key != keys::SERVICE_NAME
            && !is_excluded(key, excluded)
    };
    copied(&remote.labels, is_copied)
}

/// Annotations. The opaque ports are copied whatever is excluded: clients of the mirror would
/// otherwise take them for HTTP.
pub fn annotations(remote: &RemoteService, excluded: &[ExcludedKey]) -> Labels {
    let is_copied = |key: &str| {
        key == keys::OPAQUE_PORTS
            || !(TOPOLOGY.contains(&key)
                || key == LAST_APPLIED
                || key.starts_with(MULTICLUSTER)
                || is_excluded(key, excluded))
    };
    copied(&remote.annotations, is_copied)
}

/// True when a list excludes `key`.
pub fn is_excluded(key: &str, excluded: &[ExcludedKey]) -> bool {
    excluded.iter().any(|entry| entry.matches(key))
}

/// Adds a label or annotation.
pub fn put(labels: &mut Labels, key: &str, value: impl Into<Arc<str>>) {
    labels.insert(key.into(), value.into());
}

fn copied(all: &Labels, is_copied: impl Fn(&str) -> bool) -> Labels {
    let chosen = all.iter().filter(|(key, _)| is_copied(key));
    chosen.map(|(key, value)| (key.clone(), value.clone())).collect()
}
