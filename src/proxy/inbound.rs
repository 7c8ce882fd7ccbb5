//! The life of an inbound connection, from handshake to outcome, as one function.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::authorize::authorize;
use super::connect::{Connected, Connector};
use super::handshake::{self, Established, Refused};
use super::header::{self, Received};
use super::relay::relay;
use super::route::{self, LocalPorts, RouteError};
use super::session::Session;
use crate::model::outcome::Outcome;
use crate::model::route::Route;
use crate::model::service::MAX_NAME;
use crate::net::socket;
use crate::observe::metrics::Metrics;
use crate::state::State;
use crate::tls::credentials::Credentials;

/// What every connection of the gateway shares.
#[derive(Debug)]
pub struct Gateway {
    /// Credentials, routes and live connections.
    pub state: Arc<State>,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
    /// Refuse clients that do not negotiate the transport header.
    pub require_transport_header: bool,
    /// From accept to the end of the header.
    pub handshake_timeout: Duration,
    /// Ports of this host that may be asked for.
    pub local_ports: LocalPorts,
    /// How endpoints are connected.
    pub connector: Connector,
}

/// Serves one accepted connection to its end.
pub async fn serve(gateway: &Gateway, stream: TcpStream, mut session: Session) {
    let live = Arc::clone(&session.registration);
    let outcome = tokio::select! {
        outcome = converse(gateway, stream, &mut session) => outcome,
        () = live.cancelled() => Outcome::Cancelled,
    };
    session.finish(outcome);
}

async fn converse(gateway: &Gateway, stream: TcpStream, session: &mut Session) -> Outcome {
    let deadline = Instant::now() + gateway.handshake_timeout;
    if socket::prepare(&stream, &gateway.connector.options).is_err() {
        return Outcome::ClosedBeforeFirstByte;
    }
    let Some(credentials) = gateway.state.credentials.load_full() else {
        // Listeners open only once there are credentials, and they are never taken away.
        return Outcome::TlsFailed;
    };
    // The handshake's state is several KiB: boxed, it is gone before the relay begins.
    let begun = Box::pin(begin(gateway, stream, &credentials, session));
    let (established, received) = match timeout_at(deadline, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(Ended { outcome, refused })) => {
            if let Some(refused) = refused {
                // Boxed: only refused clients pay for the wait's state.
                Box::pin(refused.part()).await;
            }
            return outcome;
        }
        Err(_elapsed) => return Outcome::HandshakeTimeout,
    };
    let route = match find_route(gateway, session, &established, received.as_ref()) {
        Ok(route) => route,
        Err(error) => return explained(session, &error, error.outcome()),
    };
    let policy = gateway.state.policy.load();
    let peer = session.registration.peer;
    match authorize(&policy, &established.identity, peer, &route.target) {
        Ok(allowed) => session.routed(Arc::clone(&route), allowed.rule),
        Err(denied) => {
            session.denied(&route, &denied);
            return explained(session, &denied, denied.outcome());
        }
    }
    drop(policy);
    let protocol = session.protocol();
    let connect = gateway.connector.connect(&route, protocol, &credentials, &gateway.metrics);
    let mut connected: Connected = match Box::pin(connect).await {
        Ok(connected) => connected,
        Err(error) => return explained(session, &error, error.outcome()),
    };
    session.connected(&connected);
    // A live connection keeps neither the credentials nor the route table of its start alive.
    drop((credentials, route));
    let mut client = established.end;
    let early = received.map_or(established.early_bytes, Received::into_rest);
    let bytes = Arc::clone(&session.registration.bytes);
    let relayed = relay(&mut client, &mut connected.end, early, &bytes).await;
    session.relayed(relayed)
}

/// A connection that ended before there was anything to route.
struct Ended {
    outcome: Outcome,
    refused: Option<Refused>,
}

/// Handshake, identity, and the header where one was negotiated.
async fn begin(
    gateway: &Gateway,
    stream: TcpStream,
    credentials: &Credentials,
    session: &mut Session,
) -> Result<(Established, Option<Received>), Ended> {
    let require_header = gateway.require_transport_header;
    let accepted = handshake::accept(stream, credentials, require_header, &mut session.sni).await;
    let mut established = accepted.map_err(|refused| Ended {
        outcome: explained(session, &refused.error, refused.error.outcome()),
        refused: Some(refused),
    })?;
    session.established(&established.identity, established.transport_header);
    if !established.transport_header {
        return Ok((established, None));
    }
    let early = std::mem::take(&mut established.early_bytes);
    let received = header::receive(&mut established.end, early).await;
    let received = received.map_err(|error| Ended {
        outcome: explained(session, &error, error.outcome()),
        refused: None,
    })?;
    Ok((established, Some(received)))
}

/// The route that the header, or else the server name, leads to.
fn find_route(
    gateway: &Gateway,
    session: &mut Session,
    established: &Established,
    received: Option<&Received>,
) -> Result<Arc<Route>, RouteError> {
    let routes = gateway.state.routes.load();
    let mut name = [0; MAX_NAME];
    let Some(header) = received.and_then(|received| received.header(&mut name).ok()) else {
        return route::by_server_name(&routes, established.sni.as_deref());
    };
    let local = session.registration.local;
    let route = route::by_header(&routes, &gateway.local_ports, &header, local);
    session.header(header.session, route.as_deref(), &established.identity);
    route
}

fn explained(session: &mut Session, detail: &impl ToString, outcome: Outcome) -> Outcome {
    session.explain(detail.to_string());
    outcome
}
