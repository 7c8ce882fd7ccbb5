//! What is said of a Link's Services, what stands in the way of its mirrors, and its last errors.
//!
//! Written by the reconcilers, read by `status` and `view`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::LinkState;
use crate::model::kubernetes::object::ObjectKey;
use crate::model::mirror::group::GroupKey;
use crate::model::mirror::object::{Kind, Object, Observed};
use crate::model::mirror::status::ServiceStatus;

/// Services that are not mirrored which `/links` names.
const MOST_SHOWN: usize = 100;
/// Errors that `/links` shows.
const MOST_ERRORS: usize = 10;

impl LinkState {
    /// What is said of a mirror; `None` when nothing is. Returns what was said before, if that was
    /// something else.
    pub fn says(&self, mirror: &ObjectKey, status: Option<ServiceStatus>) -> Option<Changed> {
        let changed = replace(&mut self.lock().mirrored, mirror, status);
        changed.inspect(|_| self.status_changed.notify_one())
    }

    /// The same for a member of a federated Service.
    pub fn says_federated(
        &self,
        service: &ObjectKey,
        status: Option<ServiceStatus>,
    ) -> Option<Changed> {
        let changed = replace(&mut self.lock().federated, service, status);
        changed.inspect(|_| self.status_changed.notify_one())
    }

    /// What is said of all mirrored Services, and of all members.
    pub fn statuses(&self) -> (Vec<ServiceStatus>, Vec<ServiceStatus>) {
        let inner = self.lock();
        let all = |map: &HashMap<_, ServiceStatus>| map.values().cloned().collect();
        (all(&inner.mirrored), all(&inner.federated))
    }

    /// The groups of which anything is said.
    pub(super) fn groups_said(&self) -> Vec<GroupKey> {
        self.lock().mirrored.keys().cloned().map(GroupKey).collect()
    }

    /// The members of federated Services of which anything is said.
    pub(super) fn members_said(&self) -> Vec<ObjectKey> {
        self.lock().federated.keys().cloned().collect()
    }

    /// Services that are not mirrored, and why: the first few, in order.
    pub fn not_mirrored(&self) -> Vec<String> {
        let inner = self.lock();
        let all = inner.mirrored.values().chain(inner.federated.values());
        let bad = all.filter(|status| !status.condition.is_mirrored);
        let mut bad: Vec<_> = bad
            .map(|s| {
                format!("{}: {}: {}", s.remote, s.condition.reason.label(), s.condition.message)
            })
            .collect();
        bad.sort();
        bad.truncate(MOST_SHOWN);
        bad
    }

    /// How many Services its status names.
    pub fn service_count(&self) -> usize {
        let inner = self.lock();
        inner.mirrored.len() + inner.federated.len()
    }

    /// How many mirrored Services there are by the reason of what is said of them.
    pub fn counts(&self) -> Vec<(Arc<str>, usize)> {
        let inner = self.lock();
        let mut counts = BTreeMap::new();
        for status in inner.mirrored.values() {
            *counts.entry(status.condition.reason).or_insert(0) += 1;
        }
        counts.into_iter().map(|(reason, count)| (reason.label().into(), count)).collect()
    }

    /// Remembers, or forgets, an object in the way.
    pub fn foreign(&self, kind: Kind, key: &ObjectKey, object: Option<Observed<Object>>) {
        let mut inner = self.lock();
        match object {
            Some(object) => drop(inner.foreign.insert((kind, key.clone()), object)),
            None => drop(inner.foreign.remove(&(kind, key.clone()))),
        }
    }

    /// Objects in the way that have one of `names`.
    pub fn foreign_of(&self, names: &[ObjectKey]) -> Vec<Observed<Object>> {
        let inner = self.lock();
        if inner.foreign.is_empty() {
            return Vec::new();
        }
        let kinds = [Kind::Service, Kind::Endpoints, Kind::Slice];
        let keys = names.iter().flat_map(|name| kinds.map(|kind| (kind, name.clone())));
        keys.filter_map(|key| inner.foreign.get(&key).cloned()).collect()
    }

    /// Remembers an error for `/links`.
    pub fn error(&self, text: String) {
        let mut inner = self.lock();
        if inner.errors.back() == Some(&text) {
            return;
        }
        if inner.errors.len() >= MOST_ERRORS {
            inner.errors.pop_front();
        }
        inner.errors.push_back(text);
    }

    /// The last errors, newest last.
    pub fn errors(&self) -> Vec<String> {
        self.lock().errors.iter().cloned().collect()
    }
}

/// What is said of a Service has changed: what was said before.
#[derive(Debug)]
pub struct Changed(pub Option<ServiceStatus>);

fn replace(
    map: &mut HashMap<ObjectKey, ServiceStatus>,
    key: &ObjectKey,
    status: Option<ServiceStatus>,
) -> Option<Changed> {
    if map.get(key) == status.as_ref() {
        return None;
    }
    Some(Changed(match status {
        Some(status) => map.insert(key.clone(), status),
        None => map.remove(key),
    }))
}
