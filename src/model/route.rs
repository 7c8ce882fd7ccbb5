//! Where targets lead: the immutable table that the data path loads once per connection.
//!
//! Built by `control::discovery`, read by `proxy::route`. A table is never changed; a new one
//! shares the [`Endpoint`]s that stayed, so open counts and ejections survive a swap.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::balance::{Candidate, EndpointState};
use super::identity::Identity;
use super::service::{Port, Target};

/// How a route serves connections whose header names a session protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionMode {
    /// HTTP sessions are served, opaque ones relayed.
    Auto,
    /// As `Auto`.
    Http,
    /// Bytes are relayed whatever they are.
    Passthrough,
}

/// Onward mutual TLS to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Onward {
    /// Who the endpoint must prove to be; also the SNI when it is a DNS name.
    pub identity: Identity,
    /// The port to connect to, where a Linkerd proxy or another gateway listens (4143). Our
    /// header then carries the endpoint's own port.
    pub port: Port,
}

/// One address behind a route.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address; the port is the service's own.
    pub address: SocketAddr,
    /// Its share.
    pub weight: u32,
    /// Onward TLS, `None` for plain TCP.
    pub onward: Option<Onward>,
    /// Shared by all workers.
    pub state: EndpointState,
}

impl Endpoint {
    /// An endpoint that nothing is known of yet.
    pub fn new(address: SocketAddr, weight: u32, onward: Option<Onward>) -> Self {
        Self { address, weight, onward, state: EndpointState::default() }
    }

    /// The address to connect to.
    pub fn dial_address(&self) -> SocketAddr {
        let port = self.onward.as_ref().map_or(self.address.port(), |o| o.port.get());
        SocketAddr::new(self.address.ip(), port)
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.address, self.weight, &self.onward) == (other.address, other.weight, &other.onward)
    }
}

impl Candidate for Arc<Endpoint> {
    fn state(&self) -> &EndpointState {
        &self.state
    }

    fn weight(&self) -> u32 {
        self.weight
    }
}

/// One target and its endpoints.
#[derive(Debug)]
pub struct Route {
    /// What policy matches, logs name and headers ask for.
    pub target: Target,
    /// Server names by which plain mTLS clients reach it.
    pub sni: Vec<String>,
    /// Takes plain clients whose server name no route has.
    pub default: bool,
    /// How session protocols are served.
    pub session: SessionMode,
    /// Connections to its endpoints begin with a PROXY header, version 2.
    pub proxy_protocol: bool,
    /// The addresses; empty while DNS has given none.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// All routes of one moment.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// By name, then by port: looked up with a borrowed name, without allocation.
    by_name: HashMap<Box<str>, Vec<(Port, Arc<Route>)>>,
    by_sni: HashMap<Box<str>, Arc<Route>>,
    default: Option<Arc<Route>>,
    routes: Vec<Arc<Route>>,
}

impl RouteTable {
    /// A table of `routes`. Endpoints that `previous` has unchanged under the same target are
    /// shared with it. Of routes with one target, server name or default, the first counts;
    /// configuration refuses such duplicates.
    pub fn new(routes: Vec<Route>, previous: &Self) -> Self {
        let mut table = Self::default();
        for mut route in routes {
            if let Some(old) = previous.by_target(&route.target) {
                for endpoint in &mut route.endpoints {
                    if let Some(same) = old.endpoints.iter().find(|e| e.is_same(endpoint)) {
                        *endpoint = Arc::clone(same);
                    }
                }
            }
            table.insert(Arc::new(route));
        }
        table
    }

    fn insert(&mut self, route: Arc<Route>) {
        if let Target::Service(name, port) = &route.target {
            let ports = self.by_name.entry(name.as_str().into()).or_default();
            if ports.iter().all(|(p, _)| p != port) {
                ports.push((*port, Arc::clone(&route)));
            }
        }
        for sni in &route.sni {
            self.by_sni.entry(sni.as_str().into()).or_insert_with(|| Arc::clone(&route));
        }
        if route.default && self.default.is_none() {
            self.default = Some(Arc::clone(&route));
        }
        self.routes.push(route);
    }

