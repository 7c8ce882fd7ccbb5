//! How it stands with a target: which watches fail, how much is kept of it, whether that is all.
//!
//! Read by statuses, `/links` and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Inner, Remote};
use crate::control::kubernetes::error::Failure;
use crate::control::kubernetes::watch::Health;
use crate::model::kubernetes::bounded::Bounded;

/// What a person is told where there is not room for all of a target.
pub const LACKS_ROOM: &str = "the target has more Services, endpoints or namespaces than \
    mirror.max_link_memory has room for: what was left out is not mirrored, and nothing is deleted; \
    raise it, or let the Link's selector choose fewer";

/// How much is kept of a target.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Objects by their kind, as metrics call it.
    pub counts: [(&'static str, usize); 3],
    /// Their weight.
    pub bytes: usize,
    /// Some were left out.
    pub is_cut: bool,
}

impl Remote {
    /// The watches that fail now, with what they last said.
    pub fn failures(&self) -> BTreeMap<&'static str, (Failure, Arc<str>)> {
        self.lock().failures.clone()
    }

    /// How each watch fares, and whether its list was complete.
    pub fn watches(&self) -> Vec<(&'static str, bool, &Health)> {
        let complete = self.completeness();
        let services = self.health.services.iter().map(|h| ("services", complete.services, h));
        let mut all: Vec<_> = services.collect();
        all.push(("endpoints", complete.endpoints, &self.health.endpoints));
        if self.wanted.namespaces {
            all.push(("namespaces", complete.namespaces, &self.health.namespaces));
        }
        all
    }

    /// How much is kept.
    pub fn kept(&self) -> Kept {
        let inner = self.lock();
        let services: usize = inner.services.iter().map(Bounded::len).sum();
        let counts = [
            ("service", services),
            ("endpoints", inner.readiness.len()),
            ("namespace", inner.namespaces.len()),
        ];
        Kept { counts, bytes: inner.room.used(), is_cut: inner.lacks() }
    }

    /// The target has more than there is room for.
    pub fn lacks(&self) -> bool {
        self.lock().lacks()
    }

    /// Whether it has, when that was not so at the last call.
    pub(super) fn lacks_now(&self) -> Option<bool> {
        let mut inner = self.lock();
        let lacks = inner.lacks();
        (std::mem::replace(&mut inner.told_lacks, lacks) != lacks).then_some(lacks)
    }

    /// A watch has failed, or has been heard of again. True when that is news.
    pub(super) fn fails(&self, watch: &'static str, failure: Option<(Failure, Arc<str>)>) -> bool {
        let mut inner = self.lock();
        match failure {
            None => inner.failures.remove(watch).is_some(),
            Some(failure) => inner.failures.insert(watch, failure.clone()) != Some(failure),
        }
    }
}

impl Inner {
    fn lacks(&self) -> bool {
        self.services.iter().any(Bounded::lacks)
            || self.readiness.lacks()
            || self.namespaces.lacks()
    }
}
