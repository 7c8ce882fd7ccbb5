//! The kinds of metrics that several of [`super::Metrics`] share, and their registration.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::bounded::Bounded;
use super::labels::{self, Labels};
use super::{BUCKETS, MAX_SETS};

/// Decisions of policy by the rule that made them. Rules come from configuration, so their number
/// is an operator's choice; it is bounded all the same.
#[derive(Debug)]
pub(super) struct Verdicts {
    family: Family<Labels, Counter>,
    handles: Bounded<Arc<str>, Counter>,
}

impl Verdicts {
    pub(super) fn new(registry: &mut Registry, name: &str, help: &str) -> Self {
        Self { family: add(registry, name, help), handles: Bounded::new(MAX_SETS) }
    }

    pub(super) fn count(&self, rule: &Arc<str>) {
        let series = |rule: &str| self.family.get_or_create_owned(&labels::rule(rule));
        let handle = self.handles.get(Arc::clone(rule), |rule| series(rule));
        handle.unwrap_or_else(|| series(labels::OTHER)).inc();
    }
}

/// A counter with the two label values `ok` and `error`.
#[derive(Debug)]
pub(super) struct Results {
    ok: Counter,
    error: Counter,
}

impl Results {
    pub(super) fn new(
        r: &mut Registry,
        name: &str,
        help: &str,
        labels: &[(&'static str, &str)],
    ) -> Self {
        let family: Family<Labels, Counter> = add(r, name, help);
        let handle = |result: &str| {
            let mut all: Labels = labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
            all.push(("result", result.to_owned()));
            family.get_or_create_owned(&all)
        };
        Self { ok: handle("ok"), error: handle("error") }
    }

    pub(super) fn count(&self, ok: bool) {
        if ok { &self.ok } else { &self.error }.inc();
    }
}

/// A registered metric.
pub(super) fn add<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: prometheus_client::registry::Metric + Clone + Default,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// A registered histogram of seconds.
pub(super) fn histogram(registry: &mut Registry, name: &str, help: &str) -> Histogram {
    let metric = Histogram::new(BUCKETS);
    registry.register(name, help, metric.clone());
    metric
}
