//! From what a connection asks for to where it may lead.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::GatewaySettings;
use crate::model::header::Header;
use crate::model::outcome::Outcome;
use crate::model::route::{Endpoint, Route, RouteTable, SessionMode};
use crate::model::service::{Port, Target};

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
    /// An HTTP session, which the target does not take as bytes.
    #[error("{0} takes no {1} session")]
    Session(Target, &'static str),
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
            Self::Session(..) => Outcome::SessionProtocolUnsupported,
            Self::Unknown(..) | Self::UnknownServerName(_) => Outcome::UnknownTarget,
        }
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
    let unknown = || RouteError::Unknown(name.to_owned(), header.port);
    let route = routes.by_name(name, header.port).ok_or_else(unknown)?;
    match header.session {
        Some(session) if route.session != SessionMode::Passthrough => {
            Err(RouteError::Session(route.target.clone(), session.label()))
        }
        _ => Ok(Arc::clone(route)),
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
    if let Some(session) = header.session {
        return Err(RouteError::Session(target, session.label()));
    }
    let address = local_ports.address.unwrap_or(local.ip());
    let endpoint = Endpoint::new(SocketAddr::new(address, header.port.get()), 1, None);
    Ok(Arc::new(Route {
        target,
        sni: Vec::new(),
        default: false,
        session: SessionMode::Auto,
        proxy_protocol: false,
        endpoints: vec![Arc::new(endpoint)],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::header::SessionProtocol;

    fn port(number: u16) -> Port {
        Port::new(number).expect("not 0")
    }

    fn table(session: SessionMode) -> RouteTable {
        let target = Target::parse("web.ns:80").expect("a target");
        let route = Route {
            target,
            sni: vec![],
            default: false,
            session,
            proxy_protocol: false,
            endpoints: vec![],
        };
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

    #[test]
    fn a_session_protocol_needs_a_passthrough_route() {
        let http2 = Some(SessionProtocol::Http2);
        let auto = table(SessionMode::Auto);
        assert_eq!(outcome(&auto, Some("web.ns"), 80, None), Ok("web.ns:80 ".to_owned()));
        let refused = Err(Outcome::SessionProtocolUnsupported);
        assert_eq!(outcome(&auto, Some("web.ns"), 80, http2), refused);
        let passthrough = table(SessionMode::Passthrough);
        assert!(outcome(&passthrough, Some("web.ns"), 80, http2).is_ok());
        assert_eq!(outcome(&auto, Some("web.ns"), 81, None), Err(Outcome::UnknownTarget));
        assert_eq!(outcome(&auto, Some("localhost"), 8080, None), Err(Outcome::UnknownTarget));
    }

    #[test]
    fn a_header_without_name_reaches_listed_ports_of_the_address_it_came_to() {
        let table = table(SessionMode::Auto);
        let reached = Ok("localhost:8080 10.0.0.9:8080".to_owned());
        assert_eq!(outcome(&table, None, 8080, None), reached);
        assert_eq!(outcome(&table, None, 80, None), Err(Outcome::LocalPortRefused));
        let http1 = Some(SessionProtocol::Http1);
        assert_eq!(outcome(&table, None, 8080, http1), Err(Outcome::SessionProtocolUnsupported));
    }
}