    /// The route of a lower-case name and port.
    pub fn by_name(&self, name: &str, port: Port) -> Option<&Arc<Route>> {
        let ports = self.by_name.get(name)?;
        ports.iter().find(|(p, _)| *p == port).map(|(_, route)| route)
    }

    /// The route of a plain client: by its lower-case server name, else the default route.
    pub fn by_sni(&self, sni: Option<&str>) -> Option<&Arc<Route>> {
        sni.and_then(|name| self.by_sni.get(name)).or(self.default.as_ref())
    }

    /// All routes, in the order of their configuration.
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// The route of a service; none for a port of this host.
    pub fn by_target(&self, target: &Target) -> Option<&Arc<Route>> {
        match target {
            Target::Local(_) => None,
            Target::Service(name, port) => self.by_name(name.as_str(), *port),
        }
    }
}

/// Why an address from DNS or Kubernetes may not become an endpoint; static routes may name
/// loopback.
pub fn unusable(address: IpAddr) -> Option<&'static str> {
    let address = address.to_canonical();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    match address {
        a if a.is_loopback() => Some("it is a loopback address"),
        a if a.is_unspecified() => Some("it is the unspecified address"),
        a if a.is_multicast() => Some("it is a multicast address"),
        _ if link_local => Some("it is a link-local or broadcast address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(target: &str, sni: &[&str], default: bool, ports: &[u16]) -> Route {
        let endpoint = |port| Arc::new(Endpoint::new(([127, 0, 0, 1], port).into(), 1, None));
        Route {
            target: Target::parse(target).expect("a target"),
            sni: sni.iter().map(|s| (*s).to_owned()).collect(),
            default,
            session: SessionMode::Auto,
            proxy_protocol: false,
            endpoints: ports.iter().copied().map(endpoint).collect(),
        }
    }

    fn target(route: Option<&Arc<Route>>) -> String {
        route.map_or_else(String::new, |r| r.target.to_string())
    }

    #[test]
    fn finds_by_name_sni_and_default() {
        let routes =
            vec![route("a.b:1", &["x.example"], false, &[]), route("a.b:2", &[], true, &[])];
        let table = RouteTable::new(routes, &RouteTable::default());
        let port = |p| Port::new(p).expect("not 0");
        assert_eq!(target(table.by_name("a.b", port(2))), "a.b:2");
        assert!(table.by_name("a.b", port(3)).is_none() && table.by_name("b", port(1)).is_none());
        assert_eq!(target(table.by_sni(Some("x.example"))), "a.b:1");
        assert_eq!(target(table.by_sni(Some("y.example"))), "a.b:2");
        assert_eq!(target(table.by_sni(None)), "a.b:2");
    }

    #[test]
    fn a_new_table_keeps_the_state_of_what_stayed() {
        let old =
            RouteTable::new(vec![route("a.b:1", &[], false, &[7, 8])], &RouteTable::default());
        old.routes()[0].endpoints[1].state.opened();
        let new = RouteTable::new(vec![route("a.b:1", &[], false, &[8, 9])], &old);
        assert_eq!(new.routes()[0].endpoints[0].state.open(), 1);
        assert_eq!(new.routes()[0].endpoints[1].state.open(), 0);
    }

    #[test]
    fn names_why_an_address_is_unusable() {
        for address in ["127.9.9.9", "0.0.0.0", "224.0.0.1", "169.254.1.1", "255.255.255.255"] {
            assert!(unusable(address.parse().expect("an address")).is_some(), "{address}");
        }
        for address in ["::1", "::", "ff02::1", "fe80::1", "::ffff:127.0.0.1"] {
            assert!(unusable(address.parse().expect("an address")).is_some(), "{address}");
        }
        assert_eq!(unusable([10, 0, 0, 1].into()), None);
    }
}
