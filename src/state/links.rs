//! What `/links` shows of the mirror: who leads, and how each Link fares.
//!
//! Written by `control::mirror` whenever something has changed, read by the admin API.

use std::collections::BTreeMap;

use serde::Serialize;

/// The mirror of this process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MirrorView {
    /// It is switched on.
    pub enabled: bool,
    /// This process does the work.
    pub leader: bool,
    /// Who holds the Lease, when it is someone else.
    pub holder: Option<String>,
    /// Why nothing happens at all; `None` when there is nothing to say.
    pub problem: Option<String>,
    /// The version in which Links are read.
    pub link_version: Option<String>,
    /// The watches of our own cluster.
    pub watches: Vec<WatchView>,
    /// Links, by name.
    pub links: Vec<LinkView>,
}

/// One Link.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LinkView {
    /// Its name.
    pub name: String,
    /// The target cluster's name.
    pub cluster: String,
    /// What it mirrors by: any of `gateway`, `remote-discovery`, `federated`, `namespaces`.
    pub modes: Vec<&'static str>,
    /// Its work is ours: nothing stands against it, and its Lease is held.
    pub active: bool,
    /// The older Link that has the same target and works in its place.
    pub duplicate_of: Option<String>,
    /// Who holds its Lease, when it is someone else.
    pub lease_holder: Option<String>,
    /// The fields that are wrong, and what was expected.
    pub field_problems: Vec<String>,
    /// Whether its credentials are usable.
    pub credentials: ConditionView,
    /// Whether the target's API server answers.
    pub target: ConditionView,
    /// Its watches.
    pub watches: Vec<WatchView>,
    /// Mirrored services by the reason of their condition.
    pub services: BTreeMap<String, usize>,
    /// The first of those that are not mirrored, and why.
    pub not_mirrored: Vec<String>,
    /// Groups of objects that wait for a write or are written.
    pub pending: usize,
    /// The gateway's addresses.
    pub addresses: Vec<AddressView>,
    /// The last errors of writes, newest last.
    pub errors: Vec<String>,
}

/// A condition: what it is, and why.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct ConditionView {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// One word.
    pub reason: &'static str,
    /// For a person.
    pub message: String,
}

/// One watch.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WatchView {
    /// What it watches.
    pub resource: &'static str,
    /// Its list was complete once.
    pub complete: bool,
    /// It has failed since the last event.
    pub failing: bool,
    /// Since the last event; a quiet cluster sends none.
    pub seconds: Option<u64>,
}

/// One address of the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct AddressView {
    /// It.
    pub address: String,
    /// `alive`, `down` or `unknown`.
    pub liveness: &'static str,
    /// Clients may be sent there.
    pub ready: bool,
    /// Why the last failed probe failed.
    pub reason: Option<String>,
    /// Of the last probe that succeeded, in milliseconds.
    pub latency_ms: Option<u64>,
}
