//! The life of an inbound connection, from handshake to outcome, as one function.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::authorize::authorize;
use super::connect::{Connector, OpenCount, Opening};
use super::handshake::{self, Alpn, Established, Refused};
use super::header::{self, Received};
use super::http;
use super::http::context::HttpRules;
use super::http::windows::Windows;
use super::limits::{Admission, Limits};
use super::preface::{self, Proxies};
use super::relay::{Relay, Timeouts};
use super::route::{self, LocalPorts, RouteError, Way};
use super::session::Session;
use crate::config::Settings;
use crate::model::discovery::restriction::Restriction;
use crate::model::outcome::Outcome;
use crate::model::route::{Route, RouteSource, RouteTable, SessionMode};
use crate::model::service::{MAX_NAME, Target};
use crate::observe::access::{RequestSelection, Selection};
use crate::observe::metrics::Metrics;
use crate::runtime::fault;
use crate::state::State;
use crate::tls::credentials::Credentials;

/// What every connection of the gateway shares.
#[derive(Debug)]
pub struct Gateway {
    /// Credentials, routes and live connections.
    pub state: Arc<State>,
    /// Where outcomes are counted.
    pub metrics: Arc<Metrics>,
    /// Who waits to be authenticated, and who is in.
    pub admission: Arc<Admission>,
    /// What a reload may change; a connection keeps what it began with.
    pub rules: ArcSwap<Rules>,
    /// Requests of all HTTP sessions that are in flight.
    pub in_flight: AtomicUsize,
    /// Receive windows of all HTTP sessions.
    pub windows: Arc<Windows>,
}

impl Gateway {
    /// A gateway whose first connections find these rules.
    pub fn new(state: Arc<State>, metrics: Arc<Metrics>, rules: Rules) -> Self {
        let admission = Arc::new(Admission::new(Arc::clone(&metrics)));
        metrics.http_window_budget(rules.http.settings.window_budget);
        Self {
            admission,
            rules: ArcSwap::from_pointee(rules),
            in_flight: AtomicUsize::new(0),
            windows: Arc::new(Windows::new(Arc::clone(&metrics))),
            state,
            metrics,
        }
    }
}

/// What holds for each new connection.
#[derive(Debug)]
pub struct Rules {
    /// Refuse clients that do not negotiate the transport header.
    pub require_transport_header: bool,
    /// Who must send a PROXY header.
    pub proxies: Proxies,
    /// From accept to the end of the header.
    pub handshake_timeout: Duration,
    /// The most of everything.
    pub limits: Limits,
    /// Ports of this host that may be asked for.
    pub local_ports: LocalPorts,
    /// How endpoints are connected.
    pub connector: Connector,
    /// What holds for the requests of HTTP sessions.
    pub http: HttpRules,
    /// How long the relay waits.
    pub timeouts: Timeouts,
    /// Which ends are logged.
    pub access: Selection,
    /// Which requests of HTTP sessions are logged.
    pub access_requests: RequestSelection,
}

impl Rules {
    /// As configured; no connection may end at one of `own_listeners`.
    pub fn new(settings: &Settings, own_listeners: Vec<SocketAddr>) -> Self {
        Self {
            require_transport_header: settings.gateway.require_transport_header,
            proxies: Proxies::new(&settings.gateway),
            handshake_timeout: settings.limits.handshake_timeout,
            limits: Limits::new(&settings.limits),
            local_ports: LocalPorts::new(&settings.gateway),
            connector: Connector::new(settings, own_listeners),
            http: HttpRules::new(settings),
            timeouts: Timeouts {
                user: settings.limits.tcp_user_timeout,
                half_closed: settings.limits.half_closed_timeout,
                idle: settings.limits.idle_timeout,
            },
            access: Selection::new(
                settings.log.access_outcomes.as_deref(),
                settings.log.access_min_duration,
                settings.log.access_sample,
            ),
            access_requests: RequestSelection::new(
                settings.log.access_requests,
                settings.log.access_sample,
            ),
        }
    }
}

/// Serves one accepted connection to its end. The caller finishes the session: a session passed by
/// value would lie in the connection's future twice.
pub async fn serve(gateway: &Arc<Gateway>, stream: TcpStream, session: &mut Session) -> Outcome {
    let live = Arc::clone(&session.registration);
    tokio::select! {
        outcome = converse(gateway, stream, session) => outcome,
        outcome = live.cancelled() => outcome,
    }
}

