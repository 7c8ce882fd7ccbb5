//! From what a connection asks for to where it may lead.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::handshake::Alpn;
use crate::config::GatewaySettings;
use crate::model::discovery::guard::Guard;
use crate::model::header::{Header, SessionProtocol};
use crate::model::outcome::Outcome;
use crate::model::route::{Endpoint, Route, RouteTable, SessionMode};
use crate::model::service::{Port, ServiceName, Target};

/// Ports of this host that a header without a name may ask for.
#[derive(Clone, Debug, Default)]
pub struct LocalPorts {
    ports: Vec<Port>,
    address: Option<IpAddr>,
}

impl LocalPorts {
    /// As configured.
    pub fn new(settings: &GatewaySettings) -> Self {
        Self { ports: settings.local_ports.clone(), address: settings.local_address }
    }
}

/// Why nothing may be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// The port is not listed.
    #[error("local port {0} is not listed")]
    LocalPort(Port),
    /// A Service of our own cluster, or a port of it, that is not exported.
    #[error("{name}:{port} is not exported; {}", wanted(.guard))]
    NotExported {
        /// Its name.
        name: String,
        /// The port.
        port: Port,
        /// What would export it.
        guard: Arc<Guard>,
    },
    /// No route has this name and port.
    #[error("no route for {0}:{1}")]
    Unknown(String, Port),
    /// No route has this server name, and none is the default.
    #[error("no route for a plain client with server name {0:?}")]
    UnknownServerName(Option<Box<str>>),
}

impl RouteError {
    /// How the connection ends with this.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::LocalPort(_) => Outcome::LocalPortRefused,
            Self::NotExported { .. } => Outcome::NotExported,
            Self::Unknown(..) | Self::UnknownServerName(_) => Outcome::UnknownTarget,
        }
    }

    /// The target that has no route, if the client named one.
    pub fn service(&self) -> Option<Target> {
        match self {
            Self::LocalPort(_) | Self::UnknownServerName(_) => None,
            Self::NotExported { name, port, .. } | Self::Unknown(name, port) => {
                Some(Target::Service(ServiceName::parse(name).ok()?, *port))
            }
        }
    }
}

/// What would export a Service, in words.
fn wanted(guard: &Guard) -> String {
    match guard.is_complete {
        true => format!("a Service is when {}", guard.wanted),
        false => {
            "the list of Services is not complete yet: see the log for the API server".to_owned()
        }
    }
}

/// How a connection goes on.
#[derive(Debug)]
pub enum Way {
    /// As bytes, to an endpoint of this route.
    Bytes(Arc<Route>),
    /// Request by request.
    Http(SessionProtocol, Asked),
}

/// Where the requests of an HTTP session go.
#[derive(Clone, Debug)]
pub enum Asked {
    /// To a service, by the route that has it at the time of each request.
    Service(Target),
    /// To a port of this host.
    Local(Arc<Route>),
}

impl Asked {
    /// What policy is asked about, and metrics are labelled with.
    pub fn target(&self) -> &Target {
        match self {
            Self::Service(target) => target,
            Self::Local(route) => &route.target,
        }
    }
}

/// How a connection goes on whose header, or else whose server name, led to `route`.
///
/// # Errors
/// The route's own, except for an HTTP session to a service that nobody knows: each of its requests
/// is told so.
pub fn way(
    route: Result<Arc<Route>, RouteError>,
    header: Option<&Header<'_>>,
    alpn: Alpn,
) -> Result<Way, RouteError> {
    let serves_http = route.as_ref().is_ok_and(|route| route.session == SessionMode::Http);
    let protocol = match (header, alpn) {
        (Some(header), _) => header.session,
        (None, Alpn::Http(protocol)) => Some(protocol),
        (None, _) => serves_http.then_some(SessionProtocol::Http1),
    };
    let Some(protocol) = protocol else { return route.map(Way::Bytes) };
    match route {
        Ok(route) if route.session == SessionMode::Passthrough => Ok(Way::Bytes(route)),
        Ok(route) => Ok(Way::Http(
            protocol,
            match &route.target {
                Target::Local(_) => Asked::Local(route),
                target => Asked::Service(target.clone()),
            },
        )),
        Err(error) => match error.service() {
            Some(target) => Ok(Way::Http(protocol, Asked::Service(target))),
            None => Err(error),
        },
    }
}

/// The route of a header; `local` is the address that the client connected to.
///
/// # Errors
/// See [`RouteError`].
pub fn by_header(
    routes: &RouteTable,
    local_ports: &LocalPorts,
    header: &Header<'_>,
    local: SocketAddr,
) -> Result<Arc<Route>, RouteError> {
    let Some(name) = header.name else {
        return local_port(local_ports, header, local);
    };
    routes.by_name(name, header.port).cloned().ok_or_else(|| unreachable(routes, name, header.port))
}

/// Why a name leads nowhere.
pub fn unreachable(routes: &RouteTable, name: &str, port: Port) -> RouteError {
    match routes.not_exported(name, port) {
        Some(guard) => {
            RouteError::NotExported { name: name.to_owned(), port, guard: Arc::clone(guard) }
        }
        None => RouteError::Unknown(name.to_owned(), port),
    }
}

/// The route of a client without a header.
///
/// # Errors
/// [`RouteError::UnknownServerName`].
pub fn by_server_name(routes: &RouteTable, sni: Option<&str>) -> Result<Arc<Route>, RouteError> {
    let unknown = || RouteError::UnknownServerName(sni.map(Into::into));
    routes.by_sni(sni).cloned().ok_or_else(unknown)
}

