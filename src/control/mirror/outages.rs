//! Which watches fail, so that the log tells each outage once, and its end: a watch is tried again
//! every few seconds, and a cluster has several.
//!
//! Told by `local::watch` and `remote::watch` through [`super::term::Term::watch_failing`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::control::kubernetes::error::Failure;

/// The watches that fail now, by resource and cluster (ours: empty).
#[derive(Debug, Default)]
pub struct Outages(Mutex<BTreeMap<&'static str, BTreeMap<Box<str>, Failure>>>);

impl Outages {
    /// A watch has failed. True when that is news: it worked, or failed for another reason.
    pub fn begins(&self, cluster: &str, resource: &'static str, failure: Failure) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(resource).or_default().insert(cluster.into(), failure) != Some(failure)
    }

    /// A watch works. True when it did not.
    pub fn ends(&self, cluster: &str, resource: &'static str) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get_mut(resource).is_some_and(|of_it| of_it.remove(cluster).is_some())
    }

    /// Whether any watch of a cluster fails.
    pub fn has(&self, cluster: &str) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().any(|of_it| of_it.contains_key(cluster))
    }

    /// A Link is gone, and its watches with it.
    pub fn forget(&self, cluster: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for of_it in all.values_mut() {
            of_it.remove(cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_news_once_and_so_is_its_end() {
        let outages = Outages::default();
        assert!(!outages.ends("east", "services"));
        assert!(outages.begins("east", "services", Failure::Unreachable));
        assert!(!outages.begins("east", "services", Failure::Unreachable));
        assert!(outages.begins("east", "namespaces", Failure::Unreachable));
        assert!(outages.begins("", "services", Failure::Unreachable));
        assert!(outages.begins("east", "services", Failure::Forbidden));
        assert!(outages.ends("east", "services"));
        assert!(!outages.ends("east", "services"));
        outages.forget("east");
        assert!(!outages.ends("east", "namespaces"));
        assert!(outages.has("") && !outages.has("east"));
        assert!(outages.ends("", "services"));
        assert!(!outages.has(""));
    }
}
