//! Which names only an export makes reachable: so that a refusal can say what is missing.
//!
//! Lies in the route table, which the data path asks it of when a name has no route.

use std::sync::Arc;

/// The names of our own cluster's Services, and what would export one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// `.svc.<cluster domain>`.
    suffix: Arc<str>,
    /// What a Service must have, in words.
    pub wanted: Arc<str>,
    /// False until every list was complete once: until then nobody knows what is exported.
    pub is_complete: bool,
}

impl Guard {
    /// Over the Services of a cluster domain; `wanted` says what exports them.
    pub fn new(cluster_domain: &str, wanted: impl Into<Arc<str>>) -> Self {
        let suffix = format!(".svc.{cluster_domain}").into();
        Self { suffix, wanted: wanted.into(), is_complete: false }
    }

    /// True for the lower-case name of a Service of this cluster, whether there is one or not.
    pub fn covers(&self, name: &str) -> bool {
        name.ends_with(&*self.suffix)
    }
}
