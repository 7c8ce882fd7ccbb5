//! A metric whose series come and go, as text.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::time::Duration;

use super::super::labels::{Labels, OTHER, text as text_of};
use super::{CLUSTER, MAX_SETS};

/// Linkerd's, in milliseconds.
const BOUNDS: [u32; 25] = [
    1, 2, 3, 4, 5, 10, 20, 30, 40, 50, 100, 200, 300, 400, 500, 1000, 2000, 3000, 4000, 5000,
    10_000, 20_000, 30_000, 40_000, 50_000,
];

/// One metric with at most [`MAX_SETS`] series.
#[derive(Debug)]
pub(super) struct Rows {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    rows: BTreeMap<Labels, u64>,
}

impl Rows {
    pub(super) fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, is_counter: false, rows: BTreeMap::new() }
    }

    pub(super) fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, is_counter: true, rows: BTreeMap::new() }
    }

    /// A gauge's value; beyond the bound it is not shown.
    pub(super) fn set(&mut self, labels: &[(&'static str, &str)], value: u64) {
        let labels = owned(labels);
        if self.rows.len() < MAX_SETS || self.rows.contains_key(&labels) {
            self.rows.insert(labels, value);
        }
    }

    /// Adds to a counter; beyond the bound to one that stands for all others.
    pub(super) fn add(&mut self, labels: &[(&'static str, &str)], count: u64) {
        let mut labels = owned(labels);
        if self.rows.len() >= MAX_SETS && !self.rows.contains_key(&labels) {
            labels.iter_mut().for_each(|(_, value)| OTHER.clone_into(value));
        }
        *self.rows.entry(labels).or_default() += count;
    }

    /// Forgets all series that begin with these labels.
    pub(super) fn remove(&mut self, labels: &[(&'static str, &str)]) {
        let begins = owned(labels);
        self.rows.retain(|labels, _| !labels.starts_with(&begins));
    }

    /// Nothing without a series: a metric that has none is not shown.
    pub(super) fn write(&self, out: &mut impl Write) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let kind = if self.is_counter { "counter" } else { "gauge" };
        // What the format calls the metric has no suffix; the series of a counter may have one.
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        writeln!(out, "# HELP {name} {}.\n# TYPE {name} {kind}", self.help)?;
        for (labels, value) in &self.rows {
            match &*text_of(labels) {
                "" => writeln!(out, "{} {value}", self.name)?,
                labels => writeln!(out, "{}{{{labels}}} {value}", self.name)?,
            }
        }
        Ok(())
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Latencies of good probes.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    pub(super) fn observe(&mut self, latency: Duration) {
        let fits = |bound: &u32| latency <= Duration::from_millis((*bound).into());
        let index = BOUNDS.iter().position(fits).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.sum += latency;
    }
}

/// Writes `gateway_probe_latency_ms`.
pub(super) fn write_latencies(
    out: &mut impl Write,
    all: &BTreeMap<String, Histogram>,
) -> fmt::Result {
    const NAME: &str = "gateway_probe_latency_ms";
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "# HELP {NAME} Good probes, in milliseconds.\n# TYPE {NAME} histogram")?;
    for (cluster, histogram) in all {
        let labels = text_of(&vec![(CLUSTER, cluster.clone())]);
        let mut count = 0;
        let ends = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
        for (end, bucket) in ends.zip(histogram.buckets) {
            count += bucket;
            writeln!(out, "{NAME}_bucket{{{labels},le=\"{end}\"}} {count}")?;
        }
        let millis = histogram.sum.as_secs_f64() * 1000.0;
        writeln!(out, "{NAME}_sum{{{labels}}} {millis}\n{NAME}_count{{{labels}}} {count}")?;
    }
    Ok(())
}
