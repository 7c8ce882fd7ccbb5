//! The gateways that are compared as relays of bytes: which are there.

use crate::common::options::Options;
use crate::common::peers::{Lanes, local};
use crate::common::site::{Lane, Site};

use super::configuration::{self, Haproxy};

/// Tells the generator that a lane has no TLS: a floor.
pub const CLEAR: &str = "--plaintext";

/// Ours, and every peer that is on this machine; says which is not.
///
/// # Errors
/// When a configuration cannot be written or `--peer` is malformed.
pub fn lanes(options: &Options, site: &Site) -> anyhow::Result<Vec<Lane>> {
    let ours = site.ours()?;
    let bare =
        Lane { name: "the same without header".to_owned(), arguments: Vec::new(), ..ours.clone() };
    let mut lanes = Lanes::new(options, vec![ours, bare]);
    let address = local(5003);
    lanes.add("Envoy", site.envoy(address, &configuration::envoy(site, address))?);
    add_haproxy(&mut lanes, site, Haproxy::Tls, "HAProxy", 5001)?;
    let (name, address) = ("nginx stream", local(5002));
    lanes.add(name, site.nginx(name, address, &configuration::nginx(site, address))?);
    add_haproxy(&mut lanes, site, Haproxy::Clear, "HAProxy without TLS", 5004)?;
    add_haproxy(&mut lanes, site, Haproxy::Splice, "HAProxy splice", 5005)?;
    lanes.add_others(site, 5010)?;
    Ok(lanes.lanes)
}

fn add_haproxy(
    lanes: &mut Lanes<'_>,
    site: &Site,
    kind: Haproxy,
    name: &str,
    port: u16,
) -> anyhow::Result<()> {
    let address = local(port);
    let text = configuration::haproxy(kind, site, address)?;
    let clear = |lane| Lane { arguments: vec![CLEAR], ..lane };
    let lane = site.haproxy(name, address, &text)?;
    lanes.add(name, if kind == Haproxy::Tls { lane } else { lane.map(clear) });
    Ok(())
}
