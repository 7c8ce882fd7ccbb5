//! Which watches fail, so that the log tells each outage once, and its end: a watch is tried again
//! every few seconds, and a cluster has several.
//!
//! Told by `links`, `local::watch` and `remote::watch` through [`super::term::Term::watch_failing`].

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::control::kubernetes::error::Failure;
use crate::model::sharded::lock;

/// The watches that fail now, by cluster (ours: empty) and resource.
#[derive(Debug, Default)]
pub struct Outages(Mutex<BTreeMap<Box<str>, BTreeMap<&'static str, Failure>>>);

impl Outages {
    /// A watch has failed. True when that is news: it worked, or failed for another reason.
    pub fn begins(&self, cluster: &str, resource: &'static str, failure: Failure) -> bool {
        let mut all = lock(&self.0);
        all.entry(cluster.into()).or_default().insert(resource, failure) != Some(failure)
    }

    /// A watch works. True when it did not.
    pub fn ends(&self, cluster: &str, resource: &'static str) -> bool {
        lock(&self.0).get_mut(cluster).is_some_and(|of_it| of_it.remove(resource).is_some())
    }

    /// Whether any watch of a cluster fails.
    pub fn has(&self, cluster: &str) -> bool {
        lock(&self.0).get(cluster).is_some_and(|of_it| !of_it.is_empty())
    }

    /// A Link is gone, and its watches with it.
    pub fn forget(&self, cluster: &str) {
        lock(&self.0).remove(cluster);
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
