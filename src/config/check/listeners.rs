//! Our own listeners: none twice, and nothing that we forward may end at one.
//!
//! A route that ended at the admin listener would give every authenticated peer the rights of
//! loopback there; one that ended at the gateway's would be a loop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::values::{address, networks};
use crate::config::raw::{Cursor, Value};
use crate::config::{AdminSettings, GatewaySettings, ListenerSettings};

/// One of our listeners that will be opened.
pub struct Listener<'t> {
    at: Cursor<'t>,
    address: SocketAddr,
}

/// One entry of `gateway.listen`.
pub fn listener(at: &Cursor<'_>) -> Option<ListenerSettings> {
    let Value::Table(_) = at.value() else {
        return Some(ListenerSettings { address: address(at)?, proxy_protocol: Vec::new() });
    };
    let address = at.required("address", "an address and port like \"[::]:4143\"", address);
    let proxies = at.required("proxy_protocol", "a list of networks", networks);
    Some(ListenerSettings { address: address?, proxy_protocol: proxies? })
}

/// Checks the listeners and `local_ports`, and returns the listeners. Sections that are wrong in
/// themselves (`None`) are left out, so that no problem is reported for a problem.
pub fn listeners<'t>(
    root: &Cursor<'t>,
    gateway: Option<&GatewaySettings>,
    admin: Option<&AdminSettings>,
) -> Vec<Listener<'t>> {
    let mut listeners = Vec::new();
    let at = root.child("gateway").and_then(|at| at.child("listen"));
    if let Some((at, gateway)) = at.zip(gateway.filter(|gateway| gateway.enabled)) {
        if gateway.listen.is_empty() {
            at.refuse::<()>("is empty, expected at least one address, or enabled = false");
        }
        let entries = at.entries("a list").unwrap_or_default();
        let pairs = entries.into_iter().zip(&gateway.listen);
        listeners.extend(pairs.map(|(at, own)| Listener { at, address: own.address }));
    }
    let at = root.child("admin").and_then(|at| at.child("listen"));
    listeners.extend(at.zip(admin).map(|(at, admin)| Listener { at, address: admin.listen }));
    let at = root.child("admin").and_then(|at| at.child("metrics_listen"));
    if let Some((at, admin)) = at.zip(admin) {
        let pairs = at.entries("a list").unwrap_or_default().into_iter().zip(&admin.metrics_listen);
        listeners.extend(pairs.map(|(at, address)| Listener { at, address: *address }));
    }
    // Port 0 is another port each time: it collides with nothing and cannot be dialled.
    listeners.retain(|listener| listener.address.port() != 0);
    overlaps(&listeners);
    local_ports(root, gateway, &listeners);
    listeners
}

/// Reports at `at` when connecting to `address` would end at one of our listeners.
pub fn refuse_own(at: &Cursor<'_>, address: SocketAddr, listeners: &[Listener<'_>]) {
    if let Some(own) = listeners.iter().find(|listener| reaches(address, listener.address)) {
        at.refuse::<()>(format!(
            "connects to {address}, which is our own listener {} ({}, {})",
            own.address,
            own.at.path(),
            own.at.origin()
        ));
    }
}

fn overlaps(listeners: &[Listener<'_>]) {
    for (index, later) in listeners.iter().enumerate() {
        let earlier = listeners.iter().take(index);
        if let Some(first) = earlier.into_iter().find(|l| overlap(l.address, later.address)) {
            later.at.refuse::<()>(format!(
                "found {}, which overlaps with {} of {} ({})",
                later.address,
                first.address,
                first.at.path(),
                first.at.origin()
            ));
        }
    }
}

/// True when the kernel would not let both listen: `[::]` is dual stack.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let (one, other) = (a.ip().to_canonical(), b.ip().to_canonical());
    let covers = |wide: IpAddr, narrow: IpAddr| match wide {
        IpAddr::V4(v4) => v4.is_unspecified() && narrow.is_ipv4(),
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    a.port() == b.port() && (one == other || covers(one, other) || covers(other, one))
}

fn local_ports(root: &Cursor<'_>, gateway: Option<&GatewaySettings>, listeners: &[Listener<'_>]) {
    let at = root.child("gateway").and_then(|at| at.child("local_ports"));
    let Some((at, gateway)) = at.zip(gateway) else {
        return;
    };
    for (at, port) in at.entries("a list").unwrap_or_default().iter().zip(&gateway.local_ports) {
        if let Some(own) = listeners.iter().find(|l| l.address.port() == port.get()) {
            at.refuse::<()>(format!(
                "found {port}, the port of our own listener {}: no peer may reach it this way",
                own.at.path()
            ));
        }
    }
}

/// True when a connection from this host to `endpoint` may arrive at `listener`.
fn reaches(endpoint: SocketAddr, listener: SocketAddr) -> bool {
    let (to, own) = (endpoint.ip().to_canonical(), listener.ip().to_canonical());
    // Connecting to the unspecified address is connecting to loopback.
    let to = match to {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    endpoint.port() == listener.port() && (to == own || (own.is_unspecified() && to.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_every_local_form() {
        for (endpoint, listener, loops) in [
            ("127.0.0.1:1", "[::]:1", true),
            ("127.9.9.9:1", "[::]:1", true),
            ("0.0.0.0:1", "[::]:1", true),
            ("[::]:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", true),
            ("[::ffff:127.0.0.1]:1", "0.0.0.0:1", true),
            ("[::ffff:0.0.0.0]:1", "127.0.0.1:1", true),
            ("127.0.0.1:2", "[::]:1", false),
            ("10.0.0.1:1", "[::]:1", false),
            ("127.0.0.2:1", "127.0.0.1:1", false),
            ("10.0.0.1:1", "[::ffff:10.0.0.1]:1", true),
            ("[::1]:1", "127.0.0.1:1", false),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            assert_eq!(reaches(parse(endpoint), parse(listener)), loops, "{endpoint} {listener}");
        }
    }

    #[test]
    fn knows_what_the_kernel_refuses_to_bind_twice() {
        for (a, b, same) in [
            ("[::]:1", "0.0.0.0:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("127.0.0.1:1", "[::ffff:127.0.0.1]:1", true),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("[::]:1", "[::]:2", false),
        ] {
            let parse = |text: &str| text.parse().expect("an address");
            assert_eq!(overlap(parse(a), parse(b)), same, "{a} {b}");
            assert_eq!(overlap(parse(b), parse(a)), same, "{b} {a}");
        }
    }
}
