//! What is behind a route: `endpoints` or `dns`, and `tls` onward.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::identity::name;
use super::listeners::{Listener, refuse_own};
use super::values::address;
use crate::config::raw::{Cursor, Value};
use crate::config::{EndpointSettings, EndpointSource};
use crate::model::route::{Onward, unusable};
use crate::model::service::{Port, Target};

const ENDPOINTS: &str = "a list of endpoints like [\"127.0.0.1:9000\"], or dns = \"name:port\"";

/// The keys of a route that say where it leads; each `None` when it was reported.
pub struct Behind {
    /// `endpoints` or `dns`.
    pub endpoints: Option<EndpointSource>,
    /// `tls`
    pub tls: Option<Option<Onward>>,
}

/// Reads them from the route at `at`.
pub fn behind(at: &Cursor<'_>, listeners: &[Listener<'_>]) -> Behind {
    let tls = at.optional("tls", onward);
    let onward = tls.clone().flatten();
    let endpoints = match (at.child("endpoints"), at.child("dns")) {
        (None, None) => at.missing("endpoints", ENDPOINTS),
        (Some(_), Some(at)) => at.refuse("is set beside endpoints, expected only one of them"),
        (None, Some(at)) => dns(&at),
        (Some(at), None) => listed(&at, onward.as_ref(), listeners).map(EndpointSource::Static),
    };
    Behind { endpoints, tls }
}

fn dns(at: &Cursor<'_>) -> Option<EndpointSource> {
    let expected = "a DNS name and port like \"web.example.com:80\"";
    match at.parsed(expected, |text| Target::parse(text).ok())? {
        Target::Service(name, port) => {
            Some(EndpointSource::Dns { name: Arc::from(name.as_str()), port })
        }
        Target::Local(_) => at.wrong(expected),
    }
}

fn listed(
    at: &Cursor<'_>,
    route_tls: Option<&Onward>,
    listeners: &[Listener<'_>],
) -> Option<Vec<EndpointSettings>> {
    let endpoints = at.list(ENDPOINTS, |at| endpoint(at, route_tls, listeners))?;
    if endpoints.is_empty() {
        return at.refuse(format!("is empty, expected {ENDPOINTS}"));
    }
    let mut seen = HashSet::new();
    for (at, endpoint) in at.entries(ENDPOINTS)?.iter().zip(&endpoints) {
        if !seen.insert(endpoint.address) {
            return at.refuse(format!(
                "found {} a second time; for a larger share give it a weight",
                endpoint.address
            ));
        }
    }
    Some(endpoints)
}

fn endpoint(
    at: &Cursor<'_>,
    route_tls: Option<&Onward>,
    listeners: &[Listener<'_>],
) -> Option<EndpointSettings> {
    let (address, weight, tls) = match at.value() {
        Value::Text(_) => (usable(at), Some(1), Some(None)),
        Value::Table(_) => (
            at.required("address", "an address and port like \"127.0.0.1:9000\"", usable),
            at.required("weight", "a whole number", |at| at.integer(0..=u32::MAX)),
            at.optional("tls", onward),
        ),
        _ => return at.wrong("\"ip:port\" or { address = \"ip:port\", weight = 1 }"),
    };
    let (address, tls) = (address?, tls?);
    let port = tls.as_ref().or(route_tls).map_or(address.port(), |onward| onward.port.get());
    refuse_own(at, SocketAddr::new(address.ip(), port), listeners);
    Some(EndpointSettings { address, weight: weight?, tls })
}

/// An address that can be connected to. Unlike addresses from DNS, it may be a loopback one.
pub fn usable(at: &Cursor<'_>) -> Option<SocketAddr> {
    let address = address(at)?;
    let ip = address.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    let never = ip.is_unspecified() || ip.is_multicast() || broadcast;
    match unusable(ip).filter(|_| never) {
        Some(reason) => at.refuse(format!("found {address}, but {reason}")),
        None if address.port() == 0 => at.wrong("an address with a port from 1 to 65535"),
        None => Some(address),
    }
}

fn onward(at: &Cursor<'_>) -> Option<Onward> {
    at.table()?;
    let identity = at.required("identity", "the identity that the endpoint must prove", name);
    let port = at.required("port", "a port", |at| at.integer(1..=u16::MAX));
    Some(Onward { identity: identity?, port: Port::new(port?)? })
}
