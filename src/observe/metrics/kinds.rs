//! The kinds of metrics that several of [`super::Metrics`] share, and their registration.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::bounded::Bounded;
use super::labels::{self, Labels};
use super::slots::Slots;
use super::{BUCKETS, MAX_SETS};

/// Rules that are found without a lock, which with HTTP is once per request.
const FIRST_RULES: usize = 16;
/// More values than any closed set of ours has.
const WORDS: usize = 32;

/// Decisions of policy by the rule that made them. Rules come from configuration, so their number
/// is an operator's choice; it is bounded all the same.
#[derive(Debug)]
pub(super) struct Verdicts {
    family: Family<Labels, Counter>,
    first: Slots<(Arc<str>, Counter), FIRST_RULES>,
    more: Bounded<Arc<str>, Counter>,
}

impl Verdicts {
    pub(super) fn new(registry: &mut Registry, name: &str, help: &str) -> Self {
        let family = add(registry, name, help);
        Self { family, first: Slots::default(), more: Bounded::new(MAX_SETS - FIRST_RULES) }
    }

    /// As [`Verdicts::new`], and what exceeds the bound is there from the start, so that alerts find
    /// the name before any decision.
    pub(super) fn shown(registry: &mut Registry, name: &str, help: &str) -> Self {
        let verdicts = Self::new(registry, name, help);
        drop(verdicts.family.get_or_create_owned(&labels::rule(labels::OTHER)));
        verdicts
    }

    pub(super) fn count(&self, rule: &Arc<str>) {
        let series = |rule: &str| self.family.get_or_create_owned(&labels::rule(rule));
        // By content: a reload makes new texts of the same names.
        let is = |known: &(Arc<str>, Counter)| known.0 == *rule;
        if let Some((_, handle)) = self.first.add(is, || (Arc::clone(rule), series(rule))) {
            handle.inc();
            return;
        }
        let handle = self.more.get(Arc::clone(rule), |rule| series(rule));
        handle.unwrap_or_else(|| series(labels::OTHER)).inc();
    }
}

/// A counter by one label, whose values are a closed set of our own.
#[derive(Debug)]
pub(super) struct Words {
    family: Family<Labels, Counter>,
    label: &'static str,
    handles: Slots<(&'static str, Counter), WORDS>,
}

impl Words {
    /// With these values from the start; others join when they are first counted.
    pub(super) fn new(
        registry: &mut Registry,
        name: &str,
        help: &str,
        label: &'static str,
        known: &[&'static str],
    ) -> Self {
        let words = Self { family: add(registry, name, help), label, handles: Slots::default() };
        known.iter().for_each(|value| drop(words.handle(value)));
        words
    }

    pub(super) fn count(&self, value: &'static str) {
        // A set beyond the bound would be a mistake of ours; it is counted all the same.
        let handle = self.handle(value);
        handle.unwrap_or_else(|| self.series(labels::OTHER)).inc();
    }

    fn handle(&self, value: &'static str) -> Option<Counter> {
        let handle = self.handles.add(|known| known.0 == value, || (value, self.series(value)));
        handle.map(|(_, counter)| counter.clone())
    }

    fn series(&self, value: &str) -> Counter {
        self.family.get_or_create_owned(&vec![(self.label, value.to_owned())])
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
        Self::of(&add(r, name, help), labels)
    }

    /// Those of a family that others are in, too.
    pub(super) fn of(family: &Family<Labels, Counter>, labels: &[(&'static str, &str)]) -> Self {
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
