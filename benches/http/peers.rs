//! The gateways that are compared as forwarders of requests.

use crate::common::configuration::AS_BYTES;
use crate::common::options::Options;
use crate::common::peers::{Lanes, local};
use crate::common::site::{Lane, Site};
use crate::load::options::Upstream;

use super::{configuration, table};

/// Ours, and every peer that is on this machine and speaks what the backend speaks.
///
/// # Errors
/// When a configuration cannot be written or `--peer` is malformed.
pub fn lanes(options: &Options, site: &Site, upstream: Upstream) -> anyhow::Result<Vec<Lane>> {
    // Each pair of gateway and backend has its own port, and by that its own configuration.
    let (name, first_port) = match upstream {
        Upstream::Http1 => ("http1", 5100),
        Upstream::H2c => ("h2c", 5200),
    };
    let ours = site.ours()?;
    // What HTTP/2 costs that nobody looks into.
    let bytes = Lane {
        name: "the same as bytes".to_owned(),
        arguments: vec!["--target", AS_BYTES],
        ..ours.clone()
    };
    let mut lanes = Lanes::new(
        options,
        match upstream {
            Upstream::Http1 => vec![ours],
            Upstream::H2c => vec![ours, bytes],
        },
    );
    let address = local(first_port + 3);
    let text = configuration::envoy(upstream, site, address);
    lanes.add(table::BASE, site.envoy(address, &text)?);
    let address = local(first_port + 1);
    let text = configuration::haproxy(upstream, site, address)?;
    lanes.add("HAProxy", site.haproxy("HAProxy", address, &text)?);
    // Its upstreams speak HTTP/1.1 only.
    if upstream == Upstream::Http1 {
        let address = local(first_port + 2);
        let text = configuration::nginx(site, address);
        lanes.add("nginx", site.nginx("nginx", address, &text)?);
    }
    lanes.add_others(site, first_port + 10)?;
    let mut lanes = lanes.lanes;
    for lane in &mut lanes {
        lane.arguments.extend(["--upstream", name]);
    }
    Ok(lanes)
}
