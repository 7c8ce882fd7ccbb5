//! DNS resolutions, by whose name it was.

use prometheus_client::registry::Registry;

use super::Metrics;
use super::kinds::{Results, add};

/// Whose name was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsClient {
    /// A route's.
    Route,
    /// That of a gateway which the mirror probes.
    Mirror,
}

/// `control_dns_resolutions_total`.
#[derive(Debug)]
pub(super) struct Dns {
    route: Results,
    mirror: Results,
}

impl Dns {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let family = add(registry, "control_dns_resolutions", "DNS resolutions");
        let of = |client| Results::of(&family, &[("client", client)]);
        Self { route: of("route"), mirror: of("mirror") }
    }
}

impl Metrics {
    /// One DNS resolution ended.
    pub fn dns(&self, client: DnsClient, ok: bool) {
        match client {
            DnsClient::Route => &self.dns.route,
            DnsClient::Mirror => &self.dns.mirror,
        }
        .count(ok);
    }
}
