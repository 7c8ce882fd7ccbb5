//! `[kubernetes]` and `[mirror]`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::values::{bytes, duration, one_of};
use crate::config::raw::Cursor;
use crate::config::{EndpointObjects, KubernetesSettings, MirrorSettings, Reachable};
use crate::model::identity::is_trust_domain;
use crate::model::kubernetes::selector::Selector;
use crate::model::service::is_dns_name;

/// More writes at once than any API server lets one client make.
const MOST_WRITES: usize = 256;
/// Shorter leases change hands whenever an API server is slow; longer ones leave mirrors alone for
/// too long.
const LEASES: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(600);

/// Reads `[kubernetes]`.
pub fn kubernetes(at: &Cursor<'_>) -> Option<KubernetesSettings> {
    let enabled = at.required("enabled", "true or false", Cursor::boolean);
    let kubeconfig = at.optional("kubeconfig", super::path);
    let domain = at.required("cluster_domain", "a DNS domain", domain);
    let trust_domain = at.optional("trust_domain", |at| {
        at.parsed("a trust domain like \"cluster.local\"", |text| {
            is_trust_domain(text).then(|| Arc::from(text))
        })
    });
    let selectors = at.required("export_selectors", "a list of label selectors", |at| {
        at.list("a list of label selectors like [\"mirror.linkerd.io/exported=true\"]", selector)
    });
    let is_by_suffix = at.required("reachable", "\"exported\" or \"suffix\"", |at| {
        one_of(at, &[("exported", false), ("suffix", true)])
    });
    let suffixes = at.optional("suffixes", |at| {
        at.list("a list of DNS domains like [\"svc.cluster.local\"]", self::domain)
    });
    let zone = at.optional("zone", |at| at.text().map(Arc::from));
    let (domain, suffixes) = (domain?, suffixes?);
    let reachable = match is_by_suffix? {
        true => {
            Reachable::Suffix(suffixes.unwrap_or_else(|| vec![Arc::from(format!("svc.{domain}"))]))
        }
        false => Reachable::Exported,
    };
    Some(KubernetesSettings {
        enabled: enabled?,
        kubeconfig: kubeconfig?,
        trust_domain: trust_domain?.unwrap_or_else(|| Arc::clone(&domain)),
        cluster_domain: domain,
        export_selectors: selectors?,
        reachable,
        // A variable that the downward API left empty.
        zone: zone?.filter(|zone: &Arc<str>| !zone.is_empty()),
    })
}

/// What is kept of one target: less would not even mirror 200 Services.
const LINK_MEMORY: RangeInclusive<u64> = (1 << 20)..=(64 << 30);

/// Reads `[mirror]`.
pub fn mirror(at: &Cursor<'_>) -> Option<MirrorSettings> {
    let boolean = |name| at.required(name, "true or false", Cursor::boolean);
    let enabled = boolean("enabled");
    let headless = boolean("headless_services");
    let create_namespaces = boolean("create_namespaces");
    let namespace = at.required("namespace", "a namespace", |at| {
        at.parsed("the name of a namespace", |text| {
            (is_dns_name(text) && !text.contains(['.', '_'])).then(|| Arc::from(text))
        })
    });
    let endpoints = at.required("endpoints", "which objects", |at| {
        one_of(
            at,
            &[
                ("both", EndpointObjects::Both),
                ("slices", EndpointObjects::Slices),
                ("endpoints", EndpointObjects::Endpoints),
            ],
        )
    });
    let federated = at.required("federated_selector", "a label selector", selector);
    let keys = |name| {
        at.required(name, "a list of keys", |at| {
            at.list("a list of keys like [\"argocd.argoproj.io/*\"]", |at| at.text().map(Arc::from))
        })
    };
    let (excluded_labels, excluded_annotations) =
        (keys("excluded_labels"), keys("excluded_annotations"));
    let writes = at.required("max_writes_in_flight", "a number", |at| at.integer(1..=MOST_WRITES));
    let memory = at.required("max_link_memory", "a size", |at| {
        bytes(at, "a size from 1MiB to 64GiB, like \"256MiB\"", LINK_MEMORY)
    });
    let lease = at.required("lease_duration", "a duration", |at| duration(at, LEASES));
    Some(MirrorSettings {
        enabled: enabled?,
        namespace: namespace?,
        endpoints: endpoints?,
        headless_services: headless?,
        create_namespaces: create_namespaces?,
        federated_selector: federated?,
        excluded_labels: excluded_labels?,
        excluded_annotations: excluded_annotations?,
        max_writes_in_flight: writes?,
        max_link_memory: usize::try_from(memory?).ok()?,
        lease_duration: lease?,
    })
}

fn domain(at: &Cursor<'_>) -> Option<Arc<str>> {
    at.parsed("a DNS domain like \"cluster.local\"", |text| {
        let text = text.trim_matches('.').to_ascii_lowercase();
        is_dns_name(&text).then(|| Arc::from(text))
    })
}

fn selector(at: &Cursor<'_>) -> Option<Selector> {
    let text = at.text().or_else(|| at.wrong("a label selector like \"key=value\""))?;
    match Selector::parse(text) {
        Ok(selector) => Some(selector),
        Err(error) => at.refuse(format!("is no label selector: {error}")),
    }
}
