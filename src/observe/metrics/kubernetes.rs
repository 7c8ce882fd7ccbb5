//! What API servers say, or do not say: watches that fail, Services that are exported.
//!
//! Written by the control tasks that follow an API server, never by the data path. Resources and
//! reasons are closed sets of our own.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::kinds::add;
use super::labels::Labels;

/// Resources that exist from the start, so that alerts find them.
const OF_DISCOVERY: [&str; 3] = ["services", "endpointslices", "pods"];

/// All that [`Metrics`] knows of API servers.
#[derive(Debug)]
pub(super) struct Kubernetes {
    errors: Family<Labels, Counter>,
    failing: Family<Labels, Gauge>,
    exported: Gauge,
}

impl Kubernetes {
    pub(super) fn new(r: &mut Registry) -> Self {
        let errors = "Failures of watches of API servers, by what is watched";
        let failing = "1 from a watch's failure to its next event: what is known may be old";
        let exported = "Services of our own cluster that are exported";
        let kubernetes = Self {
            errors: add(r, "gateway_kubernetes_watch_errors", errors),
            failing: add(r, "gateway_kubernetes_watch_failing", failing),
            exported: add(r, "gateway_exported_services", exported),
        };
        for resource in OF_DISCOVERY {
            drop(kubernetes.failing.get_or_create_owned(&vec![("resource", resource.to_owned())]));
        }
        kubernetes
    }
}

impl Metrics {
    /// A watch has failed; `reason` is one of the closed set of conditions.
    pub fn watch_failed(&self, resource: &'static str, reason: &'static str) {
        let labels = vec![("resource", resource.to_owned()), ("reason", reason.to_owned())];
        self.kubernetes.errors.get_or_create(&labels).inc();
    }

    /// Whether some watch of this resource fails at the moment.
    pub fn watch_failing(&self, resource: &'static str, is_failing: bool) {
        let labels = vec![("resource", resource.to_owned())];
        self.kubernetes.failing.get_or_create(&labels).set(is_failing.into());
    }

    /// So many Services are exported.
    pub fn exported_services(&self, count: usize) {
        self.kubernetes.exported.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_counted_by_resource_and_reason() {
        let metrics = Metrics::new();
        metrics.watch_failed("services", "Forbidden");
        metrics.watch_failed("services", "Forbidden");
        metrics.watch_failing("services", true);
        metrics.exported_services(7);
        let text = metrics.encode();
        for line in [
            "gateway_kubernetes_watch_errors_total{resource=\"services\",reason=\"Forbidden\"} 2\n",
            "gateway_kubernetes_watch_failing{resource=\"services\"} 1\n",
            "gateway_kubernetes_watch_failing{resource=\"pods\"} 0\n",
            "gateway_exported_services 7\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
