//! Where targets lead: the immutable table that the data path loads once per connection.
//!
//! Built by `control::discovery`, read by `proxy::route`. A table is never changed; a new one
//! shares the [`Endpoint`]s that stayed, so open counts and ejections survive a swap.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::balance::{Candidate, EndpointState};
use super::discovery::guard::Guard;
use super::discovery::restriction::Restriction;
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

/// Who says that there is a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteSource {
    /// Configuration, addresses included.
    Static,
    /// Configuration, and DNS for its addresses.
    Dns,
    /// An exported Service of our own cluster.
    Kubernetes,
}

impl RouteSource {
    /// The name in `/routes`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dns => "dns",
            Self::Kubernetes => "kubernetes",
        }
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
    /// The addresses; empty while DNS has given none, or no pod is ready.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Who says so.
    pub source: RouteSource,
    /// Who else must allow a client beside the policy.
    pub restriction: Option<Arc<Restriction>>,
}

impl Route {
    /// A route of configuration without anything special.
    pub fn new(target: Target, endpoints: Vec<Arc<Endpoint>>) -> Self {
        Self {
            target,
            sni: Vec::new(),
            default: false,
            session: SessionMode::Auto,
            proxy_protocol: false,
            endpoints,
            source: RouteSource::Static,
            restriction: None,
        }
    }

    /// Shares the endpoints that `old` has unchanged, and with them what is known of them.
    pub fn adopt(&mut self, old: &Self) {
        for endpoint in &mut self.endpoints {
            if let Some(same) = old.endpoints.iter().find(|e| e.is_same(endpoint)) {
                *endpoint = Arc::clone(same);
            }
        }
    }

    /// True when a client would notice no difference.
    pub fn is_same(&self, other: &Self) -> bool {
        let endpoints = || self.endpoints.iter().zip(&other.endpoints);
        (&self.target, &self.sni, self.default, self.session)
            == (&other.target, &other.sni, other.default, other.session)
            && (self.proxy_protocol, self.source) == (other.proxy_protocol, other.source)
            && self.restriction == other.restriction
            && self.endpoints.len() == other.endpoints.len()
            && endpoints().all(|(one, other)| one.is_same(other))
    }
}

/// All routes of one moment.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// By name, then by port: looked up with a borrowed name, without allocation.
    by_name: HashMap<Box<str>, Vec<(Port, Arc<Route>)>>,
    by_sni: HashMap<Box<str>, Arc<Route>>,
    default: Option<Arc<Route>>,
    routes: Vec<Arc<Route>>,
    /// Which names only an export makes reachable.
    guard: Option<Arc<Guard>>,
}

impl RouteTable {
    /// A table of `routes`. Endpoints that `previous` has unchanged under the same target are
    /// shared with it. Of routes with one target, server name or default, the first counts;
    /// configuration refuses such duplicates.
    pub fn new(routes: Vec<Route>, previous: &Self) -> Self {
        let adopted = routes.into_iter().map(|mut route| {
            if let Some(old) = previous.by_target(&route.target) {
                route.adopt(old);
            }
            Arc::new(route)
        });
        Self::of(adopted, None)
    }

    /// A table of these very routes, which have shared already. With a `guard` a name that it
    /// covers and no route has is not exported.
    pub fn of(routes: impl IntoIterator<Item = Arc<Route>>, guard: Option<Arc<Guard>>) -> Self {
        let mut table = Self { guard, ..Self::default() };
        routes.into_iter().for_each(|route| table.insert(route));
        table
    }

    fn insert(&mut self, route: Arc<Route>) {
        if let Target::Service(name, port) = &route.target {
            let ports = self.by_name.entry(name.as_str().into()).or_default();
            if ports.iter().any(|(p, _)| p == port) {
                return;
            }
            ports.push((*port, Arc::clone(&route)));
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

    /// The guard, when `name`, which has no route, is one of a Service of our own cluster that is
    /// not exported. A host of an exported Service is not among them.
    pub fn not_exported(&self, name: &str, port: Port) -> Option<&Arc<Guard>> {
        let guard = self.guard.as_ref().filter(|guard| guard.covers(name))?;
        let service = name.split_once('.').map(|(_, service)| service);
        let is_host = service.is_some_and(|service| self.by_name(service, port).is_some());
        (!is_host).then_some(guard)
    }

    /// The route whose restriction holds for a target: its own, or for a host that is gone that of
    /// the Service it was a host of.
    pub fn governing(&self, target: &Target) -> Option<&Arc<Route>> {
        let Target::Service(name, port) = target else { return None };
        self.by_name(name.as_str(), *port).or_else(|| {
            let (_, service) = name.as_str().split_once('.')?;
            self.by_name(service, *port).filter(|route| route.source == RouteSource::Kubernetes)
        })
    }

    /// All routes, those of configuration first and in its order.
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
        let endpoints = ports.iter().copied().map(endpoint).collect();
        let sni = sni.iter().map(|s| (*s).to_owned()).collect();
        Route { sni, default, ..Route::new(Target::parse(target).expect("a target"), endpoints) }
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
    fn what_the_guard_covers_and_no_route_has_is_not_exported() {
        let guard = Guard::new("cluster.local", "a label");
        let routes = vec![Arc::new(route("web.ns.svc.cluster.local:80", &[], false, &[]))];
        let table = RouteTable::of(routes, Some(Arc::new(guard)));
        let is_guarded = |name, port| {
            let port = Port::new(port).expect("not 0");
            table.not_exported(name, port).is_some()
        };
        assert!(is_guarded("web.ns.svc.cluster.local", 81));
        assert!(is_guarded("db.ns.svc.cluster.local", 80));
        assert!(!is_guarded("web-9.web.ns.svc.cluster.local", 80), "only its pod is unknown");
        assert!(is_guarded("web-9.web.ns.svc.cluster.local", 81));
        for name in ["web.example.com", "svc.cluster.local", "xsvc.cluster.local"] {
            assert!(!is_guarded(name, 80), "{name}");
        }
    }

    #[test]
    fn the_first_route_of_a_target_is_the_only_one() {
        let mut exported = route("a.b:1", &[], false, &[8]);
        exported.source = RouteSource::Kubernetes;
        let own = route("a.b:1", &[], false, &[7]);
        let table = RouteTable::of([own, exported].map(Arc::new), None);
        let sources: Vec<_> = table.routes().iter().map(|route| route.source.label()).collect();
        assert_eq!(sources, ["static"]);
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