async fn converse(gateway: &Arc<Gateway>, stream: TcpStream, session: &mut Session) -> Outcome {
    // The states of handshake and connect are several KiB: boxed, they are gone before the relay
    // begins, and with them the credentials and the route table of the connection's start.
    // Taken apart so that what is not relayed leaves nothing in this state, which is every
    // connection's, but a pointer.
    let mut instead = None;
    let opened = Box::pin(open(gateway, stream, session)).await;
    let Ok(mut open) = opened.map_err(|other| instead = Some(Box::new(other))) else {
        return match instead.map(|instead| *instead) {
            None => Outcome::Closed,
            Some(Instead::Ended(outcome)) => outcome,
            Some(Instead::Http(opening)) => {
                Box::pin(http::session::serve(gateway, session, opening)).await
            }
        };
    };
    let bytes = Arc::clone(&session.registration.bytes);
    let relayed = open.relay.run(&bytes).await;
    session.relayed(relayed)
}

/// A connection that only its bytes are left of.
struct Open {
    relay: Relay,
    _place: OpenCount,
}

/// What a connection has become that is not relayed.
enum Instead {
    /// Nothing any more.
    Ended(Outcome),
    /// An HTTP session begins.
    Http(Box<http::session::Opening>),
}

impl From<Outcome> for Instead {
    fn from(outcome: Outcome) -> Self {
        Self::Ended(outcome)
    }
}

/// Everything that comes before the first byte that is relayed, or the first request.
async fn open(
    gateway: &Gateway,
    stream: TcpStream,
    session: &mut Session,
) -> Result<Open, Instead> {
    let rules = gateway.rules.load_full();
    let deadline = Instant::now() + rules.handshake_timeout;
    // Listeners open only once there are credentials, and they are never taken away.
    let credentials = gateway.state.credentials.load_full().ok_or(Outcome::TlsFailed)?;
    let begun = Box::pin(begin(gateway, &rules, stream, &credentials, session));
    let (established, received) = match timeout_at(deadline, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(Ended { outcome, refused })) => {
            if let Some(refused) = refused {
                refused.part().await;
            }
            return Err(outcome.into());
        }
        Err(_elapsed) => return Err(Outcome::HandshakeTimeout.into()),
    };
    let route = match direct(gateway, &rules, session, &established, received.as_ref())? {
        Way::Bytes(route) => route,
        Way::Http(protocol, asked) => {
            return Err(Instead::Http(Box::new(http::session::Opening {
                protocol,
                asked,
                is_plain: received.is_none(),
                early: received.map_or_else(Vec::new, Received::into_rest),
                end: established.end,
                client: established.identity,
                own: credentials.identity.clone(),
                rules,
            })));
        }
    };
    let live = &session.registration;
    let opening = Opening {
        session: session.protocol(),
        proxy_header: preface::onward(&route, live, session.sni.as_deref(), &established.identity),
    };
    let connect = rules.connector.connect(&route, opening, &credentials, &gateway.metrics);
    let connected = match connect.await {
        Ok(connected) => connected,
        Err(error) => return Err(explained(session, &error, error.outcome()).into()),
    };
    session.connected(&connected);
    fault::point("connection");
    let early = received.map_or_else(Vec::new, Received::into_rest);
    session.registration.bytes.add_from_client(early.len() as u64);
    Ok(Open {
        relay: Relay::new(established.end, connected.end, early, rules.timeouts),
        _place: connected.place,
    })
}

/// A connection that ended before there was anything to route.
struct Ended {
    outcome: Outcome,
    refused: Option<Refused>,
}