fn local_port(
    local_ports: &LocalPorts,
    header: &Header<'_>,
    local: SocketAddr,
) -> Result<Arc<Route>, RouteError> {
    let target = Target::Local(header.port);
    if !local_ports.ports.contains(&header.port) {
        return Err(RouteError::LocalPort(header.port));
    }
    let address = local_ports.address.unwrap_or(local.ip());
    let endpoint = Endpoint::new(SocketAddr::new(address, header.port.get()), 1, None);
    Ok(Arc::new(Route::new(target, vec![Arc::new(endpoint)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u16) -> Port {
        Port::new(number).expect("not 0")
    }

    fn table(session: SessionMode) -> RouteTable {
        let target = Target::parse("web.ns:80").expect("a target");
        let route = Route { session, ..Route::new(target, vec![]) };
        RouteTable::new(vec![route], &RouteTable::default())
    }

    fn outcome(
        table: &RouteTable,
        name: Option<&str>,
        number: u16,
        session: Option<SessionProtocol>,
    ) -> Result<String, Outcome> {
        let local = SocketAddr::from(([10, 0, 0, 9], 4143));
        let ports = LocalPorts { ports: vec![port(8080)], address: None };
        let header = Header { name, port: port(number), session };
        match by_header(table, &ports, &header, local) {
            Ok(route) => {
                let endpoint = route.endpoints.first().map(|e| e.address.to_string());
                Ok(format!("{} {}", route.target, endpoint.unwrap_or_default()))
            }
            Err(error) => Err(error.outcome()),
        }
    }

    /// How a session of this protocol goes on, in a word.
    fn ways(table: &RouteTable, name: &str, protocol: Option<SessionProtocol>) -> String {
        let header = Header { name: Some(name), port: port(80), session: protocol };
        let local = SocketAddr::from(([10, 0, 0, 9], 4143));
        let route = by_header(table, &LocalPorts::default(), &header, local);
        match way(route, Some(&header), Alpn::TransportHeader) {
            Ok(Way::Bytes(route)) => format!("bytes to {}", route.target),
            Ok(Way::Http(protocol, asked)) => format!("{} to {}", protocol.label(), asked.target()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn sessions_are_served_unless_the_route_passes_them_through() {
        let http2 = Some(SessionProtocol::Http2);
        let auto = table(SessionMode::Auto);
        assert_eq!(ways(&auto, "web.ns", None), "bytes to web.ns:80");
        assert_eq!(ways(&auto, "web.ns", http2), "http/2 to web.ns:80");
        assert_eq!(ways(&auto, "no.ns", http2), "http/2 to no.ns:80");
        assert_eq!(ways(&auto, "no.ns", None), "no route for no.ns:80");
        let passthrough = table(SessionMode::Passthrough);
        assert_eq!(ways(&passthrough, "web.ns", http2), "bytes to web.ns:80");
        assert_eq!(outcome(&auto, Some("web.ns"), 81, None), Err(Outcome::UnknownTarget));
        assert_eq!(outcome(&auto, Some("localhost"), 8080, None), Err(Outcome::UnknownTarget));
    }

    #[test]
    fn what_is_not_exported_has_its_own_outcome_and_says_what_is_missing() {
        let mut guard = Guard::new("c", "its labels match a=b");
        let table = |guard: &Guard| RouteTable::of([], Some(Arc::new(guard.clone())));
        let header = Header { name: Some("web.ns.svc.c"), port: port(80), session: None };
        let local = SocketAddr::from(([10, 0, 0, 9], 4143));
        let error = |table| {
            by_header(&table, &LocalPorts::default(), &header, local).expect_err("no route")
        };
        assert!(error(table(&guard)).to_string().ends_with("see the log for the API server"));
        guard.is_complete = true;
        let error = error(table(&guard));
        assert_eq!(error.outcome(), Outcome::NotExported);
        let said = "web.ns.svc.c:80 is not exported; a Service is when its labels match a=b";
        assert_eq!(error.to_string(), said);
        let session = Header { session: Some(SessionProtocol::Http2), ..header };
        let way = way(Err(error), Some(&session), Alpn::TransportHeader);
        assert!(matches!(way, Ok(Way::Http(..))), "each request is told");
    }

    #[test]
    fn plain_clients_get_http_from_routes_that_serve_it() {
        for (mode, alpn, expected) in [
            (SessionMode::Auto, Alpn::None, None),
            (SessionMode::Http, Alpn::None, Some(SessionProtocol::Http1)),
            (SessionMode::Http, Alpn::Http(SessionProtocol::Http2), Some(SessionProtocol::Http2)),
        ] {
            let table = table(mode);
            let route = table.by_name("web.ns", port(80)).cloned().expect("there");
            let protocol = match way(Ok(route), None, alpn) {
                Ok(Way::Http(protocol, _)) => Some(protocol),
                _ => None,
            };
            assert_eq!(protocol, expected);
        }
    }

    #[test]
    fn a_header_without_name_reaches_listed_ports_of_the_address_it_came_to() {
        let table = table(SessionMode::Auto);
        let reached = Ok("localhost:8080 10.0.0.9:8080".to_owned());
        assert_eq!(outcome(&table, None, 8080, None), reached);
        assert_eq!(outcome(&table, None, 80, None), Err(Outcome::LocalPortRefused));
        let http1 = Some(SessionProtocol::Http1);
        assert_eq!(outcome(&table, None, 8080, http1), reached);
    }
}