/// Admission, the PROXY header where one is due, handshake, identity, and the transport header where
/// one was negotiated.
async fn begin(
    gateway: &Gateway,
    rules: &Rules,
    stream: TcpStream,
    credentials: &Credentials,
    session: &mut Session,
) -> Result<(Established, Option<Received>), Ended> {
    fault::point("handshake");
    let limits = &rules.limits;
    let open = gateway.state.connections.len();
    let admitted = gateway.admission.admit(limits, open, &session.registration);
    let mut waiting = admitted.map_err(|error| ended(session, &error, error.outcome()))?;
    if rules.proxies.include(usize::from(session.listener), session.registration.peer.ip()) {
        let received = preface::receive(&stream, session).await;
        received.map_err(|error| ended(session, &error, preface::outcome(&error)))?;
    }
    waiting.came_from(limits, session.registration.source().ip());
    let hello = handshake::client_hello(stream).await.map_err(|error| refused(session, error))?;
    waiting.said_hello(limits);
    session.sni = hello.server_name();
    let route = gateway.state.routes.load().by_sni(session.sni.as_deref()).cloned();
    let serves_http = route.is_some_and(|route| route.session == SessionMode::Http);
    let accepted = handshake::accept(hello, credentials, serves_http, rules).await;
    let mut established = accepted.map_err(|error| refused(session, error))?;
    let has_header = established.alpn == Alpn::TransportHeader;
    session.established(&established.identity, has_header);
    let authenticated = waiting.authenticated(limits, &established.identity);
    session.authenticated =
        Some(authenticated.map_err(|error| ended(session, &error, error.outcome()))?);
    if !has_header {
        return Ok((established, None));
    }
    let received = header::receive(&mut established.end, Vec::new()).await;
    let received = received.map_err(|error| ended(session, &error, error.outcome()))?;
    Ok((established, Some(received)))
}

fn ended(session: &mut Session, detail: &impl ToString, outcome: Outcome) -> Ended {
    Ended { outcome: explained(session, detail, outcome), refused: None }
}

fn refused(session: &mut Session, refused: Refused) -> Ended {
    let outcome = explained(session, &refused.error, refused.error.outcome());
    Ended { outcome, refused: Some(refused) }
}

/// Route and policy: where the connection may go. Of an HTTP session each request is asked about.
/// Not async, so that the snapshots it loads are no part of the connection's state.
fn direct(
    gateway: &Gateway,
    rules: &Rules,
    session: &mut Session,
    established: &Established,
    received: Option<&Received>,
) -> Result<Way, Outcome> {
    let routes = gateway.state.routes.load();
    let way = find_way(&routes, rules, session, established, received);
    let way = way.map_err(|error| explained(session, &error, error.outcome()))?;
    let route = match &way {
        Way::Bytes(route) => Arc::clone(route),
        Way::Http(_, asked) => {
            session.asked(asked, &routes);
            return Ok(way);
        }
    };
    session.routed(Arc::clone(&route));
    let restriction = still_there(gateway, &routes, &route)
        .map_err(|error| explained(session, &error, error.outcome()))?;
    let policy = gateway.state.policy.load();
    let (source, target) = (session.registration.source(), &route.target);
    let identity = &established.identity;
    let verdict = authorize(&policy, identity, source, target, restriction.as_deref());
    session.authorized(&verdict);
    match verdict {
        Ok(_) => Ok(way),
        Err(denied) => Err(explained(session, &denied, denied.outcome())),
    }
}

/// The restriction of an export that is still there, now that the connection is registered: from
/// here on whoever ends the export finds it.
fn still_there(
    gateway: &Gateway,
    found_in: &Arc<RouteTable>,
    route: &Route,
) -> Result<Option<Arc<Restriction>>, RouteError> {
    if route.source == RouteSource::Kubernetes {
        let now = gateway.state.routes.load();
        if !Arc::ptr_eq(found_in, &now) {
            return match (now.governing(&route.target), route.target.clone()) {
                (None, Target::Service(name, port)) => {
                    Err(route::unreachable(&now, name.as_str(), port))
                }
                (governing, _) => Ok(governing.and_then(|route| route.restriction.clone())),
            };
        }
    }
    Ok(route.restriction.clone())
}

/// Where the header, or else the server name, leads to.
fn find_way(
    routes: &RouteTable,
    rules: &Rules,
    session: &mut Session,
    established: &Established,
    received: Option<&Received>,
) -> Result<Way, RouteError> {
    let mut name = [0; MAX_NAME];
    let Some(header) = received.and_then(|received| received.header(&mut name).ok()) else {
        let route = route::by_server_name(routes, established.sni.as_deref());
        return route::way(route, None, established.alpn);
    };
    let local = session.registration.local;
    let route = route::by_header(routes, &rules.local_ports, &header, local);
    session.header(header.session, route.as_deref(), &established.identity);
    route::way(route, Some(&header), established.alpn)
}

fn explained(session: &mut Session, detail: &impl ToString, outcome: Outcome) -> Outcome {
    session.explain(detail.to_string());
    outcome
}
